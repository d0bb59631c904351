package conntrack

import "bytes"

// seen counts a segment.
func (e *Entry) seen(now Instant, dir Direction, s *Segment) {
	e.LastSeen = now
	e.Side[dir].Packets++
	e.Side[dir].Bytes += uint64(s.Bytes)
}

// remember keeps what later segments are judged by, whatever was decided about this one.
func (e *Entry) remember(dir Direction, s *Segment, f Finding) {
	switch f {
	case Malformed, ChecksumWrong, FlagsIllegal:
		return
	case OneSided, HandshakeOneSided:
		e.Flags |= EntryOneSided
	case AckForSyn:
		e.Challenge = s.Ack
		e.Flags |= EntryChallenge
	case AckForProbe, RstForProbe:
		e.answered(dir)
	case SeqAboveNear:
		// The receiver may take these bytes, and its ACK of them must not look like one of what was never sent.
		// Netfilter moves td_end for that; here End stays the next number, in case the segment was dropped.
		if snd := &e.Side[dir]; snd.End.Less(s.End()) {
			snd.near = s.End()
			snd.Flags |= sideNear
		}
	}
	if dir == Reply {
		e.Flags |= EntryReplied
	}
}

// annotate remembers the SYN s as candidate.
func (e *Entry) annotate(now Instant, dir Direction, s *Segment) {
	if s.Kind() != KindSYN {
		return
	}
	c := Candidate{Since: now, ISN: s.Seq, End: s.End(), Win: s.Window, Dir: dir}
	if s.Options.Has&OptWScale != 0 {
		c.Flags |= SideScale
		c.Scale = min(s.Options.WScale, 14)
	}
	if s.Options.Has&OptSACKPermitted != 0 {
		c.Flags |= SideSACK
	}
	if old := &e.Candidate; e.Flags&EntryCandidate != 0 && old.ISN == c.ISN && old.Dir == dir {
		c.Since = old.Since
	}
	e.Candidate = c
	e.Flags |= EntryCandidate
	e.LastDir, e.LastKind = dir, KindSYN
}

// rearm forgets the numbers of the end that sent a mismatched answer, so that its next SYN/ACK is taken as the first
// (OpenBSD pf.c, handshake mismatch while both peers are in SYN_SENT).
func (e *Entry) rearm(dir Direction) {
	if !e.State.Embryonic() || dir != Reply {
		return
	}
	s := &e.Side[dir]
	*s = Side{Packets: s.Packets, Bytes: s.Bytes, Flags: s.Flags & SideLiberal}
	e.Flags |= EntryRearmed
}

// reopen starts e anew from candidate c: its side from the candidate, the other unknown.
func (e *Entry) reopen(c *Candidate) {
	o, r := &e.Side[c.Dir], &e.Side[c.Dir.Other()]
	*o = Side{ISN: c.ISN, End: c.End, MaxEnd: c.End, MaxWin: max(uint32(c.Win), 1), Win: uint32(c.Win),
		Scale: c.Scale, Flags: c.Flags | SideSeen | SideSYN | SideKnown, Packets: o.Packets, Bytes: o.Bytes}
	*r = Side{Packets: r.Packets, Bytes: r.Bytes}
	e.Flags &^= EntryRearmed
	e.forget()
}

// forget forgets the candidate, and the ACK that answered it.
func (e *Entry) forget() {
	if e.Flags&(EntryCandidate|EntryChallenge) != 0 {
		e.Flags &^= EntryCandidate | EntryChallenge
		e.Candidate, e.Challenge = Candidate{}, 0
	}
}

// loosen makes e judged liberally until both ends have progressed.
func (e *Entry) loosen(gap uint32) {
	if (e.Side[0].Flags|e.Side[1].Flags)&SideLiberal == 0 {
		e.Flags |= entryHeals
	}
	for i := range e.Side {
		e.Side[i].Flags = e.Side[i].Flags&^SideProgress | SideLiberal
	}
	e.gap = gap
}

// Closed reports whether both ends have closed, or one has reset: what [ReplaceIfClosed] asks.
func (e *Entry) Closed() bool {
	return e.State == Close || e.State == TimeWait || e.Side[0].Flags&e.Side[1].Flags&SideFIN != 0
}

// pickUp fills e from a mid-stream segment and returns the segment's direction. Both sides are judged liberally until both
// have progressed.
func (e *Entry) pickUp(s *Segment) Direction {
	dir := Original
	if s.Kind() == KindSYNACK {
		// It answers a SYN that went another way: its sender is not the originator.
		e.Tuple = s.Tuple.Reverse()
		dir = Reply
	}
	e.Flags |= EntryPickedUp
	e.Side[0].Flags |= SideLiberal
	e.Side[1].Flags |= SideLiberal
	e.State = SynSent // lets a SYN/ACK set the numbers of its side
	e.Side[0].Scale, e.Side[1].Scale = unknownScale, unknownScale
	e.Side[dir.Other()].Flags |= SideSACK
	e.advance(dir, s)
	e.State = machine[dir][s.Kind()][StateNone]
	for i := range e.Side {
		e.Side[i].Flags &^= SideProgress
	}
	e.LastDir, e.LastKind = dir, s.Kind()
	return dir
}

// record adds the history letters of s that e does not have yet: Zeek's conn.log letters, upper case for the originator,
// each once.
func (e *Entry) record(dir Direction, s *Segment) {
	switch k := s.Kind(); k {
	case KindSYN:
		e.letter(dir, 's')
	case KindSYNACK:
		e.letter(dir, 'h')
	case KindRST:
		e.letter(dir, 'r')
	default:
		if s.Len > 0 {
			e.letter(dir, 'd')
		} else if k == KindACK {
			e.letter(dir, 'a')
		}
		if k == KindFIN {
			e.letter(dir, 'f')
		}
	}
}

func (e *Entry) letter(dir Direction, c byte) {
	if dir == Original {
		c -= 'a' - 'A'
	}
	n := int(e.HistoryN)
	if n >= len(e.History) {
		return
	}
	for _, h := range e.History[:n] {
		if h == c {
			return
		}
	}
	e.History[n] = c
	e.HistoryN++
}

// has reports whether a letter more would change nothing.
func (e *Entry) has(dir Direction, c byte) bool {
	if dir == Original {
		c -= 'a' - 'A'
	}
	n := int(e.HistoryN)
	return n >= len(e.History) || bytes.IndexByte(e.History[:n], c) >= 0
}
