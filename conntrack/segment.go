package conntrack

// Flags are the control bits of a TCP header (RFC 9293 section 3.1; AE is RFC 9768's).
type Flags uint16

// Control bits, in header order from the lowest.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE
)

// Has reports whether all bits of f2 are set in f.
func (f Flags) Has(f2 Flags) bool { return f&f2 == f2 }

// String returns tcpdump's letters: S for SYN, F, R, P, U, E, W, e for AE, and "." for ACK; "none" for no bit.
func (f Flags) String() string {
	if f&0x1ff == 0 {
		return "none"
	}
	buf := make([]byte, 0, 9)
	for _, b := range [...]struct {
		bit Flags
		c   byte
	}{{FIN, 'F'}, {SYN, 'S'}, {RST, 'R'}, {PSH, 'P'}, {URG, 'U'}, {ECE, 'E'}, {CWR, 'W'}, {AE, 'e'}, {ACK, '.'}} {
		if f.Has(b.bit) {
			buf = append(buf, b.c)
		}
	}
	return string(buf)
}

// OptionSet says which TCP options a segment carried.
type OptionSet uint16

// TCP options that tracking reads or that have a name in policies (RFC 9293, RFC 7323, RFC 2018, RFC 7413, RFC 2385, RFC 5925, RFC
// 8684). OptOther stands for any further kind, and for one of these whose length is not its own.
const (
	OptMSS OptionSet = 1 << iota
	OptWScale
	OptSACKPermitted
	OptSACK
	OptTimestamp
	OptFastOpen
	OptOther
	OptMD5   // a signature (kind 19)
	OptAO    // a signature (kind 29)
	OptMPTCP // multipath (kind 30)
)

// SACKBlock is one block of a SACK option: [Left, Right).
type SACKBlock struct{ Left, Right Seq }

// Options are the TCP options that tracking reads. A field is valid where its bit is set in Has.
type Options struct {
	Has          OptionSet
	WScale       uint8 // shift count, at most 14 (RFC 7323 section 2.3)
	NSACK        uint8 // blocks in SACK, 0 to 4
	MSS          uint16
	TSVal, TSEcr uint32
	SACK         [4]SACKBlock
}

// Defect is what made a packet unfit to be a segment. A defective packet is still decided (finding [Malformed]).
type Defect uint8

// Defects, found by the decoder.
const (
	DefectNone       Defect = iota
	DefectShortIP           // fewer bytes than an IP header needs, or a header length below the minimum
	DefectIPLength          // total length below the header or above what arrived
	DefectNotTCP            // another protocol
	DefectFragment          // a non-first fragment, or a first one too short to hold the TCP header
	DefectShortTCP          // fewer bytes than a TCP header needs
	DefectDataOffset        // data offset below 5 or beyond the segment
	DefectOptions           // an option whose length does not fit
	DefectIPv6Chain         // an extension header chain that does not end in TCP, or is cut
	DefectMapped            // an IPv6 header with IPv4-mapped addresses: its tuple would be that of IPv4
	NumDefects              // not a defect
)

var defectWords = [NumDefects]string{"", "short-ip-header", "bad-ip-length", "not-tcp", "fragment", "short-tcp-header",
	"bad-data-offset", "bad-options", "bad-ipv6-chain", "ipv4-mapped"}

// String returns the defect's word, "" for DefectNone.
func (d Defect) String() string { return defectWords[d] }

// Checksum is what is known of the TCP checksum.
type Checksum uint8

// Checksum states. Unverified is the zero value: the queue copied only headers, or the host had not finished the sum.
const (
	ChecksumUnverified Checksum = iota
	ChecksumGood
	ChecksumBad
)

// Segment is a TCP segment as tracking sees it: a value, no payload. With GSO one Segment may stand for a super-packet.
type Segment struct {
	Tuple    Tuple
	Seq, Ack Seq    // Ack is valid where Flags has ACK
	Len      uint32 // payload bytes, from the IP length (not from what was captured)
	Bytes    uint32 // IP packet bytes
	Flags    Flags
	Window   uint16 // as in the header, not scaled
	Urgent   uint16 // urgent pointer, valid where Flags has URG
	Reserved uint8  // the three bits between the data offset and AE
	TTL      uint8  // TTL or hop limit
	Defect   Defect
	Checksum Checksum
	GSO      bool // it stands for several segments, so its length says nothing of theirs
	Fragment bool // the first fragment of a datagram: the segment is longer than Len, by what the others carry
	Options  Options
}

// Span returns how much sequence space the segment takes: payload, plus one for SYN and one for FIN.
func (s *Segment) Span() uint32 {
	n := s.Len
	if s.Flags&SYN != 0 {
		n++
	}
	if s.Flags&FIN != 0 {
		n++
	}
	return n
}

// End returns the sequence number after the segment.
func (s *Segment) End() Seq { return s.Seq.Add(s.Span()) }

// Kind is what a segment is to the state machine; netfilter's tcp_bit_set (nf_conntrack_proto_tcp.c).
type Kind uint8

// Kinds of segments.
const (
	KindSYN Kind = iota
	KindSYNACK
	KindFIN
	KindACK
	KindRST
	KindNone // no bit that the machine knows
	NumKinds
)

// Kind returns the segment's kind.
func (s *Segment) Kind() Kind {
	switch {
	case s.Flags&RST != 0:
		return KindRST
	case s.Flags&SYN != 0 && s.Flags&ACK != 0:
		return KindSYNACK
	case s.Flags&SYN != 0:
		return KindSYN
	case s.Flags&FIN != 0:
		return KindFIN
	case s.Flags&ACK != 0:
		return KindACK
	}
	return KindNone
}
