package proxy

import (
	"encoding/binary"

	"halfopen/conntrack"
)

// network6 reads an IPv6 header and walks its extension headers (RFC 8200 section 4). It does so by hand: gopacket's IPv6
// layer allocates for every hop-by-hop option, reads the jumbo option only where it comes first, and refuses the length 0
// that the kernel gives to super-packets above 65,535 bytes.
func network6(data []byte, origLen int, f *frame, seg *conntrack.Segment) conntrack.Defect {
	if len(data) < ip6HeaderLen {
		return conntrack.DefectShortIP
	}
	copy(seg.Tuple.Src[:], data[8:24])
	copy(seg.Tuple.Dst[:], data[24:40])
	seg.TTL = data[7]
	f.other = data[6] != protoTCP && !isExtension(data[6])
	total := ip6HeaderLen + int(binary.BigEndian.Uint16(data[4:6]))
	if total == ip6HeaderLen {
		if n, ok := jumboLength(data); ok {
			total += n
		} else if origLen > 0xffff+ip6HeaderLen {
			total = origLen
		}
		f.unsummed = true
	}
	if total > origLen {
		return conntrack.DefectIPLength
	}
	seg.Bytes = uint32(total)
	if isMapped(data[8:24]) || isMapped(data[24:40]) {
		return conntrack.DefectMapped // Linux drops these on arrival (ip6_rcv_core); a capture may hold one
	}
	f.first = true
	at, defect := walk6(data[:min(len(data), total)], f)
	if defect != conntrack.DefectNone {
		return defect
	}
	f.transport = data[at:min(len(data), total)]
	f.length = total - at
	return conntrack.DefectNone
}

// walk6 follows the chain of extension headers in a packet and returns where TCP begins. Each header takes at least eight
// bytes, which bounds the walk. It stops at a non-first fragment: what follows is not a header.
func walk6(data []byte, f *frame) (at int, defect conntrack.Defect) {
	next, at := data[6], ip6HeaderLen
	for next != protoTCP {
		if !isExtension(next) {
			f.other = true
			if at == ip6HeaderLen {
				return at, conntrack.DefectNotTCP
			}
			return at, conntrack.DefectIPv6Chain
		}
		if len(data)-at < 8 {
			return at, conntrack.DefectIPv6Chain
		}
		size := 8 + 8*int(data[at+1])
		switch next {
		case protoFragment:
			size = 8
			bits := binary.BigEndian.Uint16(data[at+2:])
			f.first = f.first && bits>>3 == 0
			f.fragment = f.fragment || bits>>3 != 0 || bits&1 != 0
		case protoAH: // its length counts words of four bytes, less two (RFC 4302 section 2.2)
			size = 4 * (int(data[at+1]) + 2)
		case protoRouting:
			f.unsummed = f.unsummed || data[at+3] != 0 // segments left
		}
		if size > len(data)-at {
			return at, conntrack.DefectIPv6Chain
		}
		next = data[at]
		at += size
		if !f.first {
			return at, conntrack.DefectNone
		}
	}
	return at, conntrack.DefectNone
}

// isExtension reports whether a next-header value is an extension header that can be walked past (IANA's registry of IPv6
// extension header types, without ESP, whose inside is hidden).
func isExtension(next byte) bool {
	switch next {
	case protoHopByHop, protoRouting, protoFragment, protoAH, protoDestOpts, protoMobility, protoHIP, protoShim6:
		return true
	}
	return false
}

// jumboLength returns the length in the jumbo payload option (RFC 2675) of a leading hop-by-hop header: bytes after the
// IPv6 header.
func jumboLength(data []byte) (int, bool) {
	const jumbo = 0xc2
	if data[6] != protoHopByHop || len(data) < ip6HeaderLen+8 {
		return 0, false
	}
	options := data[ip6HeaderLen+2 : min(len(data), ip6HeaderLen+8+8*int(data[ip6HeaderLen+1]))]
	for len(options) >= 2 {
		switch {
		case options[0] == 0: // Pad1 is the one option without a length
			options = options[1:]
		case 2+int(options[1]) > len(options):
			return 0, false
		case options[0] == jumbo && options[1] == 4:
			n := binary.BigEndian.Uint32(options[2:6])
			return int(n), n > 0xffff
		default:
			options = options[2+int(options[1]):]
		}
	}
	return 0, false
}

// isMapped reports whether an address is an IPv4-mapped one (RFC 4291 section 2.5.5.2).
func isMapped(a []byte) bool {
	return binary.BigEndian.Uint64(a) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff
}
