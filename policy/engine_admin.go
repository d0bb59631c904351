package policy

import (
	"time"

	"halfopen/conntrack"
)

// Walk visits the flows among at most limit places of the table from cursor on (0 at first), and returns where to go on,
// below 0 at the end. fn sees expired flows that were not swept too; it must not change anything; false stops the walk.
func (e *Engine) Walk(cursor, limit int, fn func(*conntrack.Entry) bool) (next int) {
	return e.table.Walk(cursor, limit, func(ent *conntrack.Entry) bool {
		e.table.Peek(ent)
		return fn(ent)
	})
}

// RuleOf returns the name of the rule that governs a flow under its policy in force, "" for none.
func (e *Engine) RuleOf(ent *conntrack.Entry) string { return e.of(ent.Arm).RuleName(e.ruleOf(ent)) }

// Find returns the live flow of a tuple, in either direction, or nil. It is read-only and valid until the engine's next call.
func (e *Engine) Find(now conntrack.Instant, tu *conntrack.Tuple) *conntrack.Entry {
	var v conntrack.View
	e.table.Lookup(now, tu, &v)
	return v.Entry
}

// Kill ends the flows that match among at most limit places of the table from cursor on (0 at first), tells emit of each,
// and returns how many it ended and where to go on, below 0 at the end.
func (e *Engine) Kill(now conntrack.Instant, cursor, limit int, match func(*conntrack.Entry) bool, emit func(*TimeEvent)) (killed, next int) {
	e.now, e.emit = now, emit
	killed, next = e.table.KillAt(now, cursor, limit, conntrack.EndKilled, match)
	e.emit = nil
	return killed, next
}

// FlushCounted tells emit of each flow with forwards, of its own or of a fast path, that no flow event accounts for yet, and begins their count anew. It
// looks at no more than limit places of the table and goes on there at its next call; more is false at the end of the table,
// after which it begins anew. See [Engine.RestartFlush].
func (e *Engine) FlushCounted(now conntrack.Instant, limit int, emit func(*FlowEvent)) (more bool) {
	e.counted, e.plain.counted = nil, false
	e.flush = e.table.Walk(e.flush, limit, func(ent *conntrack.Entry) bool {
		e.table.Peek(ent)
		if ent.Counted > 0 || ent.Flags&conntrack.EntryFastUntold != 0 {
			ev := FlowEvent{Kind: FlowUpdate, At: now, By: e.of(ent.Arm), Rule: e.RuleOf(ent), Entry: *ent}
			ent.Counted = 0
			ent.FastUntold = [2]int64{}
			ent.Flags &^= conntrack.EntryFastUntold
			emit(&ev)
		}
		return true
	})
	if e.flush < 0 {
		e.flush = 0
		return false
	}
	return true
}

// RestartFlush makes the next FlushCounted begin at the first flow, so that the calls up to the one that says there is no
// more leave nothing out, as at shutdown.
func (e *Engine) RestartFlush() { e.flush = 0 }

// Saved is a flow as it is kept while no engine runs. The instants of Entry are relative to when it was saved.
type Saved struct {
	Entry    conntrack.Entry
	Timeouts conntrack.Timeouts
}

// Save tells fn of the live flows among at most limit places of the table from cursor on (0 at first), and returns where
// to go on, below 0 at the end. What FlushCounted has not told yet is not saved.
func (e *Engine) Save(now conntrack.Instant, cursor, limit int, fn func(*Saved) bool) (next int) {
	return e.table.Walk(cursor, limit, func(ent *conntrack.Entry) bool {
		e.table.TakeOver(ent)
		if ent.Deadline <= now {
			return true
		}
		s := Saved{Entry: *ent, Timeouts: *e.timers.set(ent.Timers)}
		s.Entry.Counted, s.Entry.FastSlot, s.Entry.FastLook, s.Entry.FastEvery = 0, 0, 0, 0
		s.Entry.FastUntold = [2]int64{}
		s.Entry.Flags &^= conntrack.EntryFastUntold
		s.Entry.Wake, s.Entry.Lead, s.Entry.Answered, s.Entry.Probe = 0, 0, 0, conntrack.Probe{} // asked anew after a restore
		s.Entry.Move(-time.Duration(now))
		return fn(&s)
	})
}

// Restore enters a saved flow, away after it was saved. It keeps its timeouts unless no rule of timeouts can be kept; the
// rule is matched anew, among its arm's. It reports false where the flow's time has run out, its tuple is taken, or there is no room. Its
// flow id stays, so the caller chooses an EngineConfig.FirstID that does not run into it.
func (e *Engine) Restore(now conntrack.Instant, away time.Duration, s *Saved) bool {
	ent := s.Entry
	ent.Move(time.Duration(now) - max(away, 0))
	ent.Counted = 0
	rule, flipped := e.match(&ent)
	ent.Marks = ent.Marks&markReset | uint8(flipped)
	p := e.params(ent.Arm, rule, e.timers.intern(&s.Timeouts))
	return e.table.Restore(now, &ent, &p)
}
