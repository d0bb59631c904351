package proxy

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"halfopen/conntrack"
	"halfopen/policy"
)

// summed returns a packet with right checksums: the IPv4 header's and TCP's.
func summedPacket(t testing.TB, pkt []byte) []byte {
	t.Helper()
	pkt = append([]byte(nil), pkt...)
	var f frame
	var s conntrack.Segment
	NewDecoder().decode(pkt, len(pkt), PacketInfo{Partial: true}, &f, &s)
	if s.Defect != conntrack.DefectNone {
		t.Fatalf("defect %s", s.Defect)
	}
	if pkt[0]>>4 == 4 {
		header := pkt[:int(pkt[0]&0xf)*4]
		clear(header[10:12])
		binary.BigEndian.PutUint16(header[10:], ^foldSum(sumBytes(0, header)))
	}
	clear(f.transport[16:18])
	binary.BigEndian.PutUint16(f.transport[16:], ^foldSum(sumBytes(pseudoSum(&s.Tuple, len(f.transport)), f.transport)))
	return pkt
}

const everyStrip policy.Strip = 1<<13 - 1

// fullOptions are 40 bytes of options: MSS 1460, SACK permitted, timestamps, window scale 7, a Fast Open cookie, multipath, one unknown.
const fullOptions = "0204 05b4 0402 080a 00000001 00000002 01 0303 07 2208 010203040506 1e04 0081 fd03 00 01 01 01"

func TestEditor(t *testing.T) {
	syn := summedPacket(t, options4(t, true, unhex(t, fullOptions)))
	urgent := func(pkt []byte) []byte {
		tcp := pkt[len(pkt)-30:]
		tcp[13] |= 0x20
		tcp[19] = 5
		return summedPacket(t, pkt)
	}
	for _, c := range []struct {
		name  string
		pkt   []byte
		strip policy.Strip
		mss   uint16
		want  func(b []byte) // what it makes of the packet but for checksums
	}{
		{"urgent", urgent(packet4(t)), policy.StripUrgent, 0, func(b []byte) { b[33], b[39] = 0x18, 0 }},
		{"urgent, IPv6", urgent(packet6(t)), policy.StripUrgent, 0, func(b []byte) { b[53], b[59] = 0x18, 0 }},
		{"a pointer without the bit", summedPacket(t, edit(packet4(t), 38, 1, 2)), policy.StripUrgent, 0, func(b []byte) { b[38], b[39] = 0, 0 }},
		{"nothing of it", packet4(t), everyStrip &^ policy.StripPush, 0, func([]byte) {}},
		{"push", packet4(t), policy.StripPush, 0, func(b []byte) { b[33] = 0x10 }},
		{"reserved", summedPacket(t, edit(packet4(t), 32, 0x5f)), policy.StripReserved, 0, func(b []byte) { b[32] = 0x51 }},
		{"ecn", summedPacket(t, edit(packet4(t), 32, 0x5f, 0xd8)), policy.StripECN, 0, func(b []byte) { b[32], b[33] = 0x5e, 0x18 }},
		{"segment size", syn, policy.StripMSS, 1360, func(b []byte) { b[42], b[43] = 0x05, 0x50 }},
		{"a segment size that is small enough", syn, policy.StripMSS, 1460, func([]byte) {}},
		{"SACK", syn, policy.StripSACK, 0, func(b []byte) { copy(b[44:], []byte{1, 1}) }},
		{"timestamps", syn, policy.StripTimestamps, 0, func(b []byte) { copy(b[46:56], bytes.Repeat([]byte{1}, 10)) }},
		{"window scale", syn, policy.StripWScale, 0, func(b []byte) { copy(b[57:60], bytes.Repeat([]byte{1}, 3)) }},
		{"Fast Open", syn, policy.StripFastOpen, 0, func(b []byte) { copy(b[60:68], bytes.Repeat([]byte{1}, 8)) }},
		{"multipath", syn, policy.StripMPTCP, 0, func(b []byte) { copy(b[68:72], bytes.Repeat([]byte{1}, 4)) }},
		{"unknown", syn, policy.StripUnknown, 0, func(b []byte) { copy(b[72:75], bytes.Repeat([]byte{1}, 3)) }},
	} {
		want := append([]byte(nil), c.pkt...)
		c.want(want)
		want = summedPacket(t, want)
		got, changed, omit := (&editor{NewDecoder()}).rewrite(append([]byte(nil), c.pkt...), len(c.pkt), PacketInfo{}, c.strip, c.mss)
		if omit != "" || changed == bytes.Equal(want, c.pkt) || !bytes.Equal(got, want) {
			t.Errorf("%s: changed %v %s\n%s", c.name, changed, omit, cmp.Diff(want, got))
		}
	}
}

// A SYN's data goes, and the length of the packet with it, odd or even, behind IP options or extension headers, with padding or none.
func TestEditorData(t *testing.T) {
	for _, pkt := range [][]byte{packet4(t), packet4(t)[:49], spliced(packet4(t), 7, 4, 4, 0), packet6(t), packet6(t)[:67],
		with(packet6(t), extension{0, unhex(t, "00 00 01 04 00000000")})} {
		at := map[byte]int{4: int(pkt[0]&0xf)*4 + 13, 6: len(pkt) - len(packet6(t)) + 53}[pkt[0]>>4]
		if pkt[0]>>4 == 6 && len(pkt) == 67 {
			at = 53
		}
		pkt = edit(pkt, at, byte(conntrack.SYN))
		if pkt[0]>>4 == 4 {
			binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		} else {
			binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
		}
		pkt = summedPacket(t, pkt)
		for _, padding := range []int{0, 6} {
			in := append(append([]byte(nil), pkt...), make([]byte, padding)...)
			got, changed, omit := (&editor{NewDecoder()}).rewrite(in, len(in), PacketInfo{}, policy.StripData, 0)
			var s conntrack.Segment
			NewDecoder().Decode(got, len(got), PacketInfo{}, &s)
			if !changed || omit != "" || s.Len != 0 || s.Checksum != conntrack.ChecksumGood || len(got) != at+7 || s.Bytes != uint32(len(got)) {
				t.Errorf("%x: changed %v %s, %d bytes left, decoded %+v", pkt, changed, omit, len(got), s)
			}
			if got[0]>>4 == 4 && foldSum(sumBytes(0, got[:int(got[0]&0xf)*4])) != 0xffff {
				t.Errorf("%x: the header's checksum is wrong in %x", pkt, got)
			}
		}
	}
}

// What cannot be rewritten stays as it was, and the reason is named.
func TestEditorRefuses(t *testing.T) {
	syn := summedPacket(t, options4(t, true, unhex(t, fullOptions)))
	routed := spliced(edit(packet4(t), 33, byte(conntrack.SYN)), 131, 7, 4, 1, 2, 3, 4, 0)
	for _, c := range []struct {
		pkt  []byte
		orig int
		info PacketInfo
		want string
	}{
		{syn, 0, PacketInfo{GSO: true}, omitGSO},
		{syn, len(syn) + 1, PacketInfo{}, omitTruncated},
		{edit(syn, 32, 0x40), 0, PacketInfo{}, omitMalformed},
		{syn[:50], 0, PacketInfo{}, omitMalformed},
		{edit(syn, 6, 0x20), 0, PacketInfo{}, omitFragment},
		{edit(syn, 2, 0, 0), 0, PacketInfo{}, omitGSO},
		{routed, 0, PacketInfo{Partial: true}, omitPartial},
	} {
		got, changed, omit := (&editor{NewDecoder()}).rewrite(append([]byte(nil), c.pkt...), max(c.orig, len(c.pkt)), c.info, everyStrip, 536)
		if omit != c.want || changed || !bytes.Equal(got, c.pkt) {
			t.Errorf("%x: omitted for %q, want %q; changed %v", c.pkt, omit, c.want, changed)
		}
	}
}

// A segment that was damaged on its way is still seen to be by its receiver; a fragment's checksum is right for the whole.
func TestEditorMendsNoDamage(t *testing.T) {
	bad := edit(packet4(t), 45, 0xff)
	got, _, _ := (&editor{NewDecoder()}).rewrite(bad, len(bad), PacketInfo{}, policy.StripPush, 0)
	var s conntrack.Segment
	if NewDecoder().Decode(got, len(got), PacketInfo{}, &s); s.Checksum != conntrack.ChecksumBad || s.Flags != conntrack.ACK {
		t.Errorf("a wrong checksum became %d", s.Checksum)
	}
	whole := packet4(t)
	first := edit(whole[:48], 6, 0x20)
	binary.BigEndian.PutUint16(first[2:], 48)
	got, _, omit := (&editor{NewDecoder()}).rewrite(first, len(first), PacketInfo{}, policy.StripPush, 0)
	joined := append(append([]byte(nil), got...), whole[48:]...)
	copy(joined[2:], []byte{0, 50})
	joined[6] = 0
	if NewDecoder().Decode(joined, len(joined), PacketInfo{}, &s); omit != "" || s.Checksum != conntrack.ChecksumGood {
		t.Errorf("the datagram of a rewritten fragment has checksum %d %s", s.Checksum, omit)
	}
}

// FuzzEditor holds the editor to the policy's idea of the segment that is left, and to what must not change.
func FuzzEditor(f *testing.F) {
	for _, pkt := range [][]byte{packet4(f), packet6(f), summedPacket(f, options4(f, true, unhex(f, fullOptions))), edit(packet4(f), 33, 0x3a), edit(packet6(f), 53, 0xe2),
		spliced(packet4(f), 131, 7, 4, 1, 2, 3, 4, 0), edit(packet4(f), 6, 0x20, 0), edit(packet4(f), 2, 0, 0), options4(f, true, unhex(f, "0101 1312 00112233445566778899aabbccddeeff")),
		with(packet6(f), extension{0, unhex(f, "00 00 c2 04 00020000")}, extension{44, make([]byte, 8)}), options4(f, true, unhex(f, "0204 05b4 0204 0100 0204 ffff 00 0303 07"))} {
		f.Add(pkt, uint16(everyStrip), uint16(536), false)
		f.Add(append(pkt[:len(pkt):len(pkt)], 0, 0), uint16(everyStrip), uint16(1), true)
	}
	f.Fuzz(func(t *testing.T, pkt []byte, strip, mss uint16, partial bool) {
		info := PacketInfo{Partial: partial}
		was, e := append([]byte(nil), pkt...), &editor{NewDecoder()}
		var old, got conntrack.Segment
		var from frame
		NewDecoder().decode(was, len(was), info, &from, &old)
		parts := policy.Strip(strip) & everyStrip
		left, changed, omit := e.rewrite(append([]byte(nil), pkt...), len(pkt), info, parts, mss)
		if omit != "" || !changed {
			if !bytes.Equal(left, was) {
				t.Fatalf("%q, and it changed", omit)
			}
			if bad := old.Checksum == conntrack.ChecksumBad; omit == "" && parts.Of(&old, mss) != 0 && !bad {
				t.Fatal("nothing changed that should")
			}
			return
		}
		want := old
		want.Checksum = conntrack.ChecksumUnverified // a damaged segment may lie about what it holds, and is edited all the same
		parts = parts.Of(&want, mss)
		parts.From(&want, mss)
		if want.Checksum = old.Checksum; partial {
			want.Checksum = conntrack.ChecksumGood
			if len(from.transport) != from.length {
				want.Checksum = conntrack.ChecksumUnverified
			}
		}
		if parts&policy.StripData != 0 {
			want.Bytes -= old.Len
		}
		if NewDecoder().Decode(left, len(left), PacketInfo{}, &got); got != want {
			t.Fatalf("%x\nto %x:\n%s", was, left, cmp.Diff(want, got))
		}
		untouched(t, was, left, cap(was)-cap(from.transport), int(was[cap(was)-cap(from.transport)+12]>>4)*4, parts&policy.StripData != 0)
		again, changed, omit := e.rewrite(append([]byte(nil), left...), len(left), PacketInfo{}, parts, mss)
		if changed || omit != "" || !bytes.Equal(again, left) {
			t.Fatalf("rewritten again: %v %s", changed, omit)
		}
	})
}

// untouched checks what an edit leaves alone: everything before the TCP header at tcp but the length, everything behind it, and
// whether an IPv4 header's checksum is right.
func untouched(t *testing.T, was, is []byte, tcp, header int, cut bool) {
	t.Helper()
	if cut && len(is) != tcp+header || !cut && (len(is) != len(was) || !bytes.Equal(was[tcp+header:], is[tcp+header:])) {
		t.Fatalf("%x\nto %x: what is behind the header", was, is)
	}
	a, b := append([]byte(nil), was[:tcp]...), append([]byte(nil), is[:tcp]...)
	if a[0]>>4 == 4 {
		head := int(a[0]&0xf) * 4
		if (foldSum(sumBytes(0, a[:head])) == 0xffff) != (foldSum(sumBytes(0, b[:head])) == 0xffff) {
			t.Fatalf("%x\nto %x: the IP header's checksum", was, is)
		}
	}
	if cut {
		at := map[byte][]int{4: {2, 3, 10, 11}, 6: {4, 5}}[a[0]>>4]
		for _, i := range at {
			a[i], b[i] = 0, 0
		}
	}
	if !bytes.Equal(a, b) || !bytes.Equal(was[tcp:tcp+12], is[tcp:tcp+12]) || was[tcp+12]>>4 != is[tcp+12]>>4 {
		t.Fatalf("%x\nto %x: what is before the options", was, is)
	}
}
