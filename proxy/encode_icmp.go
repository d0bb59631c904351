package proxy

import (
	"encoding/binary"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"halfopen/conntrack"
)

// Unreachable is a "destination unreachable" that the gateway can answer a segment with.
type Unreachable uint8

// Kinds of destination unreachable.
const (
	UnreachablePort  Unreachable = iota // port unreachable: code 3 (RFC 792), ICMPv6 code 4 (RFC 4443 section 3.1)
	UnreachableAdmin                    // administratively prohibited: code 13 (RFC 1812 section 5.2.7.1), ICMPv6 code 1
)

// Sizes of ICMP errors in bytes, IP header included: RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4(c).
const (
	icmp4Max = 576
	icmp6Max = 1280
)

// Unreachable returns an ICMP or ICMPv6 error from wire.Src to wire.Dst about offending, the packet that wire.Dst sent
// towards wire.Src. wire is as on the wire: where the host translates addresses, the quoted packet's addresses and ports are
// rewritten to match, because its sender knows no others. As much of the packet is quoted as is allowed and was captured; its
// TCP checksum stays as it was. The bytes are valid until the encoder's next call.
func (e *Encoder) Unreachable(wire *conntrack.Tuple, kind Unreachable, offending []byte) ([]byte, error) {
	network, err := e.network(wire, 0, layers.IPProtocolICMPv4)
	if err != nil {
		return nil, err
	}
	var message gopacket.SerializableLayer
	var rest []gopacket.SerializableLayer
	limit := icmp4Max - ip4HeaderMin - 8
	if network == gopacket.SerializableLayer(&e.ip4) {
		e.ip4.Flags = 0 // what a router sends may be fragmented (RFC 1812 section 4.3.2)
		code := uint8(layers.ICMPv4CodePort)
		if kind == UnreachableAdmin {
			code = layers.ICMPv4CodeCommAdminProhibited
		}
		message = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, code)}
	} else {
		e.ip6.NextHeader = layers.IPProtocolICMPv6
		code := uint8(layers.ICMPv6CodePortUnreachable)
		if kind == UnreachableAdmin {
			code = layers.ICMPv6CodeAdminProhibited
		}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, code)}
		if err := icmp.SetNetworkLayerForChecksum(&e.ip6); err != nil {
			return nil, fmt.Errorf("packet: %w", err)
		}
		message, limit = icmp, icmp6Max-ip6HeaderLen-8
		rest = append(rest, gopacket.Payload([]byte{0, 0, 0, 0})) // unused
	}
	quote, err := quotation(wire, offending, limit)
	if err != nil {
		return nil, err
	}
	all := append([]gopacket.SerializableLayer{network, message}, append(rest, gopacket.Payload(quote))...)
	return e.serialize(all...)
}

// quotation returns the part of a packet that an error quotes, at most limit bytes, with the addresses that its sender
// knows: it came from wire.Dst and was meant for wire.Src.
func quotation(wire *conntrack.Tuple, packet []byte, limit int) ([]byte, error) {
	quote := append([]byte(nil), packet[:min(len(packet), limit)]...)
	var f frame
	var at int
	var defect conntrack.Defect
	switch {
	case len(quote) >= ip4HeaderMin && quote[0]>>4 == 4 && wire.Is4():
		copy(quote[12:16], wire.Dst[12:])
		copy(quote[16:20], wire.Src[12:])
		if at = int(quote[0]&0xf) * 4; at < ip4HeaderMin || at > len(quote) {
			return nil, fmt.Errorf("packet: offending packet: %s", conntrack.DefectShortIP)
		}
		binary.BigEndian.PutUint16(quote[10:], 0)
		binary.BigEndian.PutUint16(quote[10:], ^foldSum(sumBytes(0, quote[:at])))
		f.first = binary.BigEndian.Uint16(quote[6:])&0x1fff == 0
	case len(quote) >= ip6HeaderLen && quote[0]>>4 == 6 && !wire.Is4():
		copy(quote[8:24], wire.Dst[:])
		copy(quote[24:40], wire.Src[:])
		f.first = true
		at, defect = walk6(quote, &f)
	default:
		return nil, fmt.Errorf("packet: offending packet of %d bytes does not match %s", len(packet), wire)
	}
	if defect == conntrack.DefectNone && f.first && len(quote)-at >= 4 {
		binary.BigEndian.PutUint16(quote[at:], wire.DstPort)
		binary.BigEndian.PutUint16(quote[at+2:], wire.SrcPort)
	}
	return quote, nil
}
