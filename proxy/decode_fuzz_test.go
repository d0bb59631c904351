package proxy

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"halfopen/conntrack"
)

// FuzzDecode feeds packets of any kind to a decoder that has work before and after them.
func FuzzDecode(f *testing.F) {
	good := [][]byte{packet4(f), packet6(f)}
	for _, pkt := range append(good, options4(f, true, unhex(f, "0204 05b4 0402 080a 00000001 00000002 01 0303 07")),
		options4(f, false, unhex(f, "0101 050a 00000001 00000002")), options4(f, true, unhex(f, "1e02 fe04 f989 2200")),
		spliced(packet4(f), 131, 7, 4, 1, 2, 3, 4, 0), edit(packet4(f), 6, 0x20, 0), edit(packet4(f), 2, 0, 0),
		append(edit(packet4(f), 2, 0, 0), make([]byte, 65540-len(packet4(f)))...),
		append(edit(spliced(packet4(f), 7, 7, 4, 1, 2, 3, 4, 0), 2, 0, 0), make([]byte, 65550)...),
		with(packet6(f), extension{0, unhex(f, "00 00 c2 04 00020000")}, extension{44, make([]byte, 8)}),
		with(packet6(f), extension{43, []byte{0, 2, 2, 1, 23: 1}}, extension{51, unhex(f, "00 01 0000 00000001 00000001")})) {
		f.Add(pkt, uint32(len(pkt)), false, false)
		f.Add(pkt, uint32(1<<17), true, true)
	}
	f.Fuzz(func(t *testing.T, pkt []byte, origLen uint32, partial, gso bool) {
		info := PacketInfo{Partial: partial, GSO: gso}
		orig := int(origLen & 0xffffff) // no packet is longer than 16 MB
		d := NewDecoder()
		var before, got, again, after conntrack.Segment
		g := good[len(pkt)%2]
		d.Decode(g, len(g), PacketInfo{}, &before)
		d.Decode(pkt, orig, info, &got)
		d.Decode(g, len(g), PacketInfo{}, &after)
		if before != after {
			t.Fatalf("the packet shows in the next one:\n%s", cmp.Diff(before, after))
		}
		again = after
		if d.Decode(pkt, orig, info, &again); got != again {
			t.Fatalf("decoded twice:\n%s", cmp.Diff(got, again))
		}
		consistent(t, &got, max(orig, len(pkt)), info)
		likeGopacket(t, d, pkt, &again)
		if got.Defect == conntrack.DefectNone && got.Len < 4096 {
			got.GSO = false // the queue's word, not the packet's
			got.Fragment = false
			survives(t, got)
		}
	})
}

// likeGopacket holds what the decoder, whose last packet it was, has read by hand against gopacket's layers.
func likeGopacket(t *testing.T, d *Decoder, pkt []byte, s *conntrack.Segment) {
	t.Helper()
	if s.Defect != conntrack.DefectNone {
		return
	}
	if ip := (&layers.IPv4{}); pkt[0]>>4 == 4 {
		err := ip.DecodeFromBytes(pkt[:min(len(pkt), 65535)], gopacket.NilDecodeFeedback) // which is as long as it takes a super-packet to be
		if err != nil && ip.Length != 0 && int(ip.Length) <= len(pkt) {
			t.Fatalf("gopacket: %v", err)
		}
		if err == nil && (ip.SrcIP.String() != s.Tuple.From().Addr().String() || ip.DstIP.String() != s.Tuple.To().Addr().String() ||
			s.Fragment != (ip.FragOffset != 0 || ip.Flags&layers.IPv4MoreFragments != 0)) {
			t.Fatalf("%v, fragment %v; by gopacket %+v", s.Tuple, s.Fragment, ip)
		}
	}
	want := *s
	want.Options = conntrack.Options{}
	for _, o := range d.options() {
		if o.OptionType == layers.TCPOptionKindEndList {
			break
		}
		bit := optionBit(byte(o.OptionType), o.OptionData, s.Flags&conntrack.SYN != 0)
		want.Options.Has |= bit
		switch bit {
		case conntrack.OptMSS:
			want.Options.MSS = binary.BigEndian.Uint16(o.OptionData)
		case conntrack.OptWScale:
			want.Options.WScale = min(o.OptionData[0], 14)
		case conntrack.OptSACK:
			readSACK(o.OptionData, &want.Options)
		case conntrack.OptTimestamp:
			want.Options.TSVal, want.Options.TSEcr = binary.BigEndian.Uint32(o.OptionData), binary.BigEndian.Uint32(o.OptionData[4:])
		}
	}
	h := &d.tcp // options has just had gopacket read it
	want.Seq, want.Ack, want.Window, want.Urgent = conntrack.Seq(h.Seq), conntrack.Seq(h.Ack), h.Window, h.Urgent
	want.Flags = 0
	for i, set := range []bool{h.FIN, h.SYN, h.RST, h.PSH, h.ACK, h.URG, h.ECE, h.CWR, h.NS} {
		if set {
			want.Flags |= 1 << i
		}
	}
	if *s != want {
		t.Fatalf("by hand (-) and by gopacket (+):\n%s", cmp.Diff(*s, want))
	}
}

// consistent checks what every decoded segment promises.
func consistent(t *testing.T, s *conntrack.Segment, orig int, info PacketInfo) {
	t.Helper()
	o := &s.Options
	switch {
	case s.Defect >= conntrack.NumDefects:
		t.Fatalf("defect %d", s.Defect)
	case s.Checksum != conntrack.ChecksumUnverified && (info.Partial || info.GSO || s.Defect != conntrack.DefectNone):
		t.Fatal("a checksum was judged that could not be")
	case int(s.Bytes) > orig:
		t.Fatalf("%d bytes of packet, %d arrived", s.Bytes, orig)
	case s.Defect == conntrack.DefectNone && s.Tuple.From().Addr().Is4() != s.Tuple.To().Addr().Is4():
		t.Fatalf("%v: two families", s.Tuple)
	case s.Flags > 0x1ff, o.WScale > 14, int(o.NSACK) > len(o.SACK):
		t.Fatalf("%+v", s)
	case s.Defect == conntrack.DefectNone && s.Len+40 > s.Bytes:
		t.Fatalf("%d bytes of payload in a packet of %d", s.Len, s.Bytes)
	case s.Defect != conntrack.DefectNone && *o != (conntrack.Options{}):
		t.Fatalf("options of a defective segment: %+v", o)
	}
}

// survives encodes what was decoded, without what a packet of ours does not carry, and decodes that.
func survives(t *testing.T, s conntrack.Segment) {
	t.Helper()
	s.Options.Has &^= conntrack.OptOther | conntrack.OptMD5 | conntrack.OptAO | conntrack.OptMPTCP
	s.Reserved = 0
	if s.TTL == 0 {
		s.TTL = 1
	}
	pkt, err := NewEncoder(EncoderConfig{}).Segment(&s, make([]byte, s.Len))
	if err != nil {
		t.Fatal(err)
	}
	s.Bytes, s.Checksum = uint32(len(pkt)), conntrack.ChecksumGood
	var got conntrack.Segment
	NewDecoder().Decode(pkt, len(pkt), PacketInfo{}, &got)
	if got != s {
		t.Fatalf("decoded, encoded and decoded again:\n%s", cmp.Diff(s, got))
	}
}

// FuzzOptions feeds TCP options of any kind to the decoder and compares with a walk of its own.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{"", "02 04 05 b4", "1e 00", "1e 02", "1e 03 00", "05 0a 00000001 00000002", "05 22", "03 03 ff 00 01", "fe 04 f9 89", "22 02"} {
		f.Add(unhex(f, s), true)
		f.Add(unhex(f, s), false)
	}
	f.Fuzz(func(t *testing.T, options []byte, syn bool) {
		options = options[:min(len(options), 40)]
		var s conntrack.Segment
		NewDecoder().Decode(options4(t, syn, append([]byte(nil), options...)), 0, PacketInfo{Partial: true}, &s)
		want, ok := referenceOptions(options, syn)
		if ok != (s.Defect == conntrack.DefectNone) || !ok && s.Defect != conntrack.DefectOptions {
			t.Fatalf("% x: defect %q, want a list that fits: %v", options, s.Defect, ok)
		}
		if ok && s.Options != want {
			t.Fatalf("% x:\n%s", options, cmp.Diff(want, s.Options))
		}
	})
}

// referenceOptions reads options the long way, index by index.
func referenceOptions(b []byte, syn bool) (o conntrack.Options, ok bool) {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	for at := 0; at < len(b) && b[at] != 0; {
		if b[at] == 1 {
			at++
			continue
		}
		if at+1 == len(b) || b[at+1] < 2 || at+int(b[at+1]) > len(b) {
			return conntrack.Options{}, false
		}
		kind, data := b[at], b[at+2:at+int(b[at+1])]
		at += 2 + len(data)
		bit := conntrack.OptOther
		switch known := [2]int{int(kind), len(data)}; {
		case known == [2]int{2, 2} && syn:
			bit, o.MSS = conntrack.OptMSS, binary.BigEndian.Uint16(data)
		case known == [2]int{3, 1} && syn:
			bit, o.WScale = conntrack.OptWScale, min(14, data[0])
		case known == [2]int{4, 0} && syn:
			bit = conntrack.OptSACKPermitted
		case kind == 5 && (len(data) == 8 || len(data) == 16 || len(data) == 24 || len(data) == 32):
			bit, o.NSACK, o.SACK = conntrack.OptSACK, uint8(len(data)/8), [4]conntrack.SACKBlock{}
			for i := range int(o.NSACK) {
				o.SACK[i].Left = conntrack.Seq(binary.BigEndian.Uint32(data[8*i:]))
				o.SACK[i].Right = conntrack.Seq(binary.BigEndian.Uint32(data[8*i+4:]))
			}
		case known == [2]int{8, 8}:
			bit, o.TSVal, o.TSEcr = conntrack.OptTimestamp, binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
		case known == [2]int{19, 16}:
			bit = conntrack.OptMD5
		case kind == 29 && len(data) > 1:
			bit = conntrack.OptAO
		case kind == 30 && len(data) > 0:
			bit = conntrack.OptMPTCP
		case kind == 34, kind == 254 && len(data) > 1 && data[0] == 0xf9 && data[1] == 0x89:
			bit = conntrack.OptFastOpen
		}
		o.Has |= bit
	}
	return o, true
}
