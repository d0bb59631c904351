package conntrack

import "time"

// Pass judges segment s, which comes from dir at now, and lets f follow it where it is a plain in-window one: exactly as Commit would
// let the entry, with [Track] and [TimerRefresh]. It returns 0 then, and else why the engine must see the segment; f has not moved in that
// case. What passes is in-window for [Classify]. The reverse holds but for what may be a keepalive and the first of its kind. Data that its
// sender repeats, or that was overtaken, passes too, and is counted and measured. An instant before f.LastSeen counts as that: two processors
// read the clock before they wait for each other.
func (f *Fast) Pass(r *FastRules, now Instant, dir Direction, s *Segment) FastPunt {
	now = max(now, f.LastSeen)
	if p := fastShape(s); p != FastPassed {
		return p
	}
	if f.Deadline <= now {
		return FastExpired
	}
	first := FastFirstACK
	if s.Len > 0 {
		first = FastFirstData
	}
	if r.First&(first<<dir) != 0 {
		return FastFirst
	}
	snd, rcv := &f.Side[dir], &f.Side[dir.Other()]
	if p := snd.odd(rcv, r, dir, s); p != FastPassed {
		return p
	}
	sack := s.Ack
	if s.Options.Has&OptSACK != 0 && rcv.Flags&SideSACK != 0 {
		sack = s.Options.highest(sack)
	}
	win := uint32(s.Window) << snd.Scale
	lenient := false
	switch p := snd.fits(rcv, r, s, sack); {
	case p == FastPassed:
	case r.Check == SeqKernel && snd.Flags&SideLiberal != 0 && p != fastNear:
		lenient = true
	case p == fastNear:
		return FastWindow
	default:
		return p
	}
	if snd.shrinks(s, win) {
		return FastShrunk
	}
	f.measure(now, dir, s)
	f.move(r, dir, s, sack, win, lenient)
	f.LastSeen, f.LastDir = now, uint32(dir)
	f.Timeout = f.capped(r)
	f.Deadline = now.Add(f.Timeout)
	return FastPassed
}

// fastShape judges a segment by itself.
func fastShape(s *Segment) FastPunt {
	switch {
	case s.Defect != DefectNone || s.Checksum == ChecksumBad:
		return FastMalformed
	case s.Fragment:
		return FastFragment
	case s.Flags&SYN != 0:
		return FastSYN
	case s.Flags&RST != 0:
		return FastRST
	case s.Flags&FIN != 0:
		return FastFIN
	case s.Flags&ACK == 0:
		return FastFlags
	case s.Flags&URG != 0 || s.Urgent != 0:
		return FastUrgent
	}
	return FastPassed
}

// odd judges what the engine would find odd about a segment whose numbers fit.
func (snd *FastSide) odd(rcv *FastSide, r *FastRules, dir Direction, s *Segment) FastPunt {
	if s.Options.Has&OptTimestamp != 0 {
		old := snd.Flags&SideTimestamp != 0 && int32(s.Options.TSVal-snd.TSRecent) < 0
		switch bare := s.Len == 0 && snd.Flags&SideMaxAck != 0 && s.Ack.LessEq(snd.MaxAck); {
		case s.Options.TSVal == 0:
			return FastTSNull
		case old && !bare && snd.Flags&SideLiberal == 0 && r.Check != SeqOff:
			return FastPAWS
		}
	} else if snd.Flags&rcv.Flags&(SideSYN|SideTimestamp) == SideSYN|SideTimestamp {
		return FastTSMissing
	}
	switch most := uint32(r.MSS[dir]); {
	case snd.repeats(rcv, s) && int(snd.Retrans)+1 >= int(r.Retransmits):
		return FastHalfDead
	case most != 0 && s.Len > most && !s.GSO:
		return FastMSSExceeded
	case s.Len <= 1 && s.Seq.Add(1) == snd.End:
		return FastKeepalive
	case s.Len == 1 && s.Seq == snd.End && rcv.Win == 0:
		return FastZeroProbe
	}
	return FastPassed
}

// repeats is Entry.repeats, for data.
func (snd *FastSide) repeats(rcv *FastSide, s *Segment) bool {
	return s.Len > 0 && rcv.Flags&SideMaxAck != 0 && s.End().LessEq(snd.End) && s.Seq.LessEq(rcv.MaxAck)
}

// fastNear is what fits returns for a segment a little above the window.
const fastNear = NumFastPunts

// fits compares the numbers with the windows, by the rule.
func (snd *FastSide) fits(rcv *FastSide, r *FastRules, s *Segment, sack Seq) FastPunt {
	switch r.Check {
	case SeqStrict:
		return snd.fitsStrict(rcv, r, s, sack)
	case SeqKernel:
		return snd.fitsKernel(rcv, s, sack)
	}
	return FastPassed
}

// fitsStrict is judge.
func (snd *FastSide) fitsStrict(rcv *FastSide, r *FastRules, s *Segment, sack Seq) FastPunt {
	oldest, newest := rcv.End.Add(-max(snd.MaxWin, maxAckWindow)), rcv.End
	switch {
	case r.ACK == ACKPF:
		oldest, newest = rcv.End.Add(-min(uint32(maxSkew)<<snd.Scale, maxWindow)), rcv.End.Add(maxSkew)
	case r.ACK == ACKRFC5961 && snd.Flags&SideMaxAck != 0:
		oldest = snd.MaxAck.Add(-snd.MaxWin)
	}
	switch {
	case !s.Seq.LessEq(snd.MaxEnd), !snd.End.Add(-rcv.MaxWin).LessEq(s.End()):
		return FastWindow
	case !sack.LessEq(newest), !oldest.LessEq(sack):
		return FastACK
	}
	return FastPassed
}

// fitsKernel is kernelFit.
func (snd *FastSide) fitsKernel(rcv *FastSide, s *Segment, sack Seq) FastPunt {
	end := s.End()
	ackFits := sack.Less(rcv.End.Add(1))
	ackRecent := rcv.End.Add(-max(snd.MaxWin, maxAckWindow) - 1).Less(sack)
	inReceive := snd.End.Add(-rcv.MaxWin - 1).Less(end)
	switch {
	case !s.Seq.Less(snd.MaxEnd.Add(1)):
		if inReceive && ackRecent && ackFits && uint32(end-snd.MaxEnd)+1 <= rcv.MaxWin {
			return fastNear
		}
		return FastWindow
	case !inReceive:
		return FastWindow
	case !ackFits, !ackRecent:
		return FastACK
	}
	return FastPassed
}

// shrinks reports whether the segment takes back window that its sender had advertised.
func (snd *FastSide) shrinks(s *Segment, win uint32) bool {
	if snd.Flags&SideLiberal != 0 || snd.Flags&SideMaxAck == 0 || s.Ack.Less(snd.MaxAck) {
		return false
	}
	return s.Ack.Add(win).Add(1<<snd.Scale - 1).Less(snd.MaxAck.Add(snd.Win))
}

// measure is Entry.measure and measureStall.
func (f *Fast) measure(now Instant, dir Direction, s *Segment) {
	snd, rcv := &f.Side[dir], &f.Side[dir.Other()]
	waits := false
	if s.Len > 0 && s.Seq.Less(snd.End) {
		f.Retransmits[dir] = count(f.Retransmits[dir])
		waits = rcv.Flags&SideMaxAck == 0 || rcv.MaxAck.Less(s.End())
	}
	if !waits && f.Stalled == 0 {
		return
	}
	f.Stall = f.Stall.add(now.Sub(f.LastSeen))
	switch {
	case waits:
		f.Stalled = 1
	case snd.End.Less(s.End()), snd.Flags&SideMaxAck == 0, snd.MaxAck.Less(s.Ack):
		f.Stalled = 0
	}
}

// move lets both ends follow the segment.
func (f *Fast) move(r *FastRules, dir Direction, s *Segment, sack Seq, win uint32, lenient bool) {
	snd, rcv := &f.Side[dir], &f.Side[dir.Other()]
	rcv.Retrans = 0
	switch {
	case snd.repeats(rcv, s):
		snd.Retrans = min(snd.Retrans, 254) + 1
	case snd.End.Less(s.End()):
		snd.Retrans = 0
	}
	snd.stamp(rcv, s)
	switch {
	case r.Check != SeqKernel:
		snd.follow(rcv, s, sack, win)
	case lenient:
		f.Last.Dir, f.Last.Kind = dir, uint8(KindACK)+1
	default:
		snd.followKernel(rcv, s, sack, win)
		f.Last.took(dir, s)
	}
}

// stamp is the part of Entry.follow about timestamps.
func (snd *FastSide) stamp(rcv *FastSide, s *Segment) {
	if s.Options.Has&OptTimestamp == 0 {
		return
	}
	first := snd.Flags&(SideTimestamp|SideSYN) == 0
	next := snd.Flags&SideTimestamp != 0 && rcv.Flags&SideMaxAck != 0 && s.Seq.LessEq(rcv.MaxAck) && int32(s.Options.TSVal-snd.TSRecent) >= 0
	if first || next {
		snd.TSRecent = s.Options.TSVal
		snd.Flags |= SideTimestamp
	}
}

// acked enters the acknowledgment.
func (snd *FastSide) acked(ack Seq) {
	switch {
	case snd.Flags&SideMaxAck == 0:
		snd.MaxAck = ack
		snd.Flags |= SideMaxAck
	case snd.MaxAck.Less(ack):
		snd.MaxAck = ack
		snd.Flags |= SideProgress
	}
}

// follow is what Entry.advance does with data and acknowledgment.
func (snd *FastSide) follow(rcv *FastSide, s *Segment, sack Seq, win uint32) {
	end := s.End()
	if snd.MaxEnd.Less(end) {
		rcv.MaxWin = min(rcv.MaxWin+uint32(end-snd.MaxEnd), maxWindow)
		snd.MaxEnd = end
	}
	if snd.End.Less(end) {
		snd.End = end
		snd.Flags |= SideProgress
	}
	snd.Win = win
	if rcv.End.Less(s.Ack) {
		rcv.End = s.Ack
	}
	snd.MaxWin = max(snd.MaxWin, min(win+uint32(max(sack.Diff(s.Ack), 0)), maxWindow))
	snd.acked(s.Ack)
	if edge := sack.Add(max(win, 1)); rcv.MaxEnd.Less(edge) {
		rcv.MaxEnd = edge
	}
}

// followKernel is kernelTracker.follow.
func (snd *FastSide) followKernel(rcv *FastSide, s *Segment, sack Seq, win uint32) {
	end := s.End()
	snd.Win = win
	snd.MaxWin = max(snd.MaxWin, min(win+uint32(sack-s.Ack), maxWindow))
	if snd.End.Less(end) {
		snd.End = end
		snd.Flags |= SideProgress | sideUnacked
	}
	snd.acked(s.Ack)
	if snd.MaxEnd.Less(end) {
		rcv.MaxWin = min(rcv.MaxWin+uint32(end-snd.MaxEnd), maxWindow)
	}
	if edge := sack.Add(win); rcv.MaxEnd.Add(^uint32(0)).Less(edge) {
		rcv.MaxEnd = edge
		if win == 0 {
			rcv.MaxEnd++
		}
	}
	if s.Ack == rcv.End {
		rcv.Flags &^= sideUnacked
	}
}

// took notes the segment as the last, or counts it where it is the same again.
func (l *FastLast) took(dir Direction, s *Segment) {
	l.Kind = uint8(KindACK) + 1
	if end := s.End(); l.Dir != dir || l.Seq != s.Seq || l.Ack != s.Ack || l.End != end || l.Win != s.Window {
		*l = FastLast{Seq: s.Seq, Ack: s.Ack, End: end, Win: s.Window, Dir: dir, Kind: l.Kind}
		return
	}
	l.Retrans = min(l.Retrans+1, 255)
}

// capped is Entry.capped: the timeout that the last segment sets.
func (f *Fast) capped(r *FastRules) time.Duration {
	d := r.Timeout
	a, b, snd := &f.Side[0], &f.Side[1], &f.Side[f.LastDir&1]
	retrans, unacked, closed := uint32(max(a.Retrans, b.Retrans)), a.unacknowledged(b) || b.unacknowledged(a), snd.Win == 0
	if r.Check == SeqKernel {
		retrans, unacked, closed = f.Last.Retrans, (a.Flags|b.Flags)&sideUnacked != 0, f.Last.Win == 0
	}
	if r.Retransmitted > 0 && retrans >= uint32(r.Retransmits) {
		d = min(d, r.Retransmitted)
	}
	if r.Unacknowledged > 0 && unacked {
		d = min(d, r.Unacknowledged)
	}
	if r.ZeroWindow > 0 && closed {
		d = min(d, r.ZeroWindow)
	}
	return d
}

// unacknowledged reports whether the other end has still to acknowledge what this one sent.
func (s *FastSide) unacknowledged(other *FastSide) bool {
	return other.Flags&SideMaxAck != 0 && other.MaxAck.Less(s.End)
}
