package oracle

import (
	"encoding/binary"
	"net/netip"

	"halfopen/conntrack"
)

// Addresses of the flows' ends: both beyond the gateway's outer link, so that whatever a side sends leaves there.
var (
	ends4 = [2]netip.Addr{netip.MustParseAddr("198.51.100.20"), netip.MustParseAddr("198.51.100.30")}
	ends6 = [2]netip.Addr{netip.MustParseAddr("2001:db8:3::20"), netip.MustParseAddr("2001:db8:3::30")}
)

func (f *flow) ends() [2]netip.Addr {
	if f.v6 {
		return ends6
	}
	return ends4
}

// tuple returns the flow's tuple as side from sends.
func (f *flow) tuple(from int) conntrack.Tuple {
	e := f.ends()
	return conntrack.MakeTuple(netip.AddrPortFrom(e[from], f.ports[from]), netip.AddrPortFrom(e[1-from], f.ports[1-from]))
}

// packet appends the segment's IP packet to b. The id goes into the IPv4 identification or the IPv6 flow label, which no router
// changes.
func (f *flow) packet(b []byte, s *seg, id uint16) []byte {
	at := len(b)
	b = append(b, make([]byte, 40)...) // room for the longer network header
	ends := f.ends()
	src, dst := ends[s.from], ends[1-s.from]
	head := 20
	if f.v6 {
		head = 40
	}
	b = f.transport(b[:at+head], s)
	pkt := b[at:]
	tcp := pkt[head:]
	if f.v6 {
		binary.BigEndian.PutUint32(pkt, 6<<28|uint32(id))
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(tcp)))
		pkt[6], pkt[7] = 6, 64
		copy(pkt[8:], src.AsSlice())
		copy(pkt[24:], dst.AsSlice())
	} else {
		pkt[0], pkt[1] = 0x45, 0
		binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		binary.BigEndian.PutUint16(pkt[4:], id)
		pkt[6], pkt[7], pkt[8], pkt[9], pkt[10], pkt[11] = 0, 0, 64, 6, 0, 0
		copy(pkt[12:], src.AsSlice())
		copy(pkt[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(pkt[10:], ^fold(sum(0, pkt[:20])))
	}
	c := sum(uint32(len(tcp))+6, src.AsSlice())
	c = sum(sum(c, dst.AsSlice()), tcp)
	c16 := ^fold(c)
	if s.damage == badChecksum {
		c16 ^= 0x0101
	}
	binary.BigEndian.PutUint16(tcp[16:], c16)
	return b
}

// transport appends the TCP header, checksum zero, and payload.
func (f *flow) transport(b []byte, s *seg) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, f.ports[s.from])
	b = binary.BigEndian.AppendUint16(b, f.ports[1-s.from])
	b = binary.BigEndian.AppendUint32(b, s.seq)
	b = binary.BigEndian.AppendUint32(b, s.ack)
	b = binary.BigEndian.AppendUint16(b, uint16(s.flags&0x1ff))
	b = binary.BigEndian.AppendUint16(b, s.win)
	b = append(b, 0, 0, 0, 0)
	b = s.options(b)
	for (len(b)-at)%4 != 0 {
		b = append(b, 0)
	}
	words := byte((len(b) - at) / 4)
	switch s.damage {
	case shortOffset:
		words = 4
	case longOffset:
		words = 15
	}
	b[at+12] |= words << 4
	for range s.length {
		b = append(b, 0x55)
	}
	return b
}

func (s *seg) options(b []byte) []byte {
	if s.bare {
		return b
	}
	if s.damage == badOption {
		return append(b, 8, 40, 0, 0)
	}
	if s.flags.Has(conntrack.SYN) {
		b = append(b, 2, 4, 0x05, 0xb4)
	}
	if s.wscale >= 0 {
		b = append(b, 1, 3, 3, byte(s.wscale))
	}
	if s.sackOK {
		b = append(b, 1, 1, 4, 2)
	}
	if s.stamp {
		b = append(b, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2)
	}
	if len(s.sack) > 0 {
		b = append(b, 1, 1, 5, byte(2+8*len(s.sack)))
		for _, k := range s.sack {
			b = binary.BigEndian.AppendUint32(b, k[0])
			b = binary.BigEndian.AppendUint32(b, k[1])
		}
	}
	return b
}

// sum adds b to the ones' complement sum of RFC 1071.
func sum(c uint32, b []byte) uint32 {
	for len(b) >= 2 {
		c += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		c += uint32(b[0]) << 8
	}
	return c
}

func fold(c uint32) uint16 {
	for c>>16 != 0 {
		c = c&0xffff + c>>16
	}
	return uint16(c)
}
