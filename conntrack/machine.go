package conntrack

// stay is a cell of the machine that changes nothing. Netfilter tells two of these apart: a segment that is ignored because
// an end may hold better knowledge than the gateway, and one that is invalid. Here Classify names the difference.
const stay = StateNone

// machine is the state that a tracked segment leads to, by direction, kind and present state. The columns are, in order:
// (none), SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2.
//
// It is netfilter's tcp_conntracks (net/netfilter/nf_conntrack_proto_tcp.c) with its ignored and invalid cells as stay. The
// gateway sees segments that may be lost behind it, so a state is a guess at the sender's. [Table.transition] adds what
// a table cannot say: which FIN an ACK is for, and simultaneous open.
var machine = [2][NumKinds][NumStates]State{
	Original: {
		// From CLOSE and TIME_WAIT a SYN opens a new connection: not a transition of this entry but a Replace.
		KindSYN: {SynSent, SynSent, stay, stay, stay, stay, stay, stay, stay, SynSent2},
		// Nobody answers its own SYN (SYN_SENT); it may answer the other's (SYN_SENT2).
		KindSYNACK: {stay, stay, stay, stay, stay, stay, stay, stay, stay, SynRecv},
		// Before the SYN/ACK there is nothing to close. A second FIN in FIN_WAIT is the other end's (transition checks).
		KindFIN: {FinWait, stay, FinWait, FinWait, LastAck, LastAck, LastAck, TimeWait, Close, stay},
		// The third packet of the handshake establishes; without a SYN/ACK an ACK means nothing.
		KindACK:  {Established, stay, Established, Established, CloseWait, CloseWait, TimeWait, TimeWait, Close, stay},
		KindRST:  {stay, Close, Close, Close, Close, Close, Close, Close, Close, Close},
		KindNone: {},
	},
	Reply: {
		// SYN_SENT: simultaneous open. Elsewhere a server has no SYN to send.
		KindSYN:    {stay, SynSent2, stay, stay, stay, stay, stay, stay, stay, SynSent2},
		KindSYNACK: {SynRecv, SynRecv, stay, stay, stay, stay, stay, stay, stay, SynRecv},
		KindFIN:    {FinWait, stay, FinWait, FinWait, LastAck, LastAck, LastAck, TimeWait, Close, stay},
		// SYN_SENT: perhaps a half-open connection's ACK. SYN_RECV: it may answer a late SYN; it does not complete
		// the handshake. (In a simultaneous open, and after a gap, it does: Classify says handshake then.)
		KindACK:  {stay, stay, stay, Established, CloseWait, CloseWait, TimeWait, TimeWait, Close, stay},
		KindRST:  {stay, Close, Close, Close, Close, Close, Close, Close, Close, Close},
		KindNone: {},
	},
}

// transition returns the state of e after tracking a segment of kind k from dir, whose numbers have been entered already.
func (e *Entry) transition(dir Direction, k Kind) State {
	next := machine[dir][k][e.State]
	if next == stay {
		return e.State
	}
	s, r := &e.Side[dir], &e.Side[dir.Other()]
	bothAcked := s.Flags&r.Flags&SideFINAck != 0
	switch {
	case k == KindFIN && next == LastAck && r.Flags&SideFIN == 0:
		return e.State // its own FIN again: the other end has not closed
	case k == KindFIN && next == LastAck && bothAcked:
		return TimeWait // a FIN sent again, which acknowledges the other end's
	case k == KindACK && next == CloseWait && r.Flags&SideFINAck == 0 && s.Flags&SideFINAck == 0:
		return e.State // the closer's own ACK, or one of something before the FIN
	case k == KindACK && next == TimeWait && e.State == LastAck && !bothAcked:
		// A FIN is still not acknowledged. The ACK that answers an annotated SYN (RFC 5961 section 4.2) ends here too: it
		// comes from the end whose FIN is pending, and is not the ACK of that FIN.
		return LastAck
	case k == KindACK && e.State == LastAck && e.Flags&EntryCandidate != 0 && dir != e.Candidate.Dir:
		return LastAck // the same, where it happens to cover the FIN
	}
	return next
}
