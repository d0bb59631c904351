package capture

import (
	"encoding/binary"
	"strconv"
)

// LinkType is a link-layer type number (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

// Link types whose frames [IP] can open.
const (
	LinkNull     LinkType = 0   // BSD loopback: 4-byte address family in the writer's byte order
	LinkEthernet LinkType = 1   // Ethernet II, VLAN tags allowed
	LinkRaw      LinkType = 101 // begins with the IPv4 or IPv6 header
	LinkLoop     LinkType = 108 // OpenBSD loopback: address family in network byte order
	LinkSLL      LinkType = 113 // Linux cooked v1
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276 // Linux cooked v2
)

// String returns the name that tcpdump and Wireshark use, or "link-N".
func (l LinkType) String() string {
	switch l {
	case LinkNull:
		return "null"
	case LinkEthernet:
		return "ethernet"
	case LinkRaw:
		return "raw"
	case LinkLoop:
		return "loop"
	case LinkSLL:
		return "linux-sll"
	case LinkIPv4:
		return "ipv4"
	case LinkIPv6:
		return "ipv6"
	case LinkSLL2:
		return "linux-sll2"
	}
	return "link-" + strconv.Itoa(int(l))
}

// Supported reports whether [IP] can open frames of this type.
func (l LinkType) Supported() bool {
	switch l {
	case LinkNull, LinkEthernet, LinkRaw, LinkLoop, LinkSLL, LinkIPv4, LinkIPv6, LinkSLL2:
		return true
	}
	return false
}

// EtherTypes that matter here.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
	etherOld  = 0x9100 // pre-standard double tagging
)

// maxTags bounds the VLAN tags that are stripped from one frame.
const maxTags = 4

// IP returns the IP packet inside a frame, with any Ethernet padding left on, and false if the link type is not supported, the
// frame is too short or it carries something else (ARP, for instance). The result aliases data.
func IP(link LinkType, data []byte) ([]byte, bool) {
	switch link {
	case LinkEthernet:
		return ethernetIP(data)
	case LinkSLL:
		if len(data) < 16 {
			return nil, false
		}
		return taggedIP(binary.BigEndian.Uint16(data[14:]), data[16:])
	case LinkSLL2:
		if len(data) < 20 {
			return nil, false
		}
		return taggedIP(binary.BigEndian.Uint16(data), data[20:])
	case LinkNull, LinkLoop:
		if len(data) < 4 {
			return nil, false
		}
		return versionIP(data[4:]) // the family's number differs between systems; the packet's version does not
	case LinkRaw, LinkIPv4, LinkIPv6:
		return versionIP(data)
	}
	return nil, false
}

func ethernetIP(data []byte) ([]byte, bool) {
	if len(data) < 14 {
		return nil, false
	}
	return taggedIP(binary.BigEndian.Uint16(data[12:]), data[14:])
}

// taggedIP strips VLAN tags in front of an IP packet.
func taggedIP(etherType uint16, rest []byte) ([]byte, bool) {
	for range maxTags {
		switch etherType {
		case etherIPv4, etherIPv6:
			return versionIP(rest)
		case etherVLAN, etherQinQ, etherOld:
			if len(rest) < 4 {
				return nil, false
			}
			etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
		default:
			return nil, false
		}
	}
	return nil, false
}

// versionIP accepts what begins like an IPv4 or IPv6 header. Whether the rest is sound is the decoder's business.
func versionIP(data []byte) ([]byte, bool) {
	if len(data) == 0 || data[0]>>4 != 4 && data[0]>>4 != 6 {
		return nil, false
	}
	return data, true
}
