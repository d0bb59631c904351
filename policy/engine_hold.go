package policy

import (
	"slices"

	"halfopen/conntrack"
)

// DefaultHolds is how many segments an engine holds at a time where EngineConfig.MaxHolds is 0.
const DefaultHolds = 1024

// held is a segment that waits in the second queue.
type held struct {
	token    uint64
	key      conntrack.Tuple // canonical
	from     conntrack.Tuple // the segment's own
	deadline conntrack.Instant
	then     PacketAction
	reply    Emit // to the sender, with hasReply, where the deadline decides
	hasReply bool
}

// holds are the held segments of an engine.
type holds struct {
	list []held
	max  int
	last uint64
	next conntrack.Instant // the earliest deadline
}

func (h *holds) init(limit int) {
	if h.max = limit; limit <= 0 {
		h.max = DefaultHolds
	}
	h.next = conntrack.Never
}

func (h *holds) n() int { return len(h.list) }

// hold enters a segment whose action is Hold. The reply part of the action is sent when its time has passed (RFC 5382 REQ-4:
// an unsolicited SYN is answered after six seconds, and not at all if the other end dials meanwhile). Where no more can be
// held, the segment is treated as if its time had passed.
func (e *Engine) hold(now conntrack.Instant, s *conntrack.Segment, a *Action) {
	h, out := &e.holds, &e.out
	if len(h.list) >= h.max {
		out.Verdict = a.HoldThen
		return
	}
	h.last++
	w := held{token: h.last, from: s.Tuple, deadline: now.Add(a.HoldFor), then: a.HoldThen, reply: out.Reply, hasReply: out.HasReply}
	w.key, _ = s.Tuple.Canonical()
	h.list = append(h.list, w)
	h.next = min(h.next, w.deadline)
	out.Hold, out.HoldUntil = w.token, w.deadline
	out.Reply, out.HasReply = Emit{}, false
}

// decideHolds lets go early what the step's segment decides. A SYN of the other end overtakes the held segment, which is
// then dropped without a word (RFC 5382 REQ-4a). A connection that is established or ended by now has no use for waiting.
func (e *Engine) decideHolds(now conntrack.Instant, s *conntrack.Segment) {
	out := &e.out
	key, _ := s.Tuple.Canonical()
	for i := 0; i < len(e.holds.list); {
		w := &e.holds.list[i]
		if w.key != key || w.token == out.Hold {
			i++
			continue
		}
		passed := out.Verdict == Forward || out.Verdict == Rewrite
		switch {
		case passed && s.Kind() == conntrack.KindSYN && s.Tuple != w.from:
			e.release(now, i, Drop, false)
		case out.After == conntrack.Established || out.Before != conntrack.StateNone && out.After == conntrack.StateNone:
			e.release(now, i, w.then, false)
		default:
			i++
		}
	}
}

// holding reports whether a segment of the connection tu is held.
func (e *Engine) holding(tu *conntrack.Tuple) bool {
	if e.holds.n() == 0 {
		return false
	}
	key, _ := tu.Canonical()
	return slices.ContainsFunc(e.holds.list, func(w held) bool { return w.key == key })
}

// releaseDue lets go what has waited long enough.
func (e *Engine) releaseDue(now conntrack.Instant) {
	if e.holds.next > now {
		return
	}
	for i := 0; i < len(e.holds.list); {
		if w := &e.holds.list[i]; w.deadline <= now {
			e.release(w.deadline, i, w.then, true)
			continue
		}
		i++
	}
}

// ReleaseHolds gives every held segment the verdict, as a gateway that stops does: Forward, so that it cuts nobody off, or
// Drop where the operator has chosen to fail closed.
func (e *Engine) ReleaseHolds(now conntrack.Instant, verdict PacketAction, emit func(*TimeEvent)) {
	e.now = now
	e.emit = emit
	e.tellPending()
	for len(e.holds.list) > 0 {
		e.release(now, 0, verdict, false)
	}
	e.emit = nil
}

// release takes the i-th hold out and tells its verdict. Order is kept: segments of a flow leave as they came.
func (e *Engine) release(at conntrack.Instant, i int, verdict PacketAction, reply bool) {
	h := &e.holds
	w := h.list[i]
	h.list = append(h.list[:i], h.list[i+1:]...)
	h.next = conntrack.Never
	for j := range h.list {
		h.next = min(h.next, h.list[j].deadline)
	}
	ev := TimeEvent{Kind: TimeRelease, At: at, Hold: w.token, Verdict: verdict}
	if reply && w.hasReply {
		ev.Emit[0], ev.HasEmit[0] = w.reply, true
	}
	e.tell(&ev)
}
