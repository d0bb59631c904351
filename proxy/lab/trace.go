package lab

import (
	"encoding/binary"
	"net/netip"
	"sort"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"halfopen/proxy/capture"
)

// TCP flag bits, as in the header's 13th octet.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// packet is one TCP segment seen at one link.
type packet struct {
	at       time.Time
	link     int // index from the client: 0 is inside, the last is outside
	src, dst netip.AddrPort
	flags    uint8
	seq, ack uint32
	size     int // payload bytes
	toServer bool
}

// bareACK reports a segment that does nothing but acknowledge.
func (p *packet) bareACK() bool {
	return p.flags&(flagACK|flagSYN|flagFIN|flagRST) == flagACK && p.size == 0
}

// syn reports a segment that opens a connection.
func (p *packet) syn() bool { return p.flags&(flagSYN|flagACK|flagRST) == flagSYN }

// synACK reports a segment that answers one.
func (p *packet) synACK() bool { return p.flags&(flagSYN|flagACK|flagRST) == flagSYN|flagACK }

// decodeTCP takes a TCP segment out of a frame; ok is false for anything else (the kernels also speak ARP and ICMPv6).
func decodeTCP(f *capture.Frame) (p packet, ok bool) {
	ip, ok := f.IP()
	if !ok {
		return p, false
	}
	var src, dst netip.Addr
	var body []byte
	if ip[0]>>4 == 4 {
		var h layers.IPv4
		if h.DecodeFromBytes(ip, gopacket.NilDecodeFeedback) != nil || h.Protocol != layers.IPProtocolTCP || h.FragOffset != 0 {
			return p, false
		}
		src, _ = netip.AddrFromSlice(h.SrcIP)
		dst, _ = netip.AddrFromSlice(h.DstIP)
		body = h.Payload
	} else {
		var h layers.IPv6
		if h.DecodeFromBytes(ip, gopacket.NilDecodeFeedback) != nil || h.NextHeader != layers.IPProtocolTCP {
			return p, false
		}
		src, _ = netip.AddrFromSlice(h.SrcIP)
		dst, _ = netip.AddrFromSlice(h.DstIP)
		body = h.Payload
	}
	var t layers.TCP
	if t.DecodeFromBytes(body, gopacket.NilDecodeFeedback) != nil {
		return p, false
	}
	return packet{
		at: f.Time, src: netip.AddrPortFrom(src, uint16(t.SrcPort)), dst: netip.AddrPortFrom(dst, uint16(t.DstPort)),
		flags: body[13], seq: binary.BigEndian.Uint32(body[4:]), ack: binary.BigEndian.Uint32(body[8:]), size: len(t.Payload),
	}, true
}

// readLinks reads the captures of all links, inside first, into one list in the order of time. isServer tells a server's address on
// whatever link it is seen (under DNAT it has two).
func readLinks(paths []string, isServer func(netip.AddrPort) bool) ([]packet, error) {
	var all []packet
	for link, path := range paths {
		frames, err := capture.ReadAll(path)
		if err != nil {
			return nil, err
		}
		for i := range frames {
			p, ok := decodeTCP(&frames[i])
			if !ok || isServer(p.src) == isServer(p.dst) {
				continue
			}
			p.link, p.toServer = link, isServer(p.dst)
			all = append(all, p)
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].at.Before(all[j].at) })
	return all, nil
}

// passage is the way of one segment through the gateways: from the link where it first appeared to the link where it was last seen.
type passage struct {
	packet                   // as first seen
	last   int               // link where it was last seen
	end    time.Time         // when
	links  int               // number of links in the topology
	notes  []string          // what the logs say about it, nearest gateway first
	wire   [2]netip.AddrPort // source and destination as last seen: they differ from packet's under address translation
}

// home returns the link index where a segment of this direction appears if its own end sent it.
func (p *passage) home() int {
	if p.toServer {
		return 0
	}
	return p.links - 1
}

// injectedBy returns the index of the gateway that made this segment (0 is the one next to the client), or -1 if an end did.
func (p *passage) injectedBy() int {
	if p.link == p.home() {
		return -1
	}
	if p.toServer {
		return p.link - 1
	}
	return p.link
}

// droppedBy returns the index of the gateway behind which this segment was not seen any more, or -1 if it arrived.
func (p *passage) droppedBy() int {
	switch {
	case p.toServer && p.last < p.links-1:
		return p.last
	case !p.toServer && p.last > 0:
		return p.last - 1
	}
	return -1
}

// passedBy reports whether gateway g forwarded this segment.
func (p *passage) passedBy(g int) bool {
	lo, hi := min(p.link, p.last), max(p.link, p.last)
	return lo <= g && g < hi
}

// arrivedAt reports whether gateway g had this segment to decide.
func (p *passage) arrivedAt(g int) bool {
	if p.toServer {
		return p.link <= g && p.last >= g
	}
	return p.link > g && p.last <= g+1
}

// holdLimit is the longest time that a segment may have spent inside a gateway for its two sides to be taken for the same segment.
const holdLimit = 5 * time.Second

// follow follows each segment from link to link. The same segment has the same direction, flags, numbers and size on both sides of a
// gateway; addresses are left out because they may be translated. A copy is matched with the latest unmatched appearance on
// the link before: a retransmission that is dropped must not steal the match of the one that is forwarded.
func follow(packets []packet, links int) []*passage {
	var out []*passage
	for _, p := range packets {
		before := p.link - 1
		if !p.toServer {
			before = p.link + 1
		}
		if prev := latest(out, p, before); prev != nil {
			prev.last, prev.end, prev.wire = p.link, p.at, [2]netip.AddrPort{p.src, p.dst}
			continue
		}
		out = append(out, &passage{packet: p, last: p.link, end: p.at, links: links, wire: [2]netip.AddrPort{p.src, p.dst}})
	}
	return out
}

func latest(seen []*passage, p packet, before int) *passage {
	for i := len(seen) - 1; i >= 0; i-- {
		s := seen[i]
		if p.at.Sub(s.at) > holdLimit {
			return nil
		}
		if s.last == before && s.toServer == p.toServer && s.flags == p.flags && s.seq == p.seq && s.ack == p.ack && s.size == p.size {
			return s
		}
	}
	return nil
}
