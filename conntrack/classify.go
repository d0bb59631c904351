package conntrack

// legal are the combinations of FIN, SYN, RST, ACK and URG that a TCP sends; PSH, ECE, CWR and AE go with any
// (tcp_valid_flags in nf_conntrack_proto_tcp.c).
func legal(f Flags) bool {
	switch f & (FIN | SYN | RST | ACK | URG) {
	case SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG:
		return true
	}
	return false
}

// Classify says what segment s is against what v remembers, judged by r. It is pure.
func Classify(now Instant, v *View, s *Segment, r *Rules) (c Class) {
	c.Finding = Judge(now, v, s, r, &c.Expect)
	return c
}

// Judge is Classify that writes into x what the segment is held against, whatever x held: a copy would have to wait for what was just written.
func Judge(now Instant, v *View, s *Segment, r *Rules, x *Expect) Finding {
	*x = Expect{}
	kernel := r.Check == SeqKernel
	switch {
	case s.Defect != DefectNone && (s.Defect != DefectOptions || !kernel): // it stops reading options there, and passes the segment
		return Malformed
	case s.Checksum == ChecksumBad:
		return ChecksumWrong
	case v.Entry != nil && v.Entry.State == Denied:
		return DeniedTuple
	case !legal(s.Flags):
		return FlagsIllegal
	case v.Entry == nil:
		return refineNew(judgeUnknown(now, v, s, r, x), s)
	}
	v.Entry.expect(v.Dir, r, x)
	j := judgement{now: now, e: v.Entry, dir: v.Dir, s: s, r: r}
	j.snd, j.rcv = &j.e.Side[j.dir], &j.e.Side[j.dir.Other()]
	j.gap = v.Relaxed || j.snd.Flags&SideLiberal != 0
	j.liberal = j.gap || r.Check != SeqStrict
	var f Finding
	switch k := s.Kind(); {
	case kernel:
		f = j.kernel(v.Relaxed)
	case k == KindSYN:
		f = j.syn()
	case k == KindSYNACK:
		f = j.synAck()
	case k == KindRST:
		f = j.rst()
	default:
		f = j.data()
	}
	return j.refine(f, x)
}

// judgeUnknown is Judge where nothing is remembered, or only what was.
func judgeUnknown(now Instant, v *View, s *Segment, r *Rules, x *Expect) Finding {
	k := s.Kind()
	if k == KindSYN {
		return New
	}
	late := r.Check != SeqKernel || k == KindACK // it has no memory of what it forgot, and takes up ACKs only
	if late && v.HasTomb && (r.TombLate == 0 || now.Sub(v.Tombstone.Forgotten) <= r.TombLate) {
		tomb := &v.Tombstone
		d := 0
		if tomb.From != s.Tuple {
			d = 1
		}
		x.Has, x.Seq, x.Ack = ExpectSeq|ExpectAck, tomb.Next[d], tomb.Next[1-d]
		return LateAfterExpiry
	}
	switch {
	case k == KindSYNACK:
		return SynAckNoState
	case k == KindRST:
		return RstNoState
	case k == KindFIN:
		return FinNoState
	case s.Len > 0:
		return DataNoState
	}
	return AckNoState
}

// judgement is a segment beside the entry that it is judged by.
type judgement struct {
	now      Instant
	e        *Entry
	dir      Direction
	s        *Segment
	r        *Rules
	snd, rcv *Side
	gap      bool // the numbers remembered may be stale, or were never complete
	liberal  bool // windows are not judged
}

func (j *judgement) syn() Finding {
	again := j.snd.Flags&SideSYN != 0 && j.snd.ISN == j.s.Seq
	switch j.e.State {
	case SynSent, SynSent2:
		switch {
		case again:
			return SynRetransmit
		case j.snd.Flags&SideSYN == 0:
			return SimultaneousOpen
		case j.r.SynBand != 0 && distance(j.s.Seq, j.snd.ISN) > j.r.SynBand:
			return SynNewISNFar
		}
		return SynNewISN
	case SynRecv:
		if again {
			return SynRetransmit
		}
		return SynInHandshake
	case FinWait, CloseWait:
		return SynHalfClosed
	case LastAck:
		return SynClosing
	case TimeWait:
		return SynTimeWait
	case Close:
		return SynAfterRst
	}
	if j.dir == Reply {
		return SynEstablishedReverse
	}
	return SynEstablished
}

func distance(a, b Seq) uint32 {
	if d := a.Diff(b); d < 0 {
		return uint32(-d)
	}
	return uint32(a - b)
}

// proves reports whether s acknowledges the candidate SYN exactly, coming from the end that it was sent to.
func (j *judgement) proves() bool {
	return j.e.Flags&EntryCandidate != 0 && j.dir != j.e.Candidate.Dir && j.s.Flags&ACK != 0 &&
		j.s.Ack != j.e.Candidate.ISN && j.s.Ack.In(j.e.Candidate.ISN.Add(1), j.e.Candidate.End)
}

// answers reports whether s acknowledges the other end's SYN.
func (j *judgement) answers() bool {
	return j.rcv.Flags&SideSYN != 0 && j.s.Ack.In(j.rcv.ISN.Add(1), j.rcv.End)
}

func (j *judgement) synAck() Finding {
	again := j.snd.Flags&SideSYN != 0 && j.snd.ISN == j.s.Seq
	switch {
	case j.proves():
		return SynAckResync
	case j.dir == Original && j.e.Flags&(EntrySimultaneous|EntryPickedUp) == 0:
		return SynAckWrongDirection // a picked-up entry's originator is a guess
	case again && j.answers() && j.e.Flags&EntrySimultaneous == 0:
		return SynAckRetransmit // where both ends sent a SYN, the SYN/ACK repeats its number and is new all the same
	case !j.e.State.Embryonic() && again && j.answers():
		return SynAckRetransmit
	case !j.e.State.Embryonic():
		return SynAckEstablished
	case j.answers() || j.rcv.Flags&SideSYN == 0:
		return SynAck
	}
	return SynAckBadAck
}

func (j *judgement) rst() Finding {
	e, s := j.e, j.s
	switch {
	case j.proves():
		return RstForSyn
	case e.Flags&EntryChallenge != 0 && s.Seq == e.Challenge && j.dir == e.challenged():
		return RstAfterChallenge
	case e.asked(j.dir) && s.Seq == e.Probe.Ack[j.dir]:
		return RstForProbe
	case j.r.Check == SeqOff:
		return Rst
	case j.snd.Flags&SideKnown == 0:
		return j.rstForHandshake()
	}
	return j.rstByNumbers()
}

// challenged returns the end that a challenge ACK went to: the one whose SYN it answered.
func (e *Entry) challenged() Direction {
	if e.Flags&EntryCandidate != 0 {
		return e.Candidate.Dir
	}
	return Original
}

// rstForHandshake judges a RST from an end that sent nothing else: it must acknowledge the SYN (RFC 9293 section
// 3.10.7.3). Netfilter also takes one without ACK, or with ack 0.
func (j *judgement) rstForHandshake() Finding {
	switch {
	case j.s.Flags&ACK != 0 && (j.answers() || j.rcv.Flags&SideSYN == 0):
		return Rst
	case j.r.RST == RSTLinux && (j.s.Flags&ACK == 0 || j.s.Ack == 0):
		return Rst
	}
	return RstOutOfWindow
}

func (j *judgement) rstByNumbers() Finding {
	s, snd, rcv := j.s, j.snd, j.rcv
	lowest := snd.End.Add(-max(rcv.MaxWin, 1))
	if rcv.Flags&SideMaxAck != 0 && j.r.RST != RSTPF {
		lowest = rcv.MaxAck
	}
	unacked := lowest // the first number that its receiver has not acknowledged
	inside := s.Seq.In(lowest, snd.MaxEnd) || s.Seq == snd.End || j.gap && lowest.LessEq(s.Seq)
	exact := s.Seq == snd.End || rcv.Flags&SideMaxAck != 0 && s.Seq == rcv.MaxAck
	switch j.r.RST {
	case RSTPF:
		exact = distance(s.Seq, snd.End) <= 1 || inside && s.Flags&ACK != 0 && s.Ack == rcv.End
	case RSTWindow:
		exact = inside
	case RSTLastOrNext:
		exact = s.Seq == snd.End || s.Seq.Add(1) == snd.End
	case RSTUnacked:
		exact = s.Seq.In(unacked, snd.End)
	case RSTLinux:
		if ack, _ := ackOf(rcv, s); !j.gap && rcv.Flags&SideKnown != 0 && !ack.In(rcv.End.Add(-lag(snd)), rcv.highest()) {
			return RstOutOfWindow
		}
	}
	switch {
	case exact:
		return Rst
	case inside:
		return RstInexact
	}
	return RstOutOfWindow
}

// data judges ACKs, data and FINs.
func (j *judgement) data() Finding {
	switch j.e.State {
	case SynSent, SynSent2:
		return j.dataInSynSent()
	case SynRecv:
		return j.dataInSynRecv()
	case Close:
		return DataAfterRst
	}
	f := j.window()
	switch {
	case f != InWindow:
	case j.s.Flags&FIN != 0:
		return Fin
	case j.s.Len == 0 && j.e.asked(j.dir) && j.e.Probe.Answered&(1<<j.dir) == 0:
		return AckForProbe
	}
	return f
}

func (j *judgement) window() Finding {
	if j.snd.Flags&SideFIN != 0 && j.snd.FINEnd.Less(j.s.End()) && j.r.Check != SeqOff && !j.gap {
		return DataAfterFin
	}
	if j.liberal {
		return InWindow
	}
	w := judge(j.e, j.dir, j.s, j.r)
	switch {
	case w == fits:
		return InWindow
	case j.e.Flags&EntryCandidate != 0 && j.dir != j.e.Candidate.Dir && j.s.Kind() == KindACK && j.s.Len == 0:
		return AckForSyn
	case j.s.Flags&FIN != 0 && (w == seqLow || w == ackLow):
		return FinOutOfWindowLow
	case j.s.Flags&FIN != 0:
		return FinOutOfWindow
	case w == seqNear:
		return SeqAboveNear
	case w == seqHigh:
		return SeqAbove
	case w == seqLow:
		return SeqBelow
	case w == ackHigh:
		return AckAbove
	}
	return AckBelow
}

func (j *judgement) dataInSynSent() Finding {
	switch {
	case j.gap && (j.dir == Original || j.answers()):
		return Handshake // the SYN/ACK went past the gateway
	case j.s.Flags&FIN != 0:
		return FinOutOfWindow
	case j.s.Len > 0:
		return DataBeforeHandshake
	case j.dir == Reply:
		return AckForSyn
	}
	return HandshakeBadAck
}

func (j *judgement) dataInSynRecv() Finding {
	completes := j.dir == Original || j.e.Flags&EntrySimultaneous != 0 || j.gap
	fit := j.liberal || j.completing()
	switch fin := j.s.Flags&FIN != 0; {
	case fin && fit:
		return Fin
	case fin:
		return FinOutOfWindow
	case completes && fit:
		return Handshake
	case completes:
		return HandshakeBadAck
	case j.s.Len > 0:
		return DataBeforeHandshake
	case fit:
		return InWindow
	}
	return AckForSyn
}

// completing reports whether the segment's numbers are those of a finished handshake: it acknowledges the other end's SYN and
// starts no earlier than its own (the SYN's number itself is a keepalive's).
func (j *judgement) completing() bool {
	if j.rcv.Flags&SideSYN != 0 && !j.answers() || j.snd.Flags&SideSYN != 0 && j.s.Seq.Less(j.snd.ISN) {
		return false
	}
	return judge(j.e, j.dir, j.s, j.r) == fits
}
