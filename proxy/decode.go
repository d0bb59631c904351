package proxy

import (
	"encoding/binary"
	"math/bits"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"halfopen/conntrack"
)

// PacketInfo is what the source of a packet knows about it beyond its bytes.
type PacketInfo struct {
	// Partial: the TCP checksum is not finished yet (the kernel's CHECKSUM_PARTIAL, bit 1 of NFQA_SKB_INFO), so it must
	// not be judged.
	Partial bool
	// GSO: the packet stands for several segments (bit 2 of NFQA_SKB_INFO). Its checksum field belongs to none of them.
	GSO bool
}

// Header sizes and IPv6 next-header values that the decoder walks (RFC 791, RFC 8200, RFC 9293, IANA protocol numbers).
const (
	ip4HeaderMin = 20
	ip6HeaderLen = 40
	tcpHeaderMin = 20

	protoHopByHop = 0
	protoTCP      = 6
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoDestOpts = 60
	protoMobility = 135
	protoHIP      = 139
	protoShim6    = 140
)

// Decoder turns packets into segments. It belongs to one worker: it keeps gopacket's layers between packets, so that
// decoding allocates nothing. Make one with [NewDecoder].
//
// What nearly all packets consist of, an IPv4 header without options and a TCP header, is read by hand, because gopacket's layers note a dozen
// things of each that nobody here asks for. They read what is rare: options of IPv4, and those of TCP where somebody wants their list.
type Decoder struct {
	ip4    layers.IPv4
	tcp    layers.TCP
	header []byte // the last packet's TCP header with its options, if those can be walked
}

// NewDecoder returns a decoder. Its option slices are as long as any header can make them (40 one-byte options), because
// gopacket grows them on demand.
func NewDecoder() *Decoder {
	d := &Decoder{}
	d.ip4.Options = make([]layers.IPv4Option, 0, 40)
	d.tcp.Options = make([]layers.TCPOption, 0, 40)
	return d
}

// frame is what the network header says of the packet.
type frame struct {
	transport []byte // the captured bytes after the network headers, without link padding
	length    int    // bytes after the network headers by the IP length, captured or not
	fragment  bool   // not the whole datagram
	first     bool   // holds the datagram's first byte
	other     bool   // the headers end in another protocol than TCP
	// unsummed: the checksum cannot be judged, because a source route is pending, so that the pseudo header's destination is
	// not the header's (RFC 8200 section 8.1), or because a length of 0 shows a super-packet.
	unsummed bool
}

// Decode fills seg from an IPv4 or IPv6 packet that begins at its network header. data may be cut after the headers;
// origLen is the packet's length in bytes before that (a smaller value than len(data) means len(data)). It never fails:
// what is no proper segment gets a Defect and as much of the tuple as is known. seg holds no reference to data.
//
// The payload's length is from the IP length, so link padding does not count; where that is zero (segmentation offload,
// "BIG TCP", IPv6 jumbograms) it is from the jumbo option or origLen. Of a fragmented datagram the first
// fragment is decoded, with the payload that it holds itself, and Fragment set.
func (d *Decoder) Decode(data []byte, origLen int, info PacketInfo, seg *conntrack.Segment) {
	var f frame
	d.decode(data, origLen, info, &f, seg)
}

// decode is Decode that tells what the network header says too.
func (d *Decoder) decode(data []byte, origLen int, info PacketInfo, f *frame, seg *conntrack.Segment) {
	*seg = conntrack.Segment{}
	origLen = max(origLen, len(data))
	seg.Bytes = uint32(origLen)
	if len(data) == 0 {
		seg.Defect = conntrack.DefectShortIP
		return
	}
	switch data[0] >> 4 {
	case 4:
		seg.Defect = d.network4(data, origLen, f, seg)
	case 6:
		seg.Defect = network6(data, origLen, f, seg)
	default:
		seg.Defect = conntrack.DefectShortIP
	}
	if seg.Defect != conntrack.DefectNone {
		return
	}
	if !f.first {
		seg.Defect = conntrack.DefectFragment
		return
	}
	if seg.Defect = d.transport(f, seg); seg.Defect != conntrack.DefectNone {
		return
	}
	seg.GSO, seg.Fragment = info.GSO, f.fragment
	if !info.Partial && !info.GSO && !f.fragment && !f.unsummed && len(f.transport) == f.length {
		seg.Checksum = judgeChecksum(&seg.Tuple, f.transport)
	}
}

// options returns the list of the options of the segment that was decoded last, which had no defect; valid until the next one is decoded.
func (d *Decoder) options() []layers.TCPOption {
	if err := d.tcp.DecodeFromBytes(d.header, gopacket.NilDecodeFeedback); err != nil {
		return nil
	}
	return d.tcp.Options
}

// network4 reads an IPv4 header. Everything that gopacket would answer with an error, which allocates and leaves the layer
// half filled, is found before it is asked.
func (d *Decoder) network4(data []byte, origLen int, f *frame, seg *conntrack.Segment) conntrack.Defect {
	if len(data) < ip4HeaderMin {
		return conntrack.DefectShortIP
	}
	mapped4(&seg.Tuple.Src, data[12:16])
	mapped4(&seg.Tuple.Dst, data[16:20])
	seg.TTL = data[8]
	f.other = data[9] != protoTCP
	hlen := int(data[0]&0xf) * 4
	if hlen < ip4HeaderMin || hlen > len(data) {
		return conntrack.DefectShortIP
	}
	total := int(binary.BigEndian.Uint16(data[2:4]))
	if total == 0 { // a super-packet, large or not (iph_totlen in linux/ip.h); the kernel drops others
		total = origLen
	}
	if total < hlen || total > origLen {
		return conntrack.DefectIPLength
	}
	seg.Bytes = uint32(total)
	f.unsummed = binary.BigEndian.Uint16(data[2:]) == 0
	if hlen > ip4HeaderMin {
		if !optionsFit(data[ip4HeaderMin:hlen], 3) {
			return conntrack.DefectOptions
		}
		if err := d.ip4.DecodeFromBytes(data[:hlen], gopacket.NilDecodeFeedback); err != nil { // of a length of 0 it would take len(data) modulo 65,536
			return conntrack.DefectShortIP
		}
		f.unsummed = f.unsummed || sourceRouted(d.ip4.Options)
	}
	const moreFragments, offset = 0x2000, 0x1fff
	fragment := binary.BigEndian.Uint16(data[6:8])
	f.transport = data[hlen:min(len(data), total)]
	f.length = total - hlen
	f.first = fragment&offset == 0
	f.fragment = fragment&(moreFragments|offset) != 0
	if f.other {
		return conntrack.DefectNotTCP
	}
	return conntrack.DefectNone
}

// sourceRouted reports whether a source route option (RFC 791: 131 loose, 137 strict) still has addresses to visit.
func sourceRouted(options []layers.IPv4Option) bool {
	for i := range options {
		o := &options[i]
		if (o.OptionType == 131 || o.OptionType == 137) && len(o.OptionData) > 0 && o.OptionData[0] <= o.OptionLength {
			return true
		}
	}
	return false
}

// optionsFit reports whether a list of options in the format that IPv4 (RFC 791) and TCP (RFC 9293 section 3.1) share can
// be walked to its end: every length is at least shortest and inside the list.
func optionsFit(list []byte, shortest int) bool {
	for len(list) > 0 {
		switch {
		case list[0] == 0:
			return true
		case list[0] == 1:
			list = list[1:]
		case len(list) < 2 || int(list[1]) < shortest || int(list[1]) > len(list):
			return false
		default:
			list = list[list[1]:]
		}
	}
	return true
}

// mapped4 writes the IPv4-mapped form of a four-byte address.
func mapped4(to *[16]byte, a []byte) {
	to[10], to[11] = 0xff, 0xff
	copy(to[12:], a)
}

// judgeChecksum verifies the sum of a whole TCP segment (RFC 9293 section 3.1, RFC 8200 section 8.1).
func judgeChecksum(tu *conntrack.Tuple, segment []byte) conntrack.Checksum {
	if foldSum(sumBytes(pseudoSum(tu, len(segment)), segment)) == 0xffff {
		return conntrack.ChecksumGood
	}
	return conntrack.ChecksumBad
}

// pseudoSum returns the unfolded sum of the pseudo header. Its zeros and field widths differ between the families, its sum
// does not.
func pseudoSum(tu *conntrack.Tuple, length int) uint64 {
	sum := uint64(protoTCP) + uint64(length)
	if tu.Is4() {
		return sum + uint64(binary.BigEndian.Uint32(tu.Src[12:])) + uint64(binary.BigEndian.Uint32(tu.Dst[12:]))
	}
	return sumBytes(sumBytes(sum, tu.Src[:]), tu.Dst[:])
}

// sumBytes adds b, padded to an even number of bytes with a zero, to a sum in one's complement: the carry out goes back in. Words may
// have any even width, since a sum of wide ones folds to the sum of their 16-bit parts (RFC 1071 section 2).
func sumBytes(sum uint64, b []byte) uint64 {
	var carry uint64
	for ; len(b) >= 32; b = b[32:] {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
	}
	for ; len(b) >= 8; b = b[8:] {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
	}
	rest := uint64(0)
	if len(b) >= 4 {
		rest = uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		rest += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		rest += uint64(b[0]) << 8
	}
	sum, carry = bits.Add64(sum, rest, carry)
	return sum + carry
}

// foldSum folds a sum into 16 bits with end-around carry (RFC 1071).
func foldSum(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
