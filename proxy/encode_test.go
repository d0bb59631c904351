package proxy

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"halfopen/conntrack"
)

func tuple(from, to string) conntrack.Tuple {
	return conntrack.MakeTuple(netip.MustParseAddrPort(from), netip.MustParseAddrPort(to))
}

func mustEncode(t testing.TB, s *conntrack.Segment, payload []byte) []byte {
	t.Helper()
	pkt, err := NewEncoder(EncoderConfig{}).Segment(s, payload)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), pkt...)
}

// randomSegment returns a segment that a packet can express exactly, and its payload.
func randomSegment(r *rand.Rand) (conntrack.Segment, []byte) {
	s := conntrack.Segment{
		Seq: conntrack.Seq(r.Uint32()), Ack: conntrack.Seq(r.Uint32()), Flags: conntrack.Flags(r.IntN(512)),
		Window: uint16(r.Uint32()), Urgent: uint16(r.Uint32()), TTL: uint8(1 + r.IntN(255)), Checksum: conntrack.ChecksumGood,
	}
	s.Tuple.SrcPort, s.Tuple.DstPort = uint16(r.Uint32()), uint16(r.Uint32())
	from := 0
	if r.IntN(2) == 0 {
		from = 12
		mapped4(&s.Tuple.Src, []byte{0, 0, 0, 0})
		mapped4(&s.Tuple.Dst, []byte{0, 0, 0, 0})
	}
	for i := from; i < 16; i++ {
		s.Tuple.Src[i], s.Tuple.Dst[i] = byte(r.Uint32()), byte(r.Uint32())
	}
	randomOptions(r, &s)
	payload := make([]byte, r.IntN(3)*r.IntN(1000))
	for i := range payload {
		payload[i] = byte(r.Uint32())
	}
	s.Len = uint32(len(payload))
	return s, payload
}

func randomOptions(r *rand.Rand, s *conntrack.Segment) {
	o := &s.Options
	if r.IntN(2) == 0 {
		o.Has |= conntrack.OptTimestamp
		o.TSVal, o.TSEcr = r.Uint32(), r.Uint32()
	}
	if !s.Flags.Has(conntrack.SYN) {
		if r.IntN(2) == 0 {
			o.Has |= conntrack.OptSACK
			o.NSACK = uint8(1 + r.IntN(3))
			for i := range o.SACK[:o.NSACK] {
				o.SACK[i] = conntrack.SACKBlock{Left: conntrack.Seq(r.Uint32()), Right: conntrack.Seq(r.Uint32())}
			}
		}
		return
	}
	o.Has |= conntrack.OptionSet(r.IntN(256)) & (conntrack.OptMSS | conntrack.OptWScale | conntrack.OptSACKPermitted | conntrack.OptFastOpen)
	if o.Has&conntrack.OptMSS != 0 {
		o.MSS = uint16(r.Uint32())
	}
	if o.Has&conntrack.OptWScale != 0 {
		o.WScale = uint8(r.IntN(15))
	}
}

func TestDecodeUndoesEncode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d, e := NewDecoder(), NewEncoder(EncoderConfig{})
	var got conntrack.Segment
	for range 20000 / breadth {
		want, payload := randomSegment(r)
		pkt, err := e.Segment(&want, payload)
		if err != nil {
			t.Fatal(err)
		}
		want.Bytes = uint32(len(pkt))
		d.Decode(pkt, len(pkt), PacketInfo{}, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("% x\n%s", pkt, diff)
		}
	}
}

// naiveChecksum is the sum of RFC 1071 done with 16-bit words, as the RFC writes it.
func naiveChecksum(parts ...[]byte) uint16 {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	var sum uint32
	for i := 0; i < len(all); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(all[i:]))
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func TestEncodedChecksums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		s, payload := randomSegment(r)
		pkt := mustEncode(t, &s, payload)
		var pseudo, segment []byte
		if s.Tuple.Is4() {
			if got := naiveChecksum(pkt[:20]); got != 0 {
				t.Fatalf("header sum of % x is off by %#x", pkt[:20], got)
			}
			segment = pkt[20:]
			pseudo = append(append([]byte{}, pkt[12:20]...), 0, 6, byte(len(segment)>>8), byte(len(segment)))
		} else {
			segment = pkt[40:]
			pseudo = append(append([]byte{}, pkt[8:40]...), 0, 0, byte(len(segment)>>8), byte(len(segment)), 0, 0, 0, 6)
		}
		if got := naiveChecksum(pseudo, segment); got != 0 {
			t.Fatalf("%v: segment sum is off by %#x", s.Tuple, got)
		}
	}
}

// TestBareReset pins the bytes of the packet that resets most connections, worked out by hand from RFC 791 and RFC 9293.
func TestBareReset(t *testing.T) {
	s := conntrack.Segment{Tuple: tuple("10.2.0.9:515", "10.1.0.7:721"), Seq: 0x01020304, Ack: 0x05060708,
		Flags: conntrack.RST | conntrack.ACK}
	want := []byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x26, 0xbe, 10, 2, 0, 9, 10, 1, 0, 7,
		0x02, 0x03, 0x02, 0xd1, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x14, 0, 0, 0x86, 0xd6, 0, 0}
	if diff := cmp.Diff(want, mustEncode(t, &s, nil)); diff != "" {
		t.Error(diff)
	}
}

func TestEncoderConfig(t *testing.T) {
	s := conntrack.Segment{Tuple: tuple("10.0.0.1:1", "10.0.0.2:2"), Flags: conntrack.RST}
	e := NewEncoder(EncoderConfig{TTL: 7, IPID: 0xffff})
	for i, wantID := range []uint16{0xffff, 1, 2} {
		pkt, err := e.Segment(&s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if id := binary.BigEndian.Uint16(pkt[4:]); id != wantID || pkt[8] != 7 {
			t.Errorf("packet %d: id %d ttl %d, want %d and 7", i, id, pkt[8], wantID)
		}
	}
	s.TTL = 99
	if pkt, err := e.Segment(&s, nil); err != nil || pkt[8] != 99 {
		t.Errorf("the segment's own TTL was not taken: %d, %v", pkt[8], err)
	}
	s.Tuple.Dst = tuple("[::1]:1", "[2001:db8::1]:1").Dst
	if _, err := e.Segment(&s, nil); err == nil {
		t.Error("a tuple of two families was encoded")
	}
	s.Tuple.Src = s.Tuple.Dst
	if _, err := e.Segment(&s, make([]byte, 70000)); err == nil {
		t.Error("70000 bytes of payload were encoded")
	}
}
