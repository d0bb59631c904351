package policy

import (
	"time"

	"halfopen/conntrack"
)

// DefaultAwait is how long the answer to a segment's probe is awaited where the action does not say.
const DefaultAwait = 3 * time.Second

// maxAwait bounds await: a sender that waits for its SYN's answer gives up on more than this.
const maxAwait = 60 * time.Second

// woken is the table's callback for an entry whose probing is due, or whose probe for a segment's sake got no answer.
func (e *Engine) woken(ent *conntrack.Entry, at conntrack.Instant) (next conntrack.Instant, end conntrack.EndReason) {
	rule := e.ruleOf(ent)
	if u := ent.Probe.Until; u != 0 {
		if u > at {
			return u, conntrack.EndNone // one question at a time
		}
		return conntrack.Never, e.unanswered(ent, rule, at)
	}
	by := e.of(ent.Arm)
	u := &by.Upkeep(rule).Probes
	if ent.Probe.Tries >= u.Tries || ent.State != conntrack.Established || oneSided(ent) {
		return conntrack.Never, conntrack.EndNone
	}
	ev := TimeEvent{Kind: TimeProbe, At: at, Rule: by.RuleName(rule)}
	ent.Probe.Tries++
	for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
		if u.To.mask()&^ent.Probe.Answered&(1<<dir) == 0 {
			continue
		}
		if ev.HasEmit[dir], ev.Omitted[dir] = probeToward(&ev.Emit[dir], ent, dir); ev.HasEmit[dir] {
			ent.Probe.Asked |= 1 << dir
			ent.Probe.Ack[dir] = ev.Emit[dir].Segment.Ack
		}
	}
	ev.Flow = FlowEvent{Kind: FlowUpdate, At: at, By: by, Rule: ev.Rule, Entry: *ent}
	e.mark(&ev)
	e.tell(&ev)
	if ent.Probe.Tries < u.Tries {
		return at.Add(u.Every), conntrack.EndNone
	}
	return conntrack.Never, conntrack.EndNone
}

// oneSided reports whether an end has never been heard. Such a connection is not asked: its other direction may take another way, and
// the answers with it, so that a live connection would be taken for dead; and a single stray ACK must not make the gateway send.
func oneSided(ent *conntrack.Entry) bool {
	return ent.Side[conntrack.Original].Flags&ent.Side[conntrack.Reply].Flags&conntrack.SideSeen == 0
}

// unanswered applies the action on finding probe-unanswered.
func (e *Engine) unanswered(ent *conntrack.Entry, rule int32, at conntrack.Instant) conntrack.EndReason {
	a := e.timed(TimeUnanswered, conntrack.ProbeUnanswered, ent, rule, at)
	if a.State == conntrack.Delete {
		return conntrack.EndDeleted
	}
	return conntrack.EndNone
}

// probeToward makes a keepalive to the end of direction dir in the other end's name: one number below what the end has
// acknowledged last, so that it must answer (RFC 9293 section 3.10.7.4; RFC 1122 section 4.2.3.6), and acknowledging no more than
// the other end really has, since an ACK of more would make the end forget data that never arrived.
func probeToward(to *Emit, ent *conntrack.Entry, dir conntrack.Direction) (bool, string) {
	own, other := &ent.Side[dir], &ent.Side[dir.Other()]
	r := conntrack.Segment{Tuple: towards(ent, dir), Flags: conntrack.ACK, Seq: other.End, Ack: own.End}
	if own.Flags&other.Flags&conntrack.SideKnown == 0 {
		return false, OmitNoNumbers
	}
	if own.Flags&conntrack.SideMaxAck != 0 {
		r.Seq = own.MaxAck
	}
	if other.Flags&conntrack.SideMaxAck != 0 {
		r.Ack = other.MaxAck
	}
	r.Seq = r.Seq.Add(^uint32(0)) // less one
	r.Window = uint16(min(other.Win>>other.Scale, 0xffff))
	*to = Emit{Kind: PeerProbeACK.String(), Segment: r}
	return true, ""
}

// probeFromSYN turns the SYN s into an ACK with a number that the other end cannot have sent, another one each time, as Check
// Point's smart connection reuse does. An end that holds the connection answers with an ACK of its own numbers, because the SYN's
// is none of its window; one that does not answers with a RST of that number.
func probeFromSYN(to *Emit, v *conntrack.View, s *conntrack.Segment) {
	own := &v.Entry.Side[v.Dir.Other()]
	r := *s
	r.Flags, r.Options, r.Len, r.Bytes, r.Urgent = conntrack.ACK, conntrack.Options{}, 0, 0, 0
	h := (v.Entry.Side[v.Dir].Packets + 1) * 0x9e3779b97f4a7c15 // Fibonacci hashing: repeatable, and spread
	r.Ack = own.End.Add(1<<30 + uint32(h>>34))
	*to = Emit{Kind: PeerProbeSYN.String(), Segment: r}
}

// probe makes the probe that an action asks for.
func (e *Engine) probe(v *conntrack.View, s *conntrack.Segment, a *Action) {
	out := &e.out
	switch {
	case v.Entry == nil:
		out.PeerOmitted = OmitNoState
	case a.Peer == PeerProbeSYN:
		probeFromSYN(&out.Peer, v, s)
		out.HasPeer = true
	default:
		out.HasPeer, out.PeerOmitted = probeToward(&out.Peer, v.Entry, v.Dir.Other())
	}
}

// await notes the probe that the step has made, so that its answer is known for one.
func (e *Engine) await(now conntrack.Instant, ent *conntrack.Entry, dir conntrack.Direction, a *Action) {
	if e.out.HasPeer && a.Peer.probes() {
		e.table.Await(ent, dir.Other(), e.out.Peer.Segment.Ack, now.Add(a.Await))
	}
}

// refreshes reports whether a segment may set the timer anew, by the rule's word on refreshing; it notes what the segment brings
// towards that.
func (e *Engine) refreshes(v *conntrack.View, s *conntrack.Segment, f conntrack.Finding, rule int32) bool {
	ent, u := v.Entry, e.by.Upkeep(rule)
	if f == conntrack.AckForProbe && u.Probes.Alive == AliveAll && ent.Probe.Until == 0 &&
		ent.Probe.Asked&^(ent.Probe.Answered|1<<v.Dir) != 0 {
		return false
	}
	if k := s.Kind(); ent.State != conntrack.Established || k != conntrack.KindACK {
		return true // the handshake and the close set the timers of their states
	}
	switch u.Refresh {
	case RefreshOriginal:
		return v.Dir^conntrack.Direction(ent.Marks&markFlipped) == conntrack.Original
	case RefreshReply:
		return v.Dir^conntrack.Direction(ent.Marks&markFlipped) == conntrack.Reply
	case RefreshProgress:
		side := &ent.Side[v.Dir]
		if s.Flags&conntrack.ACK != 0 && (side.Flags&conntrack.SideMaxAck == 0 || side.MaxAck.LessEq(s.Ack)) {
			ent.Marks |= markProgress << v.Dir
		}
		if ent.Marks&(3*markProgress) != 3*markProgress {
			return false
		}
		ent.Marks &^= 3 * markProgress
	}
	return true
}

// markProgress on an entry, shifted by a direction: that direction has brought an ACK that does not go back since the timer was
// last set.
const markProgress = 1 << 1
