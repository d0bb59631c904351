package capture

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of the headers that ends meets (https://www.iana.org/assignments/protocol-numbers).
const (
	protoHopByHop = 0
	protoTCP      = 6
	protoRouting  = 43
	protoFragment = 44
	protoDestOpts = 60
)

// ends returns the source and destination of a TCP segment in an IP packet, and false for anything else: another protocol, a fragment but the
// first, or what was cut off before the ports.
func ends(ip []byte) (from, to netip.AddrPort, ok bool) {
	if len(ip) < 20 {
		return from, to, false
	}
	if ip[0]>>4 == 4 {
		header := int(ip[0]&15) * 4
		if header < 20 || ip[9] != protoTCP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return from, to, false
		}
		return ports(netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), ip, header)
	}
	if len(ip) < 40 {
		return from, to, false
	}
	src, dst := netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
	next, at := ip[6], 40
	for next != protoTCP {
		if len(ip) < at+8 {
			return from, to, false
		}
		length := int(ip[at+1])*8 + 8
		switch next {
		case protoHopByHop, protoRouting, protoDestOpts:
		case protoFragment:
			if binary.BigEndian.Uint16(ip[at+2:])&^7 != 0 {
				return from, to, false
			}
			length = 8
		default:
			return from, to, false
		}
		next, at = ip[at], at+length
	}
	return ports(src, dst, ip, at)
}

// ports joins addresses with the ports at a place of the packet.
func ports(src, dst netip.Addr, ip []byte, at int) (from, to netip.AddrPort, ok bool) {
	if len(ip) < at+4 {
		return from, to, false
	}
	return netip.AddrPortFrom(src, binary.BigEndian.Uint16(ip[at:])), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ip[at+2:])), true
}
