//go:build netns

package fastpath_test

import (
	"encoding/binary"
	"net/netip"

	"halfopen/conntrack"
)

// frame builds packets for the program and for the decoder, the same bytes for both.
type frame struct {
	buf  [4096]byte
	size int

	tuple   conntrack.Tuple
	seq     conntrack.Seq
	ack     conntrack.Seq
	flags   conntrack.Flags
	window  uint16
	urgent  uint16
	ttl     byte
	options []byte // padded by its maker
	tos     byte   // or traffic class
	payload int
	length0 bool   // the IP length is 0, as in a super-packet
	iopts   []byte // IPv4 options
	chain   []byte // IPv6 extension headers
	first   byte   // the first of them
	more    bool   // IPv4: more fragments follow
}

// room is how much payload test_run takes beside the headers.
const room = 3200

// build writes the packet and returns it with an Ethernet header; at 14 the IP packet begins.
func (f *frame) build() []byte {
	b := f.buf[:]
	clear(b[:14+60+40+40+len(f.chain)])
	tcp := 20 + len(f.options)
	var at int
	if f.tuple.Is4() {
		at = 14 + 20 + len(f.iopts)
		total := 20 + len(f.iopts) + tcp + f.payload
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		ip := b[14:at]
		ip[0], ip[1], ip[8], ip[9] = 0x45+byte(len(f.iopts)/4), f.tos, f.ttl, 6
		copy(ip[20:], f.iopts)
		if !f.length0 {
			binary.BigEndian.PutUint16(ip[2:], uint16(total))
		}
		if f.more {
			ip[6] = 0x20
		}
		copy(ip[12:], f.tuple.Src[12:])
		copy(ip[16:], f.tuple.Dst[12:])
		binary.BigEndian.PutUint16(ip[10:], ^sum16(ip))
		f.size = 14 + total
	} else {
		at = 14 + 40 + len(f.chain)
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
		ip := b[14:at]
		ip[0], ip[1], ip[6], ip[7] = 0x60+f.tos>>4, f.tos<<4, 6, f.ttl
		if len(f.chain) > 0 {
			ip[6] = f.first
			copy(ip[40:], f.chain)
		}
		if !f.length0 {
			binary.BigEndian.PutUint16(ip[4:], uint16(len(f.chain)+tcp+f.payload))
		}
		copy(ip[8:], f.tuple.Src[:])
		copy(ip[24:], f.tuple.Dst[:])
		f.size = at + tcp + f.payload
	}
	t := b[at:]
	binary.BigEndian.PutUint16(t, f.tuple.SrcPort)
	binary.BigEndian.PutUint16(t[2:], f.tuple.DstPort)
	binary.BigEndian.PutUint32(t[4:], uint32(f.seq))
	binary.BigEndian.PutUint32(t[8:], uint32(f.ack))
	t[12] = byte(tcp/4<<4) | byte(f.flags>>8&1)
	t[13] = byte(f.flags)
	binary.BigEndian.PutUint16(t[14:], f.window)
	binary.BigEndian.PutUint16(t[18:], f.urgent)
	copy(t[20:], f.options)
	return b[:f.size]
}

// sum16 is the sum of RFC 1071.
func sum16(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// tuple4 is an IPv4 tuple of a test.
func tuple4(port uint16) conntrack.Tuple {
	return conntrack.MakeTuple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 2}), 1000+port), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, 2}), 80))
}
