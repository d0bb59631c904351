package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// rules decodes the list of rules.
func (d *decoder) rules(n *node) []Rule {
	if n.kind == nodeNull {
		return nil
	}
	if n.kind != nodeSequence {
		d.wrong(n, "a list of rules, each beginning with \"- name: ...\"")
		return nil
	}
	var out []Rule
	places := map[string]position{}
	all := "" // a rule that leaves nothing to those after it
	for _, item := range n.items {
		if d.full() {
			break
		}
		if item.kind != nodeMapping {
			d.wrong(item, "a rule: a mapping with a name")
			continue
		}
		r := d.rule(item)
		switch first, again := places[r.Name]; {
		case item.find("name") == nil:
			d.problem(item.at, "a rule without a name", "name: WORD")
		case again && r.Name != "":
			d.problem(item.at, "the rule "+quote(r.Name)+" again", fmt.Sprintf("another name (it stands in line %d)", first.line))
		}
		places[r.Name] = item.at
		if all != "" {
			d.problem(item.at, "the rule "+quote(r.Name)+" after "+quote(all)+", which matches every connection", "the general rule last")
		} else if m := item.find("match"); m == nil || m.kind == nodeNull || m.kind == nodeMapping && len(m.entries) == 0 {
			all = r.Name
		}
		out = append(out, r)
	}
	return out
}

func (d *decoder) rule(n *node) Rule {
	var r Rule
	r.note("name", d.src, n.at)
	d.section(n, "a rule", ruleKeys(), func(k *key, e *entry) {
		switch k.name {
		case "name":
			if r.Name = d.text(e.value, "a name"); strings.ContainsAny(r.Name, ". \t\n") || len(r.Name) > 64 {
				d.problem(e.value.at, "the name "+quote(r.Name), "a word of at most 64 characters without blanks and dots")
			}
		case "match":
			r.Match = d.match(e.value)
		default:
			d.block(k, e, &r.Block)
		}
	})
	return r
}

// block decodes the keys that a rule shares with the file.
func (d *decoder) block(k *key, e *entry, b *Block) {
	switch k.name {
	case "timeouts":
		b.Timeouts = d.timeouts(e.value, b)
	case "window":
		d.window(e.value, b)
	case "probes", "refresh", "caps":
		d.upkeep(k, e, b)
	case "on":
		b.On = d.on(e.value, b)
	}
}

func (d *decoder) match(n *node) Match { return d.matchOf(n, matchKeys()) }

// matchOf is match with some of its keys.
func (d *decoder) matchOf(n *node, keys []key) Match {
	var m Match
	at := map[string]position{}
	d.section(n, "match", keys, func(k *key, e *entry) {
		at[k.name] = e.value.at
		switch k.name {
		case "src":
			m.Src = d.prefixes(e.value)
		case "dst":
			m.Dst = d.prefixes(e.value)
		case "src_port":
			m.SrcPort = d.ports(e.value)
		case "dst_port":
			m.DstPort = d.ports(e.value)
		case "direction":
			if i := d.word(e.value, k.words); i >= 0 {
				m.Direction = Directions(i)
			}
		}
	})
	if f, g := family(m.Src), family(m.Dst); f != 0 && g != 0 && f&g == 0 {
		d.problem(at["dst"], "src and dst of different address families", "both IPv4 or both IPv6: no connection has one of each")
	}
	return m
}

// family returns 1 for IPv4 prefixes, 2 for IPv6, their sum for both, and 0 for none.
func family(ps []netip.Prefix) int {
	f := 0
	for _, p := range ps {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			f |= 1
		} else {
			f |= 2
		}
	}
	return f
}

// each calls fn for a single value or for each of a list.
func (d *decoder) each(n *node, expected string, fn func(*node)) {
	switch n.kind {
	case nodeScalar:
		fn(n)
	case nodeSequence:
		if len(n.items) == 0 {
			d.problem(n.at, "an empty list", expected)
		}
		for _, item := range n.items {
			if item.kind == nodeScalar {
				fn(item)
			} else {
				d.wrong(item, expected)
			}
		}
	default:
		d.wrong(n, expected)
	}
}

func (d *decoder) prefixes(n *node) []netip.Prefix {
	const expected = "an address or prefix such as 192.0.2.1, 10.2.0.0/16 or 2001:db8::/32, or a list of them"
	var out []netip.Prefix
	d.each(n, expected+" (inside [ ] an IPv6 address needs quotes)", func(n *node) {
		if a, err := netip.ParseAddr(n.text); err == nil && a.Zone() == "" {
			out = append(out, mapped(netip.PrefixFrom(a, a.BitLen())))
			return
		}
		p, err := netip.ParsePrefix(n.text)
		if err != nil {
			d.wrong(n, expected)
			return
		}
		m := mapped(p)
		if m.Addr() != netip.AddrFrom16(p.Addr().As16()) {
			d.wrong(n, "a prefix without host bits (did you mean "+quote(prefixText(m))+"?)")
			return
		}
		out = append(out, m)
	})
	return out
}

func (d *decoder) ports(n *node) []PortRange {
	var out []PortRange
	d.each(n, portsExpected, func(n *node) {
		r, err := ParsePortRange(n.text)
		if err != nil {
			d.wrong(n, err.Error())
			return
		}
		out = append(out, r)
	})
	return out
}

const portsExpected = "a port from 0 to 65535, a range such as 721-731, or a list of them"

// ParsePortRange reads a port or a range LO-HI. Its error says what was expected instead.
func ParsePortRange(s string) (PortRange, error) {
	lo, hi, ranged := strings.Cut(s, "-")
	if !ranged {
		hi = lo
	}
	l, err1 := port(lo)
	h, err2 := port(hi)
	switch {
	case err1 != nil || err2 != nil:
		return PortRange{}, errors.New(portsExpected)
	case l > h:
		return PortRange{}, fmt.Errorf("a range from the lower to the higher port (did you mean \"%d-%d\"?)", h, l)
	}
	return PortRange{l, h}, nil
}

func port(s string) (uint16, error) {
	v, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	return uint16(v), err
}

// rulePatches decodes rules as flags name them: by name, with what is to change.
func (d *decoder) rulePatches(n *node, s *Spec) {
	if n.kind != nodeMapping {
		d.wrong(n, "rules.NAME.KEY")
		return
	}
	s.patches = map[string]rulePatch{}
	keys := ruleKeys()[2:] // neither name nor match
	for i := range n.entries {
		e := &n.entries[i]
		var b Block
		d.section(e.value, "rule "+e.key, keys, func(k *key, e *entry) { d.block(k, e, &b) })
		s.patches[e.key] = rulePatch{b, e.at}
	}
}

// rulePatch is what a flag changes in a rule.
type rulePatch struct {
	Block
	at position
}
