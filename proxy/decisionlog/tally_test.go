package decisionlog

import (
	"encoding/json"
	"testing"
)

// What a record explains when it is written is what its line explains when it is
// read back.
func TestExplains(t *testing.T) {
	hold := ID{1, 2}
	for _, c := range []struct {
		name string
		r    Record
		want Tally
	}{
		{"decision", Record{Event: EventDecision}, Tally{Decisions: 1, Records: 1}},
		{"end of a hold", Record{Event: EventDecision, Decision: Decision{Settles: hold}}, Tally{Records: 1}},
		{"flow", Record{Event: EventFlow, Flow: Flow{Counted: 7, Pkts: [2]uint64{9, 9}}}, Tally{Counted: 7, Records: 1}},
		{"flow of a fast path", Record{Event: EventFlow, Flow: Flow{Fast: [2]uint64{9, 9}, FastCounted: [2]int64{7, 300}}}, Tally{Records: 1, Fast: FastTally{Packets: 7, Bytes: 300}}},
		{"taken back", Record{Event: EventFlow, Flow: Flow{FastCounted: [2]int64{-1, -40}}}, Tally{Records: 1, Fast: FastTally{Packets: -1, Bytes: -40}}},
		{"inject", Record{Event: EventInject}, Tally{Records: 1}},
		{"stats", Record{Event: EventStats, Stats: &Stats{Received: 99, Suppressed: []Count{{"a", 2}, {"b", 3}}}}, Tally{Suppressed: 5, Records: 1}},
		{"gap", Record{Event: EventGap, Gap: &Gap{Count: 4, Bound: BoundExact}}, Tally{Gaps: 4, Records: 1}},
		{"bound", Record{Event: EventGap, Gap: &Gap{Count: 4, Bound: BoundUpper}}, Tally{Upper: 4, Records: 1}},
		{"worker", Record{Event: EventGap, Gap: &Gap{Where: GapWorker, Bound: BoundExact, Fast: [2]int64{5, 200}}}, Tally{Records: 1, Fast: FastTally{Lost: 5, LostBytes: 200}}},
		{"unknown", Record{Event: EventGap, Gap: &Gap{Count: 4, Bound: BoundUnknown}}, Tally{Upper: 4, Records: 1}},
		{"another run's gap", Record{Event: EventGap, Gap: &Gap{Count: 4, Bound: BoundUpper, Run: "R"}}, Tally{Records: 1}},
		{"reload", Record{Event: EventReload, Reload: &Reload{}}, Tally{Records: 1}},
	} {
		var got Tally
		got.Count(&c.r)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		var e Event
		if err := json.Unmarshal(c.r.AppendJSON(nil), &e); err != nil {
			t.Fatal(err)
		}
		if back := e.Tally(); back != c.want {
			t.Errorf("%s, read back: %+v, want %+v", c.name, back, c.want)
		}
		// A lost record leaves the same sum behind.
		var l loss
		l.add(&c.r)
		var admitted Tally
		for _, g := range l.gaps(GapRing, 1) {
			admitted.Count(&g)
		}
		if admitted.Sum() != c.want.Sum() {
			t.Errorf("%s, lost: the gaps admit %d, want %d", c.name, admitted.Sum(), c.want.Sum())
		}
		if a, w := admitted.Fast, c.want.Fast; a.Packets+a.Lost != w.Packets+w.Lost || a.Bytes+a.LostBytes != w.Bytes+w.LostBytes {
			t.Errorf("%s, lost: the gaps admit %+v of a fast path's packets, want %+v", c.name, a, w)
		}
	}
}
