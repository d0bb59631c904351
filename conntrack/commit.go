package conntrack

import "time"

// Params is what the owner knows about the rule that governs a segment's flow. Commit records it in the entry. Timeouts must
// not be nil.
type Params struct {
	Timeouts *Timeouts
	Timers   uint16
	Rule     int32
	Epoch    uint32
	Check    SeqCheck // how the flow is judged: under SeqKernel it is tracked that way too
	Arm      uint8    // of a new entry
	// Lead is how long before the deadline of an established connection the owner wants to be asked ([Config.Woken]), 0 for
	// never; Grace is what is added to its timeout for that.
	Lead, Grace time.Duration
	Caps        *Caps // nil for none
}

// timeout returns the timeout that a refresh gives e.
func (p *Params) timeout(e *Entry) time.Duration {
	d := p.Timeouts[e.State]
	if p.Caps != nil {
		d = e.capped(d, p.Caps, p.Check)
	}
	if e.State == Established {
		d += p.Grace
	}
	return d
}

// Change is what Commit did.
type Change struct {
	Entry         *Entry // after the commit, nil for none; valid until the table's next change
	Effect        Effect // what was done: replace-if-closed resolved, keep where there was nothing to do it to
	Before, After State  // StateNone for no entry
}

// Commit makes the table remember what was decided about segment s, which v and f describe. v must come from a Lookup of
// s.Tuple with nothing done to the table since, except by Room and Evict.
//
// Create and CreateLiberal do nothing where there is no room; a RST creates nothing. Track of a SYN past SYN_SENT is Annotate. Resync and Replace end the entry (reason
// EndReplaced) and begin another, with a flow id of its own, on the same tuple; but a handshake that is resynchronised goes on
// under its id. A timer left alone keeps its deadline; a new entry's is always set.
func (t *Table) Commit(now Instant, v *View, s *Segment, f Finding, e Effect, tm Timer, p *Params) Change {
	ent := v.Entry
	switch {
	case ent != nil && ent.State == Denied:
		return t.commitDenied(now, v, s, e, tm, p)
	case e == Deny:
		return t.deny(now, v, s, tm, p)
	case ent == nil:
		return t.commitNew(now, v, s, e, tm, p)
	}
	if p.Check == SeqKernel {
		return t.commitKernel(now, v, s, f, e, tm, p)
	}
	base := f.Base()
	c := Change{Entry: ent, Effect: resolve(ent, s, base, e), Before: ent.State}
	ent.measure(now, v.Dir, s, f)
	ent.seen(now, v.Dir, s)
	ent.remember(v.Dir, s, f)
	if f == HandshakeOneSided && c.Effect == Track {
		base = Handshake // the policy takes it for one
		ent.loosen(t.gap)
	}
	if v.Relaxed {
		ent.loosen(t.gap)
	}
	switch c.Effect {
	case Track:
		t.track(ent, v.Dir, s, base)
	case Annotate:
		ent.annotate(now, v.Dir, s)
	case Resync:
		c.Entry = t.resync(now, ent, v.Dir, s, tm, p)
		c.After = c.Entry.State
		return c
	case Replace:
		id := ent.ID
		t.bury(ent, EndReplaced, now)
		c.Entry = t.open(now, id, s, tm, p)
		c.After = c.Entry.State
		return c
	case Delete:
		why := EndDeleted
		if s.Flags&RST != 0 {
			why = EndRST
			ent.record(v.Dir, s)
		}
		t.bury(ent, why, now)
		c.Entry = nil
		return c
	case Rearm:
		ent.rearm(v.Dir)
	}
	c.After = ent.State
	t.settle(now, ent, tm, p)
	return c
}

// resolve returns the effect that e has on a live entry for this segment.
func resolve(ent *Entry, s *Segment, f Finding, e Effect) Effect {
	syn := s.Kind() == KindSYN
	if e == Create || e == CreateLiberal {
		e = Track // it is there already
	}
	switch {
	case e == Track && f == SynAckResync:
		return Resync
	case e == Track && syn && f != SynRetransmit && ent.State != SynSent && ent.State != SynSent2:
		return Annotate // a SYN past the handshake is none of this connection's; it may be the next one's
	case e == Track && (f == SynAckBadAck || f == SynAckWrongDirection || f == SynAckEstablished):
		return Keep // nor are these
	case e == ReplaceIfClosed && syn && ent.Closed():
		return Replace
	case e == ReplaceIfClosed, (e == Replace || e == Annotate) && !syn, e == Resync && ent.Flags&EntryCandidate == 0:
		return Keep
	}
	return e
}

// commitNew is Commit where nothing is remembered, or only an expired entry.
func (t *Table) commitNew(now Instant, v *View, s *Segment, e Effect, tm Timer, p *Params) Change {
	k := s.Kind()
	if e != Create && e != CreateLiberal || e == Create && k != KindSYN || k == KindRST || k == KindNone {
		return Change{}
	}
	previous := t.supersede(now, v, &s.Tuple)
	embryonic := k == KindSYN || k == KindSYNACK
	if t.Len() >= t.cfg.Max || embryonic && t.Embryonic() >= t.cfg.MaxEmbryonic {
		return Change{}
	}
	var ent *Entry
	if k == KindSYN {
		ent = t.open(now, previous, s, tm, p)
	} else {
		ent = t.newEntry(now, previous, s.Tuple)
		dir := Original
		if p.Check == SeqKernel && k == KindACK {
			ent.kernelOpen(s)
		} else {
			dir = ent.pickUp(s)
		}
		ent.seen(now, dir, s)
		ent.record(dir, s)
		t.start(now, ent, tm, p)
	}
	return Change{Entry: ent, Effect: e, After: ent.State}
}

// supersede buries what is left on the tuple that v shows, and returns the flow id of the tuple's last connection, 0 for none. Nothing has
// been made since the look-up, so where that saw nothing there is nothing.
func (t *Table) supersede(now Instant, v *View, tu *Tuple) uint64 {
	if v.Expired == nil {
		tomb, _ := t.tombstone(tu)
		return tomb.ID
	}
	var name name
	t.index.naming(tu, &name)
	if i := t.find(tu, &name); i != none {
		old := t.take(i)
		id := old.ID
		if t.lapsed(old, now) {
			t.bury(old, old.expiry(), old.Deadline)
		} else {
			t.bury(old, EndReplaced, now)
		}
		return id
	}
	tomb, _ := t.tombstone(tu)
	return tomb.ID
}

// newEntry returns an entry with the names of a new connection; start inserts it.
func (t *Table) newEntry(now Instant, previous uint64, tu Tuple) *Entry {
	e := t.alloc(&tu)
	e.ID, e.Previous, e.Created, e.Tuple, e.gap = t.newID(), previous, now, tu, t.gap
	return e
}

// open begins a connection from the SYN s.
func (t *Table) open(now Instant, previous uint64, s *Segment, tm Timer, p *Params) *Entry {
	e := t.newEntry(now, previous, s.Tuple)
	if p.Check == SeqKernel {
		e.kernelOpen(s)
	} else {
		e.State, e.LastKind = SynSent, KindSYN
		e.Side[Original].open(&e.Side[Reply], s)
		e.follow(Original, s)
	}
	e.seen(now, Original, s)
	e.record(Original, s)
	e.Watch = now
	if s.Len > 0 {
		e.ask(now)
	}
	t.start(now, e, tm, p)
	return e
}

// resync restarts e from its candidate, which the SYN/ACK s from dir proves, and returns the entry that goes on.
func (t *Table) resync(now Instant, e *Entry, dir Direction, s *Segment, tm Timer, p *Params) *Entry {
	c := e.Candidate
	if e.State.Embryonic() {
		e.reopen(&c)
		t.setState(e, SynSent)
		t.track(e, dir, s, SynAckResync)
		t.settle(now, e, tm, p)
		return e
	}
	tu, id := e.Tuple, e.ID
	if c.Dir == Reply {
		tu = tu.Reverse()
	}
	c.Dir = Original
	t.bury(e, EndReplaced, now)
	n := t.newEntry(now, id, tu)
	n.State = SynSent
	n.reopen(&c)
	n.Watch = c.Since
	n.letter(Original, 's')
	n.seen(now, Reply, s)
	t.start(now, n, Timer{}, p)
	t.track(n, Reply, s, SynAckResync)
	if tm.Op == TimerLeave {
		tm.Op = TimerRefresh // there was no timer to leave alone
	}
	t.settle(now, n, tm, p)
	return n
}

// track advances window, machine and history by s.
func (t *Table) track(e *Entry, dir Direction, s *Segment, f Finding) {
	k, before := s.Kind(), e.State
	if e.Flags&EntryCandidate != 0 && dir == e.Candidate.Dir && k != KindSYN && k != KindRST {
		e.forget() // its sender lives on in the old connection
	}
	if !(before == SynSent || before == SynSent2) || k == KindSYN || k == KindSYNACK || k == KindRST || f == Handshake {
		e.advance(dir, s) // else: before the SYN/ACK, numbers are another connection's
	}
	switch {
	case f == SimultaneousOpen:
		e.Flags |= EntrySimultaneous
	case k == KindSYNACK && before.Embryonic():
		e.Flags &^= EntryRearmed
		e.forget()
	}
	next := e.transition(dir, k)
	if f == Handshake && k == KindACK {
		next = Established
	} else if f == Handshake {
		next = FinWait // after a gap a FIN may be the first that shows it
	}
	t.setState(e, next)
	if dir == Reply {
		e.Flags |= EntryReplied
	}
	if e.Flags&EntryReplied != 0 && (before == SynRecv || before == Established) && e.State == Established {
		e.Flags |= EntryAssured
		t.relist(e)
	}
	if e.Side[0].Flags&e.Side[1].Flags&SideProgress != 0 {
		e.Side[0].Flags &^= SideLiberal
		e.Side[1].Flags &^= SideLiberal
	}
	e.LastDir, e.LastKind = dir, k
	e.record(dir, s)
}

// start sets a new entry's first timer and inserts it.
func (t *Table) start(now Instant, e *Entry, tm Timer, p *Params) {
	e.Timers, e.Rule, e.Epoch, e.Arm = p.Timers, p.Rule, p.Epoch, p.Arm
	e.Lead = p.Lead
	e.Timeout = p.timeout(e)
	if tm.Op == TimerShorten && tm.D < e.Timeout {
		e.Timeout = tm.D
		e.Flags |= EntryShortened
	}
	e.Refreshed, e.Deadline = now, now.Add(e.Timeout)
	e.rewake()
	t.insert(e)
}

// settle records the rule and does what tm says to the timer.
func (t *Table) settle(now Instant, e *Entry, tm Timer, p *Params) {
	e.Timers, e.Rule, e.Epoch, e.Lead = p.Timers, p.Rule, p.Epoch, p.Lead
	switch tm.Op {
	case TimerRefresh:
		e.Timeout = p.timeout(e)
		e.Refreshed, e.Deadline = now, now.Add(e.Timeout)
		e.Flags &^= EntryShortened
		e.relieve()
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
	e.rewake()
	t.retimed(e)
}
