package conntrack

// kernel names what the kernel's tracking makes of a segment.
func (j *judgement) kernel(relaxed bool) Finding {
	k := j.e.kernel(relaxed)
	v := k.packet(j.dir, j.s)
	if f, ok := j.kernelUnfit(&v); ok {
		return f
	}
	switch j.s.Kind() {
	case KindSYN:
		if v.fate == kernelInvalid {
			return SynEstablishedReverse
		}
		return j.syn()
	case KindSYNACK:
		return j.kernelSynAck(&v)
	case KindRST:
		return j.kernelRST(&v)
	case KindFIN:
		if v.fate == kernelInvalid {
			return FinOutOfWindow
		}
		return Fin
	}
	return j.kernelACK(&v)
}

// kernelUnfit names a segment that the windows refuse; ok is false for any other, and for a RST, which has names of its own.
func (j *judgement) kernelUnfit(v *kernelVerdict) (_ Finding, ok bool) {
	kind := j.s.Kind()
	if v.fate == kernelAccept || v.why != whyWindow && v.why != whyResync || kind == KindRST {
		return 0, false
	}
	switch {
	case kind == KindFIN && v.fate == kernelInvalid:
		return FinOutOfWindow, true
	case kind == KindACK && v.fate == kernelInvalid && j.e.State == SynRecv && j.dir == Original:
		return HandshakeBadAck, true
	}
	return [...]Finding{fits: InWindow, seqNear: SeqAboveNear, seqHigh: SeqAbove, seqLow: SeqBelow, ackHigh: AckAbove, ackLow: AckBelow}[v.fit], true
}

func (j *judgement) kernelSynAck(v *kernelVerdict) Finding {
	switch again := j.snd.Flags&SideSYN != 0 && j.snd.ISN == j.s.Seq; {
	case v.fate == kernelInvalid:
		return SynAckWrongDirection
	case again && j.answers() && (j.e.State == SynRecv || v.why != whyResync && v.next != SynRecv):
		return SynAckRetransmit // after its SYN again too, for which the kernel starts over
	case v.why == whyResync:
		return SynAckResync
	case !j.e.State.Embryonic():
		return SynAckEstablished
	case j.answers() || j.rcv.Flags&SideSYN == 0:
		return SynAck
	}
	return SynAckBadAck
}

func (j *judgement) kernelRST(v *kernelVerdict) Finding {
	if j.e.asked(j.dir) && j.s.Seq == j.e.Probe.Ack[j.dir] {
		return RstForProbe
	}
	exact := j.s.Seq == j.snd.End || j.rcv.Flags&SideMaxAck != 0 && j.s.Seq == j.rcv.MaxAck || j.snd.Flags&SideKnown == 0
	switch {
	case v.fate == kernelInvalid:
		return RstOutOfWindow
	case v.why == whyRSTForSYN:
		return RstForSyn
	case v.why == whyRSTForACK:
		return RstAfterChallenge
	case exact && v.fate == kernelAccept && v.next == Close:
		return Rst
	}
	return RstInexact
}

func (j *judgement) kernelACK(v *kernelVerdict) Finding {
	switch {
	case v.fate == kernelInvalid && j.s.Len > 0:
		return DataBeforeHandshake
	case v.fate == kernelInvalid:
		return HandshakeBadAck
	case v.fate == kernelIgnore:
		return AckForSyn
	case j.e.State == SynRecv && v.next == Established:
		return Handshake
	case j.e.State == Close:
		return DataAfterRst
	case j.snd.Flags&SideFIN != 0 && j.snd.FINEnd.Less(j.s.End()):
		return DataAfterFin
	case j.s.Len == 0 && j.e.asked(j.dir) && j.e.Probe.Answered&(1<<j.dir) == 0:
		return AckForProbe
	}
	return InWindow
}

// commitKernel is Commit under [SeqKernel]. The kernel keeps what it ignored and what it took from invalid segments in mind
// whatever its rule set does with them, so that is done for any effect; only a SYN must be annotated, because one that was
// dropped is not answered. Windows and state follow with Track, but not for what is ignored or invalid to the kernel.
func (t *Table) commitKernel(now Instant, v *View, s *Segment, f Finding, e Effect, tm Timer, p *Params) Change {
	ent := v.Entry
	c := Change{Entry: ent, Before: ent.State}
	ent.measure(now, v.Dir, s, f)
	f = f.Base()
	ent.seen(now, v.Dir, s)
	if v.Relaxed {
		ent.loosen(t.gap)
	}
	if f == AckForProbe || f == RstForProbe {
		ent.answered(v.Dir)
	}
	proper := f != Malformed && f != ChecksumWrong && f != FlagsIllegal
	k := ent.kernel(false)
	verdict := kernelVerdict{fate: kernelInvalid}
	if proper {
		verdict = k.packet(v.Dir, s)
	}
	c.Effect = resolveKernel(&verdict, s, f, e)
	switch {
	case c.Effect == Replace:
		id := ent.ID
		t.bury(ent, EndReplaced, now)
		c.Entry = t.open(now, id, s, tm, p)
		c.After = c.Entry.State
		return c
	case c.Effect == Delete, c.Effect == Track && verdict.fate == kernelAccept && s.Flags&RST != 0 && !k.replied:
		c.Effect = Delete // a RST is all the answer that there was
		why := EndDeleted
		if s.Flags&RST != 0 {
			why = EndRST
			ent.record(v.Dir, s)
		}
		t.bury(ent, why, now)
		c.Entry = nil
		return c
	case c.Effect == Resync:
		if tm.Op == TimerLeave && !ent.State.Embryonic() {
			tm.Op = TimerRefresh // there will be no timer to leave alone
		}
		ent = t.resyncKernel(now, ent, s, &k, p)
		c.Entry = ent
	}
	if c.Effect == Track && verdict.fate == kernelAccept || c.Effect == Resync {
		t.trackKernel(ent, v.Dir, s, &k, &verdict)
	} else if proper && verdict.fate != kernelAccept && (s.Kind() != KindSYN || c.Effect != Keep || verdict.why != whyTable) {
		ent.Side, ent.last = k.side, k.last
		ent.annotate(now, v.Dir, s)
	}
	if c.Effect == Rearm {
		ent.rearm(v.Dir)
	}
	c.After = ent.State
	t.settle(now, ent, timerKernel(&verdict, s, f, tm, k.replied, p), p)
	if proper && v.Dir == Reply && verdict.fate != kernelInvalid {
		ent.Flags |= EntryReplied // after the timer: the first answer is still capped
	}
	return c
}

// timerKernel returns what tm does to the timer under the kernel's verdict: only what is tracked refreshes it, and a SYN again that
// nobody answered does not. A FIN or RST out of window that answers another shows that the numbers here are stale.
func timerKernel(v *kernelVerdict, s *Segment, f Finding, tm Timer, replied bool, p *Params) Timer {
	switch {
	case v.stuck && tm.Op == TimerLeave && p.Caps != nil && p.Caps.Unacknowledged > 0:
		return Timer{TimerShorten, p.Caps.Unacknowledged}
	case f == RstInexact && v.fate == kernelIgnore: // the timer of CLOSE is for a RST that was accepted
		return Timer{}
	case tm.Op == TimerRefresh && (v.fate != kernelAccept || s.Kind() == KindSYN && !replied):
		return Timer{}
	}
	return tm
}

// resolveKernel returns the effect that e has under the kernel's verdict.
func resolveKernel(v *kernelVerdict, s *Segment, f Finding, e Effect) Effect {
	syn := s.Kind() == KindSYN
	switch {
	case e == Create || e == CreateLiberal:
		e = Track
	case (e == Replace || e == ReplaceIfClosed) && (f == SynTimeWait || f == SynAfterRst):
		if v.fate != kernelReopen {
			return Annotate // not every closed connection makes room: see packet
		}
		return Replace
	}
	switch {
	case e == Track && f == SynAckResync && v.fate == kernelAccept:
		return Resync
	case e == Track && v.fate == kernelReopen:
		return Replace
	case e == Resync && (f != SynAckResync || v.fate != kernelAccept), e == Replace && !syn:
		return Keep
	}
	return e
}

// resyncKernel begins the connection that a SYN/ACK proved. The kernel goes on with its entry, which stays assured; here
// an established connection ends and the new one gets an id of its own.
func (t *Table) resyncKernel(now Instant, e *Entry, s *Segment, k *kernelTracker, p *Params) *Entry {
	if e.State.Embryonic() {
		return e
	}
	tu, id, flags, since := e.Tuple, e.ID, e.Flags&(EntryAssured|EntryReplied), e.Candidate.Since
	t.bury(e, EndReplaced, now)
	n := t.newEntry(now, id, tu)
	n.State, n.Flags, n.Watch = SynSent, flags, since
	n.letter(Original, 's')
	t.start(now, n, Timer{}, p)
	n.seen(now, Reply, s)
	for i := range k.side {
		k.side[i].Packets, k.side[i].Bytes = n.Side[i].Packets, n.Side[i].Bytes
	}
	return n
}

// trackKernel makes windows, machine and history follow an accepted segment.
func (t *Table) trackKernel(e *Entry, dir Direction, s *Segment, k *kernelTracker, v *kernelVerdict) {
	kind, before := s.Kind(), e.State
	e.answer(dir, s)
	for i := range k.side {
		k.side[i].Retrans = e.Side[i].Retrans
	}
	e.Side, e.last = k.side, k.last
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	e.follow(dir, s)
	snd.Flags &^= SideRST
	if kind == KindRST {
		snd.Flags |= SideRST
	}
	if kind == KindFIN && (snd.Flags&SideFIN == 0 || snd.FINEnd.Less(s.End())) {
		snd.FINEnd = s.End()
		snd.Flags = snd.Flags&^SideFINAck | SideFIN
	}
	if rcv.Flags&SideFIN != 0 && s.Flags&ACK != 0 && rcv.FINEnd.LessEq(s.Ack) {
		rcv.Flags |= SideFINAck
	}
	e.kernelHeal(dir, s, v)
	if v.next == SynSent2 {
		e.Flags |= EntrySimultaneous
	}
	t.setState(e, v.next)
	if k.replied && (before == SynRecv || before == Established) && v.next == Established {
		e.Flags |= EntryAssured
		t.relist(e)
	}
	e.LastDir, e.LastKind = dir, kind
	e.record(dir, s)
}

// kernelHeal lets go of the leniency after a gap once both ends have progressed. A connection that was picked up stays
// liberal for life, as in the kernel.
func (e *Entry) kernelHeal(dir Direction, s *Segment, v *kernelVerdict) {
	if e.Flags&entryHeals == 0 {
		return
	}
	if v.lenient && s.Flags&(SYN|RST) == 0 {
		e.adopt(dir, s)
	}
	if e.Side[0].Flags&e.Side[1].Flags&SideProgress != 0 {
		e.Side[0].Flags &^= SideLiberal
		e.Side[1].Flags &^= SideLiberal
		e.Flags &^= entryHeals
	}
}

// kernelOpen fills e from its first segment, a SYN or an ACK of mid-stream: tcp_new, and what follows it.
func (e *Entry) kernelOpen(s *Segment) {
	k := kernelTracker{}
	snd := &k.side[Original]
	snd.End, snd.MaxEnd, snd.Win = s.End(), s.End(), uint32(s.Window)
	snd.MaxWin = max(snd.Win, 1)
	snd.Flags = SideSeen | SideKnown
	if s.Kind() == KindSYN {
		snd.ISN = s.Seq
		snd.Flags |= SideSYN
		snd.options(s)
	} else {
		snd.MaxEnd = snd.End.Add(snd.MaxWin)
		snd.Flags |= SideSACK | SideLiberal
		k.side[Reply].Flags = SideSACK | SideLiberal
		e.Flags |= EntryPickedUp
	}
	v := k.packet(Original, s)
	e.Side, e.last, e.State = k.side, k.last, v.next
	e.follow(Original, s)
	for i := range e.Side {
		e.Side[i].Flags &^= SideProgress
	}
	e.LastDir, e.LastKind = Original, s.Kind()
}
