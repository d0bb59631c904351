package conntrack

import (
	"reflect"
	"slices"
	"testing"
)

// TestFastLayout holds what a program in C mirrors: each field at its place, and no byte of padding.
func TestFastLayout(t *testing.T) {
	for _, c := range []struct {
		of     any
		size   uintptr
		fields []string
		at     []uintptr
	}{
		{Fast{}, 120, []string{"LastSeen", "Deadline", "Timeout", "Side", "Last", "LastDir", "Stalled", "Stall", "Retransmits"}, []uintptr{0, 8, 16, 24, 80, 100, 104, 108, 112}},
		{FastSide{}, 28, []string{"End", "MaxEnd", "MaxAck", "MaxWin", "Win", "TSRecent", "Flags", "Scale", "Retrans"}, []uintptr{0, 4, 8, 12, 16, 20, 24, 26, 27}},
		{FastLast{}, 20, []string{"Seq", "Ack", "End", "Win", "Dir", "Kind", "Retrans"}, []uintptr{0, 4, 8, 12, 14, 15, 16}},
		{FastRules{}, 40, []string{"Timeout", "Retransmitted", "Unacknowledged", "ZeroWindow", "Check", "ACK", "Retransmits", "First", "MSS"}, []uintptr{0, 8, 16, 24, 32, 33, 34, 35, 36}},
	} {
		ty := reflect.TypeOf(c.of)
		var names []string
		var at []uintptr
		sum := uintptr(0)
		for i := range ty.NumField() {
			f := ty.Field(i)
			names, at = append(names, f.Name), append(at, f.Offset)
			sum += f.Type.Size()
		}
		if ty.Size() != c.size || sum != c.size || !slices.Equal(names, c.fields) || !slices.Equal(at, c.at) {
			t.Errorf("%s: %d bytes, %d of them fields: %v at %v", ty, ty.Size(), sum, names, at)
		}
	}
	for name, c := range map[string][2]uint16{
		"SideSeen": {uint16(SideSeen), 1 << 0}, "SideSYN": {uint16(SideSYN), 1 << 1}, "SideSACK": {uint16(SideSACK), 1 << 5},
		"SideMaxAck": {uint16(SideMaxAck), 1 << 6}, "SideLiberal": {uint16(SideLiberal), 1 << 7}, "SideProgress": {uint16(SideProgress), 1 << 9},
		"SideKnown": {uint16(SideKnown), 1 << 10}, "SideTimestamp": {uint16(SideTimestamp), 1 << 13}, "sideUnacked": {uint16(sideUnacked), 1 << 14},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %#x", name, c[0])
		}
	}
}

// TestFastWords: the words are a closed set, each there and its own.
func TestFastWords(t *testing.T) {
	for _, words := range [][]string{fastPuntWords[1:], fastWhyWords[1:]} {
		seen := map[string]bool{}
		for i, w := range words {
			if w == "" || seen[w] {
				t.Errorf("word %d: %q", i+1, w)
			}
			seen[w] = true
		}
	}
	if FastPassed.String()+FastReady.String() != "" {
		t.Error("there is a word for nothing")
	}
}
