package conntrack

import "time"

// FastPath is what a fast path tells the table. It is asked only about entries with a FastSlot, and must not call the table. What it
// returns with true is absorbed.
type FastPath interface {
	// Peek returns what has passed since the last call of either function. The connection stays on the fast path.
	Peek(e *Entry) (Progress, bool)
	// Freeze is Peek after stopping the connection on the fast path: from then on each segment of it is left to the engine.
	Freeze(e *Entry) (Progress, bool)
}

// Fast returns what a fast path needs to know of the connection to judge its segments as [Classify] does with r, and to let it follow
// them as [Table.Commit] does with p; or why it cannot. The entry must not be stale: see [View.Relaxed].
func (e *Entry) Fast(r *Rules, p *Params) (f Fast, fr FastRules, why FastWhy) {
	if why = e.fastWhy(r, p); why != FastReady {
		return f, fr, why
	}
	f = Fast{LastSeen: e.LastSeen, Deadline: e.Deadline, Timeout: e.Timeout, LastDir: uint32(e.LastDir),
		Stall: e.Stall, Retransmits: e.Retransmits}
	if e.Flags&EntryStalled != 0 {
		f.Stalled = 1
	}
	for n := range e.Side {
		s := &e.Side[n]
		f.Side[n] = FastSide{End: s.End, MaxEnd: s.MaxEnd, MaxAck: s.MaxAck, MaxWin: s.MaxWin, Win: s.Win, TSRecent: s.TSRecent,
			Flags: s.Flags, Scale: s.Scale, Retrans: s.Retrans}
	}
	l := &e.last
	f.Last = FastLast{Seq: l.seq, Ack: l.ack, End: l.end, Win: l.win, Dir: l.dir, Kind: l.kind, Retrans: uint32(l.retrans)}
	fr = FastRules{Timeout: p.Timeouts[Established], Check: r.Check, ACK: r.ACK, Retransmits: uint8(r.retransmits()), First: e.fastFirst(),
		MSS: [2]uint16{e.MSS[1], e.MSS[0]}}
	if c := p.Caps; c != nil {
		fr.Retransmitted, fr.Unacknowledged, fr.ZeroWindow = c.Retransmitted, c.Unacknowledged, c.ZeroWindow
	}
	return f, fr, FastReady
}

// fastWhy returns the first reason against a fast path.
func (e *Entry) fastWhy(r *Rules, p *Params) FastWhy {
	const both = SideSeen | SideKnown
	a, b := &e.Side[0], &e.Side[1]
	either := a.Flags | b.Flags
	switch {
	case e.State != Established:
		return FastState
	case e.Flags&(EntryAssured|EntryReplied) != EntryAssured|EntryReplied:
		return FastUnassured
	case a.Flags&b.Flags&both != both || a.MaxWin == 0 || b.MaxWin == 0:
		return FastOneSided
	case e.Flags&(EntryCandidate|EntryChallenge) != 0:
		return FastCandidate
	case either&(SideFIN|SideRST) != 0:
		return FastClosing
	case r.Check == SeqKernel && e.Flags&entryHeals != 0, r.Check != SeqKernel && either&SideLiberal != 0:
		return FastLiberal // not what the kernel check picked up, which stays liberal
	case e.Flags&EntryShortened != 0:
		return FastShortened
	case p.Lead != 0 || p.Grace != 0 || !e.Probe.none():
		return FastProbed
	case either&sideNear != 0:
		return FastFragmented
	}
	return FastReady
}

// fastFirst returns which segments are the first of their kind: those that bring a letter of the history, and those by which the time of
// the first response is measured.
func (e *Entry) fastFirst() (first uint8) {
	for dir := Original; dir <= Reply; dir++ {
		if !e.has(dir, 'd') {
			first |= FastFirstData << dir
		}
		if !e.has(dir, 'a') {
			first |= FastFirstACK << dir
		}
	}
	switch {
	case e.Flags&(EntryResponded|EntryPickedUp) != 0:
	case e.Flags&EntryAsked != 0:
		first |= FastFirstData << Reply
	default:
		first |= FastFirstData << Original
	}
	return first
}

// Absorb enters what a fast path saw of the connection tu, of either direction, which afterwards is what stepping those segments would
// have made of it. It reports whether the connection is remembered and alive then: one that looked expired comes back to life.
func (t *Table) Absorb(now Instant, tu *Tuple, p *Progress) bool {
	var name name
	t.index.naming(tu, &name)
	i := t.find(tu, &name)
	if i == none {
		return false
	}
	e := t.take(i)
	t.absorb(e, p)
	return e.Deadline > now
}

// Peek takes over what a fast path has seen of e.
func (t *Table) Peek(e *Entry) {
	if e.FastSlot != 0 && t.cfg.Fast != nil {
		if p, ok := t.cfg.Fast.Peek(e); ok {
			t.absorb(e, &p)
		}
	}
}

// TakeOver stops e on a fast path and takes over what that has seen of it, so that the entry is true until it is armed again.
func (t *Table) TakeOver(e *Entry) {
	if e.FastSlot != 0 && t.cfg.Fast != nil {
		if p, ok := t.cfg.Fast.Freeze(e); ok {
			t.absorb(e, &p)
		}
	}
}

// Armed says that e, which has a FastSlot, is let pass by r from now on. A segment that passes may set a timeout shorter than the one that
// e has, by a cap; so the table asks the fast path before the shortest can have run out.
func (t *Table) Armed(now Instant, e *Entry, r *FastRules) {
	e.FastEvery = r.Timeout
	for _, c := range [...]time.Duration{r.Retransmitted, r.Unacknowledged, r.ZeroWindow} {
		if c > 0 {
			e.FastEvery = min(e.FastEvery, c)
		}
	}
	e.FastEvery = max(e.FastEvery, time.Millisecond)
	e.FastLook = now.Add(e.FastEvery)
	t.retimed(e)
}

// lapsed reports whether the timer of e has run out, by what a fast path has seen too. An entry that it reports of is on none any more.
func (t *Table) lapsed(e *Entry, now Instant) bool {
	if e.Deadline <= now {
		t.Peek(e)
	}
	if e.Deadline <= now {
		t.TakeOver(e)
	}
	return e.Deadline <= now
}

// SetSlot writes the FastSlot of the entry of tu, of either direction, and reports whether there is one. What passed at another place is
// taken over.
func (t *Table) SetSlot(tu *Tuple, slot uint32) bool {
	var name name
	t.index.naming(tu, &name)
	i := t.find(tu, &name)
	if i == none {
		return false
	}
	e := t.take(i)
	if e.FastSlot != slot {
		t.TakeOver(e)
		e.FastLook, e.FastEvery = 0, 0
	}
	e.FastSlot = slot
	return true
}

func (t *Table) absorb(e *Entry, p *Progress) {
	if p.Packets[0]|p.Packets[1] == 0 {
		return
	}
	t.absorbed++
	for n := range e.Side {
		e.Side[n].Packets += p.Packets[n]
		e.Side[n].Bytes += p.Bytes[n]
		e.FastPackets[n] += p.Packets[n]
		e.FastBytes[n] += p.Bytes[n]
		e.FastUntold[0] += int64(p.Packets[n])
		e.FastUntold[1] += int64(p.Bytes[n])
	}
	e.Flags |= EntryFastUntold
	f := &p.Fast
	if f.LastSeen == 0 {
		return
	}
	e.Stall, e.Retransmits = f.Stall, f.Retransmits
	e.Flags &^= EntryStalled
	if f.Stalled != 0 {
		e.Flags |= EntryStalled
	}
	for n := range e.Side {
		s, q := &e.Side[n], &f.Side[n]
		s.End, s.MaxEnd, s.MaxAck, s.MaxWin, s.Win, s.TSRecent = q.End, q.MaxEnd, q.MaxAck, q.MaxWin, q.Win, q.TSRecent
		s.Flags, s.Retrans = q.Flags, q.Retrans
	}
	l := &f.Last
	e.last.seq, e.last.ack, e.last.end, e.last.win = l.Seq, l.Ack, l.End, l.Win
	e.last.dir, e.last.kind, e.last.retrans = l.Dir, l.Kind, uint8(l.Retrans)
	e.LastDir, e.LastKind = Direction(f.LastDir), KindACK
	e.LastSeen, e.Refreshed = f.LastSeen, f.LastSeen
	e.Timeout, e.Deadline = f.Timeout, f.Deadline
	e.rewake()
	t.retimed(e)
}
