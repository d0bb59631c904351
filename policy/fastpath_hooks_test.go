package policy

import (
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// fastScript is a script with one connection, which a fast path lets pass.
type fastScript struct {
	*script
	t    *testing.T
	path *simPath
	tu   conntrack.Tuple
	last FlowEvent // the end
}

const fastBegin = handshake + `
	+1ms c P. 1001:100 5001
	+1ms s P. 5001:100 1101
	+1ms c .  1101 5101
	+1ms s .  5101 1101
	+1ms c P. 1101:100 5101`

func newFastScript(t *testing.T, policy string) *fastScript {
	if policy == "" {
		policy = "timeouts: {established: 1h}"
	}
	path := &simPath{flows: map[conntrack.Tuple]uint32{}, slots: make([]simFlow, 1), epoch: 1}
	x := &fastScript{script: newScript(policyOf(t, policy), EngineConfig{NoAdopt: true, Fast: path}, plainWorld), t: t, path: path}
	x.run(t, fastBegin)
	s := x.segment(t, strings.Fields("c . 1201 5101"))
	x.tu = s.Tuple
	_, _, e, why := x.e.ArmFast(x.now, &x.tu)
	if why != conntrack.FastReady {
		t.Fatal(why)
	}
	x.e.SetSlot(&x.tu, path.install(e.Tuple))
	if ok, punt := path.ingress(x.now, &s); ok || punt != 1 || x.e.Step(x.now, &s).Finding != conntrack.InWindow {
		t.Fatal(ok, punt)
	}
	x.arm()
	return x
}

// arm arms the connection, of which nothing may be under way.
func (x *fastScript) arm() {
	x.t.Helper()
	f := &x.path.slots[1]
	st, r, _, why := x.e.ArmFast(x.now, &x.tu)
	if why != conntrack.FastReady {
		x.t.Fatal(why)
	}
	f.start, f.rules, f.epoch, f.generation, f.armed = st, r, x.path.epoch, f.generation+1, f.punt
}

// pass lets some time go by and a segment pass.
func (x *fastScript) pass(d time.Duration, text string) {
	x.t.Helper()
	x.now = x.now.Add(d)
	s := x.segment(x.t, strings.Fields(text))
	if ok, _ := x.path.ingress(x.now, &s); !ok {
		x.t.Fatalf("%s: %v", text, x.path.punts)
	}
}

// late makes a segment pass once the engine has peeked, just before it freezes the connection.
func (x *fastScript) late(at conntrack.Instant, text string) {
	s := x.segment(x.t, strings.Fields(text))
	x.path.late = func() {
		if ok, _ := x.path.ingress(at, &s); !ok {
			x.t.Errorf("%s: %v", text, x.path.punts)
		}
	}
}

// events lets time pass and returns what ended, and how many segments of the end were seen.
func (x *fastScript) ends(d time.Duration) (why conntrack.EndReason, at conntrack.Instant, packets uint64) {
	x.now = x.now.Add(d)
	for more := true; more; {
		more = x.e.Advance(x.now, 16, x.note)
	}
	if x.last.Why == conntrack.EndNone {
		return conntrack.EndNone, 0, 0
	}
	return x.last.Why, x.last.At, x.last.Entry.Side[0].Packets + x.last.Entry.Side[1].Packets
}

func (x *fastScript) note(ev *TimeEvent) {
	if ev.Kind == TimeFlow && ev.Flow.Kind == FlowEnd && ev.Flow.Entry.Tuple == x.tu {
		x.last = ev.Flow
		if x.path.ended != 0 {
			x.t.Error("the path forgot the connection before its end was told")
		}
	}
}

func TestFastTimer(t *testing.T) {
	x := newFastScript(t, "timeouts: {established: 1h}")
	x.pass(50*time.Minute, "s P. 5101:100 1201")
	passed := x.now
	if why, _, _ := x.ends(59 * time.Minute); why != conntrack.EndNone || x.path.peeks != 2 || x.path.freezes != 1 { // one before it was armed
		t.Fatalf("%s, %d peeks, %d freezes", why, x.path.peeks, x.path.freezes)
	}
	x.late(passed.Add(59*time.Minute), "c . 1201 5201")
	if why, _, _ := x.ends(time.Minute); why != conntrack.EndNone || x.path.freezes != 2 {
		t.Fatalf("%s, %d freezes", why, x.path.freezes)
	}
	if why, at, n := x.ends(59 * time.Minute); why != conntrack.EndIdle || at != passed.Add(2*time.Hour-time.Minute) || n != 11 || x.path.ended != 1 {
		t.Errorf("%s at %d, %d segments, %d ended", why, at, n, x.path.ended)
	}
}

// TestFastCaps: where a segment that passes shortens the timer, by a cap, the end is told when it has come, and not when the timer that was
// known before it would have run out.
func TestFastCaps(t *testing.T) {
	x := newFastScript(t, "window: {check: kernel}\ntimeouts: {established: 120h}\ncaps: {unacknowledged: 5m, zero_window: 10m}")
	x.pass(time.Second, "s . 5101 1201")
	for began, peeks := x.now, 0; x.now < began.Add(time.Hour) || x.path.peeks == peeks; { // it lives on, however long nothing is known of it
		peeks = x.path.peeks
		x.now = x.e.Next()
		if why, _, _ := x.ends(0); why != conntrack.EndNone || x.path.slots[1].armed == 0 {
			t.Fatal(why)
		}
	}
	x.pass(time.Second, "s P. 5101:100 1201") // right after it was asked
	passed := x.now
	for x.last.Why == conntrack.EndNone && x.now < passed.Add(time.Hour) {
		x.now = x.e.Next()
		x.ends(0)
	}
	if x.last.Why != conntrack.EndIdle || x.last.At != passed.Add(5*time.Minute) || x.now > x.last.At.Add(time.Millisecond) || x.path.freezes > 3 {
		t.Errorf("%s at %s after it passed, told %s after; %d freezes", x.last.Why, x.last.At.Sub(passed), x.now.Sub(passed), x.path.freezes)
	}
}

// TestFastExpiryResets: the RSTs that end a connection have the numbers that what passed has left, to the last segment.
func TestFastExpiryResets(t *testing.T) {
	x := newFastScript(t, "timeouts: {established: 1h}\non: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}")
	x.pass(time.Minute, "s P. 5101:100 1201")
	x.late(x.now, "c P. 1201:50 5201")
	x.now = x.now.Add(time.Hour)
	if got := x.advance(); got != "rst-tracked:c:R,5201 rst-tracked:s:R,1201+1251 +end:idle" {
		t.Error(got)
	}
}

// TestFastStep: a segment of a connection that seems to have expired is judged by what passed since, and finds it as that left it.
func TestFastStep(t *testing.T) {
	x := newFastScript(t, "timeouts: {established: 1h}")
	x.pass(50*time.Minute, "s P. 5101:100 1201")
	x.run(t, "+11m c F. 1201 5201 => forward/fin before=ESTABLISHED idle=11m0s remaining=49m0s")
	if x.path.slots[1].armed != 0 {
		t.Error("not stopped")
	}
	if _, _, _, why := x.e.ArmFast(x.now, &x.tu); why != conntrack.FastState {
		t.Error(why)
	}
}

// TestFastEnds: whatever ends a connection, what passed up to then is in its record, and the path forgets it afterwards.
func TestFastEnds(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		why    conntrack.EndReason
		n      uint64
		end    func(x *fastScript)
	}{
		"kill": {"", conntrack.EndKilled, 11, func(x *fastScript) {
			x.late(x.now, "c . 1201 5201")
			x.e.Kill(x.now, 0, 1<<20, func(e *conntrack.Entry) bool { return e.Side[0].Packets+e.Side[1].Packets == 10 }, x.note)
		}},
		"reload": {"", conntrack.EndReload, 10, func(x *fastScript) {
			x.path.epoch++
			x.e.Swap(x.now, policyOf(x.t, "preset: observe"), ReloadDrop)
			x.ends(0)
		}},
		"reload, when it seems to have expired": {"timeouts: {established: 1h}", conntrack.EndReload, 10, func(x *fastScript) {
			x.now = x.now.Add(59 * time.Minute)
			x.path.epoch++
			x.e.Swap(x.now, policyOf(x.t, "preset: observe"), ReloadDrop)
			x.e.reloadChunk(x.now, 1<<20) // by which the event is within the step
			for _, ev := range x.e.out.Flows {
				x.last = ev
			}
		}},
		"replaced": {"on: {syn-established: {packet: forward, state: replace}}", conntrack.EndReplaced, 11, func(x *fastScript) {
			x.run(x.t, "+1s c S 90000 => forward/syn-established +end:replaced +new")
			x.last = x.e.out.Flows[0]
		}},
		"deleted": {"on: {rst: {packet: forward, state: delete}}", conntrack.EndRST, 11, func(x *fastScript) {
			x.run(x.t, "+1s c R 1201 => forward/rst +end:rst")
			x.last = x.e.out.Flows[0]
		}},
	} {
		x := newFastScript(t, c.policy)
		x.pass(30*time.Minute, "s P. 5101:100 1201")
		if c.end(x); x.last.Why != c.why || x.path.ended != 1 || x.path.slots[1] != (simFlow{}) {
			t.Errorf("%s: %s, %d ended", name, x.last.Why, x.path.ended)
		}
		if e := &x.last.Entry; e.Side[0].Packets+e.Side[1].Packets != c.n || e.FastPackets[1] != 1 || e.FastBytes[1] != 140 || e.FastSlot != 1 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestFastListed: who lists connections sees what passed; one that a fast path lets pass is told of once.
func TestFastListed(t *testing.T) {
	x := newFastScript(t, "timeouts: {established: 1h}")
	told := 0
	flush := func() {
		x.e.RestartFlush()
		for x.e.FlushCounted(x.now, 30, func(ev *FlowEvent) {
			if told++; ev.Entry.FastPackets[1] != uint64(told-1) {
				t.Errorf("%d: %+v", told, ev.Entry)
			}
		}) {
		}
	}
	for port := range uint16(600) { // so that the connection does not lie open
		s := x.segment(t, strings.Fields("c S 1"))
		s.Tuple.SrcPort = 1000 + port
		x.e.Step(x.now, &s)
	}
	flush() // what was counted before
	x.pass(time.Minute, "s P. 5101:100 1201")
	flush()
	flush()
	if told != 2 {
		t.Errorf("told %d times", told)
	}
	x.pass(time.Minute, "s P. 5201:100 1201")
	x.e.Walk(0, 1000, func(e *conntrack.Entry) bool {
		if e.Tuple == x.tu && (e.LastSeen != x.now || e.FastPackets[1] != 2 || e.Counted != 0) {
			t.Errorf("%+v", e)
		}
		return true
	})
	if x.path.slots[1].armed == 0 {
		t.Error("stopped by being looked at")
	}
	flush()
	flush()
	if told != 3 {
		t.Errorf("told %d times", told)
	}
}

// TestFastSaved: what is saved is what passed up to then, and nothing passes after.
func TestFastSaved(t *testing.T) {
	x := newFastScript(t, "timeouts: {established: 1h}")
	x.pass(50*time.Minute, "s P. 5101:100 1201")
	x.now = x.now.Add(30 * time.Minute)
	x.late(x.now, "c . 1201 5201")
	var saved []Saved
	x.e.Save(x.now, 0, 10, func(s *Saved) bool { saved = append(saved, *s); return true })
	if len(saved) != 1 || saved[0].Entry.FastPackets != [2]uint64{1, 1} || saved[0].Entry.LastSeen != 0 || saved[0].Entry.FastSlot != 0 || saved[0].Entry.Flags&conntrack.EntryFastUntold != 0 || saved[0].Entry.FastUntold != [2]int64{} {
		t.Fatalf("%+v", saved)
	}
	if x.path.slots[1].armed != 0 {
		t.Error("not stopped")
	}
	saved[0].Entry.FastSlot = 9
	y := newScript(x.e.Policy(), EngineConfig{NoAdopt: true, Fast: x.path}, plainWorld)
	if !y.e.Restore(y.now, 0, &saved[0]) {
		t.Fatal("refused")
	}
	if e := y.e.Find(y.now, &x.tu); e == nil || e.FastSlot != 0 || e.FastPackets != [2]uint64{1, 1} {
		t.Errorf("%+v", e)
	}
}

// TestFastPressure: a full table's scaled timers run from what passed.
func TestFastPressure(t *testing.T) {
	x := newFastScript(t, "timeouts: {established: 1h, syn_sent: 5h}\nlimits: {flows: 10, embryonic: 10}\nadaptive: {start: 10, end: 200}")
	x.pass(50*time.Minute, "s P. 5101:100 1201")
	for _, port := range []uint16{1, 2, 3, 4, 5} {
		s := x.segment(t, strings.Fields("c S 1"))
		s.Tuple.SrcPort = port
		x.e.Step(x.now, &s)
	}
	if !x.e.loaded() {
		t.Fatal("not full")
	}
	if why, _, _ := x.ends(time.Minute); why == conntrack.EndAdaptive {
		t.Error("ended by what it was before")
	}
	if why, _, n := x.ends(55 * time.Minute); why == conntrack.EndNone || n != 10 {
		t.Errorf("%s, %d segments", why, n)
	}
}

// TestFastRefused: each reason why a connection that was let pass is not armed again.
func TestFastRefused(t *testing.T) {
	for name, c := range map[string]struct {
		policy, script string
		do             func(x *fastScript)
		why            conntrack.FastWhy
	}{
		"a FIN":          {"", "+1s c F. 1201 5101", nil, conntrack.FastState},
		"a candidate":    {"on: {syn-established: {packet: forward, state: annotate}}", "+1s c S 90000", nil, conntrack.FastCandidate},
		"shortened":      {"on: {seq-above: {packet: forward, timer: 5s}}", "+1s c P. 9991101:100 5101", nil, conntrack.FastShortened},
		"near":           {"", "+1s c P. 2500:100 5101", nil, conntrack.FastFragmented},
		"asked":          {"on: {syn-established: {packet: drop, peer: probe-ack, await: 5s}}", "+1s c S 90000", nil, conntrack.FastProbed},
		"held":           {"on: {syn-established: {packet: hold, hold: 5s, then: drop}}", "+1s c S 90000", nil, conntrack.FastHeld},
		"a gap":          {"", "", func(x *fastScript) { x.e.Gap(x.now) }, conntrack.FastLiberal},
		"after a gap":    {"", "+1s c . 1201 5101", func(x *fastScript) { x.e.Gap(x.now) }, conntrack.FastLiberal},
		"another policy": {"", "", func(x *fastScript) { x.e.Swap(x.now, policyOf(x.t, "preset: observe"), ReloadKeep) }, conntrack.FastReloaded},
		"each segment": {"", "+1s c . 1201 5101", func(x *fastScript) {
			x.e.Swap(x.now, policyOf(x.t, "log: {detail: packet}"), ReloadKeep)
		}, conntrack.FastPolicy},
		"an action": {"", "+1s c . 1201 5101", func(x *fastScript) {
			x.e.Swap(x.now, policyOf(x.t, "on: {in-window: {packet: forward, state: track, timer: leave}}"), ReloadKeep)
		}, conntrack.FastPolicy},
		"its end": {"timeouts: {established: 1h}", "", func(x *fastScript) { x.now = x.now.Add(2 * time.Hour) }, conntrack.FastGone},
	} {
		x := newFastScript(t, c.policy)
		x.path.epoch++
		if c.do != nil {
			c.do(x)
		}
		if c.script != "" {
			x.run(t, c.script)
		}
		if _, _, _, why := x.e.ArmFast(x.now, &x.tu); why != c.why {
			t.Errorf("%s: %q, want %q", name, why, c.why)
		}
		rev := x.tu.Reverse()
		if _, _, _, why := x.e.ArmFast(x.now, &rev); why != c.why {
			t.Errorf("%s, the other way: %q", name, why)
		}
	}
	x := newFastScript(t, "")
	if unknown := (conntrack.Tuple{SrcPort: 1}); x.e.SetSlot(&unknown, 1) {
		t.Error("a place for nothing")
	}
}

// TestFastPlace: a connection that gives up its place takes with it what passed there.
func TestFastPlace(t *testing.T) {
	x := newFastScript(t, "")
	x.pass(time.Second, "s P. 5101:100 1201")
	if !x.e.SetSlot(&x.tu, 0) || x.path.slots[1].armed != 0 {
		t.Fatal("not stopped")
	}
	if e := x.e.Find(x.now, &x.tu); e.FastSlot != 0 || e.FastPackets[1] != 1 {
		t.Errorf("%+v", e)
	}
	peeks := x.path.peeks
	x.e.Walk(0, 10, func(*conntrack.Entry) bool { return true })
	if x.path.peeks != peeks {
		t.Error("asked about a connection that has no place")
	}
}

// TestFastStepAllocatesNothing: nor does arming.
func TestFastStepAllocatesNothing(t *testing.T) {
	x := newFastScript(t, "preset: linux-default")
	s := x.segment(t, strings.Fields("s . 5101 1201"))
	if n := testing.AllocsPerRun(200, func() {
		x.now++
		if ok, _ := x.path.ingress(x.now, &s); !ok {
			t.Fatal(x.path.punts)
		}
		x.now++
		if out := x.e.Step(x.now, &s); !out.Settled || out.Slot != 1 {
			t.Fatalf("%+v", out)
		}
		x.arm()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
