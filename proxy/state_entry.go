package proxy

import (
	"encoding/binary"
	"errors"
	"time"

	"halfopen/conntrack"
)

// flowSize is the length of a flow in a state file: addresses and ports, ids, times, both sides, the candidate, the rest.
const (
	sideSize     = 8*4 + 2 + 2 + 4*8
	measuresSize = 7*4 + 8 + 1 + 2
	flowSize     = 2*16 + 2*2 + 2*8 + 5*8 + 2*sideSize + (8 + 2*4 + 2 + 1 + 2 + 1) + measuresSize + 4 + 2 + 2 + 2*2 + 2*2 + 6 + len(conntrack.Entry{}.History)
)

// appendFlow encodes a saved entry; set is the number of its timeouts in the file. Epoch, Rule, Timers, Counted, FastUntold and FastSlot mean nothing
// outside the engine that the entry comes from.
func appendFlow(b []byte, e *conntrack.Entry, set uint16) []byte {
	le := binary.LittleEndian
	b = append(b, e.Tuple.Src[:]...)
	b = append(b, e.Tuple.Dst[:]...)
	b = le.AppendUint16(b, e.Tuple.SrcPort)
	b = le.AppendUint16(b, e.Tuple.DstPort)
	b = le.AppendUint64(b, e.ID)
	b = le.AppendUint64(b, e.Previous)
	for _, t := range [...]int64{int64(e.Created), int64(e.LastSeen), int64(e.Refreshed), int64(e.Deadline), int64(e.Timeout)} {
		b = le.AppendUint64(b, uint64(t))
	}
	for i := range e.Side {
		s := &e.Side[i]
		for _, n := range [...]uint32{uint32(s.ISN), uint32(s.End), uint32(s.MaxEnd), uint32(s.MaxAck), uint32(s.FINEnd), s.MaxWin, s.Win, s.TSRecent} {
			b = le.AppendUint32(b, n)
		}
		b = le.AppendUint16(b, uint16(s.Flags))
		b = append(b, s.Scale, s.Retrans)
		b = le.AppendUint64(b, s.Packets)
		b = le.AppendUint64(b, s.Bytes)
		b = le.AppendUint64(b, e.FastPackets[i])
		b = le.AppendUint64(b, e.FastBytes[i])
	}
	for _, n := range [...]uint32{uint32(e.Handshake), uint32(e.Response), uint32(e.Stall), e.Retransmits[0], e.Retransmits[1], e.OutOfWindow[0], e.OutOfWindow[1]} {
		b = le.AppendUint32(b, n)
	}
	b = le.AppendUint64(b, uint64(e.Watch))
	b = append(b, e.SYNRetransmits, e.Interventions, e.Resets)
	c := &e.Candidate
	b = le.AppendUint64(b, uint64(c.Since))
	b = le.AppendUint32(b, uint32(c.ISN))
	b = le.AppendUint32(b, uint32(c.End))
	b = le.AppendUint16(b, c.Win)
	b = append(b, c.Scale)
	b = le.AppendUint16(b, uint16(c.Flags))
	b = append(b, byte(c.Dir))
	b = le.AppendUint32(b, uint32(e.Challenge))
	b = le.AppendUint16(b, set)
	b = le.AppendUint16(b, uint16(e.Flags))
	b = le.AppendUint16(b, e.MSS[0])
	b = le.AppendUint16(b, e.MSS[1])
	b = le.AppendUint16(b, e.Strip)
	b = le.AppendUint16(b, e.MaxMSS)
	b = append(b, byte(e.State), byte(e.LastDir), byte(e.LastKind), e.Marks, e.HistoryN, e.Arm)
	return append(b, e.History[:]...)
}

// fields reads fixed-size fields off a slice that is known to be long enough.
type fields struct{ b []byte }

func (f *fields) next(n int) []byte {
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}
func (f *fields) u8() uint8   { return f.next(1)[0] }
func (f *fields) u16() uint16 { return binary.LittleEndian.Uint16(f.next(2)) }
func (f *fields) u32() uint32 { return binary.LittleEndian.Uint32(f.next(4)) }
func (f *fields) u64() uint64 { return binary.LittleEndian.Uint64(f.next(8)) }

// parseFlow decodes flowSize bytes into a zero entry and returns the number of its timeouts.
func parseFlow(b []byte, e *conntrack.Entry) (set uint16, err error) {
	f := fields{b}
	copy(e.Tuple.Src[:], f.next(16))
	copy(e.Tuple.Dst[:], f.next(16))
	e.Tuple.SrcPort, e.Tuple.DstPort = f.u16(), f.u16()
	e.ID, e.Previous = f.u64(), f.u64()
	for _, t := range [...]*conntrack.Instant{&e.Created, &e.LastSeen, &e.Refreshed, &e.Deadline} {
		*t = conntrack.Instant(f.u64())
	}
	e.Timeout = time.Duration(f.u64())
	for i := range e.Side {
		s := &e.Side[i]
		for _, n := range [...]*conntrack.Seq{&s.ISN, &s.End, &s.MaxEnd, &s.MaxAck, &s.FINEnd} {
			*n = conntrack.Seq(f.u32())
		}
		s.MaxWin, s.Win, s.TSRecent = f.u32(), f.u32(), f.u32()
		s.Flags = conntrack.SideFlags(f.u16())
		s.Scale, s.Retrans = f.u8(), f.u8()
		s.Packets, s.Bytes = f.u64(), f.u64()
		e.FastPackets[i], e.FastBytes[i] = f.u64(), f.u64()
	}
	for _, n := range [...]*conntrack.Micros{&e.Handshake, &e.Response, &e.Stall} {
		*n = conntrack.Micros(f.u32())
	}
	e.Retransmits[0], e.Retransmits[1], e.OutOfWindow[0], e.OutOfWindow[1] = f.u32(), f.u32(), f.u32(), f.u32()
	e.Watch = conntrack.Instant(f.u64())
	e.SYNRetransmits, e.Interventions, e.Resets = f.u8(), f.u8(), f.u8()
	c := &e.Candidate
	c.Since = conntrack.Instant(f.u64())
	c.ISN, c.End = conntrack.Seq(f.u32()), conntrack.Seq(f.u32())
	c.Win, c.Scale = f.u16(), f.u8()
	c.Flags = conntrack.SideFlags(f.u16())
	c.Dir = conntrack.Direction(f.u8())
	e.Challenge = conntrack.Seq(f.u32())
	set = f.u16()
	e.Flags = conntrack.EntryFlags(f.u16())
	e.MSS[0], e.MSS[1] = f.u16(), f.u16()
	e.Strip, e.MaxMSS = f.u16(), f.u16()
	e.State, e.LastDir, e.LastKind = conntrack.State(f.u8()), conntrack.Direction(f.u8()), conntrack.Kind(f.u8())
	e.Marks, e.HistoryN, e.Arm = f.u8(), f.u8(), f.u8()
	copy(e.History[:], f.next(len(e.History)))
	e.Rule = -1
	return set, checkEntry(e)
}

// parseTimeouts decodes a set of timeouts.
func parseTimeouts(b []byte) (set conntrack.Timeouts, err error) {
	f := fields{b}
	for s := range set {
		if set[s] = time.Duration(f.u64()); set[s] < 0 {
			err = errors.New("below zero")
		}
	}
	return set, err
}

// maxScale is the largest window shift (RFC 7323 section 2.3).
const maxScale = 14

// checkEntry refuses what would index a table out of its bounds or lie beyond any clock.
func checkEntry(e *conntrack.Entry) error {
	switch {
	case e.State == conntrack.StateNone || e.State >= conntrack.NumStates:
		return errors.New("state")
	case e.LastDir > conntrack.Reply || e.Candidate.Dir > conntrack.Reply:
		return errors.New("direction")
	case e.LastKind >= conntrack.NumKinds:
		return errors.New("kind of segment")
	case int(e.HistoryN) > len(e.History):
		return errors.New("history")
	case e.Side[0].Scale > maxScale || e.Side[1].Scale > maxScale || e.Candidate.Scale > maxScale:
		return errors.New("window scale")
	case !saneInstant(e.Created) || !saneInstant(e.LastSeen) || !saneInstant(e.Refreshed) || !saneInstant(e.Watch) || !saneInstant(e.Candidate.Since) || e.Deadline != conntrack.Never && !saneInstant(e.Deadline):
		return errors.New("time")
	case e.Timeout < 0:
		return errors.New("timeout")
	}
	return nil
}

// saneInstant reports whether an instant lies within 73 years of zero, so that moving it cannot overflow.
func saneInstant(i conntrack.Instant) bool { return i > -1<<61 && i < 1<<61 }
