package proxy

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/google/gopacket/layers"

	"halfopen/conntrack"
	"halfopen/policy/scenario"
)

// scriptPacket returns the packet of a script's segment and its length on the wire, or why there is none. The packet is the caller's.
func scriptPacket(enc *Encoder, s *conntrack.Segment, options []scenario.Option) (data []byte, size int, why string) {
	list := wireOptions(options)
	if s.Defect == conntrack.DefectOptions {
		list = wireOptions(make([]scenario.Option, 4)) // room for the one that misfits
		for i := range list {
			list[i].OptionType = layers.TCPOptionKindNop
		}
	}
	made, err := enc.segment(s, list, nil)
	if err != nil {
		return nil, 0, err.Error()
	}
	size = len(made) + int(s.Len)
	at, most := ip4HeaderMin, math.MaxUint16
	if made[0]>>4 == 6 {
		at, most = ip6HeaderLen, ip6HeaderLen+math.MaxUint16
	}
	if size > most { // a super-packet, cut off behind its headers: the IP header tells no length (iph_totlen in linux/ip.h, "BIG TCP")
		if s.Defect != conntrack.DefectNone || s.Checksum == conntrack.ChecksumBad {
			return nil, 0, "a defect or a wrong checksum of a segment that is longer than a packet can be"
		}
		data = append(data, made...)
		data[at+12] |= s.Reserved << 1
		setIPLength(data, 0)
		if s.GSO {
			leaveSum(&s.Tuple, data[at:], size-at)
		}
		return data, size, ""
	}
	if made, err = enc.segment(s, list, make([]byte, s.Len)); err != nil {
		return nil, 0, err.Error()
	}
	data = append(data, made...)
	if s.Defect != conntrack.DefectNone {
		data, why = defective(data, at, s)
		return data, len(data), why
	}
	if s.Reserved != 0 {
		data[at+12] |= s.Reserved << 1
		sumAnew(&s.Tuple, data[at:])
	}
	switch {
	case s.GSO:
		leaveSum(&s.Tuple, data[at:], size-at)
	case s.Checksum == conntrack.ChecksumBad:
		spoil(&s.Tuple, data[at:])
	}
	return data, size, ""
}

// wireOptions converts options for the encoder.
func wireOptions(options []scenario.Option) (list []layers.TCPOption) {
	for _, o := range options {
		length := uint8(2 + len(o.Data))
		if o.Kind <= byte(layers.TCPOptionKindNop) {
			length = 1
		}
		list = append(list, layers.TCPOption{OptionType: layers.TCPOptionKind(o.Kind), OptionLength: length, OptionData: o.Data})
	}
	return list
}

// takenOptions copies options that were decoded; not nil.
func takenOptions(list []layers.TCPOption) []scenario.Option {
	out := make([]scenario.Option, 0, len(list))
	for i := range list {
		out = append(out, scenario.Option{Kind: byte(list[i].OptionType), Data: slices.Clone(list[i].OptionData)})
	}
	return out
}

// leaveSum leaves what a system does for its network card to finish: the pseudo header's sum of a segment of n bytes.
func leaveSum(tu *conntrack.Tuple, segment []byte, n int) {
	binary.BigEndian.PutUint16(segment[16:], foldSum(pseudoSum(tu, n)))
}

// spoil makes a TCP segment's checksum wrong, in a way that no network card would have to finish.
func spoil(tu *conntrack.Tuple, segment []byte) {
	sum := binary.BigEndian.Uint16(segment[16:])
	for wrong := uint16(1); ; wrong++ {
		binary.BigEndian.PutUint16(segment[16:], sum^wrong)
		if judgeChecksum(tu, segment) == conntrack.ChecksumBad && !unfinished(tu, segment, len(segment)) {
			return
		}
	}
}

// sumAnew computes a TCP segment's checksum anew.
func sumAnew(tu *conntrack.Tuple, segment []byte) {
	binary.BigEndian.PutUint16(segment[16:], 0)
	binary.BigEndian.PutUint16(segment[16:], ^foldSum(sumBytes(pseudoSum(tu, len(segment)), segment)))
}

// setIPLength makes the IP header say that the packet has n bytes, or with 0 nothing.
func setIPLength(data []byte, n int) {
	if data[0]>>4 == 6 {
		binary.BigEndian.PutUint16(data[4:], uint16(max(n-ip6HeaderLen, 0)))
		return
	}
	binary.BigEndian.PutUint16(data[2:], uint16(n))
	binary.BigEndian.PutUint16(data[10:], 0)
	binary.BigEndian.PutUint16(data[10:], ^foldSum(sumBytes(0, data[:ip4HeaderMin])))
}

// defective gives a good packet, whose TCP header is at byte at, the segment's defect. It says why where a gateway would not be asked
// about any packet that has it. Those of an IP header hide the ports.
func defective(p []byte, at int, s *conntrack.Segment) (data []byte, why string) {
	six := at == ip6HeaderLen
	cut := func(n int) []byte { // to n bytes behind the IP header
		p = p[:at+n]
		setIPLength(p, len(p))
		return p
	}
	switch d := s.Defect; {
	case d == conntrack.DefectShortIP:
		return p[:at-4], ""
	case d == conntrack.DefectIPLength:
		setIPLength(p, len(p)+100)
		return p, ""
	case d == conntrack.DefectShortTCP:
		return cut(tcpHeaderMin - 4), ""
	case d == conntrack.DefectDataOffset:
		p[at+12] = p[at+12]&0xf | 4<<4
		sumAnew(&s.Tuple, p[at:])
		return p, ""
	case d == conntrack.DefectOptions: // nop, nop, and an option of four bytes in the two that are left
		copy(p[at+tcpHeaderMin+2:], []byte{byte(layers.TCPOptionKindMSS), 4})
		sumAnew(&s.Tuple, p[at:])
		return p, ""
	case d == conntrack.DefectFragment && !six: // a first one that ends inside the TCP header
		p[6], p[7] = 0x20, 0
		return cut(8), ""
	case d == conntrack.DefectFragment:
		ports := append([]byte{protoTCP, 0, 0, 1, 0, 0, 0, 1}, p[at:at+8]...)
		p[6] = protoFragment
		copy(p[at:], ports)
		return cut(len(ports)), ""
	case d == conntrack.DefectIPv6Chain && six: // a header that is cut off
		p[6] = protoHopByHop
		return cut(4), ""
	case d == conntrack.DefectMapped && !six:
		data = append([]byte{0x60, 0, 0, 0, 0, 0, protoTCP, p[8]}, s.Tuple.Src[:]...)
		data = append(append(data, s.Tuple.Dst[:]...), p[at:]...)
		setIPLength(data, len(data))
		return data, ""
	}
	return nil, "no packet of these ends that a gateway is asked about has the defect " + s.Defect.String()
}
