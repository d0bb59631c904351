package conntrack

// maxAckWindow is how far an ACK may lag behind (MAXACKWINCONST in nf_conntrack_proto_tcp.c), unless its sender's window
// is larger.
const maxAckWindow = 66000

// maxWindow is the largest window that RFC 7323 section 2.3 allows. No reckoned window grows beyond it, so that serial-number
// comparison stays meaningful whatever numbers arrive.
const maxWindow = 1 << 30

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
func judge(e *Entry, dir Direction, s *Segment, r *Rules) fit {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if snd.Flags&SideKnown == 0 {
		return fits // nothing to compare with: the first segment of this end
	}
	_, sack := ackOf(rcv, s)
	end := s.End()
	oldest, newest := r.acks(snd, rcv)
	ackFits := rcv.Flags&SideKnown == 0 || sack.LessEq(newest)
	ackRecent := rcv.Flags&SideKnown == 0 || oldest.LessEq(sack)
	inReceive := rcv.MaxWin == 0 || snd.End.Add(-rcv.MaxWin).LessEq(end)
	if !s.Seq.LessEq(snd.MaxEnd) {
		over := uint32(end - snd.MaxEnd)
		near := r.Near
		if near == 0 {
			near = max(rcv.MaxWin, 1) - 1 // the kernel counts one more: end - maxend + 1 <= maxwin
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

// highest returns the highest number of s that the other end may acknowledge.
func (s *Side) highest() Seq {
	if s.Flags&sideNear != 0 && s.End.Less(s.near) {
		return s.near
	}
	return s.End
}

// maxSkew is how far ahead an ACK may be in pf, and, shifted by its sender's window scale, how far behind (MAXACKWINDOW in
// sys/net/pf.c: 65535 + 1500).
const maxSkew = 67035

// acks returns the oldest and the newest acknowledgment that snd may send of what rcv sent.
func (r *Rules) acks(snd, rcv *Side) (oldest, newest Seq) {
	switch {
	case r.ACK == ACKPF:
		return rcv.End.Add(-min(uint32(maxSkew)<<min(snd.Scale, unknownScale), maxWindow)), rcv.highest().Add(maxSkew)
	case r.ACK == ACKRFC5961 && snd.Flags&SideMaxAck != 0:
		return snd.MaxAck.Add(-snd.MaxWin), rcv.highest()
	}
	return rcv.End.Add(-lag(snd)), rcv.highest()
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
		sack = s.Options.highest(sack)
	}
	return ack, sack
}

// highest returns the highest right edge of the SACK blocks, or ack where that is higher.
func (o *Options) highest(ack Seq) Seq {
	for _, b := range o.SACK[:min(int(o.NSACK), len(o.SACK))] {
		if ack.Less(b.Right) {
			ack = b.Right
		}
	}
	return ack
}

// expect writes the numbers that a segment from dir is held against into an empty x.
func (e *Entry) expect(dir Direction, r *Rules, x *Expect) {
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	if snd.Flags&SideKnown != 0 {
		x.Seq, x.SeqLo, x.SeqHi = snd.End, snd.End.Add(-rcv.MaxWin), snd.MaxEnd
		x.Has |= ExpectSeq | ExpectSeqWindow
	}
	if rcv.Flags&SideKnown != 0 {
		x.Ack = rcv.End
		x.AckLo, x.AckHi = r.acks(snd, rcv)
		x.Has |= ExpectAck | ExpectAckWindow
	}
}
