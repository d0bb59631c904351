//go:build netns

package fastpath_test

import (
	"errors"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/fastpath"
)

// desk is one flow on a program whose clock the test holds.
type desk struct {
	*testing.T
	b     *fastpath.Bench
	flows *fastpath.Flows
	marks fastpath.Marks
	f     frame
	slot  uint32
	now   conntrack.Instant
	state conntrack.Fast
	rules conntrack.FastRules
}

const sideFlags = conntrack.SideSeen | conntrack.SideKnown | conntrack.SideMaxAck

func newDesk(t *testing.T, flows int) *desk {
	d := &desk{T: t, marks: marks(t), now: conntrack.Instant(time.Hour)}
	d.b, d.flows = newBench(t, flows, true, false)
	d.state = conntrack.Fast{LastSeen: d.now, Deadline: d.now.Add(time.Hour)}
	for n := range d.state.Side {
		d.state.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 60000, MaxAck: 1000, MaxWin: 59000, Win: 59000, Flags: sideFlags}
	}
	d.rules = conntrack.FastRules{Timeout: time.Hour, Retransmits: 3}
	d.f = frame{tuple: tuple4(1), ttl: 64, flags: conntrack.ACK, seq: 1000, ack: 1000, window: 59000, payload: 0}
	d.flows.Beat(d.now)
	d.slot = d.install(1)
	return d
}

func (d *desk) install(port uint16) uint32 {
	d.Helper()
	tu := tuple4(port)
	slot, err := d.flows.Install([2]fastpath.Key{{Tuple: tu, Ifindex: 1}, {Tuple: tu.Reverse(), Ifindex: 1}})
	if err != nil {
		d.Fatal(err)
	}
	return slot
}

// run sends the desk's frame.
func (d *desk) run(mark uint32) fastpath.Run {
	d.Helper()
	return d.raw(d.f.build(), mark)
}

func (d *desk) raw(b []byte, mark uint32) fastpath.Run {
	d.Helper()
	r := fastpath.Run{Frame: b, Ifindex: 1, Mark: mark, Now: d.now}
	if err := d.b.Run(&r); err != nil {
		d.Fatal(err)
	}
	return r
}

func (d *desk) read() fastpath.Snapshot {
	d.Helper()
	s, err := d.flows.Read(d.slot)
	if err != nil {
		d.Fatal(err)
	}
	return s
}

func (d *desk) arm(punt uint64) { d.flows.Arm(d.slot, punt, &d.state, &d.rules) }

// passes and punted send the frame and expect that it passes, or is punted for a reason; punted returns the number.
func (d *desk) passes() {
	d.Helper()
	if r := d.run(0); d.marks.Kind(r.NewMark) != fastpath.MarkFast || r.Reason != 0 {
		d.Fatalf("mark %#x, reason %q: expected to pass", r.NewMark, r.Reason)
	}
}

func (d *desk) punted(why fastpath.Reason) uint64 {
	d.Helper()
	before := d.read().Punt
	r := d.run(0)
	if d.marks.Kind(r.NewMark) != fastpath.MarkPunt || r.Reason != why {
		d.Fatalf("mark %#x, reason %q: expected to be punted for %q", r.NewMark, r.Reason, why)
	}
	after := d.read().Punt
	if after != before+1 || d.marks.Number(r.NewMark, before) != after {
		d.Fatalf("punt number %d after %d, by the mark %d", after, before, d.marks.Number(r.NewMark, before))
	}
	return after
}

// alone expects that the program does nothing about a packet.
func (d *desk) alone(what string, b []byte) {
	d.Helper()
	before := d.read()
	if r := d.raw(b, 0x00abcdef); r.NewMark != 0x00abcdef || r.Verdict != -1 || d.read() != before {
		d.Errorf("%s: mark %#x, verdict %d, flow %+v before %+v; expected nothing", what, r.NewMark, r.Verdict, d.read(), before)
	}
}

func TestProtocol(t *testing.T) {
	d := newDesk(t, 2)
	d.punted(fastpath.ReasonFrozen) // it begins frozen
	d.f.tuple = d.f.tuple.Reverse()
	n := d.punted(fastpath.ReasonFrozen)
	d.f.tuple = d.f.tuple.Reverse()
	d.arm(n - 1)
	if d.read().Armed {
		t.Error("armed after a segment that is not the newest")
	}
	n = d.punted(fastpath.ReasonFrozen)
	d.arm(n)
	if s := d.read(); !s.Armed || s.Fast != d.state {
		t.Errorf("armed, before the first segment: %+v, expected the state %+v", s, d.state)
	}
	d.passes()
	d.passes()
	if s := d.read(); s.Packets != [2]uint64{2, 0} || s.Bytes != [2]uint64{80, 0} || !s.Armed || s.Fast == d.state {
		t.Errorf("after two segments: %+v", s)
	}
	d.f.flags |= conntrack.FIN
	n = d.punted(fastpath.Reason(conntrack.FastFIN))
	d.f.flags = conntrack.ACK
	d.f.tuple = d.f.tuple.Reverse()
	n = d.punted(fastpath.ReasonFrozen) // one direction freezes both
	d.arm(n)
	d.passes()

	// Frozen and armed again by this side, with no punt in between: what it is armed with counts, not what the program has.
	if _, err := d.flows.Freeze(d.slot); err != nil {
		t.Fatal(err)
	}
	d.state.Side[0].End, d.state.Side[1].MaxAck = 2000, 2000
	d.arm(n)
	if s := d.read(); s.Fast != d.state {
		t.Errorf("armed again: %+v, expected %+v", s.Fast, d.state)
	}
	d.f.ack = 2000
	d.passes()
	d.f.ack = 1000

	// The worker's epoch and beat.
	d.flows.Bump()
	n = d.punted(fastpath.ReasonEpoch)
	d.arm(n) // still by the old epoch
	n = d.punted(fastpath.ReasonEpoch)
	d.flows.Beat(d.now)
	d.f.ack = 2000
	d.arm(n)
	d.passes()
	d.now = d.now.Add(time.Second)
	d.passes()
	d.now++
	n = d.punted(fastpath.ReasonBeat)
	d.flows.Beat(d.now)
	d.punted(fastpath.ReasonFrozen)
	d.arm(n + 1)
	d.passes()

	stats, err := d.b.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.Packets != 7 || stats.Bytes != 7*40 || stats.Punts[fastpath.ReasonFrozen] != 5 || stats.Punts[fastpath.ReasonEpoch] != 2 ||
		stats.Punts[fastpath.ReasonBeat] != 1 || stats.Punts[conntrack.FastFIN] != 1 || stats.Foreign != 0 {
		t.Errorf("counters %+v", stats)
	}
}

func TestSlots(t *testing.T) {
	d := newDesk(t, 2)
	d.arm(0)
	d.passes()
	if _, err := d.flows.Install([2]fastpath.Key{{Tuple: tuple4(7), Ifindex: 1}, {Tuple: tuple4(1).Reverse(), Ifindex: 1}}); !errors.Is(err, fastpath.ErrKnown) {
		t.Errorf("another flow of a known key: %v, expected %v", err, fastpath.ErrKnown)
	}
	other := d.install(7) // its first key was taken back then
	if d.flows.Len() != 2 || d.flows.Cap() != 2 || other == d.slot || other < 1 || other > 2 {
		t.Errorf("slots %d and %d, %d of %d in use", d.slot, other, d.flows.Len(), d.flows.Cap())
	}
	if _, err := d.flows.Install([2]fastpath.Key{{Tuple: tuple4(8), Ifindex: 1}, {Tuple: tuple4(8).Reverse(), Ifindex: 1}}); !errors.Is(err, fastpath.ErrFull) {
		t.Errorf("a third flow: %v, expected %v", err, fastpath.ErrFull)
	}
	d.passes()
	if err := d.flows.Remove(d.slot); err != nil {
		t.Fatal(err)
	}
	if err := d.flows.Remove(d.slot); err == nil {
		t.Error("removed twice")
	}
	d.alone("a flow that was removed", d.f.build())

	// A program that has looked up the old flow's key already does nothing about the slot's next flow.
	if d.slot = d.install(2); d.slot == other {
		t.Fatalf("slot %d is in use", other)
	}
	d.arm(0)
	if err := d.flows.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := d.b.Stale(d.f.tuple, 1, d.slot); err != nil {
		t.Fatal(err)
	}
	if r := d.run(0); !r.Gone || r.NewMark != 0 {
		t.Errorf("a key of the slot's last flow: mark %#x, gone %v", r.NewMark, r.Gone)
	}
	d.f.tuple = tuple4(2)
	if s := d.read(); s.Packets != [2]uint64{} || s.Fast != d.state {
		t.Errorf("a new flow in a used slot: %+v", s)
	}
	d.passes()
	if s := d.read(); s.Packets != [2]uint64{1, 0} || s.Bytes != [2]uint64{40, 0} {
		t.Errorf("a new flow in a used slot, one segment: %+v", s)
	}
	allocs := testing.AllocsPerRun(100, func() {
		s, err := d.flows.Freeze(d.slot)
		if err != nil {
			t.Fatal(err)
		}
		d.arm(s.Punt)
		d.flows.Beat(d.now)
	})
	if allocs != 0 {
		t.Errorf("freeze and arm: %v allocations", allocs)
	}
}

func TestForeignMarks(t *testing.T) {
	d := newDesk(t, 1)
	d.arm(0)
	if r := d.run(0x01abcdef); r.NewMark != 0x01abcdef {
		t.Errorf("an injected packet: mark %#x", r.NewMark)
	}
	if s := d.read(); s.Packets[0] != 0 || s.Punt != 0 {
		t.Errorf("an injected packet was counted: %+v", s)
	}
	if r := d.run(0x02abcdef); r.NewMark != 0x02abcdef || r.Reason != 0 {
		t.Errorf("a known flow's packet that came marked: mark %#x", r.NewMark) // it is judged like any other
	}
	d.f.tuple = tuple4(9)
	for _, mark := range []uint32{0x02abcdef, 0x03abcdef, 0xffabcdef} {
		if r := d.run(mark); r.NewMark != 0x00abcdef {
			t.Errorf("mark %#x on an unknown packet: %#x", mark, r.NewMark)
		}
	}
	if s, err := d.b.Stats(); err != nil || s.Foreign != 4 {
		t.Errorf("foreign marks: %d (%v), expected 4", s.Foreign, err)
	}
}

func TestLeftAlone(t *testing.T) {
	d := newDesk(t, 1)
	d.arm(0)
	change := func(what string, edit func(b []byte)) {
		t.Helper()
		b := d.f.build()
		edit(b)
		d.alone(what, b)
	}
	sum := func(b []byte) {
		b[24], b[25] = 0, 0
		s := ^sum16(b[14:34])
		b[24], b[25] = byte(s>>8), byte(s)
	}
	change("another host's frame", func(b []byte) { b[0] = 2 })
	change("a broadcast", func(b []byte) { copy(b, "\xff\xff\xff\xff\xff\xff") })
	change("another protocol", func(b []byte) { b[12], b[13] = 8, 6 })
	change("UDP", func(b []byte) { b[23] = 17; sum(b) })
	change("the last hop", func(b []byte) { b[22] = 1; sum(b) })
	change("a wrong header sum", func(b []byte) { b[25]++ })
	change("a later fragment", func(b []byte) { b[21] = 1; sum(b) })
	change("longer than what came", func(b []byte) { b[17]++; sum(b) })
	change("shorter than its header", func(b []byte) { b[16], b[17] = 0, 19; sum(b) })
	change("no length, and no super-packet", func(b []byte) { b[16], b[17] = 0, 0; sum(b) })
	change("no ports", func(b []byte) { b[16], b[17] = 0, 23; sum(b) })
	change("a header of 16 bytes", func(b []byte) { b[14] = 0x44; sum(b) })
	change("version 5", func(b []byte) { b[14] = 0x55; sum(b) })
	d.alone("a packet that is cut", d.f.build()[:36])
	d.passes()

	// IPv6 with addresses that stand for IPv4 would be taken for it.
	d.f.tuple.Src[0], d.f.tuple.Dst[0] = 0x20, 0x20 // built as IPv6
	change("mapped addresses", func(b []byte) {
		b[22], b[38] = 0, 0
	})
	d.alone("IPv6 that is cut", d.f.build()[:56])
	change("a chain without TCP", func(b []byte) { b[20] = 60 })
	change("a chain to no known header", func(b []byte) { b[20] = 50 })
}

// TestOddHeaders: what a known flow sends with headers that only the queue walks is punted, so that it never reaches the queue without
// a number.
func TestOddHeaders(t *testing.T) {
	d := newDesk(t, 2)
	d.arm(0)
	d.f.iopts = []byte{1, 1, 1, 0}
	d.punted(fastpath.ReasonHeader)
	d.f.iopts, d.f.more = nil, true
	d.punted(fastpath.ReasonFrozen)
	d.arm(2)
	d.punted(fastpath.Reason(conntrack.FastFragment))
	d.f.more = false
	d.arm(3)
	short := d.f.build()
	short[14+20+12] = 0x40 // a data offset of four words
	if r := d.raw(short, 0); r.Reason != fastpath.Reason(conntrack.FastMalformed) {
		t.Errorf("a short TCP header: %v", r.Reason)
	}
	d.arm(4)
	cut := d.f.build()[:14+20+8] // ports, and not much more
	cut[17] = 28
	cut[24], cut[25] = 0, 0
	s := ^sum16(cut[14:34])
	cut[24], cut[25] = byte(s>>8), byte(s)
	if r := d.raw(cut, 0); r.Reason != fastpath.Reason(conntrack.FastMalformed) {
		t.Errorf("a TCP header of eight bytes: %v", r.Reason)
	}

	six := d.f.tuple
	six.Src[0], six.Dst[0] = 0x20, 0x20
	if err := d.flows.Remove(d.slot); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.slot, err = d.flows.Install([2]fastpath.Key{{Tuple: six, Ifindex: 1}, {Tuple: six.Reverse(), Ifindex: 1}}); err != nil {
		t.Fatal(err)
	}
	d.f.tuple = six
	d.arm(d.read().Punt)
	d.passes()
	for n := 1; n <= 27; n++ { // 26 are walked: of what has more, the queue's copy does not show the ports either
		d.f.first, d.f.chain = 60, nil
		for i := range n {
			next := byte(60)
			if i == n-1 {
				next = 6
			}
			d.f.chain = append(d.f.chain, next, 0, 1, 4, 0, 0, 0, 0)
		}
		d.arm(d.read().Punt)
		var s conntrack.Segment
		b := d.f.build()
		proxy.NewDecoder().Decode(b[14:min(len(b), 14+256)], len(b)-14, proxy.PacketInfo{}, &s)
		if n <= 26 {
			d.punted(fastpath.ReasonHeader)
		} else {
			d.alone("a chain of 27", b)
		}
		if known := s.Tuple == six; known != (n <= 26) {
			t.Errorf("a chain of %d: the queue knows its flow: %v", n, known)
		}
	}
}
