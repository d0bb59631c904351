package proxy

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
)

const denying = "preset: observe\ntimeouts: {denied: 60s}\non: {new: {packet: drop, state: deny}, denied: drop}"

// A denial is listed, counted and told of as what it is, and outlives the gateway that made it.
func TestDenialIsShownAndSaved(t *testing.T) {
	b := newBench(t, denying, false)
	events, cancel := b.shared.flowEvents.subscribe(100)
	syn := seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, "")
	b.main.push(syn, syn)
	b.step()
	b.expect("main drop 1", "main drop 2")
	if b.snapshot(); b.copied.Load().Flows[conntrack.Denied] != 1 || b.counts.Decided[conntrack.DeniedTuple][policy.Drop] != 1 {
		t.Errorf("%d denials in the table, %d segments denied", b.copied.Load().Flows[conntrack.Denied], b.counts.Decided[conntrack.DeniedTuple][policy.Drop])
	}
	var file bytes.Buffer
	err := SaveState(&file, NewStateMeta(b.shared.clock, "test", ""), func(yield func(*policy.Saved) bool) { b.engine.Save(b.now, 0, 1<<20, yield) })
	if err != nil {
		t.Fatal(err)
	}
	st, err := LoadState(&file)
	if err != nil || len(st.Flows) != 1 || st.Flows[0].Timeouts[conntrack.Denied] == 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	after := newBench(t, denying, false)
	clock := after.shared.clock
	after.shared.pending.Load(st.Flows, st.SavedAt(clock), clock.Now())
	after.main.push(seg(t, serverEnd, clientEnd, conntrack.SYN|conntrack.ACK, 500, 101, ""), syn)
	after.step()
	after.expect("main drop 1", "main drop 2")
	if after.counts.Decided[conntrack.DeniedTuple][policy.Drop] != 2 {
		t.Error("what was denied before the restart is looked at anew")
	}
	// Its end is its own.
	tu := tuple(clientEnd, serverEnd)
	deadline := b.engine.Find(b.now, &tu).Deadline
	b.engine.Advance(deadline, 10, b.timeEvent)
	cancel()
	var lines []string
	for l := range events {
		f := newFlowEvent(&l, 0)
		lines = append(lines, strings.Join(strings.Fields(string(f.AppendConntrack(nil)))[:5], " "))
	}
	if !strings.HasPrefix(strings.Join(lines, "; "), "[NEW] tcp 6 60 DENIED; [DESTROY] tcp 6") {
		t.Errorf("conntrack -E tells %q", lines)
	}
	b.publish()
	ends := slices.DeleteFunc(b.records("flow"), func(r string) bool { return !strings.Contains(r, `"event":"end"`) })
	if len(ends) != 1 || !strings.Contains(ends[0], `"reason":"denied"`) || !strings.Contains(ends[0], `"outcome":"denied"`) || !strings.Contains(ends[0], `"state":"DENIED"`) {
		t.Errorf("flow records %q, want an end of its own", ends)
	}
}
