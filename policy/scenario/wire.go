package scenario

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"halfopen/conntrack"
)

// Option is a TCP option as on the wire (RFC 9293 section 3.1). Kinds 0 (end of list) and 1 (no operation) have no length and no
// data.
type Option struct {
	Kind byte
	Data []byte // behind kind and length
}

// Kinds of options that the language has words for: IANA's "TCP Option Kind Numbers".
const (
	kindEOL       = 0
	kindNop       = 1
	kindMSS       = 2
	kindWScale    = 3
	kindSACKOK    = 4
	kindSACK      = 5
	kindTimestamp = 8
	kindFastOpen  = 34
	kindTrial     = 254 // experiments (RFC 4727); Fast Open's is told by a magic number (RFC 7413 section 7)
	fastOpenMagic = 0xf989
)

// wire returns the options of a segment as they stand in its header, without padding. base is the other end's first number.
func wire(s *segment, base conntrack.Seq) []Option {
	var out []Option
	for i := range s.options {
		o := &s.options[i]
		w := Option{}
		switch o.bit {
		case conntrack.OptMSS:
			w = Option{kindMSS, binary.BigEndian.AppendUint16(nil, uint16(o.value[0]))}
		case conntrack.OptWScale:
			w = Option{kindWScale, []byte{byte(o.value[0])}}
		case conntrack.OptSACKPermitted:
			w = Option{Kind: kindSACKOK}
		case conntrack.OptSACK:
			w.Kind = kindSACK
			for _, b := range o.sack {
				w.Data = binary.BigEndian.AppendUint32(w.Data, uint32(b[0].seq(base)))
				w.Data = binary.BigEndian.AppendUint32(w.Data, uint32(b[1].seq(base)))
			}
		case conntrack.OptTimestamp:
			w = Option{kindTimestamp, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, o.value[0]), o.value[1])}
		case conntrack.OptFastOpen:
			_, cookie, _ := strings.Cut(o.text, " ")
			w.Kind = kindFastOpen
			w.Data, _ = hex.DecodeString(cookie) // the parser has looked at it
		case conntrack.OptOther, conntrack.OptMD5, conntrack.OptAO, conntrack.OptMPTCP:
			w = Option{byte(o.value[0]), make([]byte, o.size-2)}
		default:
			if o.text == "nop" {
				w.Kind = kindNop
			}
		}
		out = append(out, w)
	}
	return out
}

// worded returns options in the language's words. What an option means depends on the segment: maximum segment size, window scale and
// SACK-permitted are such on a SYN only (RFC 9293 section 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2), and of two of a kind
// the last counts, as in Linux's tcp_parse_options. What has no meaning is "kind N len N". The end of the list is left out, with
// what pads it.
func worded(list []Option, syn bool, edge func(conntrack.Seq) number) (words []string) {
	last := map[conntrack.OptionSet]int{}
	for i := range list {
		if bit, _ := meaning(&list[i], syn, edge); bit != 0 {
			last[bit] = i
		}
	}
	for i := range list {
		o := &list[i]
		switch bit, word := meaning(o, syn, edge); {
		case o.Kind == kindEOL:
			return words
		case o.Kind == kindNop:
			words = append(words, "nop")
		case bit == 0 || last[bit] != i:
			words = append(words, fmt.Sprintf("kind %d len %d", o.Kind, 2+len(o.Data)))
		default:
			words = append(words, word)
		}
	}
	return words
}

// meaning returns what an option is to tracking and the word for it, 0 for nothing.
func meaning(o *Option, syn bool, edge func(conntrack.Seq) number) (conntrack.OptionSet, string) {
	d := o.Data
	switch {
	case o.Kind == kindMSS && syn && len(d) == 2:
		return conntrack.OptMSS, fmt.Sprintf("mss %d", binary.BigEndian.Uint16(d))
	case o.Kind == kindWScale && syn && len(d) == 1:
		return conntrack.OptWScale, fmt.Sprintf("wscale %d", min(d[0], 14)) // RFC 7323 section 2.3
	case o.Kind == kindSACKOK && syn && len(d) == 0:
		return conntrack.OptSACKPermitted, "sackOK"
	case o.Kind == kindSACK && len(d) > 0 && len(d)%8 == 0 && len(d) <= 32:
		word := "sack"
		for ; len(d) >= 8; d = d[8:] {
			left, right := edge(conntrack.Seq(binary.BigEndian.Uint32(d))), edge(conntrack.Seq(binary.BigEndian.Uint32(d[4:])))
			word += " " + left.text() + ":" + right.text()
		}
		return conntrack.OptSACK, word
	case o.Kind == kindTimestamp && len(d) == 8:
		return conntrack.OptTimestamp, fmt.Sprintf("TS val %d ecr %d", binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:]))
	case o.Kind == kindFastOpen:
		return conntrack.OptFastOpen, fastOpenWord(d)
	case o.Kind == kindTrial && len(d) >= 2 && binary.BigEndian.Uint16(d) == fastOpenMagic:
		return conntrack.OptFastOpen, fastOpenWord(d[2:])
	}
	return 0, ""
}

// fastOpenWord names a cookie, where it is one (RFC 7413 section 4.1.1).
func fastOpenWord(cookie []byte) string {
	if n := len(cookie); n < 4 || n > 16 {
		return "fastopen"
	}
	return "fastopen " + hex.EncodeToString(cookie)
}

// plain returns options that are known by their meaning only, in the order in which Linux's tcp_options_write has them. Further kinds
// are not known.
func plain(o *conntrack.Options) (list []Option) {
	add := func(bit conntrack.OptionSet, kind byte, data []byte) {
		if o.Has&bit != 0 {
			list = append(list, Option{kind, data})
		}
	}
	u32 := func(a, b uint32) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, a), b)
	}
	var blocks []byte
	for _, b := range o.SACK[:min(int(o.NSACK), len(o.SACK))] {
		blocks = append(blocks, u32(uint32(b.Left), uint32(b.Right))...)
	}
	add(conntrack.OptMSS, kindMSS, binary.BigEndian.AppendUint16(nil, o.MSS))
	add(conntrack.OptSACKPermitted, kindSACKOK, nil)
	add(conntrack.OptTimestamp, kindTimestamp, u32(o.TSVal, o.TSEcr))
	add(conntrack.OptWScale, kindWScale, []byte{o.WScale})
	add(conntrack.OptFastOpen, kindFastOpen, nil)
	add(conntrack.OptSACK, kindSACK, blocks)
	return list
}
