package index

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"halfopen/proxy/decisionlog"
)

// ends are the two ends of a connection in an order of their own, the same for both directions.
type ends struct {
	lo, hi         [16]byte // IPv4 as mapped into IPv6
	loPort, hiPort uint16
	known          bool
}

// connKey is what records of one connection share: the flow id (0: none) and the ends.
type connKey struct {
	flow uint64
	ends
}

// conn is a connection of a block.
type conn struct {
	connKey
	row  uint32 // flow_rows.id, 0 for none
	hash uint32 // of the Community ID's text: its first letters
}

// makeEnds orders a segment's ends; swapped says that its source is the higher one. Texts that are no addresses make no ends.
func makeEnds(src, dst []byte, srcPort, dstPort uint16) (e ends, swapped bool) {
	a, ok1 := parseAddr(src)
	b, ok2 := parseAddr(dst)
	if !ok1 || !ok2 {
		return ends{}, false
	}
	c := bytes.Compare(a[:], b[:])
	if c > 0 || c == 0 && srcPort > dstPort {
		return ends{b, a, dstPort, srcPort, true}, true
	}
	return ends{a, b, srcPort, dstPort, true}, false
}

// parseAddr reads an address into 16 octets; zones are ignored.
func parseAddr(b []byte) (a [16]byte, ok bool) {
	if v4, ok := parseIPv4(b); ok {
		a[10], a[11] = 0xff, 0xff
		copy(a[12:], v4[:])
		return a, true
	}
	if len(b) == 0 {
		return a, false
	}
	p, err := netip.ParseAddr(string(b))
	return p.As16(), err == nil
}

// parseIPv4 reads a dotted address without making a string of it.
func parseIPv4(b []byte) (a [4]byte, ok bool) {
	part, digits, v := 0, 0, 0
	for _, c := range b {
		switch {
		case c-'0' <= 9:
			if digits == 3 || digits > 0 && v == 0 {
				return a, false
			}
			v = v*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && part < 3:
			a[part] = byte(v)
			part, digits, v = part+1, 0, 0
		default:
			return a, false
		}
		if v > 255 {
			return a, false
		}
	}
	if part != 3 || digits == 0 {
		return a, false
	}
	a[3] = byte(v)
	return a, true
}

func addrPort(a [16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), port)
}

// loEnd and hiEnd are the ends as addresses.
func (e *ends) loEnd() netip.AddrPort { return addrPort(e.lo, e.loPort) }
func (e *ends) hiEnd() netip.AddrPort { return addrPort(e.hi, e.hiPort) }

// source and destination of a segment between the ends.
func (e *ends) pair(swapped bool) (src, dst netip.AddrPort) {
	switch {
	case !e.known:
		return src, dst
	case swapped:
		return e.hiEnd(), e.loEnd()
	}
	return e.loEnd(), e.hiEnd()
}

// communityID is the Community ID of the ends, "" where they are not known.
func (e *ends) communityID() string {
	if !e.known {
		return ""
	}
	return string(decisionlog.AppendCommunityID(nil, e.loEnd(), e.hiEnd()))
}

// communityHash is four letters of a Community ID: enough to look at few others.
func communityHash(id []byte) uint32 {
	if len(id) < 6 {
		return 0
	}
	return binary.LittleEndian.Uint32(id[2:])
}

// Bits of the octet that begins a connection's code.
const (
	connEnds = 1 << iota
	connLoV4
	connHiV4
)

var v4Prefix = [12]byte{10: 0xff, 11: 0xff}

// encode appends the connection: an octet of bits, row, flow id and hash, then the addresses (4 or 16 octets each) and ports.
func (c *conn) encode(b []byte) []byte {
	at := len(b)
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(c.row))
	b = binary.AppendUvarint(b, c.flow)
	b = binary.LittleEndian.AppendUint32(b, c.hash)
	if !c.known {
		return b
	}
	b[at] |= connEnds
	for i, a := range [...]*[16]byte{&c.lo, &c.hi} {
		if [12]byte(a[:12]) == v4Prefix {
			b[at] |= connLoV4 << i
			b = append(b, a[12:]...)
		} else {
			b = append(b, a[:]...)
		}
	}
	b = binary.LittleEndian.AppendUint16(b, c.loPort)
	return binary.LittleEndian.AppendUint16(b, c.hiPort)
}

// decode takes a connection off the front of b and returns the rest.
func (c *conn) decode(b []byte) (rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, false
	}
	*c = conn{}
	bits := b[0]
	row, n := binary.Uvarint(b[1:])
	b = b[1+max(n, 0):]
	flow, m := binary.Uvarint(b)
	b = b[max(m, 0):]
	if n <= 0 || m <= 0 || len(b) < 4 {
		return nil, false
	}
	c.row, c.flow, c.hash = uint32(row), flow, binary.LittleEndian.Uint32(b)
	b = b[4:]
	if bits&connEnds == 0 {
		return b, true
	}
	c.known = true
	for i, a := range [...]*[16]byte{&c.lo, &c.hi} {
		n := 16
		if bits&(connLoV4<<i) != 0 {
			a[10], a[11] = 0xff, 0xff
			n = 4
		}
		if len(b) < n {
			return nil, false
		}
		copy(a[16-n:], b[:n])
		b = b[n:]
	}
	if len(b) < 4 {
		return nil, false
	}
	c.loPort, c.hiPort = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	return b[4:], true
}
