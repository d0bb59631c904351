package policy

import "halfopen/conntrack"

// Advance does what time alone causes, up to now: entries whose timer ran out end, held segments are let go, and what a
// reload left to do goes on. It takes at most limit entries of each, tells every event to emit in order, and reports
// whether there is more to do now.
func (e *Engine) Advance(now conntrack.Instant, limit int, emit func(*TimeEvent)) (more bool) {
	e.now = now
	e.emit = emit
	e.tellPending()
	e.reloadChunk(now, limit)
	e.table.Advance(now, limit)
	e.relievePressure(now, limit)
	e.releaseDue(now)
	e.emit = nil
	return e.Next() <= now
}

// tellPending tells what steps have left to tell.
func (e *Engine) tellPending() {
	for i := range e.pending {
		e.emit(&e.pending[i])
	}
	e.pending = e.pending[:0]
}

// Next returns an instant before which Advance has nothing to do; [conntrack.Never] when nothing is to come.
func (e *Engine) Next() conntrack.Instant {
	if len(e.pending) > 0 || e.reload.walking {
		return e.now
	}
	return min(e.table.Next(), e.holds.next, e.nextPressure())
}

// timed applies the action on a finding about no packet: a RST to the originator for its reply part, one to the other end for its
// peer part. It tells an event where there is something to tell, and returns the action.
func (e *Engine) timed(kind TimeKind, f conntrack.Finding, ent *conntrack.Entry, rule int32, at conntrack.Instant) *Action {
	by := e.of(ent.Arm)
	a := by.Action(rule, conntrack.Original, f)
	if kind == TimeExpired && a.Reply == ReplyNone && a.Peer == PeerNone {
		return a // its FlowEnd says it all
	}
	ev := TimeEvent{Kind: kind, At: at, Finding: f, Action: *a, Rule: by.RuleName(rule),
		Flow: FlowEvent{Kind: FlowUpdate, At: at, By: by, Rule: by.RuleName(rule), Entry: *ent}}
	if a.Reply != ReplyNone {
		ev.HasEmit[conntrack.Original], ev.Omitted[conntrack.Original] = expiryReply(&ev.Emit[conntrack.Original], ent, a)
	}
	ev.HasEmit[conntrack.Reply], ev.Omitted[conntrack.Reply] = peerRST(&ev.Emit[conntrack.Reply], ent, conntrack.Reply, a)
	if ev.HasEmit[conntrack.Reply] && a.Peer == PeerRSTTracked ||
		ev.HasEmit[conntrack.Original] && (a.Reply == ReplyRST || a.Reply == ReplyRSTTracked) { // the handshake's are none an end accepts
		ent.Marks |= markReset
	}
	resets := uint8(0)
	for dir, rst := range [...]bool{a.Reply.rst(), a.Peer.rst()} {
		if rst && ev.HasEmit[dir] {
			resets++
		}
	}
	if resets > 0 {
		intervened(ent, resets)
	}
	e.mark(&ev)
	e.tell(&ev)
	return a
}

// mark gives what an event makes its policy's TTL.
func (e *Engine) mark(ev *TimeEvent) {
	for i := range ev.Emit {
		ev.Emit[i].Segment.TTL = ev.Flow.By.Injection().TTL
	}
}
