package policy

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"halfopen/conntrack"
)

// simFlow is a connection on the simulated fast path: what the program in the kernel and its owner hold of it.
type simFlow struct {
	tuple conntrack.Tuple // of the entry
	// The program's.
	punt, loaded   uint64
	state          conntrack.Fast
	packets, bytes [2]uint64
	// The owner's.
	armed, generation uint64
	epoch             uint64
	start             conntrack.Fast
	rules             conntrack.FastRules
	told              [2][2]uint64 // packets and bytes that were taken over
	stepped           uint64       // newest punt that was decided
}

// simPath is a fast path in the order of things that the real one has: punt numbers, freezing, arming with the number of the last segment
// that was decided, an epoch that freezes all at once, and a heart that must beat.
type simPath struct {
	flows                 map[conntrack.Tuple]uint32 // by canonical tuple
	slots                 []simFlow                  // from 1
	epoch                 uint64
	stopped               bool // the owner's heart does not beat
	passed                uint64
	bytes                 uint64
	late                  func() // passes before the next Freeze
	punts                 [conntrack.NumFastPunts]int
	frozen                int
	peeks, freezes, ended int
}

// ingress is what the program does with a segment: it passes, or the queue gets it with the number of its punt, 0 for none.
func (p *simPath) ingress(now conntrack.Instant, s *conntrack.Segment) (passed bool, punt uint64) {
	key, _ := s.Tuple.Canonical()
	slot := p.flows[key]
	if slot == 0 {
		return false, 0
	}
	f := &p.slots[slot]
	dir := conntrack.Original
	if s.Tuple != f.tuple {
		dir = conntrack.Reply
	}
	if f.armed != f.punt || f.armed == 0 || f.epoch != p.epoch || p.stopped {
		p.frozen++
	} else {
		if f.loaded != f.generation {
			f.state, f.loaded = f.start, f.generation
		}
		why := f.state.Pass(&f.rules, now, dir, s)
		p.punts[why]++
		if why == conntrack.FastPassed {
			p.passed++
			p.bytes += uint64(s.Bytes)
			f.packets[dir]++
			f.bytes[dir] += uint64(s.Bytes)
			return true, 0
		}
	}
	f.punt++
	return false, f.punt
}

func (p *simPath) Peek(e *conntrack.Entry) (conntrack.Progress, bool) {
	p.peeks++
	f := &p.slots[e.FastSlot]
	pr := conntrack.Progress{Fast: f.state}
	for i := range 2 {
		pr.Packets[i], pr.Bytes[i] = f.packets[i]-f.told[0][i], f.bytes[i]-f.told[1][i]
	}
	f.told = [2][2]uint64{f.packets, f.bytes}
	return pr, true
}

func (p *simPath) Freeze(e *conntrack.Entry) (conntrack.Progress, bool) {
	p.freezes++
	if late := p.late; late != nil {
		p.late = nil
		late()
	}
	p.slots[e.FastSlot].armed = 0
	return p.Peek(e)
}

func (p *simPath) Ended(e *conntrack.Entry) {
	p.ended++
	p.remove(e.FastSlot)
}

func (p *simPath) remove(slot uint32) {
	key, _ := p.slots[slot].tuple.Canonical()
	delete(p.flows, key)
	p.slots[slot] = simFlow{}
}

// install gives a connection a place, frozen.
func (p *simPath) install(tu conntrack.Tuple) uint32 {
	slot := uint32(1)
	for ; int(slot) < len(p.slots) && p.slots[slot] != (simFlow{}); slot++ {
	}
	for int(slot) >= len(p.slots) {
		p.slots = append(p.slots, simFlow{})
	}
	p.slots[slot] = simFlow{tuple: tu}
	key, _ := tu.Canonical()
	p.flows[key] = slot
	return slot
}

// waiting is a segment in the queue.
type waitingSegment struct {
	s       conntrack.Segment
	punt    uint64
	deliver func()
}

// twins are two engines that see the same: one with a fast path and a queue, and one that sees everything itself at the same instants.
type twins struct {
	name   string
	t      *testing.T
	w      *network
	fast   *Engine
	all    *Engine
	path   *simPath
	queue  []waitingSegment
	events [2]map[uint64][]FlowEvent // told since the last comparison, by flow
	timed  [2][]string
	told   [2]uint64 // forwards in flow events
	gone   [2]uint64 // packets and bytes that had passed of connections which ended
	steps  int
	whys   [conntrack.NumFastWhys]int
}

func newTwins(t *testing.T, w *network, cfg EngineConfig) *twins {
	x := &twins{t: t, w: w, path: &simPath{flows: map[conntrack.Tuple]uint32{}, slots: make([]simFlow, 1), epoch: 1}}
	cfg.Fast = nil
	x.all = NewEngine(cfg)
	cfg.Fast = x.path
	x.fast = NewEngine(cfg)
	for i := range x.events {
		x.events[i] = map[uint64][]FlowEvent{}
	}
	w.gate = x.gate
	return x
}

func (x *twins) fatal(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("%s, at %d: %s", x.name, x.w.now, fmt.Sprintf(format, args...))
}

// gate takes a segment through the program and, where it does not pass, to the queue.
func (x *twins) gate(s conntrack.Segment, deliver func()) {
	now := x.w.now
	passed, punt := x.path.ingress(now, &s)
	if passed {
		if x.w.chance(50) {
			x.time()
		}
		out := x.all.Step(now, &s)
		if out.Finding != conntrack.InWindow || out.Verdict != Forward || !out.Counted || !out.Settled || out.HasReply || out.HasPeer || len(out.Flows) > 0 {
			x.fatal("passed, but %+v", out)
		}
		deliver()
		return
	}
	x.queue = append(x.queue, waitingSegment{s, punt, deliver})
	if len(x.queue) == 1 {
		x.w.after(x.w.upTo(3*time.Millisecond), x.batch)
	}
}

// batch decides what waits, and arms at its end.
func (x *twins) batch() {
	now := x.w.now
	x.path.stopped = false
	if x.w.chance(50) {
		x.time()
	}
	n := len(x.queue)
	if x.w.chance(20) {
		n = 1 + x.w.r.IntN(n)
	}
	var touched []conntrack.Tuple
	for i := range n {
		q := &x.queue[i]
		out := x.step(now, &q.s)
		tu := q.s.Tuple
		if out.Slot != 0 {
			f := &x.path.slots[out.Slot]
			f.stepped = max(f.stepped, q.punt)
			touched = append(touched, tu)
		} else if out.Settled && out.Packets >= 8 && x.w.chance(50) {
			if why := x.install(now, &tu); why == conntrack.FastReady {
				touched = append(touched, tu)
			}
		}
		if out.Verdict == Forward || out.Verdict == Rewrite || out.Verdict == Hold {
			q.deliver()
		}
	}
	x.queue = slices.Clone(x.queue[n:])
	for i := range touched {
		x.arm(now, &touched[i])
	}
	if len(x.queue) > 0 {
		x.w.after(x.w.upTo(3*time.Millisecond), x.batch)
	}
}

func (x *twins) install(now conntrack.Instant, tu *conntrack.Tuple) conntrack.FastWhy {
	_, _, e, why := x.fast.ArmFast(now, tu)
	if x.whys[why]++; why == conntrack.FastReady {
		x.fast.SetSlot(tu, x.path.install(e.Tuple))
	}
	return why
}

func (x *twins) arm(now conntrack.Instant, tu *conntrack.Tuple) {
	key, _ := tu.Canonical()
	slot := x.path.flows[key]
	if slot == 0 || x.path.slots[slot].stepped == 0 || x.w.chance(5) { // where it was forgotten it stays frozen
		return
	}
	st, r, _, why := x.fast.ArmFast(now, tu)
	x.whys[why]++
	f := &x.path.slots[slot]
	if why == conntrack.FastReady {
		f.start, f.rules, f.epoch = st, r, x.path.epoch
		f.generation++
		f.armed = f.stepped
	}
}

// step decides a segment by both engines, and compares.
func (x *twins) step(now conntrack.Instant, s *conntrack.Segment) *Outcome {
	x.steps++
	fast, all := x.fast.Step(now, s), x.all.Step(now, s)
	for i := range fast.Flows {
		x.flow(0, &fast.Flows[i])
	}
	for i := range all.Flows {
		x.flow(1, &all.Flows[i])
	}
	a, b := *fast, *all
	a.Flows, b.Flows, a.Slot = nil, nil, 0
	if !a.HasTomb && !b.HasTomb { // it is what was looked at last then
		a.Tombstone = b.Tombstone
	}
	if !reflect.DeepEqual(a, b) {
		x.fatal("%s %+v\nfast %+v\nall  %+v", s.Flags, s, a, b)
	}
	x.compareEvents()
	return fast
}

// time does what time alone causes, in both.
func (x *twins) time() {
	now := x.w.now
	for i, e := range []*Engine{x.fast, x.all} {
		for e.Advance(now, 1+x.w.r.IntN(8), func(ev *TimeEvent) { x.timeEvent(i, ev) }) {
		}
	}
	x.compareEvents()
}

func (x *twins) timeEvent(i int, ev *TimeEvent) {
	if ev.Kind == TimeFlow {
		x.flow(i, &ev.Flow)
		return
	}
	x.timed[i] = append(x.timed[i], fmt.Sprint(ev.At, ev.Kind, ev.Finding, ev.Emit, ev.HasEmit, ev.Omitted, ev.Verdict, ev.Rule, core(&ev.Flow.Entry)))
}

func (x *twins) flow(i int, ev *FlowEvent) {
	id := ev.Entry.ID
	x.told[i] += ev.Entry.Counted
	if ev.Kind == FlowEnd {
		x.gone[0] += ev.Entry.FastPackets[0] + ev.Entry.FastPackets[1]
		x.gone[1] += ev.Entry.FastBytes[0] + ev.Entry.FastBytes[1]
	}
	x.events[i][id] = append(x.events[i][id], *ev)
}

// core returns all of an entry that does not tell whether a fast path let something pass, nor where the table keeps it.
func core(e *conntrack.Entry) string {
	c := *e
	c.Counted, c.FastPackets, c.FastBytes, c.FastSlot = 0, [2]uint64{}, [2]uint64{}, 0
	c.Flags &^= conntrack.EntryFastUntold
	v := reflect.ValueOf(&c).Elem()
	text := ""
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; name {
		case "list", "history", "index", "queued":
		default:
			text += fmt.Sprintf("%s %+v ", name, v.Field(i))
		}
	}
	return text
}

// compareEvents compares what both have told.
func (x *twins) compareEvents() {
	if len(x.events[0])+len(x.events[1])+len(x.timed[0])+len(x.timed[1]) == 0 {
		return
	}
	for i := range x.timed {
		slices.Sort(x.timed[i])
	}
	if !slices.Equal(x.timed[0], x.timed[1]) {
		x.fatal("fast %q\nall  %q", x.timed[0], x.timed[1])
	}
	for id, all := range x.events[1] {
		fast := x.events[0][id]
		if len(fast) != len(all) {
			x.fatal("flow %d: %d events of %d", id, len(fast), len(all))
		}
		for i := range all {
			a, b := &fast[i], &all[i]
			if a.Kind != b.Kind || a.Why != b.Why || a.At != b.At || a.Rule != b.Rule || core(&a.Entry) != core(&b.Entry) {
				x.fatal("flow event\nfast %+v\nall  %+v", a, b)
			}
		}
	}
	for i := range x.events {
		if len(x.events[i]) != len(x.events[1]) {
			x.fatal("%d flows told of %d", len(x.events[i]), len(x.events[1]))
		}
		clear(x.events[i])
		x.timed[i] = x.timed[i][:0]
	}
}

// compareEntries compares what both remember, and adds up the counts.
func (x *twins) compareEntries() {
	seen := map[uint64]string{}
	var open [2]uint64
	x.all.Walk(0, 1<<30, func(e *conntrack.Entry) bool {
		seen[e.ID] = core(e)
		open[1] += e.Counted
		return true
	})
	var packets, bytes uint64
	x.fast.Walk(0, 1<<30, func(e *conntrack.Entry) bool {
		if is := core(e); is != seen[e.ID] {
			x.fatal("fast %s\nall  %s", is, seen[e.ID])
		}
		delete(seen, e.ID)
		open[0] += e.Counted
		packets += e.FastPackets[0] + e.FastPackets[1]
		bytes += e.FastBytes[0] + e.FastBytes[1]
		return true
	})
	if len(seen) > 0 {
		x.fatal("%d are only remembered by who sees everything", len(seen))
	}
	switch p := x.path; {
	case p.passed != packets+x.gone[0] || p.bytes != bytes+x.gone[1]:
		x.fatal("%d packets and %d bytes passed, but %d and %d are remembered, %d and %d were told of", p.passed, p.bytes, packets, bytes, x.gone[0], x.gone[1])
	case x.told[0]+open[0]+p.passed != x.told[1]+open[1]:
		x.fatal("%d passed, %d are told, %d open; but %d and %d", p.passed, x.told[0], open[0], x.told[1], open[1])
	}
	for key, slot := range x.path.flows {
		if e := x.fast.Find(x.w.now, &key); e == nil || e.FastSlot != slot {
			x.fatal("slot %d is of no connection: %+v", slot, e)
		}
	}
}

// mischief is what an operator, or a kernel that is short of room, does meanwhile.
func (x *twins) mischief(policies []*Policy) {
	now, r := x.w.now, x.w.r
	x.time()
	each := func(do func(i int, e *Engine)) {
		do(0, x.fast)
		do(1, x.all)
	}
	switch r.IntN(12) {
	case 0:
		p, live := policies[r.IntN(len(policies))], Reload(r.IntN(2))
		if r.IntN(8) == 0 {
			live = ReloadDrop
		}
		x.path.epoch++
		each(func(_ int, e *Engine) { e.Swap(now, p, live) })
		x.unarmed(conntrack.FastReloaded)
	case 1:
		arms := Arms{Policies: []*Policy{policies[r.IntN(len(policies))], nil}, Assign: func(_ conntrack.Instant, tu *conntrack.Tuple) uint8 { return uint8(tu.SrcPort) % 3 }}
		x.path.epoch++
		each(func(_ int, e *Engine) { e.SetArms(now, arms) })
		x.unarmed(conntrack.FastReloaded)
	case 2:
		x.path.epoch++
		each(func(_ int, e *Engine) { e.Gap(now) })
		x.unarmed(conntrack.FastLiberal)
	case 3:
		port := 1000 + uint16(r.IntN(64))
		each(func(i int, e *Engine) {
			e.Kill(now, 0, 1<<30, func(e *conntrack.Entry) bool { return e.Tuple.SrcPort == port }, func(ev *TimeEvent) { x.timeEvent(i, ev) })
		})
	case 4, 5:
		each(func(i int, e *Engine) {
			e.RestartFlush()
			for e.FlushCounted(now, 7, func(ev *FlowEvent) { x.flow(i, ev) }) {
			}
		})
	case 6, 7: // a place is given up
		for key, slot := range x.path.flows {
			x.fast.SetSlot(&key, 0)
			x.path.remove(slot)
			break
		}
	case 8:
		if r.IntN(4) == 0 {
			x.restart(now)
		}
	case 9: // the owner was held up, and the program stands still
		x.path.stopped = true
	case 10:
		x.compareEntries()
	}
	x.compareEvents()
}

// unarmed looks whether no connection may be armed, for a reason or because it is gone.
func (x *twins) unarmed(reason conntrack.FastWhy) {
	for key := range x.path.flows {
		_, _, _, why := x.fast.ArmFast(x.w.now, &key)
		if x.whys[why]++; why != reason && why != conntrack.FastGone && why != conntrack.FastReloaded {
			x.fatal("may be armed: %q", why)
		}
	}
}

// restart saves what both remember, and goes on with new engines.
func (x *twins) restart(now conntrack.Instant) {
	for i, e := range []**Engine{&x.fast, &x.all} {
		(*e).RestartFlush()
		for (*e).FlushCounted(now, 100, func(ev *FlowEvent) { x.flow(i, ev) }) {
		}
		cfg := (*e).cfg
		cfg.Policy, cfg.Arms, cfg.FirstID = (*e).policy, (*e).arms, uint64(1+now)
		n := NewEngine(cfg)
		(*e).Save(now, 0, 1<<30, func(s *Saved) bool {
			if s.Entry.FastSlot != 0 || !n.Restore(now, 0, s) {
				x.fatal("%+v", s)
			}
			return true
		})
		*e = n
	}
	clear(x.path.flows)
	x.path.slots = x.path.slots[:1]
}
