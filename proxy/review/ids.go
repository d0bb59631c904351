package review

import (
	"strings"

	"halfopen/proxy/decisionlog"
)

// idSet holds the ids of one run: a bitmap per worker, because a worker numbers
// its ids densely from 1, and a map for whatever is not so.
type idSet struct {
	dense map[uint16][]uint64
	other map[string]struct{}
}

// sparse is the sequence number from which a bitmap would cost too much.
const sparse = 1 << 28

// add notes an id and says whether it was new.
func (s *idSet) add(id string) bool {
	worker, seq, ok := splitID(id)
	if !ok || seq >= sparse {
		if _, dup := s.other[id]; dup {
			return false
		}
		if s.other == nil {
			s.other = make(map[string]struct{})
		}
		s.other[strings.Clone(id)] = struct{}{}
		return true
	}
	if s.dense == nil {
		s.dense = make(map[uint16][]uint64)
	}
	bits := s.dense[worker]
	word, bit := int(seq/64), uint64(1)<<(seq%64)
	if word >= len(bits) {
		bits = append(bits, make([]uint64, max(word+1-len(bits), len(bits)/2))...)
		s.dense[worker] = bits
	}
	if bits[word]&bit != 0 {
		return false
	}
	bits[word] |= bit
	return true
}

// has says whether the id was noted.
func (s *idSet) has(id string) bool {
	worker, seq, ok := splitID(id)
	if !ok || seq >= sparse {
		_, in := s.other[id]
		return in
	}
	bits := s.dense[worker]
	return int(seq/64) < len(bits) && bits[seq/64]&(1<<(seq%64)) != 0
}

// splitID takes an id apart into the worker and its number there.
func splitID(id string) (worker uint16, seq uint64, ok bool) {
	v, ok := decisionlog.ParseID(id)
	return v.Worker(), v.Seq(), ok
}
