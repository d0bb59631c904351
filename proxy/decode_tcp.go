package proxy

import (
	"encoding/binary"

	"halfopen/conntrack"
)

// transport reads the TCP header.
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
	}
	seg.Seq = conntrack.Seq(binary.BigEndian.Uint32(b[4:8]))
	seg.Ack = conntrack.Seq(binary.BigEndian.Uint32(b[8:12]))
	seg.Flags = conntrack.Flags(binary.BigEndian.Uint16(b[12:14]) & 0x1ff) // in the header's order
	seg.Window = binary.BigEndian.Uint16(b[14:16])
	seg.Urgent = binary.BigEndian.Uint16(b[18:20])
	seg.Reserved = b[12] >> 1 & 7
	seg.Len = uint32(f.length - hlen)
	if hlen > tcpHeaderMin && !readOptions(b[tcpHeaderMin:hlen], seg.Flags&conntrack.SYN != 0, &seg.Options) {
		seg.Options = conntrack.Options{}
		return conntrack.DefectOptions // the record can show what the fixed header says
	}
	d.header = b[:hlen]
	return conntrack.DefectNone
}

// readOptions reads the options that tracking uses; of an option that occurs twice the last counts, as in Linux's
// tcp_parse_options. Maximum segment size, window scale and SACK-permitted mean something on a SYN only (RFC 9293 section
// 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2); elsewhere, or with a length that is not theirs, they are "other". It reports whether the
// list can be walked to its end, as [optionsFit] does; where it cannot, what is in o means nothing.
func readOptions(list []byte, syn bool, o *conntrack.Options) bool {
	for len(list) > 0 {
		kind := list[0]
		switch {
		case kind == 0:
			return true
		case kind == 1:
			list = list[1:]
			continue
		case len(list) < 2 || int(list[1]) < 2 || int(list[1]) > len(list):
			return false
		}
		data := list[2:list[1]]
		list = list[list[1]:]
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
	return true
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
