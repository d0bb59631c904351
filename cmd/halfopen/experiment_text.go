package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
)

// parseEnd reads an address with or without a port.
func parseEnd(text string) (addr [16]byte, port uint16, err error) {
	text = strings.TrimSpace(text)
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a.As16(), 0, nil
	}
	ap, err := netip.ParseAddrPort(text)
	if err == nil && ap.Addr().Zone() != "" {
		err = fmt.Errorf("an address with a zone")
	}
	return ap.Addr().As16(), ap.Port(), err
}

// complete fills in what is not said of a connection so that the experiment's match holds as far as it can, and says so where the unit
// depends on it.
func complete(s *experiment.Spec, tu conntrack.Tuple) (full conntrack.Tuple, note string) {
	full = tu
	example := exampleOf(s)
	var assumed []string
	if full.Dst == [16]byte{} {
		full.Dst = example.Dst
		if netip.AddrFrom16(full.Dst).Is4In6() != netip.AddrFrom16(full.Src).Is4In6() && len(s.Match.Dst) == 0 {
			full.Dst = netip.MustParseAddr("2001:db8:ffff::1").As16()
		}
		if s.Unit == experiment.UnitPair || s.Unit == experiment.UnitFlow {
			assumed = append(assumed, "server "+full.To().Addr().String())
		}
	}
	if full.SrcPort == 0 {
		full.SrcPort = example.SrcPort
		if s.Unit == experiment.UnitFlow {
			assumed = append(assumed, fmt.Sprintf("client's port %d", full.SrcPort))
		}
	}
	if full.DstPort == 0 {
		full.DstPort = example.DstPort
		if s.Unit == experiment.UnitFlow {
			assumed = append(assumed, fmt.Sprintf("server's port %d", full.DstPort))
		}
	}
	if len(assumed) > 0 {
		note = "taken for granted: " + strings.Join(assumed, ", ")
	}
	return full, note
}

// exampleOf returns a connection for which the experiment's match holds.
func exampleOf(s *experiment.Spec) conntrack.Tuple {
	addr := func(prefixes []netip.Prefix, other string) [16]byte {
		if len(prefixes) == 0 {
			return netip.MustParseAddr(other).As16()
		}
		a := prefixes[0].Addr().As16()
		if prefixes[0].Bits() < 128 && a[15] == 0 {
			a[15] = 1
		}
		return a
	}
	port := func(ranges []policy.PortRange, other uint16) uint16 {
		if len(ranges) == 0 {
			return other
		}
		return ranges[0].Lo
	}
	tu := conntrack.Tuple{Src: addr(s.Match.Src, "10.0.0.1"), Dst: addr(s.Match.Dst, "192.0.2.1"), SrcPort: port(s.Match.SrcPort, 50000), DstPort: port(s.Match.DstPort, 80)}
	if six := netip.MustParseAddr("2001:db8::1").As16(); netip.AddrFrom16(tu.Src).Is4In6() != netip.AddrFrom16(tu.Dst).Is4In6() {
		if len(s.Match.Src) == 0 {
			tu.Src = six
		} else if len(s.Match.Dst) == 0 {
			tu.Dst = six
		}
	}
	return tu
}

// exampleUnits returns some connections of different units for which the match holds.
func exampleUnits(s *experiment.Spec) (out []conntrack.Tuple) {
	tu := exampleOf(s)
	seen := map[string]bool{}
	for range 64 {
		if s.Matches(&tu) && !seen[s.UnitOf(&tu)] {
			seen[s.UnitOf(&tu)] = true
			out = append(out, tu)
		}
		if len(out) == 6 {
			break
		}
		a := netip.AddrFrom16(tu.Src)
		if a.Is4In6() {
			tu.Src = a.Unmap().Next().As16()
		} else if s.Unit == experiment.UnitClient64 {
			tu.Src[7]++
		} else {
			tu.Src = a.Next().As16()
		}
	}
	return out
}

// text says for people what a file means.
func (x *checked) text(out io.Writer) error {
	fmt.Fprintf(out, "%s: good\n", x.File)
	arms := x.set.Arms()
	for i := range x.set.Specs {
		s := &x.set.Specs[i]
		fmt.Fprintf(out, "\nexperiment %s\n", s.Name)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, line := range specLines(s) {
			fmt.Fprintf(w, "  %s\t%s\n", line[0], line[1])
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w, "\n  ARM\tWEIGHT\tPOLICY\tREVISION\tDIFFERS FROM CONTROL IN")
		var control *policy.Policy
		for _, a := range arms {
			if a.Spec != s {
				continue
			}
			p := x.pols[a.Number-1]
			name, differs := a.Arm.Policy, "-"
			if a.Arm.AA {
				name = "the control's (A/A)"
			}
			if control == nil {
				control = p
			} else {
				differs = differences(control, p)
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", a.Arm.Name, experiment.PercentText(a.Arm.Weight), name, p.Rev(), differs)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		x.places(w, s)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for _, n := range x.Notes {
		fmt.Fprintf(out, "\nnote: %s\n", n)
	}
	return nil
}

// places lists where units are, or the first blocks.
func (x *checked) places(w io.Writer, s *experiment.Spec) {
	if s.Switchback != nil {
		fmt.Fprintln(w, "\n  BLOCK FROM\tARM")
	} else {
		fmt.Fprintln(w, "\n  UNIT\tARM\tPLACE\tON THE SHARE\tNOTE")
	}
	for _, b := range x.Blocks {
		if b.Experiment == s.Name {
			fmt.Fprintf(w, "  %s\t%s\n", b.Start.Format(time.RFC3339), b.Arm)
		}
	}
	for _, u := range x.Units {
		if u.Experiment != s.Name {
			continue
		}
		arm, note := u.Arm, u.Note
		if arm == "" {
			arm = "none"
			if u.Match {
				note = strings.TrimPrefix(note+"; outside the share", "; ")
			} else {
				note = strings.TrimPrefix(note+"; does not match", "; ")
			}
		}
		fmt.Fprintf(w, "  %s\t%s\t%d\t%d\t%s\n", u.Unit, arm, u.Place, u.SharePlace, note)
	}
}

// specLines says what an experiment is, in pairs of a word and its value.
func specLines(s *experiment.Spec) [][2]string {
	when := func(t time.Time, other string) string {
		if t.IsZero() {
			return other
		}
		return t.Format(time.RFC3339)
	}
	lines := [][2]string{{"connections", experiment.MatchText(&s.Match)}}
	if s.Switchback != nil {
		lines = append(lines, [2]string{"blocks", fmt.Sprintf("of %s for the whole gateway, seed %d", policy.FormatDuration(s.Switchback.Block), s.Switchback.Seed)})
	} else {
		lines = append(lines, [2]string{"units", s.Unit.String() + ", " + experiment.PercentText(s.Share) + " of them"})
	}
	lines = append(lines, [2]string{"salt", s.Salt}, [2]string{"from", when(s.Start, "the gateway's start")}, [2]string{"to", when(s.End, "no end")})
	if s.WarmUp > 0 {
		of := "of the experiment"
		if s.Switchback != nil {
			of = "of each block"
		}
		lines = append(lines, [2]string{"warm-up", "the first " + policy.FormatDuration(s.WarmUp) + " " + of + " are left out of the analysis"})
	}
	for i := range s.Guardrails {
		lines = append(lines, [2]string{"limit", s.Guardrails[i].String()})
	}
	return lines
}

// differences names the keys in which an arm's policy differs from the control's, the first of many.
func differences(control, arm *policy.Policy) string {
	const most = 4
	list := policy.Diff(control, arm)
	var words []string
	for i, d := range list {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more (halfopen policy diff)", len(list)-most))
			break
		}
		words = append(words, d.Key)
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
