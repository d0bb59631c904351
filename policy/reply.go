package policy

import (
	"net/netip"

	"halfopen/conntrack"
)

// Why a reply that an action asked for was left out.
const (
	OmitDefect    = "malformed"   // the segment cannot be trusted to say who sent it
	OmitChecksum  = "checksum"    // the same
	OmitAddress   = "not-unicast" // RFC 1122 section 3.2.2, RFC 9293 section 3.10.7.1: no answer to multicast and broadcast
	OmitRST       = "rst"         // no RST in answer to a RST (RFC 9293 section 3.5.2)
	OmitNoState   = "no-state"    // tracked numbers need an entry
	OmitRate      = "rate"        // inject.acks or inject.rsts was spent
	OmitFlowGap   = "flow-gap"    // inject.flow_gap has not passed since the connection's last
	OmitNoNumbers = "no-numbers"  // the entry was picked up mid-stream and does not know that end's numbers yet
)

// answer makes what the action sends in answer to segment s, from what is remembered before the commit.
func (e *Engine) answer(v *conntrack.View, s *conntrack.Segment, a *Action) {
	if a.Reply == ReplyNone && a.Peer == PeerNone {
		return
	}
	out := &e.out
	if why := mayNotAnswer(s); why != "" {
		if a.Reply != ReplyNone {
			out.ReplyOmitted = why
		}
		if a.Peer != PeerNone {
			out.PeerOmitted = why
		}
		return
	}
	switch a.Reply {
	case ReplyRST:
		out.HasReply, out.ReplyOmitted = replyRST(&out.Reply, s)
	case ReplyRSTTracked:
		out.HasReply, out.ReplyOmitted = replyRSTTracked(&out.Reply, v, s)
	case ReplyRSTInitial:
		out.HasReply, out.ReplyOmitted = replyRSTInitial(&out.Reply, v, s)
	case ReplyACKTracked:
		if v.Entry == nil {
			out.ReplyOmitted = OmitNoState
		} else {
			out.HasReply, out.ReplyOmitted = ackToward(&out.Reply, v.Entry, v.Dir, a.TrackedWindow)
		}
	case ReplyICMPPort, ReplyICMPAdmin:
		out.Reply = Emit{Kind: a.Reply.String(), ICMP: a.Reply, Segment: conntrack.Segment{Tuple: s.Tuple.Reverse()}}
		out.HasReply = true
	}
	switch {
	case a.Peer == PeerNone:
	case a.Peer.probes():
		e.probe(v, s, a)
	case v.Entry == nil:
		out.PeerOmitted = OmitNoState
	default:
		out.HasPeer, out.PeerOmitted = peerRST(&out.Peer, v.Entry, v.Dir.Other(), a)
	}
}

// peerRST makes the RST to the end of direction dir that an action's peer part asks for, if it does.
func peerRST(to *Emit, ent *conntrack.Entry, dir conntrack.Direction, a *Action) (bool, string) {
	switch a.Peer {
	case PeerRSTTracked:
		return rstToward(to, ent, dir)
	case PeerRSTInitial:
		return rstInitial(to, ent, dir)
	}
	return false, ""
}

// mayNotAnswer returns why nothing may be made of a segment, "" where something may.
func mayNotAnswer(s *conntrack.Segment) string {
	switch {
	case s.Defect != conntrack.DefectNone:
		return OmitDefect
	case s.Checksum == conntrack.ChecksumBad:
		return OmitChecksum
	case !unicast(s.Tuple.From().Addr()) || !unicast(s.Tuple.To().Addr()):
		return OmitAddress
	}
	return ""
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func unicast(a netip.Addr) bool { return !a.IsMulticast() && !a.IsUnspecified() && a != broadcast }

// replyRST makes the RST of a host without the connection (RFC 9293 section 3.5.2 group 1; nf_reject_ipv4.c does the same):
// with an ACK in the segment seq is what it acknowledges, and no ACK is set; otherwise seq is 0, and ack is the segment's
// end, SYN and FIN included.
func replyRST(to *Emit, s *conntrack.Segment) (bool, string) {
	if s.Flags&conntrack.RST != 0 {
		return false, OmitRST
	}
	r := conntrack.Segment{Tuple: s.Tuple.Reverse(), Flags: conntrack.RST}
	if s.Flags&conntrack.ACK != 0 {
		r.Seq = s.Ack
	} else {
		r.Flags |= conntrack.ACK
		r.Ack = s.End()
	}
	*to = Emit{Kind: ReplyRST.String(), Segment: r}
	return true, ""
}

// replyRSTTracked makes a RST to the segment's sender with tracked numbers. The sender of a SYN is in SYN_SENT, whatever
// the entry remembers of its past: it takes a RST only with an ACK of that SYN (RFC 9293 section 3.10.7.3), which is ISN+1
// also where the SYN carried data, since none of it is acknowledged.
func replyRSTTracked(to *Emit, v *conntrack.View, s *conntrack.Segment) (bool, string) {
	switch {
	case s.Flags&conntrack.RST != 0:
		return false, OmitRST
	case v.Entry == nil:
		return false, OmitNoState
	case s.Kind() == conntrack.KindSYN:
		r := conntrack.Segment{Tuple: s.Tuple.Reverse(), Flags: conntrack.RST | conntrack.ACK, Ack: s.Seq.Add(1)}
		if peer := &v.Entry.Side[v.Dir.Other()]; peer.Flags&conntrack.SideKnown != 0 {
			r.Seq = peer.End
		}
		*to = Emit{Kind: ReplyRSTTracked.String(), Segment: r}
		return true, ""
	}
	return rstToward(to, v.Entry, v.Dir)
}

// replyRSTInitial makes a RST to the segment's sender with the number that followed the other end's SYN.
func replyRSTInitial(to *Emit, v *conntrack.View, s *conntrack.Segment) (bool, string) {
	switch {
	case s.Flags&conntrack.RST != 0:
		return false, OmitRST
	case v.Entry == nil:
		return false, OmitNoState
	}
	return rstInitial(to, v.Entry, v.Dir)
}

// rstInitial makes a RST to the end of direction dir with the numbers of the handshake: the one after the other end's SYN, or to an
// end whose SYN is all that was seen, its acknowledgment.
func rstInitial(to *Emit, ent *conntrack.Entry, dir conntrack.Direction) (bool, string) {
	own, other := &ent.Side[dir], &ent.Side[dir.Other()]
	r := conntrack.Segment{Tuple: towards(ent, dir), Flags: conntrack.RST}
	switch {
	case other.Flags&conntrack.SideSYN != 0:
		r.Seq = other.ISN.Add(1)
	case own.Flags&conntrack.SideSYN != 0 && ent.State.Embryonic():
		r.Flags |= conntrack.ACK
		r.Ack = own.ISN.Add(1)
	default:
		return false, OmitNoNumbers
	}
	*to = Emit{Kind: PeerRSTInitial.String(), Segment: r}
	return true, ""
}

// rstToward makes a RST that the end of direction to accepts as the other end's.
//
// RFC 5961 section 3.2 takes a RST with exactly RCV.NXT, which is what the end last acknowledged; any other number in its
// window draws a challenge ACK instead. Where the other end has sent more than that, the end may have received it or not: then both
// numbers are used. An end that has acknowledged nothing is in SYN_SENT and takes a RST only with an ACK of
// its SYN (RFC 9293 section 3.10.7.3). An end that never spoke is given the next number of the other end.
func rstToward(to *Emit, ent *conntrack.Entry, dir conntrack.Direction) (bool, string) {
	own, other := &ent.Side[dir], &ent.Side[dir.Other()]
	r := conntrack.Segment{Tuple: towards(ent, dir), Flags: conntrack.RST}
	*to = Emit{Kind: PeerRSTTracked.String()}
	switch {
	case ent.Flags&conntrack.EntryCandidate != 0 && ent.Candidate.Dir == dir && ent.State != conntrack.SynSent && ent.State != conntrack.SynSent2:
		// a later SYN; before any answer the candidate is the earlier one, and the end has given that up
		r.Flags |= conntrack.ACK
		r.Seq, r.Ack = other.End, ent.Candidate.ISN.Add(1)
	case own.Flags&conntrack.SideMaxAck != 0:
		r.Seq = own.MaxAck
		if other.Flags&conntrack.SideKnown != 0 && own.MaxAck.Less(other.End) {
			to.Also, to.Twice = other.End, true
		}
	case own.Flags&conntrack.SideSYN != 0:
		r.Flags |= conntrack.ACK
		r.Ack = own.ISN.Add(1)
		if other.Flags&conntrack.SideKnown != 0 {
			r.Seq = other.End
		}
	case other.Flags&conntrack.SideKnown != 0:
		r.Seq = other.End
	default:
		return false, OmitNoNumbers
	}
	to.Segment = r
	return true, ""
}

// ackToward makes a bare ACK to the end of direction to in the other end's name, with the next number of each side:
// pf_send_challenge_ack in OpenBSD's pf.c, whose window is 0; RFC 5961 section 4.2 wants the same numbers. With window it
// carries the other end's last window.
func ackToward(to *Emit, ent *conntrack.Entry, dir conntrack.Direction, window bool) (bool, string) {
	own, other := &ent.Side[dir], &ent.Side[dir.Other()]
	if own.Flags&other.Flags&conntrack.SideKnown == 0 {
		return false, OmitNoNumbers
	}
	r := conntrack.Segment{Tuple: towards(ent, dir), Flags: conntrack.ACK, Seq: other.End, Ack: own.End}
	if window {
		r.Window = uint16(min(other.Win>>other.Scale, 0xffff))
	}
	*to = Emit{Kind: ReplyACKTracked.String(), Segment: r}
	return true, ""
}

// towards returns the tuple of segments that go to the end of direction dir.
func towards(ent *conntrack.Entry, dir conntrack.Direction) conntrack.Tuple {
	if dir == conntrack.Original {
		return ent.Tuple.Reverse()
	}
	return ent.Tuple
}

// expiryReply makes what goes to the originator of an entry that expired. There is no segment to answer, so the stateless RST
// and the tracked one are the same, and nothing that an ICMP error could quote.
func expiryReply(to *Emit, ent *conntrack.Entry, a *Action) (bool, string) {
	switch a.Reply {
	case ReplyACKTracked:
		return ackToward(to, ent, conntrack.Original, a.TrackedWindow)
	case ReplyRSTInitial:
		return rstInitial(to, ent, conntrack.Original)
	case ReplyICMPPort, ReplyICMPAdmin:
		return false, OmitNoState
	}
	return rstToward(to, ent, conntrack.Original)
}
