package proxy

import (
	"bytes"
	"encoding/binary"
	"testing"

	"halfopen/conntrack"
)

func TestUnreachable(t *testing.T) {
	forward4, forward6 := plain("192.0.2.1:721", "10.9.9.9:515"), plain("[2001:db8::1]:721", "[fd00::9]:515")
	// What the sender dialled instead, and what it sees of the answer's source.
	wire4, wire6 := tuple("203.0.113.80:80", "192.0.2.1:721"), tuple("[2001:db8:80::80]:80", "[2001:db8::1]:721")
	for _, c := range []struct {
		name       string
		wire       conntrack.Tuple
		kind       Unreachable
		offending  []byte
		icmp, code byte
		size       int
	}{
		{"v4 port", wire4, UnreachablePort, mustEncode(t, forward4, nil), 3, 3, 20 + 8 + 40},
		{"v4 admin", wire4, UnreachableAdmin, mustEncode(t, forward4, nil), 3, 13, 20 + 8 + 40},
		{"v4 long", wire4, UnreachablePort, mustEncode(t, forward4, make([]byte, 1400)), 3, 3, 576},
		{"v4 cut to its headers", wire4, UnreachablePort, mustEncode(t, forward4, make([]byte, 1400))[:40], 3, 3, 20 + 8 + 40},
		{"v4 odd", wire4, UnreachablePort, mustEncode(t, forward4, make([]byte, 3)), 3, 3, 20 + 8 + 43},
		{"v6 port", wire6, UnreachablePort, mustEncode(t, forward6, nil), 1, 4, 40 + 8 + 60},
		{"v6 admin", wire6, UnreachableAdmin, mustEncode(t, forward6, nil), 1, 1, 40 + 8 + 60},
		{"v6 long", wire6, UnreachableAdmin, mustEncode(t, forward6, make([]byte, 1400)), 1, 1, 1280},
	} {
		t.Run(c.name, func(t *testing.T) {
			pkt, err := NewEncoder(EncoderConfig{}).Unreachable(&c.wire, c.kind, c.offending)
			if err != nil {
				t.Fatal(err)
			}
			if len(pkt) != c.size {
				t.Errorf("%d bytes, want %d", len(pkt), c.size)
			}
			at := 20
			if c.wire.Is4() {
				if pkt[6] != 0 || pkt[7] != 0 {
					t.Error("the error may not be fragmented")
				}
				if naiveChecksum(pkt[:20]) != 0 || naiveChecksum(pkt[20:]) != 0 {
					t.Error("an outer checksum is wrong")
				}
				if naiveChecksum(pkt[28:48]) != 0 {
					t.Error("the quoted header's checksum is wrong")
				}
			} else {
				at = 40
				n := len(pkt) - 40
				pseudo := append(append([]byte{}, pkt[8:40]...), 0, 0, byte(n>>8), byte(n), 0, 0, 0, 58)
				if naiveChecksum(pseudo, pkt[40:]) != 0 {
					t.Error("the ICMPv6 checksum is wrong")
				}
			}
			if pkt[at] != c.icmp || pkt[at+1] != c.code || binary.BigEndian.Uint32(pkt[at+4:]) != 0 {
				t.Errorf("ICMP header % x, want type %d code %d", pkt[at:at+8], c.icmp, c.code)
			}
			var quoted, original conntrack.Segment
			d := NewDecoder()
			d.Decode(pkt[at+8:], len(c.offending)+2000, PacketInfo{Partial: true}, &quoted)
			d.Decode(c.offending, len(c.offending)+2000, PacketInfo{Partial: true}, &original)
			if original.Tuple = c.wire.Reverse(); quoted != original {
				t.Errorf("quoted %+v, want %+v", quoted, original)
			}
			if from := pkt[at-8 : at-4]; c.wire.Is4() && !bytes.Equal(from, c.wire.Src[12:]) {
				t.Errorf("from % x, want %v", from, c.wire.From())
			}
		})
	}
}

func TestUnreachableRefuses(t *testing.T) {
	wire4, wire6 := tuple("203.0.113.80:80", "192.0.2.1:721"), tuple("[2001:db8:80::80]:80", "[2001:db8::1]:721")
	e := NewEncoder(EncoderConfig{})
	for name, c := range map[string]struct {
		wire      conntrack.Tuple
		offending []byte
	}{
		"nothing to quote":      {wire4, nil},
		"half a header":         {wire4, packet4(t)[:12]},
		"the other family":      {wire4, packet6(t)},
		"the other family, v6":  {wire6, packet4(t)},
		"a header length of 60": {wire4, edit(packet4(t), 0, 0x4f)},
	} {
		if pkt, err := e.Unreachable(&c.wire, UnreachablePort, c.offending); err == nil {
			t.Errorf("%s: % x", name, pkt)
		}
	}
	// A chain that cannot be walked is quoted, with the addresses alone put right.
	cut := with(packet6(t), extension{60, []byte{0, 1, 15: 0}})[:52]
	pkt, err := e.Unreachable(&wire6, UnreachablePort, cut)
	if err != nil || !bytes.Equal(pkt[48+40:], cut[40:]) || !bytes.Equal(pkt[48+8:48+24], wire6.Dst[:]) {
		t.Errorf("% x, %v", pkt, err)
	}
	// A later fragment has no ports.
	later := edit(packet4(t), 6, 0, 9)
	pkt, err = e.Unreachable(&wire4, UnreachablePort, later)
	if err != nil || !bytes.Equal(pkt[28+20:], later[20:]) {
		t.Errorf("% x, %v", pkt, err)
	}
}
