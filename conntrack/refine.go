package conntrack

import "time"

// pawsIdle is how long a connection may rest before its timestamps say nothing (RFC 7323 section 5.5: 24 days).
const pawsIdle = 24 * 24 * time.Hour

// defaultRetransmits is how many repetitions without an answer make a connection half-dead (nf_conntrack_tcp_max_retrans).
const defaultRetransmits = 3

// refine returns the finer word for a finding, where there is one, and enters the numbers that it was judged by.
func (j *judgement) refine(f Finding, x *Expect) Finding {
	s, snd, rcv := j.s, j.snd, j.rcv
	switch f {
	case SynRetransmit:
		if j.otherOptions() {
			return SynRetransmitOptions
		}
	case SynNewISN:
		if s.Seq.Less(snd.ISN) {
			return SynNewISNLower
		}
	case SynAck:
		switch {
		case s.Len > 0:
			return SynAckData
		case rcv.Flags&SideSYN != 0 && rcv.End.Diff(rcv.ISN) > 1 && s.Ack == rcv.ISN.Add(1):
			return SynDataIgnored
		}
	case SynAckBadAck:
		if s.Ack.Less(rcv.ISN.Add(1)) {
			return SynAckBadAckLow
		}
	case HandshakeBadAck:
		return j.refineHandshake()
	case SynEstablished:
		switch {
		case snd.Flags&SideSYN != 0 && s.Seq == snd.ISN:
			return SynEstablishedDuplicate
		case !j.gap && snd.Flags&SideKnown != 0 && s.Seq.In(x.SeqLo, x.SeqHi):
			return SynEstablishedInWindow
		}
	case InWindow:
		if !j.e.State.Embryonic() {
			return j.refineInWindow(x)
		}
	case SeqBelow:
		old := j.r.Old
		if old == 0 {
			old = max(rcv.MaxWin, maxAckWindow)
		}
		if s.End().Less(x.SeqLo.Add(-old)) {
			return SeqBelowOld
		}
	case Fin:
		switch {
		case j.paws(x):
			return PAWS
		case snd.Flags&SideFIN != 0 && s.End() == snd.FINEnd:
			return FinRetransmit
		}
	case Rst:
		return j.refineRST()
	case DataAfterRst:
		return j.refineAfterRST()
	}
	return f
}

// otherOptions reports whether a repeated SYN offers other than the first did. A window shift is compared while nothing has
// answered, as an answer without one sets it to 0.
func (j *judgement) otherOptions() bool {
	o, snd := &j.s.Options, j.snd
	return o.Has&OptWScale != 0 != (snd.Flags&SideScale != 0) ||
		o.Has&OptSACKPermitted != 0 != (snd.Flags&SideSACK != 0) ||
		o.Has&OptTimestamp != 0 != (snd.Flags&SideTimestamp != 0) ||
		o.Has&OptMSS != 0 && j.e.MSS[j.dir] != 0 && o.MSS != j.e.MSS[j.dir] ||
		o.Has&OptWScale != 0 && j.rcv.Flags&SideSYN == 0 && min(o.WScale, 14) != snd.Scale
}

// refineHandshake splits an ACK that does not complete the handshake.
func (j *judgement) refineHandshake() Finding {
	s, snd, rcv := j.s, j.snd, j.rcv
	switch {
	case j.e.State == SynSent || j.e.State == SynSent2:
		if rcv.Flags&SideSeen == 0 && j.dir == Original && s.Seq == snd.End {
			return HandshakeOneSided
		}
	case rcv.Flags&SideSYN != 0 && s.Ack.Less(rcv.ISN.Add(1)), snd.Flags&SideSYN != 0 && s.Seq.Less(snd.ISN):
		return HandshakeBadAckLow
	}
	return HandshakeBadAck
}

// refineInWindow looks for what is odd about a segment whose numbers fit, the most telling first.
func (j *judgement) refineInWindow(x *Expect) Finding {
	s, snd, rcv := j.s, j.snd, j.rcv
	stamped, mss := s.Options.Has&OptTimestamp != 0, uint32(j.e.MSS[j.dir.Other()])
	switch {
	case j.paws(x):
		return PAWS
	case !stamped && snd.Flags&rcv.Flags&(SideSYN|SideTimestamp) == SideSYN|SideTimestamp:
		return TimestampMissing
	case stamped && s.Options.TSVal == 0:
		return TimestampNull
	case j.repeats() && int(snd.Retrans)+1 >= j.r.retransmits():
		return HalfDead
	case j.oneSided():
		return OneSided
	case s.Flags&URG != 0:
		return Urgent
	case mss != 0 && s.Len > mss && !s.GSO:
		x.Len = mss
		x.Has |= ExpectLen
		return MSSExceeded
	case s.Len > 1 || snd.Flags&SideKnown == 0 || j.gap:
	case j.zeroWindowProbe():
		return ZeroWindowProbe
	case rcv.Flags&SideMaxAck != 0 && rcv.MaxAck == snd.End && s.Seq.Add(1) == snd.End:
		return Keepalive
	}
	if edge, seen, ok := j.shrunk(); ok {
		x.Edge, x.SeenEdge = edge, seen
		x.Has |= ExpectEdge
		return WindowShrunk
	}
	return InWindow
}

// paws reports whether the segment fails the timestamp check of RFC 7323 section 5.3. A RST never gets here. A bare ACK of
// nothing new is exempt, as in Linux (tcp_disordered_ack): it may have been overtaken, and carries nothing.
func (j *judgement) paws(x *Expect) bool {
	s, snd := j.s, j.snd
	if s.Options.Has&OptTimestamp == 0 || snd.Flags&SideTimestamp == 0 || j.gap || j.r.Check == SeqOff ||
		int32(s.Options.TSVal-snd.TSRecent) >= 0 || j.now.Sub(j.e.LastSeen) > pawsIdle {
		return false
	}
	if s.Span() == 0 && snd.Flags&SideMaxAck != 0 && s.Ack.LessEq(snd.MaxAck) {
		return false
	}
	x.TS = snd.TSRecent
	x.Has |= ExpectTS
	return true
}

// repeats reports whether the segment is what its sender repeats until it is answered: the first that the other end has not
// acknowledged, or a probe before that.
func (j *judgement) repeats() bool { return j.e.repeats(j.dir, j.s) }

func (e *Entry) repeats(dir Direction, s *Segment) bool {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	return snd.Flags&SideKnown != 0 && rcv.Flags&SideMaxAck != 0 && s.Flags&(SYN|RST) == 0 && s.End().LessEq(snd.End) &&
		s.Seq.LessEq(rcv.MaxAck) && (s.Span() > 0 || s.Seq.Add(1) == snd.End)
}

func (r *Rules) retransmits() int {
	if r.Retransmits == 0 {
		return defaultRetransmits
	}
	return int(r.Retransmits)
}

// oneSided reports whether the sender acknowledges more and more of an end of which nothing was ever seen.
func (j *judgement) oneSided() bool {
	return j.e.Flags&EntryOneSided == 0 && j.rcv.Flags&SideSeen == 0 && j.snd.Flags&SideMaxAck != 0 &&
		j.s.Flags&ACK != 0 && j.snd.MaxAck.Less(j.s.Ack)
}

// zeroWindowProbe reports whether the segment asks whether a closed window has opened: the next byte, that byte again, or the
// number before it without data (as Linux does).
func (j *judgement) zeroWindowProbe() bool {
	s, snd, rcv := j.s, j.snd, j.rcv
	return rcv.Win == 0 && rcv.Flags&(SideSeen|SideMaxAck) == SideSeen|SideMaxAck &&
		(s.Seq.Add(1) == snd.End || s.Len == 1 && s.Seq == snd.End)
}

// shrunk returns the right edge that the sender advertised last and the one of its segment, and whether that takes some back. What a window
// shift cuts off does not count (RFC 7323 section 2.4).
func (j *judgement) shrunk() (was, is Seq, taken bool) {
	s, snd := j.s, j.snd
	if j.gap || snd.Flags&SideMaxAck == 0 || s.Flags&ACK == 0 || s.Ack.Less(snd.MaxAck) {
		return 0, 0, false
	}
	was, is = snd.MaxAck.Add(snd.Win), s.Ack.Add(uint32(s.Window)<<snd.Scale)
	return was, is, is.Add(1<<snd.Scale - 1).Less(was)
}

func (j *judgement) refineRST() Finding {
	s, rcv := j.s, j.rcv
	switch {
	case j.e.State == Close && j.snd.Flags&SideRST != 0:
		return RstRepeated
	case j.e.State == TimeWait:
		return RstTimeWait
	case s.Len > 0:
		return RstData
	case s.Flags&ACK != 0 && s.Ack == 0 && (rcv.Flags&SideKnown == 0 || rcv.End != 0):
		return RstAckZero
	}
	return Rst
}

// refineAfterRST splits what comes after a RST. The end that was reset may have had segments on their way; but one that repeats
// itself, or acknowledges more than the RST's sender had sent before it, goes on as if there had been none. What that sender had
// sent before it may come late; but not what is new.
func (j *judgement) refineAfterRST() Finding {
	s, snd, rcv := j.s, j.snd, j.rcv
	further := snd.Flags&SideKnown != 0 && snd.End.Less(s.End()) || snd.Flags&SideMaxAck != 0 && snd.MaxAck.Less(s.Ack)
	switch {
	case s.Flags&FIN != 0:
		return FinAfterRst
	case snd.Flags&SideRST != 0 && rcv.Flags&SideRST == 0 && further && judge(j.e, j.dir, s, j.r) == fits:
		return RstDisowned
	case rcv.Flags&SideRST == 0 || snd.Flags&SideKnown == 0 || j.gap:
	case j.repeats(), s.Flags&ACK != 0 && rcv.Flags&SideKnown != 0 && rcv.End.Less(s.Ack) && s.Ack.Diff(rcv.End) < maxAckWindow:
		return RstIgnored
	}
	return DataAfterRst
}

// Opening returns the finding for a SYN where nothing is remembered of its tuple: [New] or a kind of it.
func Opening(s *Segment) Finding {
	switch {
	case s.Len > 0 && s.Options.Has&OptFastOpen != 0:
		return SynFastOpen
	case s.Len > 0:
		return SynData
	}
	return New
}

// refineNew returns the finer word for a segment of which nothing is remembered.
func refineNew(f Finding, s *Segment) Finding {
	switch {
	case f == New:
		return Opening(s)
	case f != LateAfterExpiry:
		return f
	}
	switch s.Kind() {
	case KindSYNACK:
		return LateSynAck
	case KindFIN:
		return LateFin
	case KindRST:
		return LateRst
	}
	return f
}
