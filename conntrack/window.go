package conntrack

// maxAckWindow is how far an ACK may lag behind (MAXACKWINCONST in nf_conntrack_proto_tcp.c), unless its sender's window
// is larger.
const maxAckWindow = 66000

// unknownScale is the window shift assumed of an end whose SYN was not seen: the largest (RFC 7323 section 2.3), so that
// an unknown scale never makes a good segment look out of window.
const unknownScale = 14

// fit is how a segment's numbers fit the window.
type fit uint8

const (
	fits fit = iota
	seqNear
	seqHigh
	seqLow
	ackHigh
	ackLow
)

// judge compares a segment with the window that e remembers: tcp_in_window of nf_conntrack_proto_tcp.c, after Guido van Rooij,
// "Real Stateful TCP Packet Filtering in IP Filter". It changes nothing.
func judge(e *Entry, dir Direction, s *Segment, near uint32) fit {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if snd.Flags&SideKnown == 0 {
		return fits // nothing to compare with: the first segment of this end
	}
	_, sack := ackOf(rcv, s)
	end := s.End()
	ackFits := rcv.Flags&SideKnown == 0 || sack.LessEq(rcv.End)
	ackRecent := rcv.Flags&SideKnown == 0 || rcv.End.Add(-lag(snd)).LessEq(sack)
	inReceive := rcv.MaxWin == 0 || snd.End.Add(-rcv.MaxWin).LessEq(end)
	if !s.Seq.LessEq(snd.MaxEnd) {
		over := uint32(end - snd.MaxEnd)
		if near == 0 {
			near = rcv.MaxWin
		}
		if ackFits && ackRecent && rcv.MaxWin != 0 && inReceive && over <= near {
			return seqNear
		}
		return seqHigh
	}
	switch {
	case !ackFits:
		return ackHigh
	case !inReceive:
		return seqLow
	case !ackRecent:
		return ackLow
	}
	return fits
}

// lag returns how far behind the ACKs of s may be.
func lag(s *Side) uint32 { return max(s.MaxWin, maxAckWindow) }

// ackOf returns the segment's acknowledgment and the highest number it acknowledges, SACK included. A segment without ACK,
// and a RST with ack 0 as broken stacks send it, count as acknowledging all that rcv sent.
func ackOf(rcv *Side, s *Segment) (ack, sack Seq) {
	if s.Flags&ACK == 0 || s.Flags&RST != 0 && s.Ack == 0 {
		return rcv.End, rcv.End
	}
	ack, sack = s.Ack, s.Ack
	if s.Options.Has&OptSACK != 0 && rcv.Flags&SideSACK != 0 {
		for _, b := range s.Options.SACK[:min(int(s.Options.NSACK), len(s.Options.SACK))] {
			if sack.Less(b.Right) {
				sack = b.Right
			}
		}
	}
	return ack, sack
}

// expect returns the numbers that a segment from dir is held against.
func (e *Entry) expect(dir Direction) Expect {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	var x Expect
	if snd.Flags&SideKnown != 0 {
		x.Seq, x.SeqLo, x.SeqHi = snd.End, snd.End.Add(-rcv.MaxWin), snd.MaxEnd
		x.Has |= ExpectSeq | ExpectSeqWindow
	}
	if rcv.Flags&SideKnown != 0 {
		x.Ack, x.AckLo, x.AckHi = rcv.End, rcv.End.Add(-lag(snd)), rcv.End
		x.Has |= ExpectAck | ExpectAckWindow
	}
	return x
}

// open starts a side from its SYN or SYN/ACK (tcp_init_sender).
func (snd *Side) open(rcv *Side, s *Segment) {
	keep := *snd
	win := max(uint32(s.Window), 1)
	*snd = Side{ISN: s.Seq, End: s.End(), MaxEnd: s.End(), MaxWin: win, Win: uint32(s.Window),
		Flags: SideSeen | SideSYN | SideKnown, Packets: keep.Packets, Bytes: keep.Bytes}
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

// begin starts a side mid-stream.
func (snd *Side) begin(rcv *Side, s *Segment) {
	snd.End = s.End()
	snd.Scale = unknownScale
	snd.Win = uint32(s.Window) << unknownScale
	snd.MaxWin = max(snd.Win, 1)
	snd.MaxEnd = snd.End.Add(max(rcv.MaxWin, snd.MaxWin))
	snd.Flags |= SideSeen | SideKnown | SideSACK
}

// advance enters a tracked segment into the window of e.
func (e *Entry) advance(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if s.Kind() == KindSYN || s.Kind() == KindSYNACK {
		e.advanceSYN(dir, s)
		if s.Flags&ACK == 0 {
			return
		}
	} else if snd.Flags&SideKnown == 0 {
		snd.begin(rcv, s)
	}
	snd.Flags |= SideSeen
	snd.Flags &^= SideRST
	if s.Flags&RST != 0 {
		snd.Flags |= SideRST
		return // a RST's ack and window are nobody's promise
	}
	ack, sack := ackOf(rcv, s)
	e.advanceData(dir, s)
	win := uint32(s.Window)
	if s.Flags&SYN == 0 {
		win <<= snd.Scale
	}
	snd.Win = win
	if s.Flags&ACK == 0 {
		return
	}
	if rcv.Flags&SideKnown == 0 {
		rcv.End, rcv.MaxEnd = sack, sack
		rcv.Flags |= SideKnown
	} else if rcv.End.Less(sack) {
		rcv.End = sack // segments of the other end went past the gateway
	}
	snd.MaxWin = max(snd.MaxWin, win+uint32(sack-ack))
	if snd.Flags&SideMaxAck == 0 || snd.MaxAck.Less(ack) {
		if snd.Flags&SideMaxAck != 0 {
			snd.Flags |= SideProgress
		}
		snd.MaxAck = ack
		snd.Flags |= SideMaxAck
	}
	if edge := sack.Add(max(win, 1)); rcv.MaxEnd.Less(edge) {
		rcv.MaxEnd = edge
	}
	if rcv.Flags&SideFIN != 0 && rcv.FINEnd.LessEq(ack) {
		rcv.Flags |= SideFINAck
	}
}

// advanceData enters the sequence numbers of a segment that is no RST.
func (e *Entry) advanceData(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	end := s.End()
	if snd.MaxEnd.Less(end) {
		if rcv.MaxWin != 0 {
			rcv.MaxWin = uint32(min(uint64(rcv.MaxWin)+uint64(end-snd.MaxEnd), 1<<30))
		}
		snd.MaxEnd = end
	}
	if snd.End.Less(end) {
		snd.End = end
		snd.Flags |= SideProgress
	}
	if s.Flags&FIN != 0 && (snd.Flags&SideFIN == 0 || snd.FINEnd.Less(end)) {
		snd.FINEnd = end
		snd.Flags = snd.Flags&^SideFINAck | SideFIN
	}
}

// advanceSYN enters a SYN or SYN/ACK where the handshake still lets it set the numbers.
func (e *Entry) advanceSYN(dir Direction, s *Segment) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if !e.State.Embryonic() || snd.Flags&SideSYN != 0 && snd.ISN == s.Seq && snd.End == s.End() {
		return
	}
	if snd.Flags&SideSYN != 0 && s.Flags&ACK == 0 && snd.ISN != s.Seq {
		// Either SYN may be the one that is answered. Track the new one; the old one becomes the candidate.
		e.Candidate = Candidate{ISN: snd.ISN, End: snd.End, Win: uint16(min(snd.Win, 0xffff)), Scale: snd.Scale,
			Flags: snd.Flags & (SideScale | SideSACK), Dir: dir}
		e.Flags |= EntryCandidate
	}
	snd.open(rcv, s)
}
