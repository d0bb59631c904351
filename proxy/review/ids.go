package review

import (
	"strings"

	"halfopen/proxy/decisionlog"
)

// idSet holds the ids of one run. A worker numbers its packets in order, so ids
// come in clusters: one map entry holds 64 neighbours.
type idSet struct {
	known map[idKey]uint64
	other map[string]struct{} // texts that are no ids of ours
}

// idKey is an id without its low six bits.
type idKey struct{ hi, lo uint64 }

// add notes an id and says whether it was new.
func (s *idSet) add(id string) bool {
	v, ok := decisionlog.ParseID(id)
	if !ok {
		if _, dup := s.other[id]; dup {
			return false
		}
		if s.other == nil {
			s.other = make(map[string]struct{})
		}
		s.other[strings.Clone(id)] = struct{}{}
		return true
	}
	if s.known == nil {
		s.known = make(map[idKey]uint64)
	}
	key, bit := idKey{v.Hi, v.Lo >> 6}, uint64(1)<<(v.Lo&63)
	bits := s.known[key]
	s.known[key] = bits | bit
	return bits&bit == 0
}

// has says whether the id was noted.
func (s *idSet) has(id string) bool {
	v, ok := decisionlog.ParseID(id)
	if !ok {
		_, in := s.other[id]
		return in
	}
	return s.known[idKey{v.Hi, v.Lo >> 6}]&(1<<(v.Lo&63)) != 0
}
