package conntrack

// This file and kernel_window.go are connection tracking as Linux does it, number by number ([SeqKernel]). The rules are those of
// net/netfilter/nf_conntrack_proto_tcp.c of Linux 6.18; the oracle test holds them against the running kernel. Where the
// general machine of this package follows what the ends must think (which FIN an ACK is for, which SYN is answered), the
// kernel follows simpler rules of its own, and keeps its own memory of the last segment.

// kernelFate is what the kernel does with a segment of a remembered connection.
type kernelFate uint8

const (
	kernelAccept  kernelFate = iota // tracked: windows, state and timer follow
	kernelIgnore                    // part of the connection, which does not follow it
	kernelInvalid                   // INVALID
	kernelReopen                    // the entry is deleted, and the SYN taken as the first of a new connection
)

// kernelWhy is the branch of the kernel's code that a fate comes from.
type kernelWhy uint8

const (
	whyTable     kernelWhy = iota // the table of states
	whyWindow                     // the windows; fit says how
	whyResync                     // a SYN/ACK for the SYN that was let through
	whyChallenge                  // the ACK that a SYN in LAST_ACK draws
	whyOldRST                     // a RST below what its receiver has acknowledged
	whyRSTForSYN                  // a RST for a SYN or ACK that was let through
	whyRSTForACK                  // a RST that quotes a challenge ACK
)

// Flags of kernelLast beside SideScale and SideSACK.
const (
	lastChallenge    SideFlags = 1 << 14 // IP_CT_EXP_CHALLENGE_ACK
	lastSimultaneous SideFlags = 1 << 15 // IP_CT_TCP_SIMULTANEOUS_OPEN
)

// kernelFlags are the side flags that the kernel clears with each SYN of a handshake.
const kernelFlags = SideScale | SideSACK | SideMaxAck | sideCloseInit | sideUnacked

// kernelLast is the kernel's memory of the last segment: the last_* members of struct ip_ct_tcp.
type kernelLast struct {
	seq, ack, end Seq
	win           uint16
	flags         SideFlags // SideScale, SideSACK, lastChallenge, lastSimultaneous
	scale         uint8
	dir           Direction
	kind          uint8 // Kind + 1, 0 for none
	retrans       uint8 // how often the same ACK came again
}

func (l *kernelLast) is(k Kind) bool { return l.kind == uint8(k)+1 }

// kernelTracker is a working copy of what the kernel's code reads and writes of an entry.
type kernelTracker struct {
	side             [2]Side
	last             kernelLast
	state            State
	replied, assured bool
}

// kernelVerdict is the kernel's judgement of a segment. The tracker that gave it holds the memory that follows, beside the state.
type kernelVerdict struct {
	fate    kernelFate
	why     kernelWhy
	fit     fit   // with whyWindow
	next    State // with kernelAccept
	lenient bool  // accepted out of window, because the window is not known well
	stuck   bool  // a FIN or RST out of window answers another: the ends are somewhere else
}

func (e *Entry) kernel(relaxed bool) kernelTracker {
	k := kernelTracker{side: e.Side, last: e.last, state: e.State, replied: e.Flags&EntryReplied != 0, assured: e.Flags&EntryAssured != 0}
	if relaxed {
		k.side[0].Flags |= SideLiberal
		k.side[1].Flags |= SideLiberal
	}
	return k
}

// Cells of the kernel's table that are no state.
const (
	kernIV = NumStates + iota // invalid
	kernIG                    // ignored
)

// kernelMachine is tcp_conntracks with the difference between ignored and invalid. Columns as in machine.
var kernelMachine = [2][KindNone][NumStates]State{
	Original: {
		KindSYN:    {SynSent, SynSent, kernIG, kernIG, kernIG, kernIG, kernIG, SynSent, SynSent, SynSent2},
		KindSYNACK: {kernIV, kernIV, SynRecv, kernIV, kernIV, kernIV, kernIV, kernIV, kernIV, SynRecv},
		KindFIN:    {kernIV, kernIV, FinWait, FinWait, LastAck, LastAck, LastAck, TimeWait, Close, kernIV},
		KindACK:    {Established, kernIV, Established, Established, CloseWait, CloseWait, TimeWait, TimeWait, Close, kernIV},
		KindRST:    {kernIV, Close, Close, Close, Close, Close, Close, Close, Close, Close},
	},
	Reply: {
		KindSYN:    {kernIV, SynSent2, kernIV, kernIV, kernIV, kernIV, kernIV, SynSent, kernIV, SynSent2},
		KindSYNACK: {kernIV, SynRecv, kernIG, kernIG, kernIG, kernIG, kernIG, kernIG, kernIG, SynRecv},
		KindFIN:    {kernIV, kernIV, FinWait, FinWait, LastAck, LastAck, LastAck, TimeWait, Close, kernIV},
		KindACK:    {kernIV, kernIG, SynRecv, Established, CloseWait, CloseWait, TimeWait, TimeWait, Close, kernIG},
		KindRST:    {kernIV, Close, Close, Close, Close, Close, Close, Close, Close, Close},
	},
}

// packet takes a segment of legal flags through nf_conntrack_tcp_packet.
func (k *kernelTracker) packet(dir Direction, s *Segment) kernelVerdict {
	kind := s.Kind()
	next := kernelMachine[dir][kind][k.state]
	switch next {
	case kernIV:
		return kernelVerdict{fate: kernelInvalid}
	case kernIG:
		return k.ignored(dir, s)
	case SynSent:
		if k.state != TimeWait && k.state != Close {
			break
		}
		if (k.side[0].Flags|k.side[1].Flags)&sideCloseInit != 0 || k.last.dir == dir && k.last.is(KindRST) {
			return kernelVerdict{fate: kernelReopen}
		}
		return k.ignored(dir, s)
	case TimeWait:
		if k.state == LastAck && kind == KindACK && k.last.dir != dir && k.last.is(KindSYN) && k.last.flags&lastChallenge != 0 {
			k.last.flags &^= lastChallenge
			return kernelVerdict{fate: kernelIgnore, why: whyChallenge}
		}
	case SynSent2:
		k.last.flags |= lastSimultaneous
	case SynRecv:
		if dir == Reply && kind == KindACK && k.last.flags&lastSimultaneous != 0 {
			next = Established
		}
	case Close:
		if kind == KindRST {
			return k.reset(dir, s)
		}
	}
	return k.windowed(dir, s, next)
}

// ignored handles what may belong to a connection that the ends have and the gateway has not: a SYN's numbers are noted, and a
// SYN/ACK for them proves them.
func (k *kernelTracker) ignored(dir Direction, s *Segment) kernelVerdict {
	kind, l := s.Kind(), &k.last
	if kind == KindSYNACK && l.is(KindSYN) && l.dir != dir && s.Ack == l.end {
		from := &k.side[l.dir]
		l.flags &^= lastChallenge
		*from = Side{ISN: l.seq, End: l.end, MaxEnd: l.end, MaxAck: from.MaxAck, MaxWin: max(uint32(l.win), 1), Win: uint32(l.win),
			Scale: l.scale, Flags: l.flags&(SideScale|SideSACK) | SideSeen | SideSYN | SideKnown, Packets: from.Packets, Bytes: from.Bytes}
		to := &k.side[dir]
		*to = Side{Flags: to.Flags & SideLiberal, Packets: to.Packets, Bytes: to.Bytes}
		k.state = SynSent
		v := k.windowed(dir, s, SynRecv)
		v.why = whyResync
		return v
	}
	l.kind, l.dir, l.seq, l.end, l.win = uint8(kind)+1, dir, s.Seq, s.End(), s.Window
	if kind == KindSYN && dir == Original {
		l.flags, l.scale = 0, 0
		if s.Options.Has&OptWScale != 0 {
			l.flags, l.scale = SideScale, min(s.Options.WScale, 14)
		}
		if s.Options.Has&OptSACKPermitted != 0 {
			l.flags |= SideSACK
		}
		if k.state == LastAck {
			l.flags |= lastChallenge
		}
	}
	if k.state == SynSent && kind == KindACK && dir == Reply {
		l.ack = s.Ack
	}
	return kernelVerdict{fate: kernelIgnore}
}

// reset judges a RST by more than the window.
func (k *kernelTracker) reset(dir Direction, s *Segment) kernelVerdict {
	l, other := &k.last, &k.side[dir.Other()]
	next := Close
	if k.state.Closing() {
		k.took(dir, s)
		return kernelVerdict{next: Close}
	}
	if other.Flags&SideMaxAck != 0 && !l.is(KindSYN) {
		established := k.state == Established && k.assured
		switch {
		case s.Seq == 0 && !established:
			return k.windowed(dir, s, Close)
		case s.Seq.Less(other.MaxAck):
			return kernelVerdict{fate: kernelInvalid, why: whyOldRST}
		case !established, s.Seq == other.MaxAck, l.is(KindACK) && l.dir == dir && s.Seq == l.end:
			return k.windowed(dir, s, Close)
		}
		next = k.state // a challenge ACK may follow
	}
	why := whyWindow
	switch {
	case (k.replied && l.is(KindSYN) && l.dir != dir || !k.assured && l.is(KindACK)) && s.Ack == l.end:
		why = whyRSTForSYN
	case k.state == SynSent && l.is(KindACK) && l.dir == Reply && s.Seq == l.ack:
		why = whyRSTForACK
	default:
		return k.windowed(dir, s, next)
	}
	k.took(dir, s)
	return kernelVerdict{why: why, next: next}
}

// windowed judges a segment by the windows and, where it fits, lets them follow.
func (k *kernelTracker) windowed(dir Direction, s *Segment, next State) kernelVerdict {
	v := k.window(dir, s)
	if v.fate != kernelAccept {
		if kind := s.Kind(); v.fate == kernelInvalid && k.assured && (kind == KindFIN || kind == KindRST) { // nf_tcp_handle_invalid
			if v.stuck = k.last.dir != dir && (k.last.is(KindFIN) || k.last.is(KindRST)); !v.stuck {
				k.took(dir, s)
			}
		}
		return v
	}
	v.next = next
	if next == FinWait && next != k.state {
		k.side[dir].Flags |= sideCloseInit
	}
	k.took(dir, s)
	return v
}

// took notes a segment as the last.
func (k *kernelTracker) took(dir Direction, s *Segment) {
	k.last.kind, k.last.dir = uint8(s.Kind())+1, dir
}
