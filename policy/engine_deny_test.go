package policy

import (
	"testing"
	"time"

	"halfopen/conntrack"
)

// What is denied stays denied for its time, in both directions and whatever it is, and a policy that says nothing drops it.
func TestDeny(t *testing.T) {
	p := policyOf(t, `
timeouts: {denied: 30s}
on:
  new: {packet: drop, reply: rst, state: deny}
  idle-expired: {reply: rst-tracked, peer: rst-tracked}
`)
	newScript(p, EngineConfig{NoAdopt: true}, plainWorld).run(t, `
	+0    c S  1000           => drop/new state=DENIED effect=deny +new
	+1    c S  1000           => drop/denied before=DENIED state=DENIED effect=keep reply=none idle=1s remaining=29s
	+1    s S. 5000 1001      => drop/denied
	+1    c FR 1000           => drop/denied
	+26   -                   =>
	+1    -                   => +end:denied
	+0    c .  1001 5001      => forward/ack-no-state`)
}

// With timer: refresh silence must last that long; delete ends it; a new policy decides about what the old one has denied.
func TestDeniedActions(t *testing.T) {
	p := policyOf(t, "timeouts: {denied: 30s}\non: {ack-no-state: {packet: drop, state: deny, timer: 10s}, denied: {packet: drop, timer: refresh}}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, `
	+0    c .  1000 1         => drop/ack-no-state state=DENIED +new
	+9    s .  1000 1         => drop/denied remaining=1s
	+29   c .  1000 1         => drop/denied remaining=1s
	+30   c S  1000           => forward/new state=SYN_SENT +end:denied +new`)
	p = policyOf(t, "on: {in-window: {packet: drop, state: deny}, denied: {state: delete}}")
	x = newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake+`
	+0    c P. 1001:5 5001    => drop/in-window state=DENIED effect=deny +end:deleted +new
	+1    s .  5001 1001      => forward/denied state=NONE effect=delete tomb=deleted +end:deleted
	+1    s .  5001 1001      => forward/late-after-expiry`)
}

// A flood of what is denied takes no established connection's place, makes nobody wait, and lets a SYN in where the policy makes room.
func TestDenyFlood(t *testing.T) {
	p := policyOf(t, "limits: {flows: 8, embryonic: 4}\non_full: evict-any\non: {table-full: forward}\nrules: [{name: bad, match: {src: 192.0.2.0/24}, on: {new: {packet: drop, state: deny}}}]")
	e := NewEngine(EngineConfig{Policy: p, NoAdopt: true})
	step := func(host byte, port uint16, f conntrack.Flags, ack conntrack.Seq) *Outcome {
		s := conntrack.Segment{Flags: f, Seq: 1, Ack: ack, Window: 100}
		s.Tuple.Src[10], s.Tuple.Src[11], s.Tuple.Src[12], s.Tuple.Src[14], s.Tuple.Src[15] = 0xff, 0xff, 192, 2, host
		if host == 0 {
			s.Tuple.Src[12] = 10
		}
		s.Tuple.Dst = s.Tuple.Src
		s.Tuple.Dst[12], s.Tuple.SrcPort, s.Tuple.DstPort = 11, port, 80
		return e.Step(1, &s)
	}
	for port := range uint16(3) { // connections that live
		step(0, port, conntrack.SYN, 0)
		if out := step(0, port, conntrack.SYN, 0); out.Verdict != Forward {
			t.Fatalf("%s/%s", out.Verdict, out.Finding)
		}
	}
	made := 0
	for i := range 1000 {
		out := step(1, uint16(i), conntrack.SYN, 0)
		if out.Verdict != Drop || out.Finding != conntrack.New {
			t.Fatalf("denial %d: %s/%s", i, out.Verdict, out.Finding)
		}
		if out.Effect == conntrack.Deny {
			made++
		}
	}
	if made != 1 || e.Len() != 4 || e.Count(conntrack.SynSent) != 3 {
		t.Errorf("%d denials of 1000 were remembered, %d entries, %d handshakes", made, e.Len(), e.Count(conntrack.SynSent))
	}
	if out := step(0, 9, conntrack.SYN, 0); out.Verdict != Forward || out.Effect != conntrack.Create {
		t.Errorf("a SYN finds no room: %s/%s %s", out.Verdict, out.Finding, out.Effect)
	}
}

// A table that fills ends denials as it ends connections, but that is no idle-expired: there is no connection.
func TestDenialUnderPressure(t *testing.T) {
	p := policyOf(t, "limits: {flows: 4}\nadaptive: {start: 10, end: 100}\ntimeouts: {denied: 1h}\non: {new: {packet: drop, state: deny}, idle-expired: {reply: rst-tracked, peer: rst-tracked}}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, "+0    c S  1000           => drop/new effect=deny")
	var ends []string
	x.e.Advance(x.now.Add(59*time.Minute), 16, func(ev *TimeEvent) {
		if ends = append(ends, ev.Flow.Why.String()); ev.Kind != TimeFlow {
			t.Errorf("finding %s, omitted %q", ev.Finding, ev.Omitted)
		}
	})
	if len(ends) != 1 || ends[0] != "adaptive" {
		t.Errorf("ended %v", ends)
	}
}
