package proxy

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"halfopen/conntrack"
)

// transport reads the TCP header. As with IPv4, what gopacket would refuse is found first.
func (d *Decoder) transport(f *frame, seg *conntrack.Segment) conntrack.Defect {
	b := f.transport
	if len(b) >= 4 {
		seg.Tuple.SrcPort = binary.BigEndian.Uint16(b[0:2])
		seg.Tuple.DstPort = binary.BigEndian.Uint16(b[2:4])
	}
	short := conntrack.DefectShortTCP
	if f.fragment {
		short = conntrack.DefectFragment
	}
	if len(b) < tcpHeaderMin {
		return short
	}
	hlen := int(b[12]>>4) * 4
	switch {
	case hlen < tcpHeaderMin, hlen > f.length && !f.fragment:
		return conntrack.DefectDataOffset
	case hlen > len(b):
		return short
	case !optionsFit(b[tcpHeaderMin:hlen], 2):
		return d.fixed(b[:tcpHeaderMin], f, seg, hlen)
	}
	if err := d.tcp.DecodeFromBytes(b[:hlen], gopacket.NilDecodeFeedback); err != nil {
		return conntrack.DefectDataOffset
	}
	t := &d.tcp
	seg.Seq, seg.Ack = conntrack.Seq(t.Seq), conntrack.Seq(t.Ack)
	seg.Window, seg.Urgent = t.Window, t.Urgent
	seg.Flags = flagsOf(b)
	seg.Reserved = b[12] >> 1 & 7
	seg.Len = uint32(f.length - hlen)
	readOptions(d.tcp.Options, d.tcp.SYN, &seg.Options)
	return conntrack.DefectNone
}

// fixed fills what the fixed header says of a segment whose options cannot be walked, so that its record can show it.
func (d *Decoder) fixed(b []byte, f *frame, seg *conntrack.Segment, hlen int) conntrack.Defect {
	seg.Seq = conntrack.Seq(binary.BigEndian.Uint32(b[4:8]))
	seg.Ack = conntrack.Seq(binary.BigEndian.Uint32(b[8:12]))
	seg.Flags = flagsOf(b)
	seg.Window = binary.BigEndian.Uint16(b[14:16])
	seg.Urgent = binary.BigEndian.Uint16(b[18:20])
	seg.Reserved = b[12] >> 1 & 7
	seg.Len = uint32(f.length - hlen)
	return conntrack.DefectOptions
}

// flagsOf returns the control bits of a header. [conntrack.Flags] has them in the header's order, so they need not go one by one through
// the layer's nine.
func flagsOf(b []byte) conntrack.Flags {
	return conntrack.Flags(binary.BigEndian.Uint16(b[12:14]) & 0x1ff)
}

// readOptions reads the options that tracking uses; of an option that occurs twice the last counts, as in Linux's
// tcp_parse_options. Maximum segment size, window scale and SACK-permitted mean something on a SYN only (RFC 9293 section
// 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2); elsewhere, or with a length that is not theirs, they are "other".
func readOptions(list []layers.TCPOption, syn bool, o *conntrack.Options) {
	for i := range list {
		data, kind := list[i].OptionData, byte(list[i].OptionType)
		if kind == 0 {
			return
		}
		bit := optionBit(kind, data, syn)
		o.Has |= bit
		switch bit {
		case conntrack.OptMSS:
			o.MSS = binary.BigEndian.Uint16(data)
		case conntrack.OptWScale:
			o.WScale = min(data[0], 14) // RFC 7323 section 2.3
		case conntrack.OptSACK:
			readSACK(data, o)
		case conntrack.OptTimestamp:
			o.TSVal, o.TSEcr = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
		}
	}
}

// optionBit names an option by kind and content, 0 for a no-operation. What reads segments and what rewrites them both go by it, so
// that they agree on which option is which.
func optionBit(kind byte, data []byte, syn bool) conntrack.OptionSet {
	switch n := len(data); {
	case kind == 1:
		return 0
	case kind == 2 && syn && n == 2:
		return conntrack.OptMSS
	case kind == 3 && syn && n == 1:
		return conntrack.OptWScale
	case kind == 4 && syn && n == 0:
		return conntrack.OptSACKPermitted
	case kind == 5 && n > 0 && n%8 == 0:
		return conntrack.OptSACK
	case kind == 8 && n == 8:
		return conntrack.OptTimestamp
	case kind == 19 && n == 16: // RFC 2385
		return conntrack.OptMD5
	case kind == 29 && n >= 2: // RFC 5925 section 2.2
		return conntrack.OptAO
	case kind == 30 && n >= 1: // RFC 8684 section 3
		return conntrack.OptMPTCP
	case isFastOpen(kind, data):
		return conntrack.OptFastOpen
	}
	return conntrack.OptOther
}

// readSACK reads at most four blocks, which is all that a header holds (RFC 2018 section 3).
func readSACK(data []byte, o *conntrack.Options) {
	o.NSACK, o.SACK = 0, [4]conntrack.SACKBlock{}
	for ; len(data) >= 8 && int(o.NSACK) < len(o.SACK); data = data[8:] {
		o.SACK[o.NSACK] = conntrack.SACKBlock{
			Left:  conntrack.Seq(binary.BigEndian.Uint32(data)),
			Right: conntrack.Seq(binary.BigEndian.Uint32(data[4:])),
		}
		o.NSACK++
	}
}

// isFastOpen recognises TCP Fast Open: kind 34, and the experimental kind 254 with its magic number (RFC 7413 sections
// 4.1.1 and 7).
func isFastOpen(kind byte, data []byte) bool {
	return kind == 34 || kind == 254 && len(data) >= 2 && binary.BigEndian.Uint16(data) == 0xf989
}
