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
		KindFIN: {FinWait, stay, FinWait, stay, LastAck, LastAck, LastAck, TimeWait, Close, stay},
		// The third packet of the handshake establishes; without a SYN/ACK an ACK means nothing.
		KindACK:  {Established, stay, Established, Established, CloseWait, CloseWait, TimeWait, TimeWait, Close, stay},
		KindRST:  {stay, Close, Close, Close, Close, Close, Close, Close, Close, Close},
		KindNone: {},
	},
	Reply: {
		// SYN_SENT: simultaneous open. Elsewhere a server has no SYN to send.
		KindSYN:    {stay, SynSent2, stay, stay, stay, stay, stay, stay, stay, SynSent2},
		KindSYNACK: {SynRecv, SynRecv, stay, stay, stay, stay, stay, stay, stay, SynRecv},
		KindFIN:    {FinWait, stay, FinWait, stay, LastAck, LastAck, LastAck, TimeWait, Close, stay},
		// SYN_SENT: perhaps a half-open connection's ACK. SYN_RECV: it may answer a late SYN; it does not complete
		// the handshake, so SYN, SYN/ACK, SYN, SYN/ACK stays short of ESTABLISHED.
		KindACK:  {stay, stay, stay, Established, CloseWait, CloseWait, TimeWait, TimeWait, Close, stay},
		KindRST:  {stay, Close, Close, Close, Close, Close, Close, Close, Close, Close},
		KindNone: {},
	},
}

// transition returns the state of e after tracking a segment of kind k from dir, whose numbers have been entered already.
func (e *Entry) transition(dir Direction, k Kind) State {
	next := machine[dir][k][e.State]
	if k == KindFIN && e.State == Established {
		next = FinWait
	}
	if next == stay {
		next = e.State
	}
	s, r := &e.Side[dir], &e.Side[dir.Other()]
	switch {
	case k == KindFIN && next == LastAck && r.Flags&SideFIN == 0:
		return e.State // its own FIN again: the other end has not closed
	case k == KindACK && e.State == SynRecv && e.Flags&EntrySimultaneous != 0:
		return Established // either end's ACK will do (RFC 9293 section 3.5, figure 7)
	case k == KindACK && e.State == FinWait && r.Flags&SideFIN != 0 && r.Flags&SideFINAck == 0:
		return FinWait // an ACK of something before the FIN
	case k == KindACK && e.State == FinWait && r.Flags&SideFIN == 0:
		return FinWait // the closer's own ACK: it has nothing to do with its FIN
	case k == KindACK && e.State == LastAck && (s.Flags&r.Flags)&SideFINAck == 0:
		// A FIN is still not acknowledged. That includes the ACK that answers an annotated SYN (RFC 5961 section 4.2): it
		// is not the ACK of the last FIN.
		return LastAck
	case k == KindACK && e.State == LastAck && e.Flags&EntryCandidate != 0 && dir != e.Candidate.Dir:
		return LastAck
	}
	return next
}
