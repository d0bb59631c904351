package oracle

import (
	"reflect"
	"slices"
	"testing"

	"halfopen/conntrack"
	"halfopen/proxy"
)

// TestSeedsRepeat: a seed and a number name a flow for good, and other seeds give other flows.
func TestSeedsRepeat(t *testing.T) {
	for n := range uint64(50) {
		a, b := newFlow(7, n), newFlow(7, n)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("flow %d: two flows of one seed differ", n)
		}
		if reflect.DeepEqual(a.segs, newFlow(8, n).segs) {
			t.Errorf("flow %d: two seeds, one flow", n)
		}
	}
}

// TestPackets: the packets that the kernel gets say what the generator means.
func TestPackets(t *testing.T) {
	dec := proxy.NewDecoder()
	var s conntrack.Segment
	sound := 0
	for n := range uint64(2000) {
		f := newFlow(3, n)
		f.ports = [2]uint16{40000, 515}
		for i := range f.segs {
			g := &f.segs[i]
			pkt := f.packet(nil, g, 0xabcd)
			dec.Decode(pkt, len(pkt), proxy.PacketInfo{}, &s)
			want := [numDamages]conntrack.Defect{shortOffset: conntrack.DefectDataOffset, longOffset: conntrack.DefectDataOffset, badOption: conntrack.DefectOptions}[g.damage]
			if s.Defect != want {
				t.Fatalf("%+v: defect %v, want %v", g, s.Defect, want)
			}
			if (s.Checksum == conntrack.ChecksumBad) != (g.damage == badChecksum) {
				t.Fatalf("%+v: checksum %v", g, s.Checksum)
			}
			if s.Defect != conntrack.DefectNone {
				continue
			}
			sound++
			if s.Tuple != f.tuple(g.from) || uint32(s.Seq) != g.seq || uint32(s.Ack) != g.ack || s.Flags != g.flags ||
				s.Window != g.win || int(s.Len) != g.length || int(s.Options.NSACK) != len(g.sack) {
				t.Fatalf("%+v became %+v", g, s)
			}
		}
	}
	if sound < 20000 {
		t.Errorf("%d sound segments", sound)
	}
}

// TestVariety: the flows lead the engine to every finding that is a word for one of the kernel's judgements, and to no other.
func TestVariety(t *testing.T) {
	e := newEngine(t)
	reached := map[conntrack.Finding]int{}
	for n := range uint64(6000) {
		f := newFlow(1, n)
		f.ports = [2]uint16{uint16(1024 + n%60000), 1}
		for i := range f.segs {
			reached[e.step(f, i).finding.Base()]++
		}
	}
	want := append(slices.Clone(forwarded), dropped...)
	for _, f := range want {
		if reached[f] < 5 {
			t.Errorf("%s: reached %d times", f, reached[f])
		}
	}
	for f := range reached {
		if !slices.Contains(want, f) {
			t.Errorf("%s: reached, and not expected of linux-default", f)
		}
	}
}

// What linux-default calls the segments that the kernel tracks or ignores, and those that are INVALID to it.
var (
	forwarded = []conntrack.Finding{conntrack.New, conntrack.SynRetransmit, conntrack.SynNewISN, conntrack.SynInHandshake,
		conntrack.SimultaneousOpen, conntrack.SynAck, conntrack.SynAckRetransmit, conntrack.SynAckBadAck, conntrack.SynAckEstablished,
		conntrack.SynAckResync, conntrack.Handshake, conntrack.AckForSyn, conntrack.RstAfterChallenge, conntrack.RstForSyn,
		conntrack.SynEstablished, conntrack.SynHalfClosed, conntrack.SynClosing, conntrack.SynTimeWait, conntrack.SynAfterRst,
		conntrack.InWindow, conntrack.SeqAboveNear, conntrack.SeqBelow, conntrack.AckBelow, conntrack.Fin, conntrack.Rst,
		conntrack.RstInexact, conntrack.DataAfterFin, conntrack.DataAfterRst, conntrack.AckNoState, conntrack.DataNoState,
		conntrack.LateAfterExpiry}
	dropped = []conntrack.Finding{conntrack.Malformed, conntrack.ChecksumWrong, conntrack.FlagsIllegal, conntrack.SynEstablishedReverse,
		conntrack.SynAckWrongDirection, conntrack.SynAckNoState, conntrack.HandshakeBadAck, conntrack.DataBeforeHandshake,
		conntrack.SeqAbove, conntrack.AckAbove, conntrack.FinOutOfWindow, conntrack.RstOutOfWindow, conntrack.FinNoState,
		conntrack.RstNoState}
)
