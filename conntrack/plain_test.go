package conntrack

import "testing"

// A look-up leaves the caller's tuple where it is: on the stack, if the caller has it there.
func TestLookupAllocatesNothing(t *testing.T) {
	tb := NewTable(Config{Max: 10, Tombstones: 10})
	var v View
	var g Glimpse
	if n := testing.AllocsPerRun(100, func() {
		s := Segment{Tuple: flowTuple(1), Flags: ACK}
		tb.Lookup(1, &s.Tuple, &v)
		tb.Glimpse(&s, &g)
		tb.LookupAt(1, &s, &g, &v)
		s.Tuple = flowTuple(2)
		tb.Ahead([]Segment{s})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
