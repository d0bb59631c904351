package proxy

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"halfopen/conntrack"
)

// packet4 and packet6 return a plain segment with ten bytes of payload, for tests to spoil.
func packet4(t testing.TB) []byte {
	return mustEncode(t, plain("192.0.2.1:721", "198.51.100.9:515"), make([]byte, 10))
}
func packet6(t testing.TB) []byte {
	return mustEncode(t, plain("[2001:db8::1]:721", "[2001:db8:1::9]:515"), make([]byte, 10))
}

func plain(from, to string) *conntrack.Segment {
	return &conntrack.Segment{Tuple: tuple(from, to), Seq: 1000, Ack: 2000, Flags: conntrack.ACK | conntrack.PSH, Window: 512, TTL: 63}
}

// with puts IPv6 extension headers in front of the transport header. Each is its next-header value and its whole bytes, whose
// first one is filled in.
type extension struct {
	kind  byte
	bytes []byte
}

func with(pkt []byte, chain ...extension) []byte {
	out := append([]byte(nil), pkt[:40]...)
	link := &out[6]
	last := *link
	var headers []byte
	for i, e := range chain {
		b := append([]byte(nil), e.bytes...)
		b[0] = last
		if i+1 < len(chain) {
			b[0] = chain[i+1].kind
		}
		headers = append(headers, b...)
	}
	if len(chain) > 0 {
		*link = chain[0].kind
	}
	out = append(append(out, headers...), pkt[40:]...)
	binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// edit returns a copy of b in which the bytes from at on are replaced.
func edit(b []byte, at int, v ...byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], v)
	return b
}

// spliced returns an IPv4 packet with these bytes of IP options.
func spliced(p []byte, options ...byte) []byte {
	out := append(append(append([]byte(nil), p[:20]...), options...), p[20:]...)
	out[0] = 0x45 + byte(len(options)/4)
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	return out
}

// options4 returns packet4 as a SYN or not with these TCP option bytes, padded to a multiple of four with end-of-list.
func options4(t testing.TB, syn bool, options []byte) []byte {
	t.Helper()
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	p := packet4(t)
	out := append(append(append([]byte(nil), p[:40]...), options...), p[40:]...)
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	out[32] = byte(5+len(options)/4) << 4
	if syn {
		out[33] = byte(conntrack.SYN)
	}
	return out
}

func TestDefects(t *testing.T) {
	p4, p6 := packet4(t), packet6(t)
	fragment := func(offset uint16, more byte) extension {
		return extension{44, append([]byte{0, 0, byte(offset >> 5), byte(offset<<3) | more}, 0, 0, 0, 1)}
	}
	hbh := extension{0, unhex(t, "00 00 01 04 00000000")}
	dst := extension{60, unhex(t, "00 01 01 0c 000000000000000000000000")}
	mapped := unhex(t, "00000000 00000000 0000ffff c0000201")
	auth := extension{51, unhex(t, "00 04 0000 00000001 00000001 000000000000000000000000")}
	for _, c := range []struct {
		name   string
		data   []byte
		orig   int
		defect conntrack.Defect
		tuple  int // 0 nothing, 1 addresses, 2 ports too
	}{
		{"whole v4", p4, 0, conntrack.DefectNone, 2},
		{"whole v6", p6, 0, conntrack.DefectNone, 2},
		{"empty", nil, 0, conntrack.DefectShortIP, 0},
		{"one byte", p4[:1], 0, conntrack.DefectShortIP, 0},
		{"IP version 5", edit(p4, 0, 0x55), 0, conntrack.DefectShortIP, 0},
		{"IP version 0", make([]byte, 60), 0, conntrack.DefectShortIP, 0},
		{"v4 header cut", p4[:19], 50, conntrack.DefectShortIP, 0},
		{"v6 header cut", p6[:39], 70, conntrack.DefectShortIP, 0},
		{"v4 header length below 20", edit(p4, 0, 0x44), 0, conntrack.DefectShortIP, 1},
		{"v4 header length beyond the packet", edit(p4, 0, 0x4f)[:56], 0, conntrack.DefectShortIP, 1},
		{"v4 total length below the header", edit(p4, 2, 0, 19), 0, conntrack.DefectIPLength, 1},
		{"v4 total length above what arrived", edit(p4, 2, 0, 51), 0, conntrack.DefectIPLength, 1},
		{"v6 length above what arrived", edit(p6, 4, 0, 31), 0, conntrack.DefectIPLength, 1},
		{"v6 length zero in a small packet", edit(p6, 4, 0, 0), 0, conntrack.DefectShortTCP, 1},
		{"v4 UDP", edit(p4, 9, 17), 0, conntrack.DefectNotTCP, 1},
		{"v6 UDP", edit(p6, 6, 17), 0, conntrack.DefectNotTCP, 1},
		{"v6 no next header", edit(p6, 6, 59), 0, conntrack.DefectNotTCP, 1},
		{"v6 ESP", edit(p6, 6, 50), 0, conntrack.DefectNotTCP, 1},
		{"v4 non-first fragment", edit(p4, 6, 0, 1), 0, conntrack.DefectFragment, 1},
		{"v4 last fragment, offset in the high bits", edit(p4, 6, 0x10, 0), 0, conntrack.DefectFragment, 1},
		{"v4 first fragment with a whole header", edit(p4, 6, 0x20, 0), 0, conntrack.DefectNone, 2},
		{"v4 first fragment with half a header", edit(edit(p4, 6, 0x20, 0), 2, 0, 32)[:32], 0, conntrack.DefectFragment, 2},
		{"v4 first fragment without its options", edit(edit(p4, 6, 0x20, 0), 32, 0xf0), 0, conntrack.DefectFragment, 2},
		{"v6 non-first fragment", with(p6, fragment(1, 0)), 0, conntrack.DefectFragment, 1},
		{"v6 non-first fragment far in, more to come", with(p6, fragment(4000, 1)), 0, conntrack.DefectFragment, 1},
		{"v6 non-first fragment of UDP", with(edit(p6, 6, 17), fragment(1, 0)), 0, conntrack.DefectFragment, 1},
		{"v6 first fragment", with(p6, fragment(0, 1)), 0, conntrack.DefectNone, 2},
		{"v6 atomic fragment", with(p6, fragment(0, 0)), 0, conntrack.DefectNone, 2},
		{"v6 chain of four", with(p6, hbh, dst, auth, fragment(0, 0)), 0, conntrack.DefectNone, 2},
		{"v6 chain that ends in UDP", with(edit(p6, 6, 17), hbh), 0, conntrack.DefectIPv6Chain, 1},
		{"v6 chain cut by the copy range", with(p6, hbh, dst)[:60], 94, conntrack.DefectIPv6Chain, 1},
		{"v6 chain that claims more than there is", edit(with(p6, dst), 41, 200), 0, conntrack.DefectIPv6Chain, 1},
		{"v6 chain that ends with the packet", edit(with(p6, hbh), 4, 0, 8)[:48], 0, conntrack.DefectShortTCP, 1},
		{"v6 with an IPv4-mapped source", edit(p6, 8, mapped...), 0, conntrack.DefectMapped, 1},
		{"v6 with an IPv4-mapped destination", edit(p6, 24, mapped...), 0, conntrack.DefectMapped, 1},
		{"v4 option beyond the header", spliced(p4, 0x83, 9, 0, 0), 0, conntrack.DefectOptions, 1},
		{"v4 option of length 2", spliced(p4, 0x83, 2, 0, 0), 0, conntrack.DefectOptions, 1},
		{"v4 no-operations", spliced(p4, 1, 1, 1, 1), 0, conntrack.DefectNone, 2},
		{"no TCP header at all", edit(p4, 2, 0, 20), 0, conntrack.DefectShortTCP, 1},
		{"ports alone", edit(p4, 2, 0, 24), 0, conntrack.DefectShortTCP, 2},
		{"19 bytes of TCP", edit(p4, 2, 0, 39), 0, conntrack.DefectShortTCP, 2},
		{"TCP header cut by the copy range", p4[:38], 50, conntrack.DefectShortTCP, 2},
		{"data offset 0", edit(p4, 32, 0), 0, conntrack.DefectDataOffset, 2},
		{"data offset 4", edit(p4, 32, 0x40), 0, conntrack.DefectDataOffset, 2},
		{"data offset beyond the segment", edit(p4, 32, 0x80), 0, conntrack.DefectDataOffset, 2},
		{"v6 data offset beyond the segment", edit(p6, 52, 0x80), 0, conntrack.DefectDataOffset, 2},
		{"TCP options cut by the copy range", options4(t, true, []byte{2, 4, 5, 180, 1, 1, 1, 1})[:44], 58, conntrack.DefectShortTCP, 2},
		{"option without a length", options4(t, true, []byte{1, 1, 1, 2}), 0, conntrack.DefectOptions, 2},
		{"option of length 0", options4(t, true, []byte{30, 0, 0, 0}), 0, conntrack.DefectOptions, 2},
		{"option of length 1", options4(t, true, []byte{2, 1, 0, 0}), 0, conntrack.DefectOptions, 2},
		{"option beyond the header", options4(t, true, []byte{8, 10, 0, 0}), 0, conntrack.DefectOptions, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s conntrack.Segment
			NewDecoder().Decode(c.data, c.orig, PacketInfo{}, &s)
			if s.Defect != c.defect {
				t.Errorf("defect %q, want %q", s.Defect, c.defect)
			}
			addresses, ports := s.Tuple.Src != [16]byte{}, s.Tuple.SrcPort == 721 && s.Tuple.DstPort == 515
			if addresses != (c.tuple >= 1) || ports != (c.tuple == 2) {
				t.Errorf("tuple %v", s.Tuple)
			}
		})
	}
}

func TestPayloadLength(t *testing.T) {
	p4, p6 := packet4(t), packet6(t)
	jumbo := with(p6, extension{0, unhex(t, "00 00 c2 04 00020000")})
	binary.BigEndian.PutUint16(jumbo[4:], 0)
	for _, c := range []struct {
		name       string
		data       []byte
		orig       int
		len, bytes uint32
	}{
		{"v4", p4, 0, 10, 50},
		{"v6", p6, 0, 10, 70},
		{"link padding does not count", append(append([]byte(nil), p4...), make([]byte, 14)...), 0, 10, 50},
		{"v6 trailer does not count", append(append([]byte(nil), p6...), 1, 2, 3), 0, 10, 70},
		{"headers only", p4[:40], 50, 10, 50},
		{"v6 headers only", p6[:60], 70, 10, 70},
		{"super-packet within 64 KiB", edit(p4, 2, 0xff, 0xff), 65535, 65495, 65535},
		{"v4 super-packet without a length", edit(p4, 2, 0, 0), 2040, 2000, 2040},
		{"v4 super-packet above 64 KiB", edit(p4, 2, 0, 0), 180040, 180000, 180040},
		{"v6 super-packet above 64 KiB", edit(p6, 4, 0, 0), 180060, 180000, 180060},
		{"v6 jumbogram", jumbo[:68], 40 + 0x20000 + 5, 0x20000 - 28, 40 + 0x20000},
		{"first fragment", edit(p4, 6, 0x20, 0), 0, 10, 50},
		{"v6 first fragment", with(p6, extension{44, []byte{0, 0, 0, 1, 0, 0, 0, 1}}), 0, 10, 78},
		{"v6 all in one", with(p6, extension{44, []byte{0, 0, 0, 0, 0, 0, 0, 1}}), 0, 10, 78},
		{"v6 extension header", with(p6, extension{60, []byte{0, 1, 15: 0}}), 0, 10, 86},
	} {
		var s conntrack.Segment
		NewDecoder().Decode(c.data, c.orig, PacketInfo{GSO: c.orig > 0}, &s)
		if s.Defect != conntrack.DefectNone || s.Len != c.len || s.Bytes != c.bytes || s.Fragment != strings.Contains(c.name, "fragment") {
			t.Errorf("%s: defect %q, payload %d, packet %d, fragment %v; want %d, %d", c.name, s.Defect, s.Len, s.Bytes, s.Fragment, c.len, c.bytes)
		}
	}
}

// An IPv4 super-packet above 64 KiB has the total length 0, and is as long as the kernel says (iph_totlen in linux/ip.h; iph_set_totlen gives the 0).
// gopacket takes the captured length modulo 65,536 for it, and calls the header malformed where that is less than a header.
func TestSuperPacketCapturedWhole(t *testing.T) {
	whole := func(pkt []byte, size int) []byte {
		return append(edit(pkt, 2, 0, 0), make([]byte, size-len(pkt))...)
	}
	for _, c := range []struct {
		header []byte
		length int // of both headers
	}{
		{packet4(t), 40},
		{spliced(packet4(t), 7, 7, 4, 1, 2, 3, 4, 0), 48},
	} {
		for size := 65535; size <= 65536+60; size++ {
			for _, orig := range []int{size, 180040} {
				var s conntrack.Segment
				NewDecoder().Decode(whole(c.header, size), orig, PacketInfo{GSO: true}, &s)
				if s.Defect != conntrack.DefectNone || s.Bytes != uint32(orig) || s.Len != uint32(orig-c.length) {
					t.Fatalf("%d bytes of %d behind headers of %d: defect %q, %d bytes, payload %d", size, orig, c.length, s.Defect, s.Bytes, s.Len)
				}
			}
		}
	}
}

func TestChecksumIsJudgedWhereItCan(t *testing.T) {
	route := func(left byte) extension { return extension{43, []byte{0, 2, 2, left, 0, 0, 0, 0, 23: 1}} }
	for _, pkt := range [][]byte{packet4(t), packet6(t)} {
		last := len(pkt) - 1
		for _, c := range []struct {
			name string
			data []byte
			info PacketInfo
			want conntrack.Checksum
		}{
			{"whole", pkt, PacketInfo{}, conntrack.ChecksumGood},
			{"payload changed", edit(pkt, last, 1), PacketInfo{}, conntrack.ChecksumBad},
			{"sum changed", edit(pkt, last-13, pkt[last-13]^0x10), PacketInfo{}, conntrack.ChecksumBad},
			{"padding is not summed", append(append([]byte(nil), pkt...), 9, 9, 9), PacketInfo{}, conntrack.ChecksumGood},
			{"partial", edit(pkt, last, 1), PacketInfo{Partial: true}, conntrack.ChecksumUnverified},
			{"super-packet", edit(pkt, last, 1), PacketInfo{GSO: true}, conntrack.ChecksumUnverified},
			{"truncated", pkt[:last], PacketInfo{}, conntrack.ChecksumUnverified},
		} {
			var s conntrack.Segment
			NewDecoder().Decode(c.data, len(pkt), c.info, &s)
			if s.Defect != conntrack.DefectNone || s.Checksum != c.want {
				t.Errorf("v%d %s: %d (defect %q), want %d", pkt[0]>>4, c.name, s.Checksum, s.Defect, c.want)
			}
		}
	}
	fragment := edit(packet4(t), 6, 0x20, 0)
	sourceRoute := spliced(packet4(t), 131, 7, 4, 1, 2, 3, 4, 0)
	visited := edit(sourceRoute, 22, 8)
	for _, c := range []struct {
		name string
		data []byte
		want conntrack.Checksum
	}{
		{"first fragment", fragment, conntrack.ChecksumUnverified},
		{"v4 super-packet without a length", edit(packet4(t), 2, 0, 0), conntrack.ChecksumUnverified},
		{"v6 super-packet without a length", append(edit(packet6(t), 4, 0, 0), make([]byte, 70000)...), conntrack.ChecksumUnverified},
		{"v6 first fragment", with(packet6(t), extension{44, []byte{0, 0, 0, 1, 0, 0, 0, 1}}), conntrack.ChecksumUnverified},
		{"v6 atomic fragment", with(packet6(t), extension{44, []byte{0, 0, 0, 0, 0, 0, 0, 1}}), conntrack.ChecksumGood},
		{"v4 source route pending", sourceRoute, conntrack.ChecksumUnverified},
		{"v4 source route done", visited, conntrack.ChecksumGood},
		{"v6 routing header pending", with(packet6(t), route(1)), conntrack.ChecksumUnverified},
		{"v6 routing header done", with(packet6(t), route(0)), conntrack.ChecksumGood},
	} {
		var s conntrack.Segment
		NewDecoder().Decode(c.data, 0, PacketInfo{}, &s)
		if s.Defect != conntrack.DefectNone || s.Checksum != c.want {
			t.Errorf("%s: %d (defect %q), want %d", c.name, s.Checksum, s.Defect, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	blocks := func(n int) (b []byte, out [4]conntrack.SACKBlock) {
		for i := range n {
			out[i] = conntrack.SACKBlock{Left: conntrack.Seq(2*i + 1), Right: conntrack.Seq(2*i + 2)}
			b = append(b, 0, 0, 0, byte(2*i+1), 0, 0, 0, byte(2*i+2))
		}
		return append([]byte{5, byte(2 + 8*n)}, b...), out
	}
	four, fourOut := blocks(4)
	one, oneOut := blocks(1)
	for _, c := range []struct {
		name string
		syn  bool
		in   []byte
		want conntrack.Options
	}{
		{"none", true, nil, conntrack.Options{}},
		{"Linux's SYN", true, unhex(t, "0204 05b4 0402 080a 00000001 00000002 01 0303 07"), conntrack.Options{MSS: 1460, WScale: 7, TSVal: 1, TSEcr: 2,
			Has: conntrack.OptMSS | conntrack.OptSACKPermitted | conntrack.OptTimestamp | conntrack.OptWScale}},
		{"window scale above 14", true, []byte{3, 3, 255}, conntrack.Options{Has: conntrack.OptWScale, WScale: 14}},
		{"SYN options without a SYN", false, unhex(t, "0204 05b4 0402 0303 07"), conntrack.Options{Has: conntrack.OptOther}},
		{"lengths that are not theirs", true, unhex(t, "0203 05 0304 0101 0403 00 0804 0000 0503 00"), conntrack.Options{Has: conntrack.OptOther}},
		{"four SACK blocks", false, four, conntrack.Options{Has: conntrack.OptSACK, NSACK: 4, SACK: fourOut}},
		{"the second of two SACKs counts", false, append(edit(four[:18], 1, 18), one...), conntrack.Options{Has: conntrack.OptSACK, NSACK: 1, SACK: oneOut}},
		{"an empty SACK", false, []byte{5, 2}, conntrack.Options{Has: conntrack.OptOther}},
		{"fast open request", true, []byte{34, 2}, conntrack.Options{Has: conntrack.OptFastOpen}},
		{"fast open cookie", true, unhex(t, "220a 0102030405060708"), conntrack.Options{Has: conntrack.OptFastOpen}},
		{"experimental fast open", true, unhex(t, "fe04 f989"), conntrack.Options{Has: conntrack.OptFastOpen}},
		{"another experiment", true, unhex(t, "fe04 f988"), conntrack.Options{Has: conntrack.OptOther}},
		{"an experiment without a number", true, unhex(t, "fe02"), conntrack.Options{Has: conntrack.OptOther}},
		{"multipath of three bytes", true, unhex(t, "1e03 00"), conntrack.Options{Has: conntrack.OptMPTCP}},
		{"multipath of two bytes", true, unhex(t, "1e02"), conntrack.Options{Has: conntrack.OptOther}},
		{"a signature of 16 bytes", false, append([]byte{19, 18}, make([]byte, 16)...), conntrack.Options{Has: conntrack.OptMD5}},
		{"a signature of 15 bytes", false, append([]byte{19, 17}, make([]byte, 15)...), conntrack.Options{Has: conntrack.OptOther}},
		{"an authentication option", false, unhex(t, "1d04 0102"), conntrack.Options{Has: conntrack.OptAO}},
		{"an authentication option without ids", false, unhex(t, "1d03 01"), conntrack.Options{Has: conntrack.OptOther}},
		{"nothing counts after the end of the list", true, unhex(t, "00 0303 07"), conntrack.Options{}},
		{"forty no-operations", true, bytes.Repeat([]byte{1}, 40), conntrack.Options{}},
		{"twenty empty options", true, bytes.Repeat([]byte{200, 2}, 20), conntrack.Options{Has: conntrack.OptOther}},
	} {
		var s conntrack.Segment
		NewDecoder().Decode(options4(t, c.syn, c.in), 0, PacketInfo{Partial: true}, &s)
		if s.Defect != conntrack.DefectNone {
			t.Errorf("%s: %q", c.name, s.Defect)
		}
		if diff := cmp.Diff(c.want, s.Options); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// TestDecoderKeepsNothing is the bug of reused layers: what one packet left behind shows in the next.
func TestDecoderKeepsNothing(t *testing.T) {
	rich := *plain("192.0.2.1:721", "198.51.100.9:515")
	rich.Flags |= conntrack.SYN
	rich.Options = conntrack.Options{Has: conntrack.OptMSS | conntrack.OptTimestamp, MSS: 1460, TSVal: 5, TSEcr: 6}
	good := [][]byte{packet4(t), packet6(t), mustEncode(t, &rich, nil)}
	spoiled := [][]byte{nil, packet4(t)[:30], options4(t, true, []byte{8, 10, 0, 0}), edit(packet4(t), 32, 0xf0), edit(packet6(t), 6, 0),
		edit(packet4(t), 9, 17), make([]byte, 200), bytes.Repeat([]byte{0x4f}, 60)}
	d := NewDecoder()
	for i, g := range good {
		var want, got, ignored conntrack.Segment
		NewDecoder().Decode(g, 0, PacketInfo{}, &want)
		for j, s := range spoiled {
			d.Decode(s, 0, PacketInfo{}, &ignored)
			got = ignored // whatever was in it must go
			d.Decode(g, 0, PacketInfo{}, &got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("packet %d after spoiled packet %d:\n%s", i, j, diff)
			}
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	all := [][]byte{packet4(t), packet6(t), options4(t, true, bytes.Repeat([]byte{1}, 40)), options4(t, true, []byte{8, 10, 0, 0}),
		packet4(t)[:30], edit(packet4(t), 9, 17), edit(packet4(t), 2, 0, 19), with(packet6(t), extension{0, unhex(t, "00 00 01 04 00000000")}),
		edit(packet6(t), 6, 0), spliced(packet4(t), bytes.Repeat([]byte{1}, 40)...), spliced(packet4(t), bytes.Repeat([]byte{0x44, 1, 5, 5}, 10)...)}
	d := NewDecoder()
	var s conntrack.Segment
	for i, pkt := range all {
		if n := testing.AllocsPerRun(100, func() { d.Decode(pkt, len(pkt), PacketInfo{}, &s) }); n != 0 {
			t.Errorf("packet %d (%q): %v allocations", i, s.Defect, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	timestamps := *plain("192.0.2.1:721", "198.51.100.9:515")
	timestamps.Options = conntrack.Options{Has: conntrack.OptTimestamp, TSVal: 1, TSEcr: 2}
	six := timestamps
	six.Tuple = tuple("[2001:db8::1]:721", "[2001:db8:1::9]:515")
	for _, c := range []struct {
		name    string
		segment *conntrack.Segment
		copied  int // 0: whole
	}{{"v4/headers", &timestamps, 52}, {"v6/headers", &six, 72}, {"v4/whole-1448", &timestamps, 0}} {
		pkt := mustEncode(b, c.segment, make([]byte, 1448))
		data := pkt
		if c.copied > 0 {
			data = pkt[:c.copied]
		}
		b.Run(c.name, func(b *testing.B) {
			d := NewDecoder()
			var s conntrack.Segment
			b.ReportAllocs()
			for b.Loop() {
				d.Decode(data, len(pkt), PacketInfo{}, &s)
			}
		})
	}
}
