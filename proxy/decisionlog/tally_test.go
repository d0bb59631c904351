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
		{"inject", Record{Event: EventInject}, Tally{Records: 1}},
		{"stats", Record{Event: EventStats, Stats: &Stats{Received: 99, Suppressed: []Count{{"a", 2}, {"b", 3}}}}, Tally{Suppressed: 5, Records: 1}},
		{"gap", Record{Event: EventGap, Gap: &Gap{Count: 4, Bound: BoundExact}}, Tally{Gaps: 4, Records: 1}},
		{"bound", Record{Event: EventGap, Gap: &Gap{Count: 4, Bound: BoundUpper}}, Tally{Upper: 4, Records: 1}},
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
	}
}
