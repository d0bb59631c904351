package decisionlog

// The scanner reads a line in one pass, guided by the record's shape. It knows only what our own encoder writes: no blanks, no
// escapes, no letters beyond ASCII, no field twice, no null. On anything else it gives up, and encoding/json has the say.

// scan takes a line apart; false: not for the scanner.
func (f *Fields) scan(line []byte) bool {
	if uint64(len(line)) > MaxLine {
		return false
	}
	f.line = line
	f.present = [maxSlots / 64]uint64{}
	end, ok := f.object(recordShape, 0)
	return ok && end == len(line)
}

// object scans an object from its brace and returns the place after it.
func (f *Fields) object(n *node, at int) (int, bool) {
	b := f.line
	if at >= len(b) || b[at] != '{' {
		return 0, false
	}
	at++
	if at < len(b) && b[at] == '}' {
		return at + 1, true
	}
	next := 0 // fields come in the order in which the shape has them, some left out
	for {
		lo, hi, ok := text(b, at)
		if !ok || hi+1 >= len(b) || b[hi+1] != ':' {
			return 0, false
		}
		at = hi + 2
		if c := n.child(b[lo:hi], &next); c != nil {
			at, ok = f.value(c, at)
		} else if plainName(b[lo:hi]) {
			at, ok = skip(b, at, 0)
		} else {
			return 0, false // encoding/json may take it for a field in other letters
		}
		if !ok || at >= len(b) {
			return 0, false
		}
		switch b[at] {
		case ',':
			at++
		case '}':
			return at + 1, true
		default:
			return 0, false
		}
	}
}

// child finds a field by name, beginning where the one before was found.
func (n *node) child(name []byte, next *int) *node {
	for i := *next; i < len(n.children); i++ {
		if n.children[i].name == string(name) {
			*next = i + 1
			return n.children[i]
		}
	}
	for i := range *next {
		if n.children[i].name == string(name) {
			*next = i + 1
			return n.children[i]
		}
	}
	return nil
}

// plainName reports whether a name of no known field can be no known field in other letters either: encoding/json ignores case,
// known names are lower case.
func plainName(b []byte) bool {
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// value scans the value of a known field and returns the place after it.
func (f *Fields) value(n *node, at int) (int, bool) {
	s := n.slot
	if f.Has(s) {
		return 0, false // twice
	}
	f.set(s)
	switch n.kind {
	case kindObject:
		return f.object(n, at)
	case kindText:
		lo, hi, ok := text(f.line, at)
		f.span[s] = [2]uint32{uint32(lo), uint32(hi)}
		return hi + 1, ok
	case kindUint:
		v, end, ok := digits(f.line, at)
		f.num[s] = v
		return end, ok && v <= n.max
	case kindInt:
		return f.integer(s, at)
	case kindFloat:
		end, ok := decimal(f.line, at)
		f.span[s] = [2]uint32{uint32(at), uint32(end)}
		return end, ok
	case kindBool:
		return f.boolean(s, at)
	case kindTime:
		lo, hi, ok := text(f.line, at)
		if !ok {
			return 0, false
		}
		v, ok := f.day.nanos(f.line[lo:hi])
		f.num[s] = uint64(v)
		return hi + 1, ok
	}
	return 0, false
}

func (f *Fields) integer(s Slot, at int) (int, bool) {
	negative := at < len(f.line) && f.line[at] == '-'
	if negative {
		at++
	}
	v, end, ok := digits(f.line, at)
	if negative {
		f.num[s] = -v
	} else {
		f.num[s] = v
	}
	return end, ok && v < 1<<63
}

func (f *Fields) boolean(s Slot, at int) (int, bool) {
	rest := f.line[at:]
	if len(rest) >= 4 && string(rest[:4]) == "true" {
		f.num[s] = 1
		return at + 4, true
	}
	f.num[s] = 0
	return at + 5, len(rest) >= 5 && string(rest[:5]) == "false"
}

// plain marks the octets that stand for themselves inside a string and end nothing.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	t[0x7f] = true
	return t
}()

// text scans a string from its quote and returns where its inside begins and ends.
func text(b []byte, at int) (lo, hi int, ok bool) {
	if at >= len(b) || b[at] != '"' {
		return 0, 0, false
	}
	lo = at + 1
	for hi = lo; hi < len(b); hi++ {
		if !plain[b[hi]] {
			return lo, hi, b[hi] == '"'
		}
	}
	return 0, 0, false
}

// digits scans a whole number below 10^19.
func digits(b []byte, at int) (v uint64, end int, ok bool) {
	for end = at; end < len(b); end++ {
		c := b[end] - '0'
		if c > 9 {
			break
		}
		v = v*10 + uint64(c)
	}
	n := end - at
	return v, end, n > 0 && n < 20 && (n == 1 || b[at] != '0') && !fraction(b, end)
}

// fraction reports whether a number goes on behind its digits.
func fraction(b []byte, at int) bool {
	return at < len(b) && (b[at] == '.' || b[at] == 'e' || b[at] == 'E')
}

// decimal scans a number with or without fraction, without exponent, of a length that no double is too small for.
func decimal(b []byte, at int) (end int, ok bool) {
	start := at
	if at < len(b) && b[at] == '-' {
		at++
	}
	whole := at
	for at < len(b) && b[at]-'0' <= 9 {
		at++
	}
	if at == whole || at > whole+1 && b[whole] == '0' {
		return 0, false
	}
	if at < len(b) && b[at] == '.' {
		point := at
		for at++; at < len(b) && b[at]-'0' <= 9; at++ {
		}
		if at == point+1 {
			return 0, false
		}
	}
	return at, at-start < 40 && !fraction(b, at)
}

// skip passes over any value and returns the place after it.
func skip(b []byte, at, depth int) (int, bool) {
	if at >= len(b) || depth > 16 {
		return 0, false
	}
	switch b[at] {
	case '"':
		_, hi, ok := text(b, at)
		return hi + 1, ok
	case '{', '[':
		return skipNested(b, at, depth)
	case 't':
		return at + 4, len(b) >= at+4 && string(b[at:at+4]) == "true"
	case 'f':
		return at + 5, len(b) >= at+5 && string(b[at:at+5]) == "false"
	case 'n':
		return at + 4, len(b) >= at+4 && string(b[at:at+4]) == "null"
	}
	return decimal(b, at)
}

func skipNested(b []byte, at, depth int) (int, bool) {
	object := b[at] == '{'
	closing := b[at] + 2 // as ASCII has it
	at++
	if at < len(b) && b[at] == closing {
		return at + 1, true
	}
	for {
		if object {
			_, hi, ok := text(b, at)
			if !ok || hi+1 >= len(b) || b[hi+1] != ':' {
				return 0, false
			}
			at = hi + 2
		}
		var ok bool
		if at, ok = skip(b, at, depth+1); !ok || at >= len(b) {
			return 0, false
		}
		switch b[at] {
		case ',':
			at++
		case closing:
			return at + 1, true
		default:
			return 0, false
		}
	}
}
