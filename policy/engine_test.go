package policy

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// play runs one script under a policy text in every world.
func play(t *testing.T, cfg EngineConfig, policy, text string) {
	t.Helper()
	p := policyOf(t, policy)
	for _, w := range worlds {
		if w.interval != nil && strings.Contains(text, " -  ") {
			continue // strangers have timers of their own
		}
		newScript(p, cfg, w).run(t, text)
	}
}

// A policy file that issue 2 names as one that must work as written: the customer's own firewall in front of the client.
func TestFarPolicySteps(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, "preset: observe\non: {syn-established: {packet: forward, state: replace}, ack-for-syn: {packet: drop}}",
		handshake+`
	+25s  c S  900000         => forward/syn-established effect=replace state=SYN_SENT +end:replaced +new reply=none peer=none
	+1ms  s .  5001 1001      => drop/ack-for-syn state=SYN_SENT reply=none
	+1s   c S  900000         => forward/syn-retransmit
	+1ms  s .  5001 1001      => drop/ack-for-syn`)
}

// Replacing the entry and resetting the server's old connection with numbers that it accepts heals the first half of the
// incident at once.
func TestReplaceResetsTheOldConnection(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, `
preset: openbsd-pf
rules:
  - name: print-servers
    match: {dst_port: [515, 721]}
    timeouts: {established: 2h4m}
    on:
      syn-established: {packet: forward, peer: rst-tracked, state: replace}
`, handshake+`
	+1s   c P. 1001:100 5001  => forward/in-window rule=print-servers
	+1ms  s .  5001 1101      => counted=true remaining=2h3m59.999s
	+1ms  c P. 1101:100 5001  => # the server does not acknowledge this
	+25s  c S  900000         => forward/syn-established effect=replace peer=rst-tracked:s:R,1101+1201 reply=none +end:replaced +new rule=print-servers  # either may be its next number
	+1ms  s S. 70000 900001   => forward/syn-ack
	+1ms  c .  900001 70001   => forward/handshake state=ESTABLISHED`)
}

// The rules are run for the connection that replaces another: it may be dialled from the other end.
func TestReplaceMatchesAnew(t *testing.T) {
	x := newScript(policyOf(t, `
on: {syn-established-reverse: {packet: forward, state: replace}}
rules: [{name: in, match: {dst_port: 515}}, {name: out, match: {src_port: 515}, timeouts: {syn_sent: 30s}}]
`), EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake+`
	+0    s S  9000           => forward/syn-established-reverse rule=in +end:replaced +new
	+9    s S  9000           => forward/syn-retransmit rule=out remaining=21s`)
}

func TestReplaceIfClosed(t *testing.T) {
	policy := "preset: observe\non: {syn-established: {packet: forward, state: replace-if-closed, timer: refresh}, syn-time-wait: {packet: forward, state: replace-if-closed}, syn-closing: {packet: forward, state: replace-if-closed}}"
	play(t, EngineConfig{NoAdopt: true}, policy, handshake+`
	+25s  c S  900000         => forward/syn-established effect=keep state=ESTABLISHED
	+0    c .  1001 5001      => remaining=119h59m35s  # and the timer was left alone
	+1    c F. 1001 5001      => forward/fin
	+1    s F. 5001 1002      => forward/fin state=LAST_ACK
	+1    c S  900000         => forward/syn-closing effect=replace state=SYN_SENT +end:replaced +new`)
}

func TestTimersOfActions(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, `
timeouts: {established: 1h}
on:
  in-window: {packet: forward, state: track, timer: leave}
  seq-above: {packet: forward, state: keep, timer: 10s}
  ack-above: {packet: drop, timer: refresh}
`, handshake+`
	+10s  c .  1001 5001      => forward/in-window remaining=59m50s
	+10s  c .  1001 5001      => forward/in-window remaining=59m40s
	+0    c .  1001 99999     => drop/ack-above
	+1    c .  1001 5001      => remaining=59m59s
	+0    c P. 90001:10 5001  => forward/seq-above
	+9    s .  5001 1001      => remaining=1s
	+1    c .  1001 5001      => forward/late-after-expiry tomb=idle`)
}

// Nothing that does not reach the other end creates or moves an entry, whatever the policy says.
func TestDroppedCreatesNothing(t *testing.T) {
	p := &Policy{}
	*p = *policyOf(t, "on: {new: drop, in-window: drop}")
	for _, f := range []conntrack.Finding{conntrack.New, conntrack.InWindow, conntrack.SynEstablished} {
		for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
			p.actions[index(-1, dir, f)] = Action{Packet: Drop, State: map[conntrack.Finding]conntrack.Effect{
				conntrack.New: conntrack.Create, conntrack.InWindow: conntrack.Track, conntrack.SynEstablished: conntrack.Replace}[f]}
		}
	}
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, `
	+0    c S  1000           => drop/new effect=keep state=NONE
	+0    s S. 5000 1001      => forward/synack-no-state`)
	if x.e.Len() != 0 {
		t.Errorf("%d entries", x.e.Len())
	}
	for i := range conntrack.Reply + 1 {
		p.actions[index(-1, i, conntrack.New)] = NaturalAction(conntrack.New, Forward)
	}
	x.run(t, handshake+`
	+0    c P. 1001:10 5001   => drop/in-window effect=keep counted=false
	+0    c P. 1011:10 5001   => drop/in-window
	+0    c S  9999           => drop/syn-established effect=keep state=ESTABLISHED`)
	for dir := range conntrack.Reply + 1 {
		p.actions[index(-1, dir, conntrack.InWindow)] = Action{Packet: Hold, HoldThen: Drop, State: conntrack.Track}
		p.actions[index(-1, dir, conntrack.SynEstablished)] = Action{Packet: Hold, HoldThen: Drop, State: conntrack.Replace}
	}
	x.run(t, `
	+0    c P. 1001:10 5001   => hold/in-window effect=keep counted=false
	+0    c S  9999           => hold/syn-established effect=keep state=ESTABLISHED`)
	if n := x.e.view.Entry.Side[0].End; n != 1001 {
		t.Errorf("a dropped segment moved the window to %d", n)
	}
}

func TestAdoption(t *testing.T) {
	const strict = "preset: openbsd-pf\nadopt: 10m"
	play(t, EngineConfig{}, strict, `
	+9m   c P. 1001:100 5001  => forward/adopted effect=create-liberal state=ESTABLISHED +new
	+1ms  s .  5001 1101      => forward/in-window counted=true
	+1ms  c P. 1101:9999 5001 => forward/in-window`)
	play(t, EngineConfig{}, strict, `
	+9m   s F. 5001 1001      => forward/adopted effect=create-liberal +new`)
	play(t, EngineConfig{}, strict, `
	+9m   s S. 5000 1001      => drop/synack-no-state
	+0    c R  1001           => drop/rst-no-state
	+61s  c .  1001 5001      => drop/ack-no-state state=NONE`)
	play(t, EngineConfig{NoAdopt: true}, strict, `
	+0    c .  1001 5001      => drop/ack-no-state`)
	// What the gateway knew and forgot is not older than the gateway.
	play(t, EngineConfig{}, strict+"\ntimeouts: {established: 1m}\nlate: 1s", handshake+`
	+2m   -                   => +end:idle
	+0    c .  1001 5001      => drop/ack-no-state tomb=idle`)
}

// A rule is found for a flow that is picked up from the end that was dialled, too.
func TestAdoptedReplyDirection(t *testing.T) {
	p := policyOf(t, `
rules:
  - name: print
    match: {dst_port: 515, direction: reply}
    on: {in-window: drop}
`)
	newScript(p, EngineConfig{}, plainWorld).run(t, `
	+0    s P. 5001:10 1001   => forward/adopted rule=print dir=reply
	+0    s P. 5011:10 1001   => drop/in-window rule=print
	+0    c .  1001 5011      => forward/in-window rule=print`)
}

// After a gap a flow is judged liberally until both directions have progressed.
func TestGap(t *testing.T) {
	p := policyOf(t, "preset: openbsd-pf")
	for _, w := range worlds {
		x := newScript(p, EngineConfig{NoAdopt: true}, w)
		x.run(t, handshake+`
	+0    c P. 1001:100 5001  => forward/in-window
	+1    s P. 905001:10 1001 => drop/seq-above`)
		x.e.Gap(x.now)
		x.run(t, `
	+1    s P. 905001:10 801101 => forward/in-window
	+0    c P. 801101:10 905011 => forward/in-window
	+0    s .  905011 801111    => forward/in-window
	+0    c .  801111 905011    => forward/in-window
	+0    s P. 2905011:10 801111 => drop/seq-above
	+0    c P. 2801111:10 905011 => drop/seq-above`)
	}
}

// The table is bounded, and a flood of SYNs costs no established flow its entry.
func TestFlood(t *testing.T) {
	for _, c := range []struct{ full, want string }{{"refuse", "drop/embryonic-limit"}, {"evict-embryonic", "forward/new"}} {
		p := policyOf(t, "on_full: "+c.full+"\nlimits: {flows: 10, embryonic: 4}\non: {embryonic-limit: drop, table-full: drop}")
		x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
		x.run(t, handshake)
		flood(x, 100)
		x.ends[0] = netip.MustParseAddrPort("10.2.0.5:722")
		x.run(t, "+1 c S 77 => "+c.want)
		x.ends[0] = netip.MustParseAddrPort("10.2.0.5:721")
		x.run(t, "+1 c P. 1001:5 5001 => forward/in-window state=ESTABLISHED")
		if n := x.e.Embryonic(); n != 4 {
			t.Errorf("%s: %d embryonic entries", c.full, n)
		}
	}
}

func flood(x *script, n int) {
	for i := range n {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)}), 999)
		s := conntrack.Segment{Tuple: conntrack.MakeTuple(from, x.ends[1]), Flags: conntrack.SYN, Seq: 1}
		x.e.Step(x.now, &s)
	}
}

// An expired entry that was not swept never stands in a new one's way.
func TestExpiredMakesRoom(t *testing.T) {
	p := policyOf(t, "limits: {flows: 2, embryonic: 2}\ntimeouts: {syn_sent: 1s}\non: {table-full: drop, embryonic-limit: drop}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	flood(x, 3)
	if x.e.out.Finding != conntrack.TableFull || x.e.out.Verdict != Drop || len(x.e.out.Flows) != 0 {
		t.Errorf("third: %s", x.describe(&x.e.out, false))
	}
	x.run(t, "+1 c S 1 => forward/new +new")
}

func TestKillFlushWalk(t *testing.T) {
	p := policyOf(t, "limits: {flows: 200}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	flood(x, 50)
	x.run(t, handshake+`
	+0    c P. 1001:100 5001  => counted=true
	+0    c P. 1101:100 5001  => counted=true
	+0    c P. 1201:100 5001  => counted=true`)
	x.e.Uncount()
	x.e.Uncount()
	var updates []string
	for more, n := true, 0; more && n < 100; n++ {
		more = x.e.FlushCounted(x.now, 7, func(ev *FlowEvent) { updates = append(updates, flowWord(ev)) })
	}
	if strings.Join(updates, " ") != "+update:2" {
		t.Errorf("updates %v", updates)
	}
	var ended []string
	killed, cursor := 0, 0
	for cursor >= 0 {
		var n int
		n, cursor = x.e.Kill(x.now, cursor, 7, func(e *conntrack.Entry) bool { return e.State == conntrack.Established },
			func(ev *TimeEvent) { ended = append(ended, flowWord(&ev.Flow)) })
		killed += n
	}
	if killed != 1 || strings.Join(ended, " ") != "+end:killed" || x.e.Len() != 50 {
		t.Errorf("killed %d, %v, %d left", killed, ended, x.e.Len())
	}
	x.run(t, "+0 c . 1001 5001 => forward/late-after-expiry tomb=killed")
}

func TestSaveAndRestore(t *testing.T) {
	p := policyOf(t, "preset: openbsd-pf\ntimeouts: {established: 1h}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake+"+10m c P. 1001:100 5001 =>")
	flood(x, 3)
	x.now = x.now.Add(10 * time.Minute)
	var saved []Saved
	if next := x.e.Save(x.now, 0, 100, func(s *Saved) bool { saved = append(saved, *s); return true }); next >= 0 || len(saved) != 1 {
		t.Fatalf("saved %d, next %d", len(saved), next)
	}
	other := policyOf(t, "preset: openbsd-pf\ntimeouts: {established: 5h}\nrules: [{name: r, match: {dst_port: 515}}]")
	for _, c := range []struct {
		away time.Duration
		ok   bool
	}{{5 * time.Minute, true}, {49 * time.Minute, true}, {50 * time.Minute, false}} {
		y := newScript(other, EngineConfig{NoAdopt: true}, world{start: 12345, ends: plainWorld.ends})
		if ok := y.e.Restore(y.now, c.away, &saved[0]); ok != c.ok {
			t.Errorf("away %s: restored %v", c.away, ok)
		} else if !ok {
			continue
		}
		left := (50*time.Minute - c.away).String()
		y.run(t, `
	+0    s .  5001 1101      => forward/in-window rule=r state=ESTABLISHED remaining=`+left+`
	+0    c P. 1101:100 5001  => remaining=1h0m0s # its own timeouts, not the new policy's`)
	}
}

// What was being timed when the gateway stopped goes on while it is away, and so does what it has done to the connection.
func TestRestoreKeepsMeasuring(t *testing.T) {
	p := policyOf(t, "preset: observe\non: {keepalive: {packet: forward, peer: rst-tracked}}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake+`
	+10s  c P. 1001:100 5001 =>
	+1s   s .  5001 1101     =>
	+1s   c .  1100 5001     => forward/keepalive`)
	var saved []Saved
	x.e.Save(x.now, 0, 100, func(s *Saved) bool { saved = append(saved, *s); return true })
	y := newScript(p, EngineConfig{NoAdopt: true}, world{start: 12345, ends: plainWorld.ends})
	if len(saved) != 1 || !y.e.Restore(y.now, 5*time.Second, &saved[0]) {
		t.Fatalf("%d saved", len(saved))
	}
	y.run(t, "+1s s P. 5001:10 1101 => forward/in-window")
	y.e.Walk(0, 10, func(ent *conntrack.Entry) bool {
		if d := ent.Response.Duration(); d != 8*time.Second || !Reset(ent) || ent.Handshake != saved[0].Entry.Handshake {
			t.Errorf("response %v, reset %v, handshake %v", d, Reset(ent), ent.Handshake)
		}
		return true
	})
}

func TestStepAllocatesNothing(t *testing.T) {
	stepsAllocateNothing(t, "preset: linux-default\nrules: [{name: r, match: {dst_port: 515}}]")
	stepsAllocateNothing(t, `
preset: observe
refresh: both-progress
probes: {tries: 5, every: 1s, alive: all}
caps: {retransmitted: 1m, unacknowledged: 1m, zero_window: 1m, one_way: 1m}
adaptive: {start: 60, end: 120}
evict_above: 95
inject: {acks: 10, rsts: 10, flow_gap: 1s, ttl: 9}
on:
  syn-established: {packet: drop, peer: probe-from-syn}
  seq-below: {packet: drop, reply: ack-tracked}
`)
}

func stepsAllocateNothing(t *testing.T, policy string) {
	x := newScript(policyOf(t, policy), EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake)
	s := x.segment(t, strings.Fields("c P. 1001:100 5001"))
	syn := x.segment(t, strings.Fields("c S 900000"))
	low := x.segment(t, strings.Fields("s . 5001:10 99999"))
	for _, seg := range []*conntrack.Segment{&s, &syn, &low} {
		if n := testing.AllocsPerRun(200, func() { x.now++; x.e.Step(x.now, seg) }); n != 0 {
			t.Errorf("%s: %v allocations", seg.Flags, n)
		}
	}
}

// A thousand reloads, each with timeouts of its own, leave nothing behind but those of flows that live.
func TestReloadsLeakNothing(t *testing.T) {
	x := newScript(policyOf(t, "adopt: 0s"), EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, handshake)
	a, b := policyOf(t, "timeouts: {established: 2h}"), policyOf(t, "timeouts: {established: 3h}\nrules: [{name: r, match: {dst_port: 515}}]")
	use := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	x.e.Swap(x.now, a, ReloadRematch)
	x.advance()
	before := use()
	for i := range 1000 {
		x.e.Swap(x.now, []*Policy{a, b}[i%2], Reload(i%2))
		x.advance()
	}
	if after := use(); after > before+64<<10 {
		t.Errorf("heap grew from %d to %d", before, after)
	}
	if n := len(x.e.timers.sets); n != 3 {
		t.Errorf("%d sets of timeouts", n)
	}
	// Where each has timeouts of its own, the sets are compacted before their indices run out.
	for i := range 3 * maxTimerSets {
		set := conntrack.Timeouts{conntrack.Established: time.Duration(i + 1)}
		c := *a
		c.timeouts = []conntrack.Timeouts{set}
		x.e.Swap(x.now, &c, ReloadKeep)
	}
	if n := len(x.e.timers.sets); n > maxTimerSets {
		t.Errorf("%d sets of timeouts", n)
	}
	x.run(t, "+1h c . 1001 5001 => forward/in-window\n +1 c . 1001 5001 => remaining=2h59m59s")
}
