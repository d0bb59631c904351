package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
)

func newPolicyShowCmd() *cobra.Command {
	var output string
	var settings []string
	c := &cobra.Command{
		Use:   "show NAME|FILE",
		Short: "Show the policy in force: options, timeouts, findings with their actions, and where they come from",
		Long: "show resolves what a policy inherits and prints the result: the values of its options, the timeouts, the action on each\n" +
			"finding, what the vendor calls these, and of a preset the scenarios that show it at work. With -o yaml it prints a policy\n" +
			"file that says everything and inherits from nothing; with -o source the preset's or file's own text; with -o scenarios\n" +
			"the preset's scenarios whole.",
		Example: "  halfopen policy show openbsd-pf\n  halfopen policy show openbsd-pf:optimization=aggressive\n" +
			"  halfopen policy show openbsd-pf -o scenarios\n  halfopen policy show site.yaml --set timeouts.established=2s -o yaml",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch output {
			case "text", "yaml", "source", "scenarios":
			default:
				return usagef("-o %q: text, yaml, source or scenarios", output)
			}
			if output == "source" {
				return showSource(c.OutOrStdout(), args[0])
			}
			if output == "scenarios" {
				return showScenarios(c.OutOrStdout(), args[0])
			}
			p, err := openPolicy(args[0], settings)
			if err != nil {
				return err
			}
			if output == "yaml" {
				_, err = c.OutOrStdout().Write(p.YAML())
				return err
			}
			return showPolicy(c.OutOrStdout(), p)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text, yaml, source or scenarios")
	c.Flags().StringArrayVar(&settings, "set", nil, "change one value, as `KEY=VALUE`: timeouts.established=2s")
	return c
}

func showSource(w io.Writer, ref string) error {
	name, _, ok := policy.CutReference(ref)
	data, _ := policy.Preset(name)
	if !ok {
		var err error
		if data, err = readPolicyFile(ref); err != nil {
			return err
		}
	}
	_, err := w.Write(data)
	return err
}

// showPolicy prints a policy for people.
func showPolicy(out io.Writer, p *policy.Policy) error {
	fmt.Fprintf(out, "%s  %s\n", p.Name(), p.Rev())
	if p.Preset() != "" && p.Preset() != p.Name() {
		fmt.Fprintf(out, "inherits from %s\n", p.Preset())
	}
	if p.Description() != "" {
		fmt.Fprintln(out, p.Description())
	}
	for i, l := range p.Head() {
		if i == 0 {
			fmt.Fprintln(out, "\nSOURCES")
		}
		fmt.Fprintln(out, "  "+l)
	}
	showOptions(out, p)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nSTATE\tTIMEOUT\tSOURCE")
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		fmt.Fprintf(w, "%s\t%s\t%s\n", strings.ToLower(s.String()), policy.FormatDuration(p.Timeouts(-1)[s]), noteText(p, p.TimeoutNote(s)))
	}
	w.Flush()
	showSettings(out, p)
	showFindings(out, p)
	showRules(out, p)
	showVendorWords(out, p)
	return listScenarios(out, p.Name())
}

// showOptions prints the options with their values, of which an asterisk marks the one in force.
func showOptions(out io.Writer, p *policy.Policy) {
	for i, o := range p.Options() {
		if i == 0 {
			fmt.Fprintln(out, "\nOPTIONS")
		}
		fmt.Fprintf(out, "%s: %s\n", o.Name, o.Meaning)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, v := range o.Values {
			mark, source := " ", v.Text
			if v.Word == o.Default {
				source = strings.TrimSuffix("(default) "+source, " ")
			}
			if v.Word == o.Value {
				mark = "*"
				if o.Chosen.From != "" && o.Chosen.From != p.Name() {
					source = strings.TrimSuffix("["+o.Chosen.From+"] "+source, " ")
				}
			}
			fmt.Fprintf(w, "  %s %s\t%s\n", mark, v.Word, source)
		}
		w.Flush()
	}
}

// showVendorWords prints what the vendor calls the values.
func showVendorWords(out io.Writer, p *policy.Policy) {
	words := p.VendorWords()
	if len(words) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nVENDOR WORD\tVALUE\tHERE")
	for _, v := range words {
		fmt.Fprintf(w, "%s\t%s\t%s\n", v.Word, v.Value, strings.Join(v.Keys, ", "))
	}
	w.Flush()
}

// listScenarios prints the names of a preset's scenarios with what each shows.
func listScenarios(out io.Writer, ref string) error {
	preset, _, _ := policy.CutReference(ref)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, f := range policy.Scenarios(preset) {
		if i == 0 {
			fmt.Fprintf(w, "\nSCENARIO\tPOLICY\tSHOWS (halfopen policy show %s -o scenarios prints them whole)\n", preset)
		}
		s, problems := scenario.Parse(f.Name, f.Text)
		if s == nil {
			return problems
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", strings.TrimPrefix(f.Name, preset+"/"), s.PolicyName(), firstSentence(s.Prose()))
	}
	return w.Flush()
}

// firstSentence returns a text up to its first full stop, in one line.
func firstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if i := strings.Index(text, ". "); i >= 0 {
		return text[:i+1]
	}
	return text
}

// showScenarios prints a preset's scenarios whole, each behind its name as head(1) does it.
func showScenarios(out io.Writer, ref string) error {
	preset, _, ok := policy.CutReference(ref)
	if !ok {
		return fmt.Errorf("%q is no preset (%s): only presets come with scenarios", ref, policy.OneOf(ref, policy.Presets()))
	}
	for i, f := range policy.Scenarios(preset) {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if _, err := fmt.Fprintf(out, "==> %s <==\n%s", f.Name, f.Text); err != nil {
			return err
		}
	}
	return nil
}

func showSettings(out io.Writer, p *policy.Policy) {
	l, r := p.Limits(), p.Window(-1)
	fmt.Fprintf(out, "\nwindow check %s, rst %s, ack %s, near %d, syn_band %d, old %d, retransmits %d; late %s\n", policy.SeqCheckWord(r.Check),
		policy.RSTRuleWord(r.RST), policy.ACKRuleWord(r.ACK), r.Near, r.SynBand, r.Old, r.Retransmits, policy.FormatDuration(r.TombLate))
	fmt.Fprintf(out, "limits flows %d, embryonic %d, tombstones %d, per source %s; on_full %s\n", l.Flows, l.Embryonic, l.Tombstones, bound(l.PerSource), p.OnFull())
	fmt.Fprintf(out, "adopt %s; reload %s; log detail %s\n", policy.FormatDuration(p.Adopt()), p.Reload(), p.Log().Detail)
}

func showFindings(out io.Writer, p *policy.Policy) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nFINDING\tPACKET\tREPLY\tPEER\tSTATE\tTIMER\tSOURCE")
	for f := range conntrack.NumFindings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f, actionColumns(f, p.Action(-1, conntrack.Original, f)), noteText(p, p.FindingNote(f)))
	}
	w.Flush()
}

// actionColumns returns the five parts of an action, "-" for one that does nothing.
func actionColumns(f conntrack.Finding, a *policy.Action) string {
	dash := func(s string) string { return map[bool]string{true: "-", false: s}[s == "none"] }
	packet, timer := a.Packet.String(), a.TimerWord()
	if a.Packet == policy.Hold {
		packet = fmt.Sprintf("hold %s, %s", policy.FormatDuration(a.HoldFor), a.HoldThen)
	}
	if !f.Info().Packet {
		packet, timer = "-", "-"
	}
	return strings.Join([]string{packet, dash(a.Reply.String()), dash(a.Peer.String()), a.State.String(), timer}, "\t")
}

// noteText returns a comment, with its file where that is not the policy itself.
func noteText(p *policy.Policy, n policy.Note) string {
	switch {
	case n.From == "":
		return "(default)"
	case n.From == p.Name():
		return n.Text
	}
	if preset, _, ok := policy.CutReference(p.Name()); ok && n.From == preset {
		return n.Text
	}
	return strings.TrimSpace("[" + n.From + "] " + n.Text)
}

// showRules prints what each rule has of its own.
func showRules(out io.Writer, p *policy.Policy) {
	for r := range int32(p.Rules()) {
		fmt.Fprintf(out, "\nRULE %s %s\n", p.RuleName(r), p.RuleMatch(r).Text())
		for _, line := range p.RuleChanges(r) {
			fmt.Fprintln(out, "  "+line)
		}
	}
}

// bound returns a limit, of which 0 is none.
func bound(n int) string {
	if n == 0 {
		return "any"
	}
	return strconv.Itoa(n)
}
