package nfqueue

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Match narrows what is queued. The zero Match is every TCP segment. A segment must satisfy each part that is set; a
// part with several values is satisfied by any of them.
//
// A Match describes a flow by its first segment, but it always catches both directions: what goes from dst to src, with
// the ports and the interfaces exchanged, matches too.
type Match struct {
	Src, Dst     []netip.Prefix
	Sport, Dport []PortRange
	Iif, Oif     []string // interface names
}

// PortRange is an inclusive range of ports.
type PortRange struct{ First, Last uint16 }

// MatchError is a mistake in a match expression.
type MatchError struct {
	Expr   string
	Offset int // of the mistake, in bytes
	Msg    string
}

// Error shows the expression with a mark below the mistake.
func (e *MatchError) Error() string {
	return fmt.Sprintf("match, column %d: %s\n  %s\n  %s^", e.Offset+1, e.Msg, e.Expr, strings.Repeat(" ", e.Offset))
}

// The bounds of a match expression.
const (
	maxMatchLength  = 4096
	maxMatchRules   = 256 // rules that a match may expand to
	maxInterfaceLen = 15  // IFNAMSIZ - 1
)

// word is one blank-separated word and where it stands.
type word struct {
	text string
	at   int
}

// ParseMatch reads an expression such as
//
//	tcp src 10.0.0.0/8 and dst 10.2.0.0/16 dport 515,1000-2000 iif eth1
//
// It is a list of parts, each a key (src, dst, sport, dport, iif, oif) and a value or several with commas and no blanks
// between; "and" may stand between parts and "tcp" in front, without meaning anything. No key may come twice. The empty
// expression matches everything. Errors are of type [*MatchError].
func ParseMatch(expr string) (Match, error) {
	var m Match
	p := matchParser{expr: expr, words: split(expr), seen: map[string]bool{}}
	if len(expr) > maxMatchLength {
		return m, &MatchError{Expr: expr[:60] + "...", Offset: 0, Msg: fmt.Sprintf("longer than %d bytes", maxMatchLength)}
	}
	if err := p.parse(&m); err != nil {
		return Match{}, err
	}
	n := len(m.expand())
	switch {
	case n == 0:
		return Match{}, p.fail(word{}, "src and dst have no address family in common")
	case n > maxMatchRules:
		return Match{}, p.fail(word{}, fmt.Sprintf("would need %d rules, %d are allowed; use wider ranges", n, maxMatchRules))
	}
	return m, nil
}

// split cuts an expression at blanks.
func split(expr string) []word {
	var words []word
	start := -1
	for i := 0; i <= len(expr); i++ {
		blank := i == len(expr) || expr[i] == ' ' || expr[i] == '\t'
		switch {
		case !blank && start < 0:
			start = i
		case blank && start >= 0:
			words = append(words, word{expr[start:i], start})
			start = -1
		}
	}
	return words
}

type matchParser struct {
	expr  string
	words []word
	seen  map[string]bool
}

func (p *matchParser) fail(w word, msg string) error {
	return &MatchError{Expr: p.expr, Offset: w.at, Msg: msg}
}

func (p *matchParser) parse(m *Match) error {
	for i := 0; i < len(p.words); i++ {
		w := p.words[i]
		switch w.text {
		case "tcp":
			if i > 0 {
				return p.fail(w, `"tcp" stands only in front`)
			}
			continue
		case "and":
			if i == 0 || i == len(p.words)-1 || p.words[i-1].text == "and" {
				return p.fail(w, `"and" stands between two parts`)
			}
			continue
		case "src", "dst", "sport", "dport", "iif", "oif":
		default:
			return p.fail(w, fmt.Sprintf("%q is none of src, dst, sport, dport, iif, oif", w.text))
		}
		if p.seen[w.text] {
			return p.fail(w, fmt.Sprintf("%q comes twice; write its values with commas", w.text))
		}
		p.seen[w.text] = true
		if i++; i == len(p.words) {
			return p.fail(word{at: len(p.expr)}, fmt.Sprintf("%q needs a value", w.text))
		}
		if err := p.values(m, w.text, p.words[i]); err != nil {
			return err
		}
	}
	return nil
}

// values reads the comma-separated values of one key.
func (p *matchParser) values(m *Match, key string, w word) error {
	at := w.at
	for v := range strings.SplitSeq(w.text, ",") {
		if msg := m.add(key, v); msg != "" {
			return p.fail(word{at: at}, msg)
		}
		at += len(v) + 1
	}
	return nil
}

// add takes one value and returns what is wrong with it, or "".
func (m *Match) add(key, v string) string {
	switch key {
	case "src", "dst":
		pfx, msg := parsePrefix(v)
		if key == "src" {
			m.Src = append(m.Src, pfx)
		} else {
			m.Dst = append(m.Dst, pfx)
		}
		return msg
	case "sport", "dport":
		r, msg := parsePorts(v)
		if key == "sport" {
			m.Sport = append(m.Sport, r)
		} else {
			m.Dport = append(m.Dport, r)
		}
		return msg
	case "iif":
		m.Iif = append(m.Iif, v)
	default:
		m.Oif = append(m.Oif, v)
	}
	return checkInterface(v)
}

// parsePrefix reads an address or a CIDR whose host bits are zero.
func parsePrefix(v string) (netip.Prefix, string) {
	if a, err := netip.ParseAddr(v); err == nil && a.Zone() == "" {
		if a.Is4In6() {
			return netip.Prefix{}, fmt.Sprintf("%q: write %s", v, a.Unmap())
		}
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	pfx, err := netip.ParsePrefix(v)
	if err != nil {
		return netip.Prefix{}, fmt.Sprintf("%q is neither an address nor a CIDR such as 10.0.0.0/8 or fd00::/8", v)
	}
	if pfx.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Sprintf("%q: write the IPv4 prefix itself", v)
	}
	if pfx != pfx.Masked() {
		return netip.Prefix{}, fmt.Sprintf("%q has bits behind its length; did you mean %s?", v, pfx.Masked())
	}
	return pfx, ""
}

// parsePorts reads a port or a range.
func parsePorts(v string) (PortRange, string) {
	lo, hi, isRange := strings.Cut(v, "-")
	if !isRange {
		hi = lo
	}
	a, err1 := strconv.ParseUint(lo, 10, 16)
	b, err2 := strconv.ParseUint(hi, 10, 16)
	if err1 != nil || err2 != nil {
		return PortRange{}, fmt.Sprintf("%q is no port and no range such as 1000-2000 (0 to 65535)", v)
	}
	if a > b {
		return PortRange{}, fmt.Sprintf("%q is empty: %d is above %d", v, a, b)
	}
	return PortRange{uint16(a), uint16(b)}, ""
}

// checkInterface holds names to what both nft and iptables take literally.
func checkInterface(v string) string {
	ok := v != "" && len(v) <= maxInterfaceLen && v[0] != '-' && strings.IndexFunc(v, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.@:-", r))
	}) < 0
	if !ok {
		return fmt.Sprintf("%q is no interface name (1 to %d letters, digits, or any of _ . @ : -)", v, maxInterfaceLen)
	}
	return ""
}

// String returns the expression in its canonical form, which ParseMatch reads back to the same Match.
func (m Match) String() string {
	var parts []string
	add := func(key string, values []string) {
		if len(values) > 0 {
			parts = append(parts, key+" "+strings.Join(values, ","))
		}
	}
	add("src", texts(m.Src, prefixText))
	add("dst", texts(m.Dst, prefixText))
	add("sport", texts(m.Sport, PortRange.String))
	add("dport", texts(m.Dport, PortRange.String))
	add("iif", m.Iif)
	add("oif", m.Oif)
	return strings.Join(parts, " ")
}

func texts[T any](values []T, text func(T) string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = text(v)
	}
	return out
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// String writes a range as in an expression: 515 or 1000-2000.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// alternative is one rule's worth of a Match: at most one value per part. Zero values match everything.
type alternative struct {
	src, dst     netip.Prefix
	sport, dport PortRange
	iif, oif     string
	ports        [2]bool // sport, dport are set
}

// v4 and v6 tell which address families the alternative leaves.
func (a *alternative) v4() bool { return !a.has(func(p netip.Prefix) bool { return p.Addr().Is6() }) }
func (a *alternative) v6() bool { return !a.has(func(p netip.Prefix) bool { return p.Addr().Is4() }) }

func (a *alternative) has(is func(netip.Prefix) bool) bool {
	return a.src.IsValid() && is(a.src) || a.dst.IsValid() && is(a.dst)
}

// reversed is the same flow seen from its other end.
func (a alternative) reversed() alternative {
	return alternative{src: a.dst, dst: a.src, sport: a.dport, dport: a.sport, iif: a.oif, oif: a.iif,
		ports: [2]bool{a.ports[1], a.ports[0]}}
}

// expand multiplies the parts out, in both orientations. It gives up early where there would be far too many.
func (m *Match) expand() []alternative {
	alts := []alternative{{}}
	alts = product(alts, m.Src, func(a *alternative, v netip.Prefix) { a.src = v })
	alts = product(alts, m.Dst, func(a *alternative, v netip.Prefix) { a.dst = v })
	alts = product(alts, m.Sport, func(a *alternative, v PortRange) { a.sport, a.ports[0] = v, true })
	alts = product(alts, m.Dport, func(a *alternative, v PortRange) { a.dport, a.ports[1] = v, true })
	alts = product(alts, m.Iif, func(a *alternative, v string) { a.iif = v })
	alts = product(alts, m.Oif, func(a *alternative, v string) { a.oif = v })
	seen := map[alternative]bool{}
	var out []alternative
	for _, a := range alts {
		for _, b := range []alternative{a, a.reversed()} {
			if !seen[b] && (b.v4() || b.v6()) {
				seen[b] = true
				out = append(out, b)
			}
		}
	}
	return slices.Clip(out)
}

// Interfaces returns the names of the interfaces by which matching segments can come in, of both directions; nil where that is any.
func (m *Match) Interfaces() []string {
	var names []string
	for _, a := range m.expand() {
		if a.iif == "" {
			return nil
		}
		if !slices.Contains(names, a.iif) {
			names = append(names, a.iif)
		}
	}
	return names
}

func product[T any](alts []alternative, values []T, set func(*alternative, T)) []alternative {
	if len(values) == 0 {
		return alts
	}
	var out []alternative
	for _, a := range alts {
		for _, v := range values {
			if len(out) > 4*maxMatchRules {
				return out
			}
			b := a
			set(&b, v)
			out = append(out, b)
		}
	}
	return out
}
