package decisionlog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// What a record says of shadows reads back as it was, explains no message with the trigger shadow, and does not stay in the ring's slot
// for a later record.
func TestShadowRecord(t *testing.T) {
	var out bytes.Buffer
	w, err := Open(Options{Dir: "-", Stdout: &out, RingSize: 4})
	if err != nil {
		t.Fatal(err)
	}
	p := w.Producer(3)
	said := []Shadow{{Policy: "candidate.yaml", Would: Would{PolicyRev: "sha256:1", Verdict: "drop", Reason: "in-window", Rule: "mine", Action: Action{Packet: "drop"},
		Reply: Made{Kind: "rst", Flags: FlagRST, Seq: 7}, Stripped: 1}}, {Policy: "other", Would: Would{Reason: "new", Verdict: "forward", Diverged: true}, Agrees: true, Relaxed: true}}
	side := p.NextSideID()
	if id := p.NextID(); id == side || id.Seq() != 1 || side.Worker() != 3 || side.Seq() == 1 {
		t.Errorf("ids %s and %s", id, side)
	}
	if !p.Room() {
		t.Error("an empty ring has no room")
	}
	put := func(r Record) {
		if !p.Put(&r) {
			t.Fatal("the ring is full")
		}
		w.Flush()
	}
	mine := append([]Shadow(nil), said...) // the worker's own, which its next batch overwrites
	if !p.Put(&Record{Event: EventDecision, Decision: Decision{ID: side, Trigger: TriggerShadow, Reason: "in-window", Action: Action{Packet: "forward"}}, Shadow: mine}) {
		t.Fatal("the ring is full")
	}
	mine[0].Policy = "overwritten"
	w.Flush()
	for range 4 { // each slot again
		put(Record{Event: EventDecision, Decision: Decision{ID: p.NextID(), Verdict: "forward", Reason: "new"}})
	}
	put(Record{Event: EventStats, Stats: &Stats{Run: w.Run(), Shadows: []ShadowStats{{Policy: "candidate.yaml", Segments: 9, Agreed: 8, Disagreed: 1, ShedFrom: 1e18, ShedTo: 2e18,
		Agreements: []Count{{"new new", 8}}, Disagreements: []Count{{"in-window late-after-expiry", 1}}, Ended: []Count{{"idle", 2}}}}}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var events []Event
	for line := range strings.Lines(out.String()) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		var f Fields // what the scanner cannot take apart encoding/json must
		if err := f.Decode([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if e.Decision != nil || e.Stats != nil {
			events = append(events, e)
		}
	}
	if len(events) != 6 {
		t.Fatalf("%d records, want 6\n%s", len(events), out.String())
	}
	first := &events[0]
	if first.Tally() != (Tally{Records: 1}) || len(first.Shadow) != 2 {
		t.Fatalf("%+v", first)
	}
	a, b := first.Shadow[0], first.Shadow[1]
	if a.Policy != "candidate.yaml" || a.Verdict != "drop" || a.Rule != "mine" || a.Reply.Kind != "rst" || a.Stripped[0] != "urgent" || a.Action.Packet != "drop" || !a.Differs() {
		t.Errorf("%+v", a)
	}
	if !b.Agrees || !b.Diverged || !b.Relaxed || b.Differs() {
		t.Errorf("%+v", b)
	}
	for i := range events[1:5] {
		if e := &events[1+i]; e.Shadow != nil || e.Tally().Decisions != 1 {
			t.Errorf("a later record in the same slot: %+v", e)
		}
	}
	st := events[5].Stats.Shadows
	if len(st) != 1 || st[0].Segments != 9 || st[0].Agreements["new new"] != 8 || st[0].Disagreements["in-window late-after-expiry"] != 1 || st[0].Ended["idle"] != 2 ||
		st[0].ShedTo.Nanos() != 2e18 {
		t.Errorf("%+v", st)
	}
}
