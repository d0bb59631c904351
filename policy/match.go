package policy

import (
	"net/netip"
	"slices"
	"strings"

	"halfopen/conntrack"
)

// PortRange is a range of port numbers, both ends included.
type PortRange struct{ Lo, Hi uint16 }

// Match says which flows a rule governs. All parts must hold; an empty part holds for every flow. Source and destination
// are those of the flow's original direction: a SYN's.
type Match struct {
	Src, Dst         []netip.Prefix // masked; IPv4 prefixes in their IPv4-mapped form (96 bits more)
	SrcPort, DstPort []PortRange
	// Direction is that of the segments that the rule's findings hold for.
	Direction Directions
}

// Directions says which segments of a flow a rule's findings hold for. Its timeouts and window hold for the flow.
type Directions uint8

// Directions of a rule.
const (
	Both Directions = iota
	OnlyOriginal
	OnlyReply
	numDirections
)

var directionWords = [numDirections]string{"any", "original", "reply"}

// String returns the word in policy files.
func (d Directions) String() string { return directionWords[d] }

// Holds reports whether d includes a direction.
func (d Directions) Holds(dir conntrack.Direction) bool {
	return d == Both || (d == OnlyOriginal) == (dir == conntrack.Original)
}

// first returns the first direction that d includes.
func (d Directions) first() conntrack.Direction {
	if d == OnlyReply {
		return conntrack.Reply
	}
	return conntrack.Original
}

// MatchPart is one of the conditions of a Match, in the order in which they are tried: the cheapest first.
type MatchPart uint8

// Parts of a Match.
const (
	MatchDstPort MatchPart = iota
	MatchSrcPort
	MatchSrc
	MatchDst
	NumMatchParts // not a part
)

// String returns the part's key in policy files.
func (p MatchPart) String() string {
	return [NumMatchParts]string{"dst_port", "src_port", "src", "dst"}[p]
}

// Holds reports whether one part holds for a tuple in original direction.
func (m *Match) Holds(part MatchPart, tu *conntrack.Tuple) bool {
	switch part {
	case MatchDstPort:
		return inPorts(m.DstPort, tu.DstPort)
	case MatchSrcPort:
		return inPorts(m.SrcPort, tu.SrcPort)
	case MatchSrc:
		return inPrefixes(m.Src, tu.Src)
	}
	return inPrefixes(m.Dst, tu.Dst)
}

// matches reports whether a tuple in original direction is the rule's.
func (m *Match) matches(tu *conntrack.Tuple) bool {
	for part := range NumMatchParts {
		if !m.Holds(part, tu) {
			return false
		}
	}
	return true
}

// PartText returns a part's value as a policy file has it, "" where it holds for every flow.
func (m *Match) PartText(part MatchPart) string {
	var values []string
	switch part {
	case MatchDstPort:
		values = texts(m.DstPort, PortRange.String)
	case MatchSrcPort:
		values = texts(m.SrcPort, PortRange.String)
	case MatchSrc:
		values = texts(m.Src, prefixText)
	case MatchDst:
		values = texts(m.Dst, prefixText)
	}
	return strings.Join(values, ", ")
}

func inPorts(set []PortRange, port uint16) bool {
	for _, r := range set {
		if r.Lo <= port && port <= r.Hi {
			return true
		}
	}
	return len(set) == 0
}

func inPrefixes(set []netip.Prefix, a [16]byte) bool {
	if len(set) == 0 {
		return true
	}
	for i := range set {
		if covers(&set[i], &a) {
			return true
		}
	}
	return false
}

// covers is netip.Prefix.Contains without its special case for IPv4-mapped addresses: every address here has 128 bits.
func covers(p *netip.Prefix, a *[16]byte) bool {
	net := p.Addr().As16()
	n := p.Bits()
	whole := n / 8
	if !slices.Equal(net[:whole], a[:whole]) {
		return false
	}
	rest := n % 8
	return rest == 0 || (net[whole]^a[whole])>>(8-rest) == 0
}

// mapped returns a prefix masked and in the 128-bit form that Match holds.
func mapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4() {
		p = netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), p.Bits()+96)
	}
	return mask16(p)
}

// mask16 clears the host bits. netip.Prefix.Masked would do, except that it unmaps nothing and keeps mapped addresses.
func mask16(p netip.Prefix) netip.Prefix {
	a := p.Addr().As16()
	for i := range a {
		switch keep := p.Bits() - i*8; {
		case keep <= 0:
			a[i] = 0
		case keep < 8:
			a[i] &= 0xff << (8 - keep)
		}
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), p.Bits())
}

// prefixText returns a prefix as it is written in a policy file.
func prefixText(p netip.Prefix) string {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.String()
}
