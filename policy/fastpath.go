package policy

import (
	"cmp"

	"halfopen/conntrack"
)

// FastPath is what lets the plain in-window segments of settled connections pass without the engine. It is called only for entries with
// a FastSlot, and must not call the engine. What Peek and Freeze return with true is taken over.
type FastPath interface {
	// Peek returns what has passed since the last call of Peek or Freeze; the connection stays armed. Its timer is due, or somebody
	// lists connections.
	Peek(e *conntrack.Entry) (conntrack.Progress, bool)
	// Freeze does the same after it has stopped the connection: a segment of it is about to be decided, or it is about to end. It may
	// be stopped already.
	Freeze(e *conntrack.Entry) (conntrack.Progress, bool)
	// Ended says that the entry is gone, after its flow event: the path forgets it.
	Ended(e *conntrack.Entry)
}

// ArmFast returns what a fast path needs to let the in-window segments of the connection tu (of either direction) pass, with its entry; or
// why it cannot. It is for the end of a batch: the connection must have been stopped since its last segment was stepped, and stays true
// only until its next one. Where it has its place there ([Engine.SetSlot]) the engine asks the path about it in time from now on, so
// only what comes from a call after that is to be armed with. The entry is nil where there is none, and valid until the engine's next call.
func (e *Engine) ArmFast(now conntrack.Instant, tu *conntrack.Tuple) (conntrack.Fast, conntrack.FastRules, *conntrack.Entry, conntrack.FastWhy) {
	var v conntrack.View
	e.table.Lookup(now, tu, &v)
	ent := v.Entry
	refuse := func(why conntrack.FastWhy) (conntrack.Fast, conntrack.FastRules, *conntrack.Entry, conntrack.FastWhy) {
		return conntrack.Fast{}, conntrack.FastRules{}, ent, why
	}
	switch {
	case ent == nil:
		return refuse(conntrack.FastGone)
	case ent.Epoch != e.epoch:
		return refuse(conntrack.FastReloaded)
	case v.Relaxed:
		return refuse(conntrack.FastLiberal)
	}
	by := e.of(ent.Arm)
	switch {
	case !by.settles[ent.Rule+1], e.policy.Log().Detail != LogDecision:
		return refuse(conntrack.FastPolicy)
	case e.holding(tu):
		return refuse(conntrack.FastHeld)
	}
	p := e.params(ent.Arm, ent.Rule, ent.Timers)
	f, r, why := ent.Fast(by.Window(ent.Rule), &p)
	if why == conntrack.FastReady && ent.FastSlot != 0 {
		e.table.Armed(now, ent, &r)
	}
	return f, r, ent, why
}

// StopFast stops the connection tu (of either direction) on the fast path, and takes over what that has seen of it.
func (e *Engine) StopFast(now conntrack.Instant, tu *conntrack.Tuple) {
	var v conntrack.View
	e.table.Lookup(now, tu, &v)
	if ent := cmp.Or(v.Entry, v.Expired); ent != nil {
		e.table.TakeOver(ent)
	}
}

// SetSlot notes the place of the connection tu (of either direction) on the fast path, 0 for none, and reports whether the connection
// is remembered.
func (e *Engine) SetSlot(tu *conntrack.Tuple, slot uint32) bool { return e.table.SetSlot(tu, slot) }

// takeOver stops the connection that v shows on the fast path, before a segment of it is decided, and looks it up again.
func (e *Engine) takeOver(now conntrack.Instant, s *conntrack.Segment, v *conntrack.View) {
	if ent := cmp.Or(v.Entry, v.Expired); ent != nil && ent.FastSlot != 0 {
		e.table.TakeOver(ent)
		e.table.Lookup(now, &s.Tuple, v)
	}
}

// settles reports whether a fast path may let in-window segments of the rule pass: they are forwarded, tracked and refresh the timer, and
// nothing else is done about them or depends on them. What is taken of them at most is what such a segment does not have: it is no SYN,
// and one with an urgent pointer does not pass.
func (t *tables) settles() bool {
	for dir := range t.actions {
		a := &t.actions[dir][conntrack.InWindow]
		if a.Packet != Forward && a.Packet != Rewrite || a.Strip&^(StripUrgent|StripData|StripMSS) != 0 || a.Reply != ReplyNone || a.Peer != PeerNone ||
			a.State != conntrack.Track || a.Timer.Op != conntrack.TimerRefresh || a.conditional() {
			return false
		}
	}
	return t.upkeep.Refresh == RefreshEither && t.upkeep.Probes.Tries == 0
}
