package policy

import (
	"testing"
	"time"

	"halfopen/conntrack"
)

// armTuple is a connection from client 10.0.0.host to server 10.0.1.9:515.
func armTuple(host byte, port uint16) conntrack.Tuple {
	tu := conntrack.Tuple{SrcPort: port, DstPort: 515}
	tu.Src = [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: host}
	tu.Dst = [16]byte{10: 0xff, 11: 0xff, 12: 10, 14: 1, 15: 9}
	return tu
}

// twoArms gives odd clients arm 1 and even ones arm 2.
func twoArms(_ conntrack.Instant, tu *conntrack.Tuple) uint8 { return 2 - tu.Src[15]&1 }

func seg(tu conntrack.Tuple, f conntrack.Flags, seq, ack conntrack.Seq) *conntrack.Segment {
	return &conntrack.Segment{Tuple: tu, Flags: f, Seq: seq, Ack: ack, Window: 1000}
}

// connect takes a connection through its handshake.
func connect(e *Engine, now conntrack.Instant, tu conntrack.Tuple) *Outcome {
	e.Step(now, seg(tu, conntrack.SYN, 1000, 0))
	e.Step(now, seg(tu.Reverse(), conntrack.SYN|conntrack.ACK, 5000, 1001))
	return e.Step(now, seg(tu, conntrack.ACK, 1001, 5001))
}

// Each connection is decided by its arm's policy, has that one's timeouts, and its memory is its arm's too.
func TestArmsDecide(t *testing.T) {
	base := policyOf(t, "timeouts: {established: 1h}")
	short := policyOf(t, "timeouts: {established: 10s}\non: {late-after-expiry: {packet: drop, reply: rst}}")
	answer := policyOf(t, "timeouts: {established: 1m}\non: {syn-established: {packet: drop, reply: ack-tracked}, late-after-expiry: drop}\nrules: [{name: lpd, match: {dst_port: 515}, timeouts: {established: 2m}}]")
	e := NewEngine(EngineConfig{Policy: base, NoAdopt: true, Arms: Arms{Policies: []*Policy{short, answer}, Assign: twoArms}})
	for host, want := range map[byte]struct {
		by   *Policy
		arm  uint8
		left time.Duration
	}{1: {short, 1, 10 * time.Second}, 2: {answer, 2, 2 * time.Minute}} {
		tu := armTuple(host, 721)
		out := connect(e, 0, tu)
		if out.By != want.by || out.Arm != want.arm || e.Find(0, &tu).Arm != want.arm {
			t.Errorf("client %d: decided by %v, arm %d", host, out.By.Rev(), out.Arm)
		}
		if left := e.Find(0, &tu).Deadline.Sub(0); left != want.left {
			t.Errorf("client %d: ends after %v, want %v", host, left, want.left)
		}
	}
	now := conntrack.Instant(time.Second)
	if out := e.Step(now, seg(armTuple(1, 721), conntrack.SYN, 9000, 0)); out.HasReply || out.Verdict != Forward {
		t.Errorf("arm 1 answers a SYN: %v", out.Verdict)
	}
	if out := e.Step(now, seg(armTuple(2, 721), conntrack.SYN, 9000, 0)); !out.HasReply || out.Verdict != Drop || out.Rule != "lpd" {
		t.Errorf("arm 2 does not answer a SYN: %v, rule %q", out.Verdict, out.Rule)
	}
	now = conntrack.Instant(3 * time.Minute)
	ends := map[uint8]*Policy{}
	e.Advance(now, 100, func(ev *TimeEvent) {
		if ev.Kind == TimeFlow && ev.Flow.Kind == FlowEnd {
			ends[ev.Flow.Entry.Arm] = ev.Flow.By
		}
	})
	if ends[1] != short || ends[2] != answer {
		t.Errorf("the ends are told of %v", ends)
	}
	// The server speaks first: nothing but the tombstone tells whose connection it was.
	if out := e.Step(now, seg(armTuple(1, 721).Reverse(), conntrack.ACK, 5001, 1001)); out.Arm != 1 || !out.HasReply {
		t.Errorf("late segment of arm 1: arm %d, %v", out.Arm, out.Finding)
	}
	if out := e.Step(now, seg(armTuple(2, 721).Reverse(), conntrack.ACK, 5001, 1001)); out.Arm != 2 || out.Verdict != Drop || out.HasReply {
		t.Errorf("late segment of arm 2: arm %d, %v", out.Arm, out.Finding)
	}
}

// A segment without any memory belongs to the arm of the end that is likely to have opened its connection, whichever end sent it.
func TestArmWithoutMemory(t *testing.T) {
	e := NewEngine(EngineConfig{Policy: policyOf(t, "preset: observe"), NoAdopt: true, Arms: Arms{Policies: []*Policy{policyOf(t, "timeouts: {established: 1m}"), policyOf(t, "timeouts: {established: 2m}")}, Assign: twoArms}})
	for host := byte(1); host < 5; host++ {
		tu := armTuple(host, 40000)
		want := twoArms(0, &tu)
		for _, s := range []*conntrack.Segment{seg(tu, conntrack.ACK, 1, 1), seg(tu.Reverse(), conntrack.ACK, 1, 1),
			seg(tu, conntrack.RST, 1, 0), seg(tu.Reverse(), conntrack.SYN|conntrack.ACK, 1, 1), seg(tu, conntrack.SYN, 1, 0)} {
			if out := e.Step(0, s); out.Arm != want {
				t.Errorf("client %d, flags %v from port %d: arm %d, want %d", host, s.Flags, s.Tuple.SrcPort, out.Arm, want)
			}
		}
	}
}

// A connection keeps its arm while it lives, whatever new ones get; the next on its tuple gets what is new. An arm without a
// policy is the gateway's.
func TestArmsStay(t *testing.T) {
	base, one, two := policyOf(t, "on: {syn-established: {state: replace}}"), policyOf(t, "timeouts: {established: 1m}\non: {syn-established: {state: replace}}"), policyOf(t, "timeouts: {established: 2m}")
	e := NewEngine(EngineConfig{Policy: base, NoAdopt: true})
	tu := armTuple(1, 721)
	connect(e, 0, tu)
	all := func(arm uint8) func(conntrack.Instant, *conntrack.Tuple) uint8 {
		return func(conntrack.Instant, *conntrack.Tuple) uint8 { return arm }
	}
	step := func(flags conntrack.Flags, wantArm uint8, wantBy *Policy) {
		t.Helper()
		out := e.Step(0, seg(tu, flags, 1001, 5001))
		if out.Arm != wantArm || out.By != wantBy {
			t.Errorf("decided for arm %d by %s, want %d by %s", out.Arm, out.By.Rev(), wantArm, wantBy.Rev())
		}
	}
	e.SetArms(0, Arms{Policies: []*Policy{one}, Assign: all(1)})
	step(conntrack.ACK, 0, base)
	step(conntrack.SYN, 0, base) // decided by the old connection's policy; the new one is arm 1's
	if got := e.Find(0, &tu).Arm; got != 1 {
		t.Fatalf("the connection that replaces another has arm %d, want 1", got)
	}
	e.SetArms(0, Arms{Policies: []*Policy{one, two}, Assign: all(2)})
	step(conntrack.ACK, 1, one)
	e.Swap(0, policyOf(t, "timeouts: {syn_sent: 5s}"), ReloadRematch)
	step(conntrack.ACK, 1, one)
	e.SetArms(0, Arms{Policies: []*Policy{nil, two}, Assign: all(2)})
	step(conntrack.ACK, 1, e.Policy())
	other := armTuple(1, 722)
	if out := connect(e, 0, other); out.Arm != 2 || out.By != two {
		t.Errorf("a new connection: arm %d", out.Arm)
	}
	e.SetArms(0, Arms{Assign: all(9)})
	if out := connect(e, 0, armTuple(1, 723)); out.Arm != 9 || out.By != e.Policy() {
		t.Errorf("an arm that there is not: %d by %s", out.Arm, out.By.Rev())
	}
}

// An arm's answers do not use up another's budget.
func TestArmBudgets(t *testing.T) {
	loud := policyOf(t, "inject: {acks: 1}\non: {syn-established: {packet: drop, reply: ack-tracked}}")
	e := NewEngine(EngineConfig{Policy: loud, NoAdopt: true, Arms: Arms{Policies: []*Policy{loud, loud}, Assign: twoArms}})
	replies := [3]int{}
	for host := byte(1); host <= 2; host++ {
		tu := armTuple(host, 721)
		connect(e, 0, tu)
		for n := range 3 {
			if out := e.Step(1, seg(tu, conntrack.SYN, conntrack.Seq(900000+n), 0)); out.HasReply {
				replies[out.Arm]++
			}
		}
	}
	if replies != [3]int{0, 1, 1} {
		t.Errorf("answers by arm %v, want one of each", replies)
	}
}

// Restored connections go on under their arm, with its rules.
func TestArmsRestore(t *testing.T) {
	arms := Arms{Policies: []*Policy{policyOf(t, "timeouts: {established: 1m}"), policyOf(t, "rules: [{name: lpd, match: {dst_port: 515}}]")}, Assign: twoArms}
	cfg := EngineConfig{Policy: policyOf(t, "preset: observe"), NoAdopt: true, Arms: arms}
	before, after := NewEngine(cfg), NewEngine(cfg)
	tu := armTuple(2, 721)
	connect(before, 0, tu)
	before.Save(0, 0, 1<<20, func(s *Saved) bool {
		if !after.Restore(0, 0, s) {
			t.Error("not restored")
		}
		return true
	})
	if out := after.Step(0, seg(tu, conntrack.ACK, 1001, 5001)); out.Arm != 2 || out.Rule != "lpd" || out.Finding != conntrack.InWindow {
		t.Errorf("arm %d, rule %q, %v", out.Arm, out.Rule, out.Finding)
	}
}

// Arms cost a connection's segments no allocation, and neither does asking for its arm.
func TestArmsDoNotAllocate(t *testing.T) {
	p := policyOf(t, "preset: observe")
	e := NewEngine(EngineConfig{Policy: p, NoAdopt: true, Arms: Arms{Policies: []*Policy{p, p}, Assign: twoArms}})
	tu := armTuple(1, 721)
	connect(e, 0, tu)
	stranger := armTuple(2, 40000)
	data, stray := seg(tu, conntrack.ACK, 1001, 5001), seg(stranger.Reverse(), conntrack.RST, 1, 0)
	if n := testing.AllocsPerRun(100, func() { e.Step(1, data); e.Step(1, stray) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
