package nfqueue

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Print writes the rules as text that can be pasted: a script for nft where the kernel has nft's queue statement, else
// lines for iptables and ip6tables, since nft has no syntax for an xtables target. Form Auto asks the kernel; without
// the privilege to ask, nft's form is printed.
func (rs *RuleSet) Print(w io.Writer) error {
	c := rs.withDefaults()
	if err := c.check(); err != nil {
		return err
	}
	form, asked := c.Form, ""
	if form == Auto {
		var err error
		switch form, _, err = choose(Auto); {
		case errors.Is(err, ErrPrivilege):
			form, asked = Native, "# The kernel could not be asked what it supports: that needs root.\n"
		case err != nil:
			return err
		}
	}
	var b strings.Builder
	b.WriteString(asked)
	if form == Native {
		c.printNft(&b)
	} else {
		c.printIptables(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printNft writes the same table that Install makes.
func (rs *RuleSet) printNft(b *strings.Builder) {
	fmt.Fprintf(b, "# Load with: nft -f FILE. Remove with: nft delete table inet %s (or: halfopen rules remove).\n", rs.Table)
	fmt.Fprintf(b, "table inet %s\ndelete table inet %[1]s\ntable inet %[1]s {\n\tcounter %s {\n\t}\n", rs.Table, CounterName)
	if rs.FastMark != 0 {
		fmt.Fprintf(b, "\tcounter %s {\n\t}\n", FastCounterName)
	}
	final := "counter name " + CounterName + " queue num " + rs.queueText("-")
	if rs.FailOpen {
		final += " bypass"
	}
	for _, h := range []struct {
		hook Hook
		name string
	}{{Forward, chainForward}, {Input, chainInput}, {Output, chainOutput}} {
		if rs.Hooks&h.hook != 0 {
			rs.printNftChain(b, h.name, h.name, fmt.Sprintf("filter - %d", -queuePriority), final)
		}
	}
	fmt.Fprintf(b, "\tchain %s {\n\t\ttype filter hook output priority raw; policy accept;\n\t\t%s notrack\n\t}\n", chainInject, rs.nftMark(rs.InjectMark))
	if rs.NoTrack {
		rs.printNftChain(b, chainNoTrack, "prerouting", "raw", "notrack")
	}
	b.WriteString("}\n")
}

func (rs *RuleSet) printNftChain(b *strings.Builder, name, hook, priority, final string) {
	fmt.Fprintf(b, "\tchain %s {\n\t\ttype filter hook %s priority %s; policy accept;\n", name, hook, priority)
	switch name {
	case chainForward:
		if rs.FastMark != 0 {
			fmt.Fprintf(b, "\t\t%s counter name %s return\n", rs.nftMark(rs.FastMark), FastCounterName)
		}
	case chainInput, chainNoTrack:
		b.WriteString("\t\tiifname \"lo\" return\n")
	case chainOutput:
		b.WriteString("\t\toifname \"lo\" return\n")
	}
	fmt.Fprintf(b, "\t\tmeta l4proto != tcp return\n\t\t%s return\n\t\tip frag-off & 0x1fff != 0 return\n\t\tfrag frag-off != 0 return\n", rs.nftMark(rs.InjectMark))
	for _, a := range rs.Match.expand() {
		if a.fits(name) {
			fmt.Fprintf(b, "\t\t%s%s\n", a.nft(), final)
		}
	}
	b.WriteString("\t}\n")
}

func (rs *RuleSet) nftMark(value uint32) string {
	return fmt.Sprintf("meta mark & 0x%08x == 0x%08x", rs.MarkMask, value)
}

func (rs *RuleSet) queueText(sep string) string {
	if rs.Queues[0] == rs.Queues[1] {
		return fmt.Sprint(rs.Queues[0])
	}
	return fmt.Sprintf("%d%s%d", rs.Queues[0], sep, rs.Queues[1])
}

// nft is an alternative's conditions in nft's words, with a blank behind.
func (a *alternative) nft() string {
	var s strings.Builder
	part := func(set bool, key string, value any) {
		if set {
			fmt.Fprintf(&s, "%s %v ", key, value)
		}
	}
	ip := "ip"
	if !a.v4() {
		ip = "ip6"
	}
	part(a.iif != "", "iifname", `"`+a.iif+`"`)
	part(a.oif != "", "oifname", `"`+a.oif+`"`)
	part(a.src.IsValid(), ip+" saddr", a.src)
	part(a.dst.IsValid(), ip+" daddr", a.dst)
	part(a.ports[0], "tcp sport", a.sport)
	part(a.ports[1], "tcp dport", a.dport)
	return s.String()
}

// printIptables writes lines for the mangle table: like our own chains it comes before filter, so that what is
// accepted still meets the host's filter rules. The tcp match never matches a fragment but the first.
func (rs *RuleSet) printIptables(b *strings.Builder) {
	fmt.Fprintf(b, "# This kernel queues only by the xtables target NFQUEUE, for which nft has no syntax. These lines do the same as\n"+
		"# `halfopen rules install`, but for the counter; `halfopen rules remove` does not remove them, the lines at the end do.\n")
	var undo strings.Builder
	for _, ipt := range []string{"iptables", "ip6tables"} {
		rs.printFamily(b, &undo, ipt)
	}
	b.WriteString("# To remove them:\n")
	b.WriteString(undo.String())
}

func (rs *RuleSet) printFamily(b, undo *strings.Builder, ipt string) {
	chain := rs.Table
	marked := func(value uint32) string { return fmt.Sprintf("-m mark --mark 0x%08x/0x%08x", value, rs.MarkMask) }
	mark := marked(rs.InjectMark)
	both := func(rule string) {
		fmt.Fprintf(b, "%s -w -t %s\n", ipt, strings.Replace(rule, "ADD", "-A", 1))
		fmt.Fprintf(undo, "# %s -w -t %s\n", ipt, strings.Replace(rule, "ADD", "-D", 1))
	}
	target := "-j NFQUEUE --queue-num " + rs.queueText("")
	if rs.Queues[0] != rs.Queues[1] {
		target = "-j NFQUEUE --queue-balance " + rs.queueText(":")
	}
	if rs.FailOpen {
		target += " --queue-bypass"
	}
	for _, h := range []struct {
		hook       Hook
		name, jump string
	}{{Forward, chainForward, "FORWARD"}, {Input, chainInput, "INPUT ! -i lo"}, {Output, chainOutput, "OUTPUT ! -o lo"}} {
		if rs.Hooks&h.hook == 0 {
			continue
		}
		name := chain + "-" + h.name
		fmt.Fprintf(b, "%s -w -t mangle -N %s\n", ipt, name)
		if h.hook == Forward && rs.FastMark != 0 {
			fmt.Fprintf(b, "%s -w -t mangle -A %s %s -j RETURN\n", ipt, name, marked(rs.FastMark))
		}
		fmt.Fprintf(b, "%s -w -t mangle -A %s %s -j RETURN\n", ipt, name, mark)
		rs.printAlternatives(b, fmt.Sprintf("%s -w -t mangle -A %s", ipt, name), ipt == "iptables", h.name, target)
		both(fmt.Sprintf("mangle ADD %s -p tcp -j %s", h.jump, name))
		fmt.Fprintf(undo, "# %s -w -t mangle -F %s\n# %[1]s -w -t mangle -X %s\n", ipt, name)
	}
	both(fmt.Sprintf("raw ADD OUTPUT %s -j CT --notrack", mark))
	if rs.NoTrack {
		name := chain + "-" + chainNoTrack
		fmt.Fprintf(b, "%s -w -t raw -N %s\n", ipt, name)
		rs.printAlternatives(b, fmt.Sprintf("%s -w -t raw -A %s", ipt, name), ipt == "iptables", chainNoTrack, "-j CT --notrack")
		both(fmt.Sprintf("raw ADD PREROUTING ! -i lo -p tcp -j %s", name))
		fmt.Fprintf(undo, "# %s -w -t raw -F %s\n# %[1]s -w -t raw -X %s\n", ipt, name)
	}
}

// printAlternatives writes the queue rules of one chain and family.
func (rs *RuleSet) printAlternatives(b *strings.Builder, prefix string, v4 bool, chain, target string) {
	for _, a := range rs.Match.expand() {
		if v4 && a.v4() || !v4 && a.v6() {
			if a.fits(chain) {
				fmt.Fprintf(b, "%s -p tcp -m tcp %s%s\n", prefix, a.iptables(), target)
			}
		}
	}
}

// iptables is an alternative's conditions in iptables' words, with a blank behind.
func (a *alternative) iptables() string {
	var s strings.Builder
	part := func(set bool, key string, value any) {
		if set {
			fmt.Fprintf(&s, "%s %v ", key, value)
		}
	}
	ports := func(r PortRange) string { return strings.Replace(r.String(), "-", ":", 1) }
	prefix := func(p netip.Prefix) bool { return p.IsValid() }
	part(a.iif != "", "-i", a.iif)
	part(a.oif != "", "-o", a.oif)
	part(prefix(a.src), "-s", a.src)
	part(prefix(a.dst), "-d", a.dst)
	part(a.ports[0], "--sport", ports(a.sport))
	part(a.ports[1], "--dport", ports(a.dport))
	return s.String()
}
