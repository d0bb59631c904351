package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// The caps of nf_conntrack, each by what calls for it, and what lifts it.
func TestCaps(t *testing.T) {
	const caps = "timeouts: {established: 1h}\ncaps: {retransmitted: 100s, unacknowledged: 200s, zero_window: 50s, one_way: 30s}\nadopt: 0s\non: {ack-no-state: {packet: forward, state: create-liberal}}"
	play(t, EngineConfig{NoAdopt: true}, caps, acknowledged+`
	+0    s .  5001 1101      => remaining=1h0m0s
	+0    c P. 1101:10 5001   => counted=true  # nobody has acknowledged it
	+1s   c P. 1101:10 5001   => remaining=3m19s
	+1s   c P. 1101:10 5001   => remaining=3m19s
	+1s   c P. 1101:10 5001   => remaining=3m19s
	+1s   s .  5001 1111      => remaining=1m39s  # the third repetition
	+1s   c .  1111 5001      => remaining=59m59s
	+1s   s .  5001 1111 win=0 => remaining=59m59s
	+1s   c .  1111 5001      => remaining=49s
	+1s   s .  5001 1111      => remaining=59m59s`)
	play(t, EngineConfig{NoAdopt: true}, caps, `
	+0    c .  1001 5001      => forward/ack-no-state effect=create-liberal state=ESTABLISHED
	+1s   c .  1001 5001      => remaining=29s
	+1s   s .  5001 1001      => remaining=29s
	+1s   c .  1001 5001      => remaining=59m59s`)
	play(t, EngineConfig{NoAdopt: true}, "timeouts: {established: 1h}\nrules: [{name: a, match: {dst_port: [515, 721]}, caps: {unacknowledged: 10s}}]", handshake+`
	+0    c P. 1001:10 5001   =>
	+1s   c .  1011 5001      => remaining=9s`)
}

// dial makes n connections of n addresses, in state established where done.
func dial(e *Engine, now conntrack.Instant, from, n int, done bool) {
	for i := from; i < from+n; i++ {
		tu := tupleOf(fmt.Sprintf("10.1.%d.%d:1000", i/250, i%250+1), "192.0.2.1:80")
		step := func(tu conntrack.Tuple, f conntrack.Flags, seq, ack conntrack.Seq) {
			s := conntrack.Segment{Tuple: tu, Flags: f, Seq: seq, Ack: ack, Window: 1000, Bytes: 40}
			e.Step(now, &s)
		}
		step(tu, conntrack.SYN, 1, 0)
		if done {
			step(tu.Reverse(), conntrack.SYN|conntrack.ACK, 100, 2)
			step(tu, conntrack.ACK, 2, 101)
			step(tu.Reverse(), conntrack.ACK, 101, 2)
		}
	}
}

// drain advances and counts the ends by reason.
func drain(e *Engine, now conntrack.Instant) map[conntrack.EndReason]int {
	ends := map[conntrack.EndReason]int{}
	for n := 0; e.Next() <= now && n < 10000; n++ {
		e.Advance(now, 7, func(ev *TimeEvent) {
			if ev.Kind == TimeFlow && ev.Flow.Kind == FlowEnd {
				ends[ev.Flow.Why]++
			}
		})
	}
	return ends
}

// In a table of 100 of which 80 are used, timers between 60 and 100 run for half of their time.
func TestAdaptiveTimers(t *testing.T) {
	e := NewEngine(EngineConfig{Policy: policyOf(t, "limits: {flows: 100}\ntimeouts: {established: 1000s}\nadaptive: {start: 60, end: 100}"), NoAdopt: true})
	start := conntrack.Instant(1e15)
	dial(e, start, 0, 40, true)
	at := func(s int) conntrack.Instant { return start.Add(time.Duration(s) * time.Second) }
	if ends := drain(e, at(600)); len(ends) != 0 {
		t.Fatalf("a table that is not full ends %v", ends)
	}
	dial(e, at(600), 40, 40, true)
	// The idle time of 600 s is more than 1000 s (100-n)/40 while n is 76 and more; each end makes the timers longer.
	if ends := drain(e, at(600)); ends[conntrack.EndAdaptive] != 5 || e.Len() != 75 {
		t.Errorf("ended %v, %d are left", ends, e.Len())
	}
	if ends := drain(e, at(609)); len(ends) != 0 {
		t.Errorf("between two looks at the table ended %v", ends)
	}
	if ends := drain(e, at(760)); ends[conntrack.EndAdaptive] != 6 || e.Len() != 69 {
		t.Errorf("later ended %v, %d are left", ends, e.Len())
	}
	dial(e, at(770), 100, 31, true) // a full table: no time at all for those that are idle
	if ends := drain(e, at(770)); ends[conntrack.EndAdaptive] < 8 || e.Len() < 60 {
		t.Errorf("a full table ended %v, %d are left", ends, e.Len())
	}
}

// Above the share closing connections end, the oldest first, down to the share and no further.
func TestEvictAbove(t *testing.T) {
	e := NewEngine(EngineConfig{Policy: policyOf(t, "limits: {flows: 20, embryonic: 20}\nevict_above: 50"), NoAdopt: true})
	dial(e, 1, 0, 14, true)
	for i := range 6 {
		s := conntrack.Segment{Tuple: tupleOf(fmt.Sprintf("10.1.0.%d:1000", i+1), "192.0.2.1:80"), Flags: conntrack.FIN | conntrack.ACK, Seq: 2, Ack: 101, Window: 9, Bytes: 40}
		e.Step(conntrack.Instant(i+2), &s)
	}
	if ends := drain(e, 10); ends[conntrack.EndEvicted] != 4 || e.Len() != 10 || e.Count(conntrack.FinWait) != 2 {
		t.Errorf("ended %v, %d left, %d closing", ends, e.Len(), e.Count(conntrack.FinWait))
	}
	for i, gone := range []bool{true, true, true, true, false, false} {
		tu := tupleOf(fmt.Sprintf("10.1.0.%d:1000", i+1), "192.0.2.1:80")
		if (e.Find(11, &tu) == nil) != gone {
			t.Errorf("connection %d: gone is %t", i, !gone)
		}
	}
}

// Who makes room, by the word of the policy. The table holds one connection of each kind.
func TestOnFullOrder(t *testing.T) {
	for word, want := range map[string]string{
		"refuse": "", "evict-embryonic": "embryonic", "evict-closing": "embryonic closing", "evict-closing-first": "closing embryonic",
		"evict-unassured": "embryonic unassured", "evict-any": "embryonic unassured closing",
	} {
		e := NewEngine(EngineConfig{Policy: policyOf(t, "limits: {flows: 4, embryonic: 4}\non_full: "+word+"\non: {new: {packet: forward, state: create}, ack-no-state: {packet: forward, state: create-liberal}, table-full: drop}"), NoAdopt: true})
		kinds := map[uint64]string{}
		enter := func(kind string, steps func()) {
			steps()
			e.Walk(0, 100, func(ent *conntrack.Entry) bool {
				if kinds[ent.ID] == "" {
					kinds[ent.ID] = kind
				}
				return true
			})
		}
		ack := func(ip string, f conntrack.Flags) *Outcome {
			s := conntrack.Segment{Tuple: tupleOf(ip+":1000", "192.0.2.1:80"), Flags: f, Seq: 2, Ack: 101, Window: 9, Bytes: 40}
			return e.Step(1, &s)
		}
		enter("assured", func() { dial(e, 1, 0, 1, true) })
		enter("closing", func() { dial(e, 1, 1, 1, true); ack("10.1.0.2", conntrack.FIN|conntrack.ACK) })
		enter("unassured", func() { ack("10.7.0.1", conntrack.ACK) })
		enter("embryonic", func() { dial(e, 1, 3, 1, false) })
		var made []string
		for i := range 4 { // mid-stream segments, which become unassured themselves
			out := ack(fmt.Sprintf("10.8.0.%d", i+1), conntrack.ACK)
			for j := range out.Flows {
				if ev := &out.Flows[j]; ev.Kind == FlowEnd && ev.Why == conntrack.EndEvicted && kinds[ev.Entry.ID] != "" {
					made = append(made, kinds[ev.Entry.ID])
				}
			}
		}
		if got := strings.Join(made, " "); got != want && !(word == "evict-any" && strings.HasPrefix(want, got)) {
			t.Errorf("%s: %q made room, want %q", word, got, want)
		}
	}
}

// What segments make the gateway send is bounded, and what is left out is said.
func TestInjectionBounds(t *testing.T) {
	const policy = "\non: {syn-established: {packet: drop, reply: ack-tracked}, ack-no-state: {packet: drop, reply: rst}, seq-above: {packet: drop, peer: rst-tracked, reply: icmp-port}}"
	one := func(policy, text string) {
		newScript(policyOf(t, policy), EngineConfig{NoAdopt: true}, plainWorld).run(t, text)
	}
	one("inject: {acks: 2}"+policy, handshake+`
	+0    c S  90000          => reply=ack-tracked:c:.,5001,1001
	+0    c S  90000          => reply=ack-tracked:c:.,5001,1001
	+0    c S  90000          => reply=none omitted=rate drop/syn-established
	+999ms c S 90000          => reply=none omitted=rate
	+1ms  c S  90000          => reply=ack-tracked:c:.,5001,1001`)
	one("inject: {flow_gap: 500ms}"+policy, handshake+`
	+0    c S  90000          => reply=ack-tracked:c:.,5001,1001
	+499ms c S 90000          => reply=none omitted=flow-gap
	+1ms  c S  90000          => reply=ack-tracked:c:.,5001,1001`)
	one("inject: {rsts: 1, acks: 0}"+policy, `
	+0    c .  1 1            => reply=rst:c:R,1
	+0    c .  1 1            => reply=none omitted=rate`)
	one("inject: {rsts: 1}"+policy, handshake+`
	+0    c P. 90000:9 5001   => drop/seq-above peer=rst-tracked:s:R,1001 reply=none omitted=rate`)
	x := newScript(policyOf(t, "inject: {ttl: 77}"+policy), EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake)
	s := x.segment(t, strings.Fields("c S 90000"))
	if out := x.e.Step(x.now, &s); out.Reply.Segment.TTL != 77 {
		t.Errorf("TTL %d", out.Reply.Segment.TTL)
	}
}

func TestPressureProblems(t *testing.T) {
	for text, want := range map[string]string{
		"adaptive: {start: 60, end: 60}": "an end above the start",
		"adaptive: {start: 2000}":        "from 0 to 1000",
		"evict_above: 101":               "from 0 to 100",
		"inject: {acks: many}":           "or unlimited",
		"inject: {ttl: 256}":             "from 0 to 255",
		"caps: {one_way: 30}":            `did you mean "30s"?`,
		"on_full: evict-some":            "evict-any",
	} {
		_, problems := Load("x.yaml", []byte(text+"\n"), nil)
		if got := problems.Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	p := policyOf(t, "adaptive: {start: 1, end: 2}\nevict_above: 95\ninject: {acks: 5, rsts: 0, flow_gap: 1s, ttl: 9}\non_full: evict-any\ncaps: {zero_window: 5m}\n")
	if q, problems := Load("again.yaml", p.YAML(), nil); q == nil || q.Rev() != p.Rev() {
		t.Errorf("%v\n%s", problems, p.YAML())
	}
	if n := len(Diff(p, policyOf(t, "on: {new: forward}"))); n != 9 {
		t.Errorf("%d differences", n)
	}
}

func tupleOf(from, to string) conntrack.Tuple {
	return conntrack.MakeTuple(netip.MustParseAddrPort(from), netip.MustParseAddrPort(to))
}
