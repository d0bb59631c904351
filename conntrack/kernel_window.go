package conntrack

// init starts a side from its SYN or SYN/ACK: tcp_init_sender with tcp_options.
func (k *kernelTracker) init(dir Direction, s *Segment) {
	snd, rcv := &k.side[dir], &k.side[dir.Other()]
	snd.ISN, snd.End, snd.MaxEnd = s.Seq, s.End(), s.End()
	snd.MaxWin, snd.Win = max(uint32(s.Window), 1), uint32(s.Window)
	snd.Flags |= SideSeen | SideSYN | SideKnown
	snd.options(s)
	if dir == Reply && snd.Flags&rcv.Flags&SideScale == 0 {
		snd.Scale, rcv.Scale = 0, 0
	}
}

// options reads the options of a SYN. A header without any leaves what was known.
func (snd *Side) options(s *Segment) {
	if s.Options.Has == 0 && s.Defect != DefectOptions {
		return
	}
	snd.Flags &^= kernelFlags
	snd.Scale = 0
	if s.Options.Has&OptWScale != 0 {
		snd.Flags |= SideScale
		snd.Scale = min(s.Options.WScale, 14)
	}
	if s.Options.Has&OptSACKPermitted != 0 {
		snd.Flags |= SideSACK
	}
}

// window is tcp_in_window: whether the segment fits; if so the windows follow.
func (k *kernelTracker) window(dir Direction, s *Segment) kernelVerdict {
	snd, rcv := &k.side[dir], &k.side[dir.Other()]
	syn := s.Flags&SYN != 0
	ack, sack := s.Ack, s.Ack
	if rcv.Flags&SideSACK != 0 && s.Options.Has&OptSACK != 0 {
		sack = s.Options.highest(sack)
	}
	switch {
	case snd.MaxWin == 0 && syn:
		k.init(dir, s)
		if s.Flags&ACK == 0 {
			return kernelVerdict{why: whyWindow} // simultaneous open
		}
	case snd.MaxWin == 0:
		k.meet(dir, s, sack)
	case syn && snd.End.Less(s.End()) && (k.state == SynSent || k.state == SynRecv):
		k.init(dir, s)
		if dir == Reply && s.Flags&ACK == 0 {
			return kernelVerdict{why: whyWindow}
		}
	}
	if s.Flags&ACK == 0 || s.Flags&RST != 0 && s.Ack == 0 {
		ack, sack = rcv.End, rcv.End
	}
	seq, end := s.Seq, s.End()
	if s.Flags&RST != 0 && seq == 0 && k.state == SynSent {
		seq, end = snd.End, snd.End
	}
	v := kernelVerdict{why: whyWindow, fit: kernelFit(snd, rcv, seq, end, sack)}
	if v.fit == seqNear {
		snd.Flags |= sideUnacked
		snd.End = end // an ACK for these bytes must not look like one of what was never sent
	}
	if v.fit == fits {
		k.follow(dir, s, seq, end, ack, sack)
		return v
	}
	switch {
	case snd.Flags&SideLiberal != 0:
		v.lenient = true
	case v.fit == seqHigh || v.fit == ackHigh:
		v.fate = kernelInvalid
	default:
		v.fate = kernelIgnore
	}
	return v
}

// meet takes the numbers of an end that was not seen before from a segment of mid-stream.
func (k *kernelTracker) meet(dir Direction, s *Segment, sack Seq) {
	snd, rcv := &k.side[dir], &k.side[dir.Other()]
	snd.End = s.End()
	snd.fragment(s)
	snd.Win = uint32(s.Window) << snd.Scale
	snd.MaxWin = max(snd.Win, 1)
	snd.MaxEnd = snd.End.Add(snd.MaxWin)
	snd.Flags |= SideSeen | SideKnown
	switch {
	case rcv.MaxWin == 0:
		rcv.End, rcv.MaxEnd = sack, sack
		rcv.Flags |= SideKnown
	case sack == rcv.End.Add(1):
		rcv.End++ // likely the answer to a keepalive
	}
}

// kernelFit compares numbers with the windows. The distances are netfilter's before and after, to the bit.
func kernelFit(snd, rcv *Side, seq, end, sack Seq) fit {
	ackFits := sack.Less(rcv.highest().Add(1)) // more than End only after a fragment: the kernel sees datagrams whole
	ackRecent := rcv.End.Add(-lag(snd) - 1).Less(sack)
	inReceive := snd.End.Add(-rcv.MaxWin - 1).Less(end)
	if !seq.Less(snd.MaxEnd.Add(1)) {
		if over := uint32(end-snd.MaxEnd) + 1; rcv.MaxWin != 0 && inReceive && ackRecent && over <= rcv.MaxWin && ackFits {
			return seqNear
		}
		return seqHigh
	}
	switch {
	case !ackFits:
		return ackHigh
	case rcv.MaxWin != 0 && !inReceive:
		return seqLow
	case !ackRecent:
		return ackLow
	}
	return fits
}

// follow lets the windows follow a segment that fits.
func (k *kernelTracker) follow(dir Direction, s *Segment, seq, end, ack, sack Seq) {
	snd, rcv := &k.side[dir], &k.side[dir.Other()]
	win := uint32(s.Window)
	if s.Flags&SYN == 0 {
		win <<= snd.Scale
	}
	snd.Win = win
	snd.Flags |= SideSeen
	snd.MaxWin = max(snd.MaxWin, min(win+uint32(sack-ack), maxWindow))
	if snd.End.Less(end) {
		snd.End = end
		snd.Flags |= SideProgress | sideUnacked
		snd.reached()
	}
	snd.fragment(s)
	if s.Flags&ACK != 0 && (snd.Flags&SideMaxAck == 0 || snd.MaxAck.Less(ack)) {
		if snd.Flags&SideMaxAck != 0 {
			snd.Flags |= SideProgress
		}
		snd.MaxAck = ack
		snd.Flags |= SideMaxAck
	}
	if rcv.MaxWin != 0 && snd.MaxEnd.Less(end) {
		rcv.MaxWin = min(rcv.MaxWin+uint32(end-snd.MaxEnd), maxWindow)
	}
	if edge := sack.Add(win); rcv.MaxEnd.Add(^uint32(0)).Less(edge) {
		rcv.MaxEnd = edge
		if win == 0 {
			rcv.MaxEnd++
		}
	}
	if ack == rcv.End {
		rcv.Flags &^= sideUnacked
	}
	if s.Kind() == KindACK {
		l := &k.last
		if l.dir == dir && l.seq == seq && l.ack == ack && l.end == end && l.win == s.Window {
			l.retrans = uint8(min(int(l.retrans)+1, 255))
			return
		}
		l.retrans = 0
		l.dir, l.seq, l.ack, l.end, l.win = dir, seq, ack, end, s.Window
	}
}
