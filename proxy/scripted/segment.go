package scripted

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy/scenario"
	"halfopen/proxy/decisionlog"
)

// Segment returns the segment of a record, as far as it tells one. Of SACK it tells no numbers, of further options no kinds.
func Segment(e *decisionlog.Event) conntrack.Segment {
	src, _ := netip.ParseAddr(e.SrcIP)
	dst, _ := netip.ParseAddr(e.DestIP)
	s := conntrack.Segment{}
	if src.IsValid() && dst.IsValid() {
		s.Tuple = conntrack.MakeTuple(netip.AddrPortFrom(src, e.SrcPort), netip.AddrPortFrom(dst, e.DestPort))
	}
	if d := e.Decision; d != nil {
		for defect := range conntrack.NumDefects {
			if defect.String() == d.Defect {
				s.Defect = defect
			}
		}
		s.Checksum = map[string]conntrack.Checksum{"": conntrack.ChecksumGood, "bad": conntrack.ChecksumBad}[d.Checksum]
	}
	if t := e.TCP; t != nil {
		s.Seq, s.Ack, s.Len, s.Window = conntrack.Seq(t.Seq), conntrack.Seq(t.Ack), t.Len, uint16(t.Win)
		for bit := conntrack.FIN; bit <= conntrack.AE; bit <<= 1 {
			if strings.Contains(t.Flags, bit.String()) && t.Flags != "none" {
				s.Flags |= bit
			}
		}
		s.Options, _ = options(t.Options)
	}
	s.Bytes = s.Len + 40
	return s
}

// options reads the options of a record, by their meaning and as they would stand in a header.
func options(text string) (o conntrack.Options, list []scenario.Option) {
	number := func(s string, bits int) uint32 {
		n, _ := strconv.ParseUint(s, 10, bits)
		return uint32(n)
	}
	list = []scenario.Option{}
	for _, word := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(word, " ")
		switch key {
		case "mss":
			o.Has, o.MSS = o.Has|conntrack.OptMSS, uint16(number(value, 16))
			list = append(list, scenario.Option{Kind: 2, Data: binary.BigEndian.AppendUint16(nil, o.MSS)})
		case "sackOK":
			o.Has |= conntrack.OptSACKPermitted
			list = append(list, scenario.Option{Kind: 4})
		case "wscale":
			o.Has, o.WScale = o.Has|conntrack.OptWScale, uint8(min(number(value, 16), 14))
			list = append(list, scenario.Option{Kind: 3, Data: []byte{o.WScale}})
		case "ts":
			val, ecr, _ := strings.Cut(value, ":")
			o.Has, o.TSVal, o.TSEcr = o.Has|conntrack.OptTimestamp, number(val, 32), number(ecr, 32)
			list = append(list, scenario.Option{Kind: 8, Data: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, o.TSVal), o.TSEcr)})
		case "tfo":
			o.Has |= conntrack.OptFastOpen
			list = append(list, scenario.Option{Kind: 34})
		case "md5":
			o.Has |= conntrack.OptMD5
			list = append(list, scenario.Option{Kind: 19, Data: make([]byte, 16)})
		case "ao":
			o.Has |= conntrack.OptAO
			list = append(list, scenario.Option{Kind: 29, Data: make([]byte, 2)})
		case "mptcp":
			o.Has |= conntrack.OptMPTCP
			list = append(list, scenario.Option{Kind: 30, Data: make([]byte, 2)})
		}
	}
	return o, list
}
