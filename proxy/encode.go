package proxy

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"halfopen/conntrack"
)

// DefaultTTL is the TTL or hop limit of packets that halfopen makes where nothing says otherwise: Linux's own default
// (net.ipv4.ip_default_ttl).
const DefaultTTL = 64

// EncoderConfig says how made packets look. The zero value is good.
type EncoderConfig struct {
	TTL uint8 // for segments whose own TTL is 0, and for ICMP; 0 means [DefaultTTL]
	// IPID is the identification of the first IPv4 packet; each further one gets the next number, zero left out. With 0 all
	// of them carry 0, as Linux sends what may not be fragmented (RFC 6864 section 4.1 allows any value there).
	IPID uint16
}

// Encoder makes IP packets of segments. It belongs to one worker and reuses its buffer.
type Encoder struct {
	buf  gopacket.SerializeBuffer
	ip4  layers.IPv4
	ip6  layers.IPv6
	tcp  layers.TCP
	ttl  uint8
	ipID uint16
}

// NewEncoder returns an encoder.
func NewEncoder(c EncoderConfig) *Encoder {
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	return &Encoder{buf: gopacket.NewSerializeBuffer(), ttl: c.TTL, ipID: c.IPID}
}

// Segment returns the packet of s, from Tuple.Src to Tuple.Dst, with its options and the payload (nil for none; s.Len is
// not read). A TTL of 0 is the configured one. IPv4 packets carry DF. The bytes are valid until the encoder's next call.
//
// It fails when the tuple mixes families or the packet would exceed 65,535 bytes.
func (e *Encoder) Segment(s *conntrack.Segment, payload []byte) ([]byte, error) {
	return e.segment(s, tcpOptions(&s.Options), payload)
}

// segment is Segment with the options as they are to stand in the header.
func (e *Encoder) segment(s *conntrack.Segment, options []layers.TCPOption, payload []byte) ([]byte, error) {
	network, err := e.network(&s.Tuple, s.TTL, layers.IPProtocolTCP)
	if err != nil {
		return nil, err
	}
	if len(payload) > 0xffff-ip6HeaderLen-60 {
		return nil, fmt.Errorf("packet: payload of %d bytes does not fit one packet", len(payload))
	}
	f := s.Flags
	e.tcp = layers.TCP{
		SrcPort: layers.TCPPort(s.Tuple.SrcPort), DstPort: layers.TCPPort(s.Tuple.DstPort),
		Seq: uint32(s.Seq), Ack: uint32(s.Ack), Window: s.Window, Urgent: s.Urgent,
		FIN: f.Has(conntrack.FIN), SYN: f.Has(conntrack.SYN), RST: f.Has(conntrack.RST), PSH: f.Has(conntrack.PSH),
		ACK: f.Has(conntrack.ACK), URG: f.Has(conntrack.URG), ECE: f.Has(conntrack.ECE), CWR: f.Has(conntrack.CWR),
		NS: f.Has(conntrack.AE), Options: options,
	}
	if err := e.tcp.SetNetworkLayerForChecksum(network.(gopacket.NetworkLayer)); err != nil {
		return nil, fmt.Errorf("packet: %w", err)
	}
	return e.serialize(network, &e.tcp, gopacket.Payload(payload))
}

// serialize writes the layers with lengths, data offset and checksums computed.
func (e *Encoder) serialize(l ...gopacket.SerializableLayer) ([]byte, error) {
	if err := gopacket.SerializeLayers(e.buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		return nil, fmt.Errorf("packet: %w", err)
	}
	return e.buf.Bytes(), nil
}

// network returns the network layer for a packet from tu.Src to tu.Dst.
func (e *Encoder) network(tu *conntrack.Tuple, ttl uint8, proto layers.IPProtocol) (gopacket.SerializableLayer, error) {
	if ttl == 0 {
		ttl = e.ttl
	}
	src, dst := tu.From().Addr(), tu.To().Addr()
	switch {
	case src.Is4() && dst.Is4():
		e.ip4 = layers.IPv4{Version: 4, TTL: ttl, Protocol: proto, Id: e.nextID(), Flags: layers.IPv4DontFragment,
			SrcIP: net.IP(tu.Src[12:]), DstIP: net.IP(tu.Dst[12:])}
		return &e.ip4, nil
	case src.Is6() && dst.Is6():
		e.ip6 = layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: proto, SrcIP: net.IP(tu.Src[:]), DstIP: net.IP(tu.Dst[:])}
		return &e.ip6, nil
	}
	return nil, fmt.Errorf("packet: %s to %s: two address families", src, dst)
}

// nextID returns the next IPv4 identification.
func (e *Encoder) nextID() uint16 {
	id := e.ipID
	if id != 0 {
		e.ipID = max(id+1, 1)
	}
	return id
}

// tcpOptions writes the options that o holds, in the order in which Linux's tcp_options_write does, and padded to a
// multiple of four with no-operations in front (RFC 9293 section 3.1). [conntrack.OptOther] has no bytes to write.
func tcpOptions(o *conntrack.Options) []layers.TCPOption {
	if o.Has == 0 {
		return nil
	}
	list := make([]layers.TCPOption, 0, 12)
	add := func(kind layers.TCPOptionKind, data []byte) {
		for n := (2 + len(data)) % 4; n%4 != 0; n++ {
			list = append(list, layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1})
		}
		list = append(list, layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data})
	}
	if o.Has&conntrack.OptMSS != 0 {
		add(layers.TCPOptionKindMSS, binary.BigEndian.AppendUint16(nil, o.MSS))
	}
	if o.Has&conntrack.OptTimestamp != 0 {
		add(layers.TCPOptionKindTimestamps, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, o.TSVal), o.TSEcr))
	}
	if o.Has&conntrack.OptSACKPermitted != 0 {
		add(layers.TCPOptionKindSACKPermitted, nil)
	}
	if o.Has&conntrack.OptWScale != 0 {
		add(layers.TCPOptionKindWindowScale, []byte{o.WScale})
	}
	if o.Has&conntrack.OptFastOpen != 0 { // a cookie request: the segment does not hold the cookie
		add(layers.TCPOptionKind(34), nil)
	}
	if o.Has&conntrack.OptSACK != 0 {
		var data []byte
		for _, b := range o.SACK[:min(int(o.NSACK), len(o.SACK))] {
			data = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(data, uint32(b.Left)), uint32(b.Right))
		}
		add(layers.TCPOptionKindSACK, data)
	}
	return list
}
