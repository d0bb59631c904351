package proxy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
	"halfopen/proxy/review/disagree"
)

// shaded is a bench whose worker has shadows; texts are policies, or names of presets.
func shaded(t *testing.T, live string, trial bool, shadows ...string) *bench {
	t.Helper()
	b := newBench(t, "preset: observe", false)
	var list []*policy.Policy
	for i, text := range shadows {
		list = append(list, compiled(t, fmt.Sprintf("shadow%d.yaml", i), text))
	}
	b.armed(compiled(t, "live.yaml", live), trial, list...)
	return b
}

// later is the clock set forward.
func (c Clock) later(d time.Duration) Clock {
	c.at = c.at.Add(d)
	return c
}

// compiled is a policy of a text, or of a preset's name.
func compiled(t testing.TB, name, text string) *policy.Policy {
	t.Helper()
	if !strings.Contains(text, ":") {
		text = "preset: " + text
	}
	pol, problems := policy.Load(name, []byte(text), nil)
	if pol == nil {
		t.Fatal(problems)
	}
	return pol
}

// report settles the worker, writes the last stats record, and reports what the log says.
func (b *bench) report() *disagree.Report {
	b.t.Helper()
	if err := b.settle(); err != nil {
		b.t.Fatal(err)
	}
	c := b.finalCounts()
	b.log.Put(&decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventStats, Stats: &decisionlog.Stats{Run: b.log.Run(), Final: true,
		Received: c.Received, Suppressed: c.suppressedSince(&Counts{}), Shadows: shadowStats(c.Shadows, b.wall)}})
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
	build := disagree.NewBuilder()
	for line := range strings.Lines(b.lines.String()) {
		var e decisionlog.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.t.Fatalf("%v\n%s", err, line)
		}
		build.Add(&e)
	}
	r := build.Report()
	for _, p := range r.Shadows {
		agreed, disagreed := uint64(0), uint64(0)
		for _, c := range p.Matrix {
			agreed, disagreed = agreed+c.Agreed, disagreed+c.Disagreed
		}
		if p.Segments != p.Agreed+p.Disagreed+p.Diverged+p.Relaxed || agreed != p.Agreed || disagreed != p.Disagreed+p.Timed || p.Segments+p.Shed != c.Received {
			b.t.Errorf("the numbers do not add up: %+v, received %d", p, c.Received)
		}
	}
	return r
}

// verified proves the log.
func (b *bench) verified() {
	b.t.Helper()
	if rep, err := review.Verify(writeFile(b.t, b.lines.Bytes())); err != nil || !rep.OK {
		b.t.Errorf("verify: %v %+v\n%s", err, rep, b.lines)
	}
}

// A shadow that would have dropped a counted in-window forward: the forward stays counted, the log has a record for the shadow's sake that
// explains nothing, and what follows on the connection is diverged.
func TestShadowDisagreesOnCountedForward(t *testing.T) {
	b := shaded(t, "observe", false, "preset: observe\non: {in-window: {packet: drop, reply: rst}}\nrules: [{name: mine, match: {dst_port: 515}}]", "observe")
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "one"), seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 104, 501, "two"))
	b.step()
	b.expect("main accept 4", "main accept 5")
	r := b.report()
	b.verified()
	p, same := r.Shadows[0], r.Shadows[1]
	if same.Disagreed+same.Diverged+same.Timed != 0 || same.Agreed != 5 {
		t.Errorf("a policy beside itself: %+v", same)
	}
	if p.Disagreed != 1 || p.Diverged != 1 || p.Agreed != 3 || p.Recorded != 1 || len(p.Kinds) != 1 || p.Injected != 2 {
		t.Fatalf("%+v", p)
	}
	k := p.Kinds[0]
	if k.Live.String() != "forward/in-window" || k.Shadow.String() != "drop/in-window reply=rst rule=mine" || k.Examples[0].Flow != 1 || k.Examples[0].Src != clientEnd {
		t.Errorf("%+v", k)
	}
	var records, counted int
	for line := range strings.Lines(b.lines.String()) {
		var e decisionlog.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Flow != nil {
			counted += int(e.Flow.Counted)
		}
		if d := e.Decision; d != nil && e.Shadow != nil {
			records++
			if d.Trigger != "shadow" || d.Verdict != "" || d.Action.Packet != "forward" || d.Reason != "in-window" || e.TCP.Seq != 101 || e.Tally().Decisions != 0 ||
				len(e.Shadow) != 2 || e.Shadow[0].Agrees || e.Shadow[0].Diverged || !e.Shadow[1].Agrees {
				t.Errorf("%s", line)
			}
		}
	}
	if records != 1 || counted != 2 {
		t.Errorf("%d records for shadows, %d counted forwards, want 1 and 2", records, counted)
	}
}

// Where the decision has a record of its own, that carries what the shadows say, later disagreements marked as diverged.
func TestShadowInRecords(t *testing.T) {
	b := shaded(t, "lpd-case-2015", false, "observe")
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""), seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""))
	b.step()
	r := b.report()
	b.verified()
	if p := r.Shadows[0]; p.Disagreed != 1 || p.Diverged != 1 || p.Recorded != 1 || p.Kinds[0].Live.String() != "drop/syn-established reply=ack-tracked" {
		t.Errorf("%+v", p)
	}
	var got []string
	for line := range strings.Lines(b.lines.String()) {
		var e decisionlog.Event
		_ = json.Unmarshal([]byte(line), &e)
		for _, s := range e.Shadow {
			got = append(got, fmt.Sprintf("%s %s %s/%s agrees=%v diverged=%v", e.Decision.Reason, s.Policy, s.Verdict, s.Reason, s.Agrees, s.Diverged))
		}
	}
	want := []string{"syn-established shadow0.yaml forward/syn-established agrees=false diverged=false", "syn-established shadow0.yaml forward/syn-retransmit agrees=false diverged=true"}
	if !slices.Equal(got, want) && !(len(got) == 2 && strings.HasPrefix(got[1], "syn-established shadow0.yaml forward/")) {
		t.Errorf("%q, want %q", got, want)
	}
}

// While a shadow is left out, what time makes the policy in force do does not pile up, and is not claimed afterwards.
func TestShadowTimesWhileShed(t *testing.T) {
	short := "preset: observe\ntimeouts: {established: 30s}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}"
	b := shaded(t, short, false, "observe", short)
	b.handshake()
	b.shadows.shed(b.now, 1)
	b.later(40 * time.Second)
	b.tick()
	b.advance()
	for _, sh := range b.shadows.list {
		if len(sh.times) != 0 {
			t.Errorf("%s keeps %d deeds", sh.name, len(sh.times))
		}
	}
	b.shadowIdle()
	if len(b.wire.events) == 0 {
		t.Error("the policy in force resets nothing: a test of nothing")
	}
	for _, sh := range b.shadows.list {
		if sh.tally.Timed != 0 || sh.missed {
			t.Errorf("%s: %+v", sh.name, sh.tally.ShadowStats)
		}
	}
	if sh := b.shadows.list[1]; sh.tally.TimedRelaxed != 1 {
		t.Errorf("%s: %d of time's not claimed, want 1", sh.name, sh.tally.TimedRelaxed)
	}
}

// A shadow is told of time, and what time makes it do is compared: one whose idle timer is shorter resets a connection that lives on.
func TestShadowResetsByTime(t *testing.T) {
	b := shaded(t, "observe", false, "preset: observe\ntimeouts: {established: 30s}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}")
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "x"), seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 102, ""))
	b.step()
	b.later(40 * time.Second)
	b.step()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 102, 501, "y"))
	b.step()
	r := b.report()
	b.verified()
	p := r.Shadows[0]
	if p.Timed != 1 || p.Disagreed != 0 || p.Diverged != 1 || p.Injected != 2 || p.Ended["idle"] != 1 || p.Recorded != 1 {
		t.Fatalf("%+v", p)
	}
	if k := p.Kinds[0]; k.Live.String() != "nothing" || k.Shadow.Reply != "rst-tracked" || k.Shadow.Peer != "rst-tracked" || k.Shadow.Reason != "idle-expired" || k.Examples[0].Flow != 1 {
		t.Errorf("%+v", k)
	}
	if !slices.Contains(p.Matrix, disagree.Cell{Live: "nothing", Shadow: "idle-expired", Disagreed: 1}) {
		t.Errorf("%+v", p.Matrix)
	}
}

// The other way round: the policy in force resets, the shadow would not; and one that does the same agrees.
func TestShadowDoesNotReset(t *testing.T) {
	short := "preset: observe\ntimeouts: {established: 30s}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}"
	b := shaded(t, short, false, "observe", short)
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "x"), seg(t, serverEnd, clientEnd, conntrack.ACK, 501, 102, ""))
	b.step()
	b.later(40 * time.Second)
	b.step()
	r := b.report()
	b.verified()
	if p := r.Shadows[0]; p.Timed != 1 || p.Kinds[0].Shadow.String() != "nothing" || p.Kinds[0].Live.Reason != "idle-expired" || p.Kinds[0].Live.Peer != "rst-tracked" {
		t.Errorf("%+v", p)
	}
	if p := r.Shadows[1]; p.Timed != 0 || p.Disagreed != 0 || p.Ended["idle"] != 1 {
		t.Errorf("a policy beside itself: %+v", p)
	}
}

// What a shadow holds is let go by its engine and nobody else, and a hold that ends otherwise is a disagreement.
func TestShadowHolds(t *testing.T) {
	hold := func(then string) string {
		return "preset: observe\non: {new: {packet: hold, hold: 200ms, then: " + then + "}}"
	}
	b := shaded(t, hold("forward"), false, hold("drop"), hold("forward"), "observe")
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""))
	b.step()
	b.later(time.Second)
	b.step()
	b.expect("main reroute 1", "second accept 1")
	for i, sh := range b.shadows.list {
		if len(sh.holds) != 0 {
			t.Errorf("shadow %d keeps %d holds", i, len(sh.holds))
		}
	}
	if len(b.shadows.held) != 0 {
		t.Errorf("%d holds of the policy in force are remembered", len(b.shadows.held))
	}
	r := b.report()
	b.verified()
	if p := r.Shadows[0]; p.Timed != 1 || p.Disagreed != 0 || p.Kinds[0].Live.String() != "forward/release" || p.Kinds[0].Shadow.String() != "drop/release" {
		t.Errorf("another end: %+v", p)
	}
	if p := r.Shadows[1]; p.Timed+p.Disagreed != 0 {
		t.Errorf("the same end: %+v", p)
	}
	if p := r.Shadows[2]; p.Timed != 0 || p.Disagreed != 1 {
		t.Errorf("no hold: %+v", p)
	}
}

// A connection that begins anew is judged for itself, unless the shadow still holds the one that it had parted on.
func TestShadowBeginsAfresh(t *testing.T) {
	b := shaded(t, "observe", false, "preset: observe\non: {in-window: drop, fin: {state: delete}}")
	for _, isn := range []conntrack.Seq{100, 5100} {
		b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, isn, 0, ""), seg(t, serverEnd, clientEnd, conntrack.SYN|conntrack.ACK, isn+400, isn+1, ""),
			seg(t, clientEnd, serverEnd, conntrack.ACK, isn+1, isn+401, ""), seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, isn+1, isn+401, "x"),
			seg(t, clientEnd, serverEnd, conntrack.FIN|conntrack.ACK, isn+2, isn+401, ""), seg(t, serverEnd, clientEnd, conntrack.FIN|conntrack.ACK, isn+401, isn+3, ""),
			seg(t, clientEnd, serverEnd, conntrack.RST, isn+3, 0, ""))
		b.step()
		b.later(10 * time.Minute)
		b.step()
	}
	if p := b.report().Shadows[0]; p.Disagreed != 2 {
		t.Errorf("%+v", p)
	}
}

// A busy worker leaves its shadows out first, counts that, and claims nothing of connections that they missed segments of.
func TestShadowsAreShed(t *testing.T) {
	b := shaded(t, "observe", false, "preset: observe\non: {data-no-state: drop, ack-no-state: drop}")
	b.handshake() // known to both
	burst := func(n int, payload string, from conntrack.Seq) {
		for i := range n {
			b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, from+conntrack.Seq(i*len(payload)), 501, payload))
		}
	}
	burst(batchSize*(shedAfter-1), "x", 101)
	b.main.push(seg(t, "10.0.0.2:9", serverEnd, conntrack.SYN, 7, 0, ""), seg(t, serverEnd, "10.0.0.2:9", conntrack.SYN|conntrack.ACK, 70, 8, ""),
		seg(t, "10.0.0.2:9", serverEnd, conntrack.ACK, 8, 71, ""))
	burst(batchSize*2-3, "x", 101+conntrack.Seq(batchSize*(shedAfter-1)))
	for range shedAfter + 1 {
		b.tick()
		if _, err := b.turn(); err != nil {
			t.Fatal(err)
		}
	}
	sh := b.shadows.list[0]
	if sh.tally.Shed != 2*batchSize || sh.tally.Sheds != 1 || !sh.missed {
		t.Fatalf("shed %d in %d times, want %d in 1", sh.tally.Shed, sh.tally.Sheds, 2*batchSize)
	}
	b.tick()
	b.main.push(seg(t, "10.0.0.2:9", serverEnd, conntrack.ACK|conntrack.PSH, 8, 71, "mid"), // begun meanwhile: the shadow takes it for a stray
		seg(t, "10.0.0.3:9", serverEnd, conntrack.ACK|conntrack.PSH, 8, 71, "stray")) // no policy knows it
	if _, err := b.turn(); err != nil {
		t.Fatal(err)
	}
	if sh.missed || sh.tally.Relaxed != 1 || sh.tally.Disagreed != 1 {
		t.Errorf("after the burst: relaxed %d, disagreed %d, want 1 and 1", sh.tally.Relaxed, sh.tally.Disagreed)
	}
	r := b.report()
	b.verified()
	p := r.Shadows[0]
	if p.Shed != 2*batchSize || p.Sheds != 1 || len(p.ShedSpans) != 1 || p.ShedSpans[0].From.IsZero() || p.ShedSpans[0].To.Before(p.ShedSpans[0].From.Time) {
		t.Errorf("%+v", p)
	}
	var text strings.Builder
	_ = r.WriteText(&text)
	for _, want := range []string{"shed: it was not shown 512 segments", "not claimed: 1 segment"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, text.String())
		}
	}
}

// With --dry-run the policy under trial is the first shadow; others may stand beside it.
func TestDryRunShadows(t *testing.T) {
	b := shaded(t, "lpd-case-2015", true, "observe")
	b.handshake()
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.SYN, 900000, 0, ""), seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "x"))
	b.step()
	b.expect("main accept 4", "main accept 5")
	r := b.report()
	b.verified()
	if p := r.Shadows[0]; !p.Trial || p.Policy != "live.yaml" || p.Disagreed != 1 || p.Recorded != 1 || p.Kinds[0].Shadow.String() != "drop/syn-established reply=ack-tracked" {
		t.Errorf("%+v", p)
	}
	if p := r.Shadows[1]; p.Trial || p.Disagreed+p.Diverged != 0 {
		t.Errorf("%+v", p)
	}
	if !strings.Contains(b.lines.String(), `"would":{"verdict":"drop"`) {
		t.Error("no record has would")
	}
}

// A reload swaps what has changed, and begins its numbers anew.
func TestShadowReload(t *testing.T) {
	b := shaded(t, "observe", false, "observe", "openbsd-pf")
	b.handshake()
	old := b.shadows.list[1].engine.Policy()
	b.adoptPolicy(b.now, b.engine.Policy(), []*policy.Policy{compiled(t, "shadow0.yaml", "preset: observe\non: {in-window: drop}"), old})
	b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK|conntrack.PSH, 101, 501, "x"))
	b.step()
	if b.shadows.list[1].engine.Policy() != old {
		t.Error("a policy that has not changed was swapped")
	}
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	list := b.finalCounts().Shadows
	if len(list) != 3 || list[0].Segments != 3 || list[0].Disagreed != 0 || list[1].Segments != 1 || list[1].Disagreed != 1 || list[2].Segments != 4 {
		t.Errorf("%d tallies: %+v", len(list), list)
	}
}

// A record that is there for a shadow's sake can be explained where it is about a segment, and says so where it is not.
func TestExplainShadowRecord(t *testing.T) {
	const log = "review/story/testdata/shadowed.jsonl"
	seen := 0
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Decision == nil || e.Decision.Trigger != decisionlog.TriggerShadow {
			continue
		}
		seen++
		r, err := findRecord(log, e.Decision.ID)
		switch {
		case e.TCP == nil && (err == nil || !strings.Contains(err.Error(), "what time made a shadow policy do")):
			t.Errorf("a record of time's: %v", err)
		case e.TCP != nil && (err != nil || r.ev.Decision.Verdict != "forward"):
			t.Errorf("a segment's record: %v", err)
		}
	}
	if seen != 2 {
		t.Errorf("%d records for shadows' sake, want 2", seen)
	}
}
