package conntrack

import "time"

// Caps shorten the timeout that a refresh sets, where something is amiss with a connection: the rules beside the timeouts of
// nf_conntrack_proto_tcp.c. Zero is no cap.
type Caps struct {
	Retransmitted  time.Duration // an end has repeated itself Retransmits times without an answer (nf_conntrack_tcp_timeout_max_retrans)
	Unacknowledged time.Duration // data was not acknowledged yet (nf_conntrack_tcp_timeout_unacknowledged)
	ZeroWindow     time.Duration // the last segment advertised no window
	OneWay         time.Duration // taken up in its middle, and nothing was heard from the other end
	Retransmits    uint8         // 0 means 3 (nf_conntrack_tcp_max_retrans); a fast path takes that of the [Rules] for both
}

// capped returns a timeout with the caps that apply to e. Under [SeqKernel] they apply by the kernel's own marks.
func (e *Entry) capped(d time.Duration, c *Caps, check SeqCheck) time.Duration {
	if e.State == Denied {
		return d
	}
	limit := func(cap time.Duration, applies bool) {
		if cap > 0 && applies {
			d = min(d, cap)
		}
	}
	most := c.Retransmits
	if most == 0 {
		most = 3
	}
	if check == SeqKernel {
		limit(c.Retransmitted, e.last.retrans >= most)
		limit(c.Unacknowledged, (e.Side[0].Flags|e.Side[1].Flags)&sideUnacked != 0)
		limit(c.ZeroWindow, e.last.win == 0)
		limit(c.OneWay, e.State == Established && e.Flags&EntryReplied == 0)
		return d
	}
	last := &e.Side[e.LastDir]
	limit(c.Retransmitted, max(e.Side[0].Retrans, e.Side[1].Retrans) >= most)
	limit(c.Unacknowledged, e.unacknowledged(Original) || e.unacknowledged(Reply))
	limit(c.ZeroWindow, last.Win == 0 && last.Flags&SideSeen != 0 && e.LastKind != KindRST)
	limit(c.OneWay, e.State == Established && e.Flags&EntryPickedUp != 0 && e.Flags&EntryReplied == 0)
	return d
}

// unacknowledged reports whether the other end has still to acknowledge what the end of dir sent.
func (e *Entry) unacknowledged(dir Direction) bool {
	own, other := &e.Side[dir], &e.Side[dir.Other()]
	return own.Flags&SideKnown != 0 && other.Flags&SideMaxAck != 0 && other.MaxAck.Less(own.End)
}
