package conntrack

import (
	"math"
	"time"
)

// Micros is a duration in microseconds; 0 is not known, or none. What is shorter than one counts as one, what is longer than 71
// minutes (4294.967295 s) as that.
type Micros uint32

// micros returns a measured duration.
func micros(d time.Duration) Micros {
	return Micros(min(max(d/time.Microsecond, 1), math.MaxUint32))
}

// add returns the sum of m and a duration, which may be none.
func (m Micros) add(d time.Duration) Micros {
	return Micros(min(time.Duration(m)+max(d, 0)/time.Microsecond, math.MaxUint32))
}

// Duration returns m as a duration.
func (m Micros) Duration() time.Duration { return time.Duration(m) * time.Microsecond }

// measure takes down what the connection's users feel of segment s, whatever is decided about it. It must precede seen, and
// what tracking makes of the segment.
func (e *Entry) measure(now Instant, dir Direction, s *Segment, f Finding) {
	if f <= FlagsIllegal {
		return // nobody can say whose it is
	}
	snd, rcv := &e.Side[dir], &e.Side[dir.Other()]
	waits, outside := false, f != InWindow && f.OutOfWindow()
	switch {
	case s.Flags&SYN != 0:
		e.measureSYN(dir, f)
	case outside:
		e.OutOfWindow[dir] = count(e.OutOfWindow[dir])
	case s.Flags&RST != 0 || f == Keepalive:
	case f == ZeroWindowProbe:
		waits = true
	case s.Seq.Less(snd.End) && s.Span() > 0 && snd.Flags&SideKnown != 0 && !e.State.Embryonic():
		e.Retransmits[dir] = count(e.Retransmits[dir])
		waits = s.Len > 0 && (rcv.Flags&SideMaxAck == 0 || rcv.MaxAck.Less(s.End()))
	}
	if waits || e.Flags&EntryStalled != 0 {
		e.measureStall(now, dir, s, waits, outside)
	}
	if e.Flags&(EntryResponded|EntryPickedUp) == 0 && (s.Len > 0 || e.Handshake == 0) {
		e.measureTimes(now, dir, s, f, outside)
	}
	if s.Flags&FIN != 0 && (snd.Flags|rcv.Flags)&SideFIN == 0 {
		e.Flags &^= EntryReplyClosed
		if dir == Reply {
			e.Flags |= EntryReplyClosed
		}
	}
}

// measureSYN counts what is repeated of the handshake.
func (e *Entry) measureSYN(dir Direction, f Finding) {
	switch f {
	case SynRetransmit, SynRetransmitOptions, SynNewISN, SynNewISNLower, SynNewISNFar:
		if dir == Original && e.SYNRetransmits < math.MaxUint8 {
			e.SYNRetransmits++
		}
	case SynAckRetransmit:
		e.Retransmits[dir] = count(e.Retransmits[dir])
	}
}

// measureStall adds the time since the last segment to the time in which nothing new came through while an end waited: it repeated
// data that was not acknowledged, or probed a closed window. The first new byte or acknowledgment, of either end, is the end of that.
func (e *Entry) measureStall(now Instant, dir Direction, s *Segment, waits, outside bool) {
	snd := &e.Side[dir]
	e.Stall = e.Stall.add(now.Sub(e.LastSeen))
	switch {
	case waits:
		e.Flags |= EntryStalled
	case outside, s.Flags&(SYN|RST) != 0:
	case snd.End.Less(s.End()), s.Flags&ACK != 0 && (snd.Flags&SideMaxAck == 0 || snd.MaxAck.Less(s.Ack)):
		e.Flags &^= EntryStalled
	}
}

// measureTimes takes the time of the handshake, from the originator's SYN to its last ACK, and of the other end's response, from the
// originator's first data to the first data that comes back after it.
func (e *Entry) measureTimes(now Instant, dir Direction, s *Segment, f Finding, outside bool) {
	done := f.Base() == Handshake || f == HandshakeOneSided
	if done && e.Handshake == 0 {
		e.Handshake = micros(now.Sub(e.Watch))
	}
	switch {
	case s.Len == 0 || outside:
	case e.Flags&EntryAsked != 0:
		if dir == Reply {
			e.Response, e.Watch = micros(now.Sub(e.Watch)), 0
			e.Flags |= EntryResponded
		}
	case dir == Original && (done || !e.State.Embryonic()):
		e.ask(now)
	}
}

// ask notes that the originator's first data has come.
func (e *Entry) ask(now Instant) {
	e.Watch = now
	e.Flags |= EntryAsked
}

// count returns n and one more, as far as that can be counted.
func count(n uint32) uint32 { return n + min(1, math.MaxUint32-n) }

// OutOfWindow reports whether a segment of this finding lies outside the window, or acknowledges what it cannot.
func (f Finding) OutOfWindow() bool {
	switch f.Base() {
	case SeqAboveNear, SeqAbove, SeqBelow, AckAbove, AckBelow, FinOutOfWindow, RstOutOfWindow:
		return true
	}
	return false
}
