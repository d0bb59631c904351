package scenario

import (
	"strings"
	"unicode/utf8"

	"halfopen/conntrack"
	"halfopen/policy"
)

// option is one TCP option as written.
type option struct {
	text  string // canonical
	size  int    // bytes on the wire
	bit   conntrack.OptionSet
	value [2]uint32   // mss, wscale, kind; TS val and ecr
	sack  [][2]number // of the other end, as ack
}

func optionWords() []string {
	return []string{"mss", "sackOK", "wscale", "TS", "sack", "fastopen", "nop", "eol", "kind"}
}

// optionList reads <OPTION,...>.
func (r *reader) optionList(s *segment, t token) bool {
	s.bracket = true
	inner := t.text[1 : len(t.text)-1]
	if strings.TrimSpace(inner) == "" {
		return true
	}
	col, ok := t.col+1, true
	for _, part := range strings.Split(inner, ",") {
		o, expected := parseOption(strings.Fields(part))
		lead := len(part) - len(strings.TrimLeft(part, " \t"))
		switch {
		case expected != "":
			r.p.fault(col+lead, "the option "+policy.Quote(strings.TrimSpace(part)), expected)
			ok = false
		case o.bit != 0 && !strings.HasPrefix(o.text, "kind ") && hasOption(s.options, o.bit):
			r.p.fault(col+lead, "the option "+policy.Quote(o.text)+" after another of its kind", "")
			ok = false
		}
		s.options = append(s.options, o)
		col += utf8.RuneCountInString(part) + 1
	}
	return ok
}

func hasOption(list []option, bit conntrack.OptionSet) bool {
	for i := range list {
		if list[i].bit == bit {
			return true
		}
	}
	return false
}

// parseOption reads the words of one option, and says what was expected where they are none.
func parseOption(w []string) (option, string) {
	if len(w) == 0 {
		return option{}, "an option between the commas"
	}
	o := option{text: strings.Join(w, " ")}
	n := func(i int, hi int64) uint32 {
		v, ok := count(w[i], 0, hi)
		if !ok {
			o.size = -1
		}
		return uint32(v)
	}
	switch key := w[0]; {
	case key == "mss" && len(w) == 2:
		o.size, o.bit = 4, conntrack.OptMSS
		o.value[0] = n(1, 65535)
	case key == "sackOK" && len(w) == 1:
		o.size, o.bit = 2, conntrack.OptSACKPermitted
	case key == "wscale" && len(w) == 2:
		o.size, o.bit = 3, conntrack.OptWScale
		o.value[0] = n(1, 14)
	case key == "TS" && len(w) == 5 && w[1] == "val" && w[3] == "ecr":
		o.size, o.bit = 10, conntrack.OptTimestamp
		o.value = [2]uint32{n(2, 1<<32-1), n(4, 1<<32-1)}
	case key == "ts" && len(w) == 2: // as the decision log writes it
		val, ecr, _ := strings.Cut(w[1], ":")
		return parseOption([]string{"TS", "val", val, "ecr", ecr})
	case key == "sack" && len(w) > 1 && len(w) <= 5:
		return sackOption(o, w[1:])
	case key == "fastopen" && len(w) <= 2:
		return fastOpenOption(o, w[1:])
	case (key == "nop" || key == "eol") && len(w) == 1:
		o.size = 1
	case key == "kind" && len(w) == 4 && w[2] == "len":
		o.bit = conntrack.OptOther
		o.size = int(n(3, 40))
		kind := n(1, 255)
		if o.value[0] = kind; o.size < 2 {
			o.size = -1
		}
		switch {
		case kind == 19 && o.size == 18:
			o.bit = conntrack.OptMD5
		case kind == 29 && o.size >= 4:
			o.bit = conntrack.OptAO
		case kind == 30 && o.size >= 3:
			o.bit = conntrack.OptMPTCP
		}
	default:
		return o, optionShape(key)
	}
	if o.size < 0 {
		return o, optionShape(w[0])
	}
	return o, ""
}

// optionShape says what an option looks like.
func optionShape(key string) string {
	switch key {
	case "mss":
		return "mss N, N from 0 to 65535"
	case "sackOK", "nop", "eol":
		return key + " alone"
	case "wscale":
		return "wscale N, N from 0 to 14"
	case "TS":
		return "TS val N ecr N, below 2^32"
	case "sack":
		return "sack LEFT:RIGHT, one to four of them"
	case "fastopen":
		return "fastopen, or fastopen COOKIE with 4 to 16 bytes in hexadecimal"
	case "kind":
		return "kind N len N, N from 0 to 255 and 2 to 40"
	}
	return policy.OneOf(key, optionWords())
}

func sackOption(o option, blocks []string) (option, string) {
	o.size, o.bit = 2+8*len(blocks), conntrack.OptSACK
	for _, b := range blocks {
		left, right, ok := strings.Cut(b, ":")
		l, ok1 := parseNumber(left)
		r, ok2 := parseNumber(right)
		if !ok || !ok1 || !ok2 {
			return o, optionShape("sack")
		}
		o.sack = append(o.sack, [2]number{l, r})
	}
	return o, ""
}

// fastOpenOption reads the cookie (RFC 7413 section 4.1.1: 4 to 16 bytes, none in a request).
func fastOpenOption(o option, cookie []string) (option, string) {
	o.size, o.bit = 2, conntrack.OptFastOpen
	if len(cookie) == 0 {
		return o, ""
	}
	hex := cookie[0]
	if len(hex)%2 != 0 || len(hex) < 8 || len(hex) > 32 || strings.Trim(hex, "0123456789abcdef") != "" {
		return o, optionShape("fastopen")
	}
	o.size += len(hex) / 2
	return o, ""
}

// headerLen returns the bytes of the TCP header with the segment's options, padded to whole words.
func headerLen(s *segment) int {
	n := 0
	for i := range s.options {
		n += s.options[i].size
	}
	return 20 + (n+3)/4*4
}

// optionsOf returns the options as tracking reads them. base is the other end's first number.
func optionsOf(s *segment, base conntrack.Seq) (o conntrack.Options) {
	for i := range s.options {
		w := &s.options[i]
		o.Has |= w.bit
		switch w.bit {
		case conntrack.OptMSS:
			o.MSS = uint16(w.value[0])
		case conntrack.OptWScale:
			o.WScale = uint8(w.value[0])
		case conntrack.OptTimestamp:
			o.TSVal, o.TSEcr = w.value[0], w.value[1]
		case conntrack.OptSACK:
			for j, b := range w.sack {
				o.SACK[j] = conntrack.SACKBlock{Left: b[0].seq(base), Right: b[1].seq(base)}
			}
			o.NSACK = uint8(len(w.sack))
		}
	}
	return o
}
