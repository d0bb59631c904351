package conntrack

import "time"

// Kill ends v's entry, if it has one.
func (t *Table) Kill(now Instant, v *View, why EndReason) {
	if v.Entry != nil {
		t.bury(v.Entry, why, now)
		v.Entry = nil
	}
}

// KillAt ends the entries that match among at most limit places from cursor on (0 at first). It returns how many it ended
// and where to go on, below 0 at the end, so that a worker can do it in chunks. Expired entries end by their timer.
func (t *Table) KillAt(now Instant, cursor, limit int, why EndReason, match func(*Entry) bool) (killed, next int) {
	next = t.Walk(cursor, limit, func(e *Entry) bool {
		t.Peek(e) // what matches may depend on it
		switch {
		case t.lapsed(e, now):
			t.bury(e, e.expiry(), e.Deadline)
		case match(e):
			t.bury(e, why, now)
			killed++
		}
		return true
	})
	return killed, next
}

// Walk visits the entries among at most limit places from cursor on (0 at first) and returns where to go on, below 0 at
// the end. An entry stays at its place for life, so a walk in chunks meets each entry that lives throughout exactly once;
// entries that expired and were not swept are met too, and what a fast path has seen is not taken over unless fn does it (Peek or
// TakeOver). fn must not change the table otherwise, keep the entry, or write anything of it but Counted, Timers and FastUntold with [EntryFastUntold];
// false stops the walk after this entry.
func (t *Table) Walk(cursor, limit int, fn func(*Entry) bool) (next int) {
	for i := max(cursor, 0); i < t.top; i++ {
		if limit--; limit < 0 {
			return i
		}
		r := t.record(int32(i))
		open := r.desk() != 0
		if !open && r.state() == StateNone {
			continue
		}
		e := t.glance(int32(i))
		counted, timers, flags, absorbed := e.Counted, e.Timers, e.Flags, t.absorbed
		more := fn(e)
		if !open && e.index == int32(i) && e.Counted == counted && e.Timers == timers && e.Flags == flags && t.absorbed == absorbed {
			t.leave(e)
		}
		if !more {
			if i+1 < t.top {
				return i + 1
			}
			break
		}
	}
	return -1
}

// Move moves the entry's instants, as to another clock.
func (e *Entry) Move(by time.Duration) {
	for _, at := range [...]*Instant{&e.Created, &e.LastSeen, &e.Refreshed, &e.Deadline, &e.Watch, &e.Candidate.Since} {
		if *at != Never {
			*at = at.Add(by)
		}
	}
}

// Restore inserts a copy of saved entry e. Its times must already be on the table's clock. It is refused when its tuple is
// taken, its deadline has passed, there is no room, or its state is none. Segments may have passed since it was saved, so it is
// judged liberally until both directions have progressed. Flow ids stay; p may be nil to keep the rule and timers as saved.
func (t *Table) Restore(now Instant, e *Entry, p *Params) bool {
	var name name
	t.index.naming(&e.Tuple, &name)
	if taken := t.find(&e.Tuple, &name) != none; taken || e.State == StateNone || e.State >= NumStates || e.Deadline <= now {
		return false
	}
	if t.Len() >= t.cfg.Max || e.State.Embryonic() && t.Embryonic() >= t.cfg.MaxEmbryonic {
		return false
	}
	n := t.alloc(&e.Tuple)
	index := n.index
	*n = *e
	n.index, n.list, n.queued, n.history, n.FastSlot = index, none, Never, 0, 0
	n.FastLook, n.FastEvery = 0, 0
	n.loosen(t.gap)
	if p != nil {
		n.Timers, n.Rule, n.Epoch, n.Lead = p.Timers, p.Rule, p.Epoch, p.Lead
	}
	n.Probe = Probe{}
	n.rewake()
	t.insert(n)
	return true
}

// Retime gives e the timeouts, rule and epoch of p, as after a reload: the deadline is reckoned anew from when the timer was last
// set. A shortened timer is not lengthened.
func (t *Table) Retime(now Instant, e *Entry, p *Params) {
	e.Timers, e.Rule, e.Epoch, e.Lead = p.Timers, p.Rule, p.Epoch, p.Lead
	d := e.Refreshed.Add(p.timeout(e))
	if e.Flags&EntryShortened != 0 && d >= e.Deadline {
		return
	}
	e.Timeout, e.Deadline = p.timeout(e), d
	e.rewake()
	t.retimed(e)
}

// Tombstones returns how many tombstones are kept.
func (t *Table) Tombstones() int { return t.tombs.Len() }

// SetLimits changes the table's bounds, as a reload may; the values mean what they do in [Config]. Entries beyond a smaller
// bound stay; they only make no room for others. To begin with a bound per source takes a walk over the table.
func (t *Table) SetLimits(entries, embryonic, tombstones, perSource int) {
	before := t.cfg.MaxPerSource
	t.cfg.Max, t.cfg.MaxEmbryonic, t.cfg.Tombstones, t.cfg.MaxPerSource = entries, embryonic, tombstones, perSource
	t.cfg.normalise()
	if before > 0 != (perSource > 0) {
		t.countSources()
	}
	t.tombs.resize(tombstones)
}

// Relax says that segments may have passed the gateway unseen (a gap): every present entry is judged liberally until both of
// its directions have progressed. It costs nothing but a number: an entry learns of it when its next segment comes.
func (t *Table) Relax() { t.gap++ }
