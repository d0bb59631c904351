package conntrack

// Params is what the owner knows about the rule that governs a segment's flow. Commit records it in the entry.
type Params struct {
	Timeouts *Timeouts
	Timers   uint16
	Rule     int32
	Epoch    uint32
}

// Change is what Commit did.
type Change struct {
	Entry         *Entry // after the commit, nil for none; valid until the table's next change
	Effect        Effect // what was done: replace-if-closed resolved, keep where there was nothing to do it to
	Before, After State  // StateNone for no entry
}

// Commit makes the table remember what was decided about segment s, which v and f describe. A Create that finds no room
// does nothing. v must come from a Lookup of s.Tuple with nothing done to the table since, except by Room and Evict.
//
// Resync and Replace end the entry (reason EndReplaced) and begin another, with a flow id of its own, on the same tuple;
// but a handshake that is resynchronised goes on under its id.
func (t *Table) Commit(now Instant, v *View, s *Segment, f Finding, e Effect, tm Timer, p *Params) Change {
	ent := v.Entry
	if ent == nil {
		return t.commitNew(now, s, f, e, tm, p)
	}
	c := Change{Entry: ent, Effect: e, Before: ent.State}
	if e == ReplaceIfClosed {
		c.Effect = Keep
		if ent.Closed() {
			c.Effect = Replace
		}
	}
	ent.seen(now, v.Dir, s)
	ent.remember(v.Dir, s, f)
	if v.Relaxed {
		ent.loosen(t.relax)
	}
	switch c.Effect {
	case Track:
		t.track(ent, v.Dir, s, f)
	case Annotate:
		ent.annotate(v.Dir, s)
	case Resync:
		return t.resync(now, ent, v.Dir, s, tm, p, c)
	case Replace:
		if s.Kind() == KindSYN {
			return t.replace(now, ent, s, tm, p, c)
		}
		c.Effect = Keep
	case Delete:
		c.Entry = nil
		why := EndDeleted
		if s.Flags&RST != 0 {
			why = EndRST
		}
		t.bury(ent, why, now)
		return c
	case Create, CreateLiberal: // there is an entry already
		c.Effect = Track
		t.track(ent, v.Dir, s, f)
	case Rearm:
		ent.rearm(v.Dir)
	}
	c.After = ent.State
	t.settle(now, ent, tm, p)
	return c
}

// commitNew is Commit where nothing is remembered, or only an expired entry.
func (t *Table) commitNew(now Instant, s *Segment, f Finding, e Effect, tm Timer, p *Params) Change {
	liberal := e == CreateLiberal && s.Kind() != KindSYN
	if e != Create && e != CreateLiberal || e == Create && s.Kind() != KindSYN || s.Kind() == KindRST {
		return Change{}
	}
	previous := t.supersede(s.Tuple, now)
	if t.Len() >= t.cfg.Max || !liberal && t.Embryonic() >= t.cfg.MaxEmbryonic {
		return Change{}
	}
	ent := t.alloc()
	ent.ID, ent.Previous, ent.Created, ent.Tuple = t.newID(), previous, now, s.Tuple
	dir := Original
	if liberal {
		dir = ent.pickUp(s)
	} else {
		ent.State = SynSent
		ent.Side[Original].open(&ent.Side[Reply], s)
		ent.LastKind = KindSYN
	}
	ent.relaxed = t.relax
	ent.seen(now, dir, s)
	ent.record(dir, s)
	t.start(now, ent, tm, p)
	return Change{Entry: ent, Effect: e, After: ent.State}
}

// supersede buries what is left on the tuple and returns the flow id of the tuple's last connection.
func (t *Table) supersede(tu Tuple, now Instant) uint64 {
	key, _ := tu.Canonical()
	if i, ok := t.lookup[key]; ok {
		old := t.at(i)
		id := old.ID
		if old.Deadline <= now {
			t.bury(old, expiryReason(old.State), old.Deadline)
		} else {
			t.bury(old, EndReplaced, now)
		}
		return id
	}
	tomb, _ := t.tombstone(key)
	return tomb.ID
}

// track advances window, machine and history by s.
func (t *Table) track(e *Entry, dir Direction, s *Segment, f Finding) {
	if e.Flags&EntryCandidate != 0 && dir == e.Candidate.Dir && s.Flags&(SYN|RST) == 0 && !e.State.Embryonic() {
		e.Flags &^= EntryCandidate | EntryChallenge // its sender lives on in the old connection
	}
	before := e.State
	e.advance(dir, s)
	if f == SimultaneousOpen {
		e.Flags |= EntrySimultaneous
	}
	if k := s.Kind(); k == KindSYNACK && before.Embryonic() {
		e.Flags &^= EntryRearmed | EntryChallenge
	}
	t.setState(e, e.transition(dir, s.Kind()))
	if dir == Reply {
		e.Flags |= EntryReplied
	}
	if e.Flags&EntryReplied != 0 && (before == SynRecv || before == Established) && e.State == Established {
		e.Flags |= EntryAssured
	}
	if e.Side[0].Flags&e.Side[1].Flags&SideProgress != 0 {
		e.Side[0].Flags &^= SideLiberal
		e.Side[1].Flags &^= SideLiberal
	}
	e.LastDir, e.LastKind = dir, s.Kind()
	e.record(dir, s)
}

// resync restarts e from its candidate, which the SYN/ACK s proves.
func (t *Table) resync(now Instant, e *Entry, dir Direction, s *Segment, tm Timer, p *Params, c Change) Change {
	if e.Flags&EntryCandidate == 0 {
		c.Effect, c.After = Keep, e.State
		t.settle(now, e, tm, p)
		return c
	}
	cand := e.Candidate
	if !e.State.Embryonic() {
		old := *e
		t.bury(e, EndReplaced, now)
		e = t.alloc()
		e.ID, e.Previous, e.Created, e.Tuple = t.newID(), old.ID, now, old.Tuple
		if cand.Dir == Reply {
			e.Tuple = old.Tuple.Reverse()
		}
		cand.Dir, dir = Original, Reply
		e.State = SynSent
		t.insert(e)
		e.seen(now, dir, s)
	}
	o := &e.Side[cand.Dir]
	*o = Side{ISN: cand.ISN, End: cand.End, MaxEnd: cand.End, MaxWin: max(uint32(cand.Win), 1), Win: uint32(cand.Win),
		Scale: cand.Scale, Flags: cand.Flags | SideSeen | SideSYN | SideKnown, Packets: o.Packets, Bytes: o.Bytes}
	r := &e.Side[dir]
	*r = Side{Packets: r.Packets, Bytes: r.Bytes}
	e.Flags &^= EntryCandidate | EntryChallenge | EntryRearmed
	e.relaxed = t.relax
	t.setState(e, SynSent)
	t.track(e, dir, s, SynAckResync)
	c.Entry, c.After = e, e.State
	t.settle(now, e, tm, p)
	if c.Entry.Timeout == 0 && tm.Op != TimerRefresh {
		t.settle(now, e, Timer{Op: TimerRefresh}, p)
	}
	return c
}

// replace ends e and begins a connection from the SYN s.
func (t *Table) replace(now Instant, e *Entry, s *Segment, tm Timer, p *Params, c Change) Change {
	old := e.ID
	t.bury(e, EndReplaced, now)
	n := t.alloc()
	n.ID, n.Previous, n.Created, n.Tuple, n.State = t.newID(), old, now, s.Tuple, SynSent
	n.Side[Original].open(&n.Side[Reply], s)
	n.LastKind = KindSYN
	n.relaxed = t.relax
	n.seen(now, Original, s)
	n.record(Original, s)
	t.start(now, n, tm, p)
	c.Entry, c.After = n, SynSent
	return c
}

// start sets a new entry's first timer and inserts it.
func (t *Table) start(now Instant, e *Entry, tm Timer, p *Params) {
	e.Timers, e.Rule, e.Epoch = p.Timers, p.Rule, p.Epoch
	e.Timeout = p.Timeouts[e.State]
	if tm.Op == TimerShorten && tm.D < e.Timeout {
		e.Timeout = tm.D
		e.Flags |= EntryShortened
	}
	e.Refreshed, e.Deadline = now, now.Add(e.Timeout)
	t.insert(e)
}

// settle records the rule and does what tm says to the timer.
func (t *Table) settle(now Instant, e *Entry, tm Timer, p *Params) {
	e.Timers, e.Rule, e.Epoch = p.Timers, p.Rule, p.Epoch
	switch tm.Op {
	case TimerRefresh:
		e.Timeout = p.Timeouts[e.State]
		e.Refreshed, e.Deadline = now, now.Add(e.Timeout)
		e.Flags &^= EntryShortened
	case TimerShorten:
		d := now.Add(tm.D)
		if d >= e.Deadline {
			return
		}
		e.Timeout, e.Refreshed, e.Deadline = tm.D, now, d
		e.Flags |= EntryShortened
	default:
		return
	}
	t.retimed(e)
}
