package conntrack

// open starts a side from its SYN or SYN/ACK (tcp_init_sender in nf_conntrack_proto_tcp.c).
func (snd *Side) open(rcv *Side, s *Segment) {
	flags, packets, bytes := SideSeen|SideSYN|SideKnown|snd.Flags&SideLiberal, snd.Packets, snd.Bytes
	*snd = Side{}
	snd.ISN, snd.End, snd.MaxEnd, snd.MaxWin, snd.Win = s.Seq, s.End(), s.End(), max(uint32(s.Window), 1), uint32(s.Window)
	snd.Flags, snd.Packets, snd.Bytes = flags, packets, bytes
	if s.Options.Has&OptWScale != 0 {
		snd.Flags |= SideScale
		snd.Scale = min(s.Options.WScale, 14)
	}
	if s.Options.Has&OptSACKPermitted != 0 {
		snd.Flags |= SideSACK
	}
	if rcv.Flags&SideSYN != 0 && snd.Flags&rcv.Flags&SideScale == 0 {
		snd.Scale, rcv.Scale = 0, 0 // both SYNs must carry the option (RFC 7323 section 2.2)
	}
}

// advance enters a tracked segment into the window of e: the second half of tcp_in_window.
func (e *Entry) advance(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	k := s.Kind()
	e.answer(dir, s)
	snd.Flags |= SideSeen
	if k == KindRST {
		snd.Flags |= SideRST
		return // its acknowledgment and window are nobody's promise
	}
	snd.Flags &^= SideRST
	if k == KindSYN || k == KindSYNACK {
		if e.State.Embryonic() {
			e.advanceSYN(dir, s)
			e.follow(dir, s)
		}
		if k == KindSYN || !e.State.Embryonic() {
			return // outside the handshake a SYN says nothing about this connection
		}
	} else if snd.Flags&SideKnown == 0 || snd.Flags&SideLiberal != 0 && judge(e, dir, s, &Rules{}) != fits {
		e.adopt(dir, s)
		return
	}
	e.follow(dir, s)
	e.advanceData(dir, s)
	win := uint32(s.Window)
	if s.Flags&SYN == 0 {
		win <<= snd.Scale
	}
	snd.Win = win
	if s.Flags&ACK != 0 {
		e.advanceACK(dir, s, win)
	}
	if rcv.Flags&SideFIN != 0 && s.Flags&ACK != 0 && rcv.FINEnd.LessEq(s.Ack) {
		rcv.Flags |= SideFINAck
	}
}

// follow takes over what a segment says of its sender beside numbers: from a SYN the largest segment that it takes, and the
// timestamp (RFC 7323 section 4.3, with what the gateway knows of Last.ACK.sent: it may lag, and is then the milder).
func (e *Entry) follow(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if s.Flags&RST != 0 {
		return
	}
	if s.Flags&SYN != 0 && s.Options.Has&OptMSS != 0 {
		e.MSS[dir] = s.Options.MSS
	}
	if s.Options.Has&OptTimestamp == 0 {
		return
	}
	first := snd.Flags&SideTimestamp == 0 && (s.Flags&SYN != 0 || snd.Flags&SideSYN == 0) // a SYN without one negotiates none
	next := snd.Flags&SideTimestamp != 0 && rcv.Flags&SideMaxAck != 0 && s.Seq.LessEq(rcv.MaxAck) && int32(s.Options.TSVal-snd.TSRecent) >= 0
	if first || next {
		snd.TSRecent = s.Options.TSVal
		snd.Flags |= SideTimestamp
	}
}

// answer counts what an end repeats while the other says nothing.
func (e *Entry) answer(dir Direction, s *Segment) {
	snd := &e.Side[dir]
	e.Side[dir.Other()].Retrans = 0
	switch {
	case e.repeats(dir, s):
		snd.Retrans = min(snd.Retrans, 254) + 1
	case snd.End.Less(s.End()):
		snd.Retrans = 0
	}
}

// adopt takes a segment's numbers as they are: the first that is seen of its end, or one that a gap made incomparable. It is no
// progress; the next that fits is.
func (e *Entry) adopt(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if snd.Flags&SideSYN == 0 {
		snd.Flags |= SideSACK
		snd.Scale = unknownScale
	}
	end := s.End()
	snd.Win = uint32(s.Window) << snd.Scale
	snd.MaxWin = max(snd.MaxWin, snd.Win, 1)
	snd.End, snd.MaxEnd = end, end.Add(max(rcv.MaxWin, 1))
	snd.Flags = snd.Flags&^(SideFIN|SideFINAck) | SideKnown
	if s.Options.Has&OptTimestamp != 0 && (snd.Flags&SideTimestamp != 0 || snd.Flags&SideSYN == 0) {
		snd.TSRecent = s.Options.TSVal
		snd.Flags |= SideTimestamp
	}
	if s.Flags&FIN != 0 {
		snd.FINEnd = end
		snd.Flags |= SideFIN
	}
	if s.Flags&ACK == 0 {
		return
	}
	snd.MaxAck = s.Ack
	snd.Flags |= SideMaxAck
	if rcv.Flags&SideKnown == 0 || rcv.End.Less(s.Ack) || rcv.End.Diff(s.Ack) > maxWindow {
		rcv.End = s.Ack
		rcv.Flags |= SideKnown
	}
	rcv.MaxEnd = s.Ack.Add(max(snd.Win, 1))
	if rcv.MaxEnd.Less(rcv.End) {
		rcv.MaxEnd = rcv.End
	}
}

// advanceData enters the sequence numbers of a segment.
func (e *Entry) advanceData(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	end := s.End()
	if snd.MaxEnd.Less(end) {
		if rcv.MaxWin != 0 {
			rcv.MaxWin = min(rcv.MaxWin+uint32(end-snd.MaxEnd), maxWindow)
		}
		snd.MaxEnd = end
	}
	if snd.End.Less(end) {
		snd.End = end
		snd.Flags |= SideProgress
		snd.reached()
	}
	snd.fragment(s)
	if s.Flags&FIN != 0 && (snd.Flags&SideFIN == 0 || snd.FINEnd.Less(end)) {
		snd.FINEnd = end
		snd.Flags = snd.Flags&^SideFINAck | SideFIN
	}
}

// maxDatagram is the longest IP packet, in bytes (RFC 791 section 3.1; RFC 8200 section 4.5 for what fragments make up).
const maxDatagram = 65535

// reached forgets what lay above End and does so no longer: two gigabytes on it would seem to again.
func (snd *Side) reached() {
	if snd.Flags&sideNear != 0 && snd.near.LessEq(snd.End) {
		snd.near = 0
		snd.Flags &^= sideNear
	}
}

// fragment notes that the end has sent more than was seen: the other end may acknowledge as much as a datagram can carry.
func (snd *Side) fragment(s *Segment) {
	if s.Fragment {
		snd.near = s.Seq.Add(maxDatagram)
		snd.Flags |= sideNear
	}
}

// advanceACK enters the acknowledgment and the window (in bytes) of a segment.
func (e *Entry) advanceACK(dir Direction, s *Segment, win uint32) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	ack, sack := ackOf(rcv, s)
	switch {
	case rcv.Flags&SideKnown == 0:
		rcv.End, rcv.MaxEnd = ack, ack
		rcv.Flags |= SideKnown
	case rcv.End.Less(ack):
		rcv.End = ack // under a policy that lets it pass: segments of the other end went past the gateway
	}
	snd.MaxWin = max(snd.MaxWin, min(win+uint32(max(sack.Diff(ack), 0)), maxWindow))
	if snd.Flags&SideMaxAck == 0 {
		snd.MaxAck = ack
		snd.Flags |= SideMaxAck
	} else if snd.MaxAck.Less(ack) {
		snd.MaxAck = ack
		snd.Flags |= SideProgress
	}
	if edge := sack.Add(max(win, 1)); rcv.MaxEnd.Less(edge) {
		rcv.MaxEnd = edge
	}
}

// advanceSYN lets a SYN or SYN/ACK of a handshake set the numbers of its side.
func (e *Entry) advanceSYN(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if snd.Flags&SideSYN != 0 && snd.ISN == s.Seq {
		return // again: what it said first stands
	}
	if snd.Flags&SideSYN != 0 && s.Flags&ACK == 0 {
		// Either SYN may be the one that is answered. Track the new one, whether its number is higher or lower; the old one
		// becomes the candidate.
		e.Candidate = Candidate{Since: e.Watch, ISN: snd.ISN, End: snd.End, Win: uint16(min(snd.Win, 0xffff)), Scale: snd.Scale,
			Flags: snd.Flags & (SideScale | SideSACK), Dir: dir}
		e.Flags |= EntryCandidate
	}
	snd.open(rcv, s)
}
