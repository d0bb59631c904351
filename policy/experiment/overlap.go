package experiment

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"halfopen/policy"
)

// overlaps adds a problem for each experiment that could meet a connection which an earlier one of the file has as well.
func (d *decoder) overlaps(specs []Spec) {
	reaches := make([]reach, len(specs))
	for i := range specs {
		reaches[i] = reachOf(&specs[i].Match)
		for j := range i {
			if !together(&specs[i], &specs[j]) {
				continue
			}
			if example, ok := reaches[i].meets(&reaches[j]); ok {
				d.doc.Problem(d.places[i].match, policy.Quote(specs[i].Name)+" on the same traffic as "+policy.Quote(specs[j].Name)+" (line "+
					strconv.Itoa(d.places[j].match.Line())+"): "+example, "matches, or times from start to end, that have nothing in common")
				break
			}
		}
	}
}

// together reports whether there is a time at which both experiments run.
func together(a, b *Spec) bool {
	before := func(end, start time.Time) bool { return !end.IsZero() && !start.IsZero() && !start.Before(end) }
	return !before(a.End, b.Start) && !before(b.End, a.Start)
}

// span is a range of addresses, both ends included.
type span struct{ lo, hi [16]byte }

// reach is what a match holds for: sorted ranges that do not touch. Its four parts are independent of each other, but for the family
// that both addresses of a connection share.
type reach struct {
	src, dst         []span
	srcPort, dstPort []policy.PortRange
}

func reachOf(m *policy.Match) reach {
	return reach{spans(m.Src), spans(m.Dst), ports(m.SrcPort), ports(m.DstPort)}
}

// spans returns the ranges of prefixes; none are all addresses.
func spans(prefixes []netip.Prefix) []span {
	if len(prefixes) == 0 {
		return []span{{hi: [16]byte(bytes.Repeat([]byte{0xff}, 16))}}
	}
	out := make([]span, len(prefixes))
	for i, p := range prefixes {
		out[i] = spanOf(p)
	}
	slices.SortFunc(out, func(a, b span) int { return bytes.Compare(a.lo[:], b.lo[:]) })
	merged := out[:1]
	for _, s := range out[1:] { // prefixes contain each other or have nothing in common
		if last := &merged[len(merged)-1]; bytes.Compare(s.lo[:], last.hi[:]) > 0 {
			merged = append(merged, s)
		} else if bytes.Compare(s.hi[:], last.hi[:]) > 0 {
			last.hi = s.hi
		}
	}
	return merged
}

func spanOf(p netip.Prefix) span {
	s := span{lo: p.Addr().As16()}
	s.hi = s.lo
	for i := range s.hi {
		switch keep := p.Bits() - i*8; {
		case keep <= 0:
			s.hi[i] = 0xff
		case keep < 8:
			s.hi[i] |= 0xff >> keep
		}
	}
	return s
}

// ports returns sorted ranges that do not overlap; none are all ports.
func ports(ranges []policy.PortRange) []policy.PortRange {
	if len(ranges) == 0 {
		return []policy.PortRange{{Lo: 0, Hi: 0xffff}}
	}
	out := slices.Clone(ranges)
	slices.SortFunc(out, func(a, b policy.PortRange) int { return cmp.Compare(a.Lo, b.Lo) })
	merged := out[:1]
	for _, r := range out[1:] {
		if last := &merged[len(merged)-1]; r.Lo <= last.Hi {
			last.Hi = max(last.Hi, r.Hi)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// mapped4 is where IPv4 addresses are among the IPv6 ones.
var mapped4 = spanOf(netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}), 96))

// meets reports whether there is a connection for which both hold, and tells one such.
func (r *reach) meets(o *reach) (example string, ok bool) {
	srcPort, ok1 := commonPort(r.srcPort, o.srcPort)
	dstPort, ok2 := commonPort(r.dstPort, o.dstPort)
	if !ok1 || !ok2 {
		return "", false
	}
	src4, src6 := commonAddr(r.src, o.src)
	dst4, dst6 := commonAddr(r.dst, o.dst)
	src, dst := src4, dst4
	if !src4.IsValid() || !dst4.IsValid() {
		src, dst = src6, dst6
	}
	if !src.IsValid() || !dst.IsValid() {
		return "", false
	}
	return fmt.Sprintf("both have %s > %s", netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)), true
}

// commonPort returns a port of both, the highest of the first range that they share: of all ports a likely one.
func commonPort(a, b []policy.PortRange) (uint16, bool) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if lo, hi := max(a[i].Lo, b[j].Lo), min(a[i].Hi, b[j].Hi); lo <= hi {
			return hi, true
		}
		if a[i].Hi < b[j].Hi {
			i++
		} else {
			j++
		}
	}
	return 0, false
}

// commonAddr returns addresses of both: an IPv4 one and an IPv6 one, each not valid where there is none.
func commonAddr(a, b []span) (v4, v6 netip.Addr) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		lo, hi := a[i].lo, a[i].hi
		if bytes.Compare(b[j].lo[:], lo[:]) > 0 {
			lo = b[j].lo
		}
		if bytes.Compare(b[j].hi[:], hi[:]) < 0 {
			hi = b[j].hi
		}
		if bytes.Compare(lo[:], hi[:]) <= 0 {
			four, six := families(span{lo, hi})
			if !v4.IsValid() {
				v4 = four
			}
			if !v6.IsValid() {
				v6 = six
			}
		}
		if bytes.Compare(a[i].hi[:], b[j].hi[:]) < 0 {
			i++
		} else {
			j++
		}
	}
	return v4, v6
}

// families returns the lowest IPv4 and the lowest IPv6 address of a range.
func families(s span) (v4, v6 netip.Addr) {
	in4 := func(a [16]byte) bool {
		return bytes.Compare(a[:], mapped4.lo[:]) >= 0 && bytes.Compare(a[:], mapped4.hi[:]) <= 0
	}
	switch {
	case in4(s.lo):
		v4 = netip.AddrFrom16(s.lo).Unmap()
		if !in4(s.hi) {
			v6 = netip.AddrFrom16(mapped4.hi).Next()
		}
	case bytes.Compare(s.lo[:], mapped4.lo[:]) < 0 && bytes.Compare(s.hi[:], mapped4.lo[:]) >= 0:
		v4, v6 = netip.AddrFrom16(mapped4.lo).Unmap(), netip.AddrFrom16(s.lo)
	default:
		v6 = netip.AddrFrom16(s.lo)
	}
	return v4, v6
}

// MatchText says what a match holds for, in the words of a file; "all" for everything.
func MatchText(m *policy.Match) string {
	var parts []string
	for part := range policy.NumMatchParts {
		if text := m.PartText(part); text != "" {
			parts = append(parts, part.String()+" "+strings.ReplaceAll(text, ", ", ","))
		}
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, " ")
}
