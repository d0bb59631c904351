package policy

import (
	"net/netip"
	"slices"

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

// matches reports whether a tuple in original direction is the rule's.
func (m *Match) matches(tu *conntrack.Tuple) bool {
	return inPorts(m.DstPort, tu.DstPort) && inPorts(m.SrcPort, tu.SrcPort) &&
		inPrefixes(m.Src, tu.Src) && inPrefixes(m.Dst, tu.Dst)
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
