package policy

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"halfopen/conntrack"
)

// waitingSegment is a segment in the queue.
type waitingSegment struct {
	s       conntrack.Segment
	punt    uint64
	deliver func()
}

// fastTwins are two engines that see the same: one with a fast path and a queue, and one that sees everything itself at the same instants.
type fastTwins struct {
	name   string
	t      *testing.T
	w      *network
	fast   *Engine
	all    *Engine
	path   *simPath
	queue  []waitingSegment
	events [2]map[uint64][]FlowEvent // told since the last comparison, by flow
	timed  [2][]string
	told   [2]uint64           // forwards in flow events
	gone   [2]uint64           // packets and bytes that had passed of connections which ended
	parts  map[uint64][2]int64 // what flow events told of as passed since the one before, by flow
	steps  int
	whys   [conntrack.NumFastWhys]int
}

func newFastTwins(t *testing.T, w *network, cfg EngineConfig) *fastTwins {
	x := &fastTwins{t: t, w: w, parts: map[uint64][2]int64{}, path: &simPath{flows: map[conntrack.Tuple]uint32{}, slots: make([]simFlow, 1), epoch: 1}}
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

func (x *fastTwins) fatal(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("%s, at %d: %s", x.name, x.w.now, fmt.Sprintf(format, args...))
}

// gate takes a segment through the program and, where it does not pass, to the queue.
func (x *fastTwins) gate(s conntrack.Segment, deliver func()) {
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
func (x *fastTwins) batch() {
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

func (x *fastTwins) install(now conntrack.Instant, tu *conntrack.Tuple) conntrack.FastWhy {
	_, _, e, why := x.fast.ArmFast(now, tu)
	if x.whys[why]++; why == conntrack.FastReady {
		x.fast.SetSlot(tu, x.path.install(e.Tuple))
	}
	return why
}

func (x *fastTwins) arm(now conntrack.Instant, tu *conntrack.Tuple) {
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
func (x *fastTwins) step(now conntrack.Instant, s *conntrack.Segment) *Outcome {
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
func (x *fastTwins) time() {
	now := x.w.now
	for i, e := range []*Engine{x.fast, x.all} {
		for e.Advance(now, 1+x.w.r.IntN(8), func(ev *TimeEvent) { x.timeEvent(i, ev) }) {
		}
	}
	x.compareEvents()
}

func (x *fastTwins) timeEvent(i int, ev *TimeEvent) {
	if ev.Kind == TimeFlow {
		x.flow(i, &ev.Flow)
		return
	}
	x.timed[i] = append(x.timed[i], fmt.Sprint(ev.At, ev.Kind, ev.Finding, ev.Emit, ev.HasEmit, ev.Omitted, ev.Verdict, ev.Rule, core(&ev.Flow.Entry)))
}

func (x *fastTwins) flow(i int, ev *FlowEvent) {
	id := ev.Entry.ID
	x.told[i] += ev.Entry.Counted
	if i == 0 {
		x.passed(ev)
	}
	if ev.Kind == FlowEnd {
		x.gone[0] += ev.Entry.FastPackets[0] + ev.Entry.FastPackets[1]
		x.gone[1] += ev.Entry.FastBytes[0] + ev.Entry.FastBytes[1]
	}
	x.events[i][id] = append(x.events[i][id], *ev)
}

// passed holds what flow events tell of as passed, each for itself, against what they tell in all.
func (x *fastTwins) passed(ev *FlowEvent) {
	f := &ev.Entry
	parts := x.parts[f.ID]
	for n, now := range f.FastUntold {
		parts[n] += now
	}
	x.parts[f.ID] = parts
	if parts != [2]int64{int64(f.FastPackets[0] + f.FastPackets[1]), int64(f.FastBytes[0] + f.FastBytes[1])} {
		x.fatal("flow events told of %v packets and bytes that passed, of %v and %v", parts, f.FastPackets, f.FastBytes)
	}
	if ev.Kind == FlowEnd {
		delete(x.parts, f.ID)
	}
}

// core returns all of an entry that does not tell whether a fast path let something pass, nor where the table keeps it.
func core(e *conntrack.Entry) string {
	c := *e
	c.Counted, c.FastPackets, c.FastBytes, c.FastSlot, c.FastLook, c.FastEvery = 0, [2]uint64{}, [2]uint64{}, 0, 0, 0
	c.FastUntold = [2]int64{}
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
func (x *fastTwins) compareEvents() {
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
func (x *fastTwins) compareEntries() {
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
