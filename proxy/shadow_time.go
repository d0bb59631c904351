package proxy

import (
	"bytes"
	"cmp"
	"slices"

	"halfopen/conntrack"
	"halfopen/policy"
)

// timeDeed is what time alone has made an engine do about a connection: packets that it made, or the verdict of a segment that it held.
type timeDeed struct {
	key     conntrack.Tuple // canonical
	at      conntrack.Instant
	live    bool // of the policy in force; else of the shadow
	trigger string
	rule    string
	verdict policy.PacketAction // with release
	release bool
	emit    [2]policy.Emit
	has     [2]bool
	created conntrack.Instant
	tuple   conntrack.Tuple // in original direction
	arm     uint8
	flow    uint64 // of the policy in force
	state   conntrack.State
	last    conntrack.Instant // of its last segment
}

// kind returns the kind of a packet for an end, "" for none.
func (d *timeDeed) kind(dir conntrack.Direction) string {
	if !d.has[dir] {
		return ""
	}
	return d.emit[dir].Kind
}

// triggerRelease is the trigger of a time deed that ends a hold.
const triggerRelease = "release"

// compare orders deeds so that those that may be the same on both sides are neighbours.
func (d *timeDeed) compare(o *timeDeed) int {
	side := func(b bool) int {
		if b {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(d.at, o.at), bytes.Compare(d.key.Src[:], o.key.Src[:]), bytes.Compare(d.key.Dst[:], o.key.Dst[:]),
		cmp.Compare(d.key.SrcPort, o.key.SrcPort), cmp.Compare(d.key.DstPort, o.key.DstPort), cmp.Compare(d.trigger, o.trigger),
		cmp.Compare(side(d.live), side(o.live)))
}

// same reports whether the policy in force and a shadow did the same at the same time.
func (d *timeDeed) same(o *timeDeed) bool {
	return d.live != o.live && d.at == o.at && d.key == o.key && d.trigger == o.trigger && d.release == o.release && d.verdict == o.verdict &&
		d.kind(0) == o.kind(0) && d.kind(1) == o.kind(1)
}

// timeDeedOf fills a deed from an event that is no end of a hold, and reports whether it is one: what makes no packet changes nothing.
func timeDeedOf(d *timeDeed, ev *policy.TimeEvent) bool {
	if !ev.HasEmit[0] && !ev.HasEmit[1] {
		return false
	}
	e := &ev.Flow.Entry
	*d = timeDeed{at: ev.At, trigger: ev.Trigger(), rule: ev.Rule, emit: ev.Emit, has: ev.HasEmit, created: e.Created, tuple: e.Tuple, state: e.State,
		last: e.LastSeen}
	d.key, _ = e.Tuple.Canonical()
	return true
}

// releaseOf fills a deed from the end of a hold of a segment with this tuple.
func releaseOf(d *timeDeed, ev *policy.TimeEvent, tu conntrack.Tuple) {
	*d = timeDeed{at: ev.At, trigger: triggerRelease, release: true, verdict: ev.Verdict, emit: ev.Emit, has: ev.HasEmit, tuple: tu, created: ev.At, last: ev.At}
	d.key, _ = tu.Canonical()
}

// maxTimes bounds the deeds of a shadow that wait to be compared: beyond it they are compared as they are, so that of a mass of ends some
// may count as a disagreement that another turn would have found the other side of.
const maxTimes = 4096

// liveTime notes what time has made the policy in force do.
func (ss *shadows) liveTime(ev *policy.TimeEvent) {
	if ss == nil || ev.Kind == policy.TimeFlow {
		return
	}
	var d timeDeed
	if ev.Kind == policy.TimeRelease {
		h, ok := ss.held[ev.Hold]
		if !ok {
			return
		}
		delete(ss.held, ev.Hold)
		releaseOf(&d, ev, h)
	} else if !timeDeedOf(&d, ev) {
		return
	}
	d.live, d.flow, d.arm = true, ev.Flow.Entry.ID, ev.Flow.Entry.Arm
	for _, sh := range ss.list {
		if !sh.missed { // else nothing of it would be claimed, and it may be long until somebody compares
			sh.times = append(sh.times, d)
		}
	}
}

// timeEvent takes down what time has made the shadow do.
func (sh *shadow) timeEvent(ev *policy.TimeEvent) {
	for _, has := range ev.HasEmit {
		if has {
			sh.tally.Injected++
		}
	}
	var d timeDeed
	switch ev.Kind {
	case policy.TimeFlow:
		if ev.Flow.Kind == policy.FlowEnd {
			sh.tally.ended[ev.Flow.Why]++
		}
		return
	case policy.TimeRelease:
		tu, ok := sh.holds[ev.Hold]
		if !ok {
			return
		}
		delete(sh.holds, ev.Hold)
		releaseOf(&d, ev, tu)
	default:
		if !timeDeedOf(&d, ev) {
			return
		}
	}
	sh.times = append(sh.times, d)
}

// advance lets the shadows do what time alone causes, at most limit ends of each, and compares that with what it has made the policy in
// force do: where both have come up to now, whose next timer is liveNext.
func (ss *shadows) advance(now conntrack.Instant, limit int, liveNext conntrack.Instant) {
	for _, sh := range ss.list {
		if sh.engine.Next() <= now {
			sh.engine.Advance(now, limit, sh.timeEvent)
		}
		if len(sh.times) > 0 && (liveNext > now && sh.engine.Next() > now || len(sh.times) >= maxTimes) {
			ss.settleTimes(sh)
		}
	}
}

// advanceAll is advance from timer to timer, as a replay goes, for a policy in force that has come up to now.
func (ss *shadows) advanceAll(now conntrack.Instant) {
	for _, sh := range ss.list {
		for next := sh.engine.Next(); next <= now; next = sh.engine.Next() {
			sh.now = max(sh.now, next)
			sh.engine.Advance(sh.now, expireChunk, sh.timeEvent)
		}
		if len(sh.times) > 0 {
			ss.settleTimes(sh)
		}
	}
}

// settleTimes compares what time has done on both sides.
func (ss *shadows) settleTimes(sh *shadow) {
	slices.SortStableFunc(sh.times, func(a, b timeDeed) int { return a.compare(&b) })
	for i := 0; i < len(sh.times); i++ {
		d := &sh.times[i]
		if i+1 < len(sh.times) && d.same(&sh.times[i+1]) {
			i++
			continue
		}
		var other *timeDeed // the same end of a hold, otherwise
		if i+1 < len(sh.times) && d.release && sh.times[i+1].release && d.live && !sh.times[i+1].live && d.key == sh.times[i+1].key && d.at == sh.times[i+1].at {
			other = &sh.times[i+1]
			i++
		}
		ss.timed(sh, d, other)
	}
	sh.times = sh.times[:0]
}

// timed books what time made one side do and not the other; other is what it made the shadow do instead, nil for nothing.
func (ss *shadows) timed(sh *shadow, d, other *timeDeed) {
	bits := ss.parted.of(d.key)
	if bits&sh.bit != 0 {
		return
	}
	if sh.gapAt != 0 && d.created <= sh.gapAt { // what it has missed has set no timer
		sh.tally.TimedRelaxed++
		return
	}
	live, would := nothing, d.trigger
	switch {
	case other != nil:
		live = d.trigger
	case d.live:
		live, would = d.trigger, nothing
	}
	sh.tally.byTime(live, would)
	ss.partedNow(d.key, bits|sh.bit)
	ss.event = shadowEvent{sh: sh, live: d, would: other}
	if !d.live {
		ss.event.live, ss.event.would = nil, d
		if ent := ss.engine.Find(d.at, &d.tuple); ent != nil {
			d.flow, d.arm = ent.ID, ent.Arm
		}
	}
	ss.event.by = ss.engine.Arm(d.arm)
	if ss.record == nil || !ss.record(&ss.event) {
		sh.tally.Unrecorded++
	}
}

// shadowEvent is a first disagreement that time has caused. live and would are what each side did, nil for nothing.
type shadowEvent struct {
	sh          *shadow
	by          *policy.Policy // of the connection
	live, would *timeDeed
}
