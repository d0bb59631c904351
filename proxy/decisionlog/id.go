package decisionlog

import (
	"math/rand/v2"
	"strings"
)

// ID names one decision (or one injected segment) for good. It prints as a ULID:
// 48 bits of the run's start in milliseconds and 15 random bits in Hi, the
// worker (16 bits) and its sequence number (48 bits) in Lo. The first 13
// letters are therefore the run's id, and ids sort by run, worker and order.
// The zero ID means none.
type ID struct {
	Hi, Lo uint64
}

// IDLen is the length of an ID's text.
const IDLen = 26

// runIDLen is the length of a run's id: an ID's first half.
const runIDLen = IDLen / 2

// crockford is the alphabet of ULIDs: base 32 without I, L, O and U.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newRunBits makes the upper half of all IDs of a run that started at unix
// millisecond ms.
func newRunBits(ms int64) uint64 {
	return uint64(ms)<<15&(1<<63-1) | uint64(rand.Uint32()&0x7fff)
}

// IsZero says whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// AppendText appends the ID's 26 letters.
func (id ID) AppendText(dst []byte) ([]byte, error) {
	return appendHalf(appendHalf(dst, id.Hi), id.Lo), nil
}

// String is the ID's 26 letters.
func (id ID) String() string {
	b, _ := id.AppendText(make([]byte, 0, IDLen))
	return string(b)
}

// Run is the id of the run that made this ID: its first 13 letters.
func (id ID) Run() string {
	return string(appendHalf(make([]byte, 0, runIDLen), id.Hi))
}

// appendHalf writes 64 bits as 13 letters (65 bits, the first one zero).
func appendHalf(dst []byte, v uint64) []byte {
	var t [runIDLen]byte
	for i := len(t) - 1; i >= 0; i-- {
		t[i] = crockford[v&31]
		v >>= 5
	}
	return append(dst, t[:]...)
}

// ParseID reads an ID's text; letters of either case, as ULIDs allow.
func ParseID(s string) (ID, bool) {
	if len(s) != IDLen {
		return ID{}, false
	}
	hi, ok1 := parseHalf(s[:runIDLen])
	lo, ok2 := parseHalf(s[runIDLen:])
	return ID{hi, lo}, ok1 && ok2
}

func parseHalf(s string) (v uint64, ok bool) {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		d := strings.IndexByte(crockford, c)
		if d < 0 || i == 0 && d > 15 { // 13 letters hold 65 bits
			return 0, false
		}
		v = v<<5 | uint64(d)
	}
	return v, true
}

// Worker is the number of the worker that made the ID.
func (id ID) Worker() uint16 { return uint16(id.Lo >> 48) }

// Seq is the ID's number within its worker, from 1.
func (id ID) Seq() uint64 { return id.Lo & (1<<48 - 1) }
