package scenario

import (
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
)

// flagLetters are tcpdump's, in the order of the bits of conntrack.Flags.
const flagLetters = "FSRP.UEWe"

// segment reads SIDE > SIDE FLAGS RANGE {WORD VALUE} [<OPTIONS>], or nil with its problems. An injected one may be an ICMP
// error: SIDE > SIDE icmp-port.
func (r *reader) segment(injected bool) *segment {
	s := &segment{col: r.at()}
	from, ok := r.side()
	if !ok {
		return nil
	}
	if t, had := r.next(">"); !had || t.text != ">" {
		if had {
			r.p.fault(t.col, policy.Quote(t.text), "> between the two ends, with blanks")
		}
		r.i = len(r.words)
		return nil
	}
	to, ok2 := r.side()
	if !ok2 {
		return nil
	}
	s.from, s.to = from, to
	good := from >= 0 && to >= 0
	if good && (flowOf(from) != flowOf(to) || from == to) {
		r.p.fault(s.col, "ends that are not of one flow", "the two ends of a line flow")
		good = false
	}
	w, had := r.next("flags, as S, S., . or R")
	if !had {
		return nil
	}
	if injected && strings.HasPrefix(w.text, "icmp-") {
		s.icmp = w.text
		if w.text != policy.ReplyICMPPort.String() && w.text != policy.ReplyICMPAdmin.String() {
			r.p.fault(w.col, policy.Quote(w.text), policy.OneOf(w.text, []string{"icmp-port", "icmp-admin"}))
			return nil
		}
		return s
	}
	good = r.flags(s, w) && good
	good = r.span(s) && good
	for {
		t, more := r.peek()
		if !more {
			break
		}
		r.i++
		if t.text[0] == '<' {
			good = r.optionList(s, t) && good
			break
		}
		good = r.field(s, t) && good
	}
	if !good {
		return nil
	}
	return r.agreed(s)
}

// side reads the name of an end; below 0 is one whose flow line has a problem of its own.
func (r *reader) side() (int, bool) {
	t, ok := r.next("the name of an end")
	if !ok {
		return 0, false
	}
	if n, known := r.p.names[t.text]; known {
		return n, true
	}
	var known []string
	for _, e := range r.p.s.ends {
		if len(known) < 20 {
			known = append(known, e.name)
		}
	}
	expected := "a line flow above that declares it"
	if len(known) > 0 {
		expected = policy.OneOf(t.text, known)
	}
	r.p.fault(t.col, "the end "+policy.Quote(t.text)+", which no flow declares", expected)
	r.i = len(r.words)
	return 0, false
}

func (r *reader) flags(s *segment, w token) bool {
	if w.text == "none" {
		return true
	}
	for i, c := range w.text {
		n := strings.IndexRune(flagLetters, c)
		switch {
		case n < 0:
			r.p.fault(w.col+i, "the flags "+policy.Quote(w.text), "letters of "+flagLetters+" (. is ACK), or none")
			return false
		case s.flags&(1<<n) != 0:
			r.p.fault(w.col+i, "the flag "+string(c)+" twice", "")
			return false
		}
		s.flags |= 1 << n
	}
	return true
}

// span reads START:END(LENGTH).
func (r *reader) span(s *segment) bool {
	const shape = "START:END(LENGTH), as 1:101(100)"
	w, had := r.next(shape)
	if !had {
		return false
	}
	start, rest, ok1 := strings.Cut(w.text, ":")
	last, rest, ok2 := strings.Cut(rest, "(")
	length, rest, ok3 := strings.Cut(rest, ")")
	if !ok1 || !ok2 || !ok3 {
		r.p.fault(w.col, policy.Quote(w.text), shape)
		return false
	}
	if rest != "" {
		r.p.fault(w.col+len(w.text)-len(rest), policy.Quote(rest)+" behind the range", "a blank there")
		return false
	}
	ok := true
	if s.seq, ok1 = parseNumber(start); !ok1 {
		r.p.fault(w.col, "the number "+policy.Quote(start), numberShape)
		ok = false
	}
	if s.end, ok2 = parseNumber(last); !ok2 {
		r.p.fault(w.col+len(start)+1, "the number "+policy.Quote(last), numberShape)
		ok = false
	}
	n, ok3 := count(length, 0, 1<<30)
	if !ok3 {
		r.p.fault(w.col+len(start)+len(last)+2, "the length "+policy.Quote(length), countText("bytes", 0, 1<<30))
		ok = false
	}
	s.length = uint32(n)
	if ok && (s.seq.abs != s.end.abs || uint32(s.end.n-s.seq.n) != s.length) {
		r.p.fault(w.col, "the range "+policy.Quote(w.text)+": "+start+":"+last+" is "+itoa(int64(uint32(s.end.n-s.seq.n)))+" long", "")
		ok = false
	}
	return ok
}

const numberShape = "a number below 2^32, -N below the end's first number, or @N as on the wire"

// parseNumber reads a sequence number: N, -N or @N.
func parseNumber(text string) (number, bool) {
	if rest, abs := strings.CutPrefix(text, "@"); abs {
		n, ok := count(rest, 0, 1<<32-1)
		return number{n, true}, ok
	}
	n, ok := count(text, -1<<31, 1<<32-1)
	return number{n: n}, ok
}

func (n number) text() string {
	if n.abs {
		return "@" + itoa(n.n)
	}
	return itoa(n.n)
}

// field reads ack, win, urg, reserved, cksum or defect with its value.
func (r *reader) field(s *segment, key token) bool {
	known := []string{"ack", "win", "urg", "reserved", "cksum", "defect"}
	found := false
	for _, k := range known {
		found = found || k == key.text
	}
	if !found {
		r.p.fault(key.col, policy.Quote(key.text), policy.OneOf(key.text, known)+", or <options>")
		r.i = len(r.words)
		return false
	}
	value, had := r.next("the value of " + key.text)
	if !had {
		return false
	}
	if _, twice := s.field(key.text); twice || key.text == "ack" && s.ack != nil {
		r.p.fault(key.col, key.text+" twice", "")
		return false
	}
	bad := func(expected string) bool {
		r.p.fault(value.col, key.text+" "+policy.Quote(value.text), expected)
		return false
	}
	f := field{key: key.text, value: value.text}
	switch key.text {
	case "ack":
		n, ok := parseNumber(value.text)
		if !ok {
			return bad(numberShape)
		}
		s.ack = &n
		return true
	case "win", "urg":
		n, ok := count(value.text, 0, 65535)
		if !ok {
			return bad(countText("a number", 0, 65535))
		}
		f.n, f.value = uint32(n), itoa(n)
	case "reserved":
		n, ok := count(value.text, 1, 7)
		if !ok {
			return bad(countText("the three bits", 1, 7))
		}
		f.n, f.value = uint32(n), itoa(n)
	case "cksum":
		if f.n = uint32(index(value.text, checksumWords())); f.n == 0 {
			return bad(policy.OneOf(value.text, checksumWords()[1:]))
		}
	case "defect":
		if f.n = uint32(index(value.text, defectWords())); f.n == 0 {
			return bad(policy.OneOf(value.text, defectWords()[1:]))
		}
	}
	s.fields = append(s.fields, f)
	return true
}

// checksumWords are the words for conntrack.Checksum, and behind them the one for a sum that a network card is to finish: nothing is known
// of that, and the segment may stand for several.
func checksumWords() []string { return []string{"", "good", "bad", checksumPartial} }

const checksumPartial = "partial"

// defectWords are the words for conntrack.Defect.
func defectWords() (words []string) {
	for d := range conntrack.NumDefects {
		words = append(words, d.String())
	}
	return words
}

// index returns the place of a word, 0 where it is not among the words after the first.
func index(w string, words []string) int {
	for i := 1; i < len(words); i++ {
		if words[i] == w {
			return i
		}
	}
	return 0
}

// agreed checks what the parts of a segment say about each other.
func (r *reader) agreed(s *segment) *segment {
	_, urg := s.field("urg")
	switch ack := s.flags.Has(conntrack.ACK); {
	case ack && s.ack == nil:
		r.p.fault(s.col, "the flag . (ACK) without ack N", "")
	case !ack && s.ack != nil:
		r.p.fault(s.col, "ack N without the flag . (ACK)", "")
	case urg && !s.flags.Has(conntrack.URG):
		r.p.fault(s.col, "urg N without the flag U", "")
	case headerLen(s) > 60:
		r.p.fault(s.col, "options of more than 40 bytes", "")
	default:
		return s
	}
	return nil
}
