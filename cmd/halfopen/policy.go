package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"halfopen/conntrack"
	"halfopen/policy"
)

// newPolicyCmd is `halfopen policy`.
func newPolicyCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "List, show, check and compare policies",
		Long: "A policy says what the gateway does about each finding, how long it remembers connections and how it judges their\n" +
			"numbers. It is a preset, by name, or a YAML file; docs/policy.md describes the language.",
		Example: "  halfopen policy list\n  halfopen policy check site.yaml",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newPolicyListCmd(), newPolicyShowCmd(), newPolicyCheckCmd(), newPolicyDiffCmd(), newPolicySchemaCmd())
	return c
}

// openPolicy loads a policy by a preset's name or a file's ("-" is standard input), with settings KEY=VALUE on top. The
// error carries every problem of the file.
func openPolicy(ref string, settings []string) (*policy.Policy, error) {
	var overrides []policy.Override
	for _, s := range settings {
		o, err := policy.ParseOverride(s)
		if err != nil {
			return nil, usagef("%v", err)
		}
		overrides = append(overrides, o)
	}
	return policy.Open(ref, readPolicyFile, overrides...)
}

// readPolicyFile reads a policy file, of one that is too large only as much as shows that.
func readPolicyFile(name string) ([]byte, error) { return readUpTo(name, policy.MaxFileSize) }

// readUpTo reads a file, or standard input for "-": at most one byte more than limit.
func readUpTo(name string, limit int64) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, limit+1))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

func newPolicyListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the presets",
		Example: "  halfopen policy list",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PRESET\tESTABLISHED\tDESCRIPTION")
			for _, name := range policy.Presets() {
				p, err := openPolicy(name, nil)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", name, policy.FormatDuration(p.Timeouts(-1)[conntrack.Established]), p.Description())
			}
			return w.Flush()
		},
	}
}

func newPolicyShowCmd() *cobra.Command {
	var output string
	var settings []string
	c := &cobra.Command{
		Use:   "show NAME|FILE",
		Short: "Show the policy in force: timeouts, findings with their actions, and where they come from",
		Long: "show resolves what a policy inherits and prints the result. With -o yaml that is a policy file that says everything\n" +
			"and inherits from nothing; with -o source it is the preset's or file's own text.",
		Example: "  halfopen policy show openbsd-pf\n  halfopen policy show site.yaml --set timeouts.established=2s -o yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch output {
			case "text", "yaml", "source":
			default:
				return usagef("-o %q: text, yaml or source", output)
			}
			if output == "source" {
				return showSource(c.OutOrStdout(), args[0])
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
	c.Flags().StringVarP(&output, "output", "o", "text", "text, yaml or source")
	c.Flags().StringArrayVar(&settings, "set", nil, "change one value, as `KEY=VALUE`: timeouts.established=2s")
	return c
}

func showSource(w io.Writer, ref string) error {
	data, ok := policy.Preset(ref)
	if !ok {
		var err error
		if data, err = readPolicyFile(ref); err != nil {
			return err
		}
	}
	_, err := w.Write(data)
	return err
}

func newPolicyCheckCmd() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "check FILE...",
		Short:   "Check policy files and report every problem at once",
		Long:    "check ends with status 1 if a file has a problem. With -o json the problems are one JSON object a line.",
		Example: "  halfopen policy check site.yaml\n  halfopen policy check -o json *.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("-o %q: text or json", output)
			}
			good := true
			for _, name := range args {
				data, err := readPolicyFile(name)
				if err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "halfopen: %v\n", err)
					good = false
					continue
				}
				p, problems := policy.Load(name, data, readPolicyFile)
				good = good && p != nil
				if err := reportCheck(c.OutOrStdout(), output, name, p, problems); err != nil {
					return err
				}
			}
			if !good {
				return errFound
			}
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// reportCheck prints what was found in one file.
func reportCheck(w io.Writer, output, name string, p *policy.Policy, problems policy.Problems) error {
	switch {
	case output == "json":
		enc := json.NewEncoder(w)
		for i := range problems {
			if err := enc.Encode(&problems[i]); err != nil {
				return err
			}
		}
		return nil
	case p == nil:
		_, err := fmt.Fprintln(w, problems.Error())
		return err
	}
	_, err := fmt.Fprintf(w, "%s: good, %s\n", name, p.Rev())
	return err
}

func newPolicyDiffCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Say in what two policies differ",
		Long: "diff compares two policies as they are in force, value by value. Like diff(1) it ends with status 1 if they differ.\n" +
			"Names, descriptions, comments and layout do not count.",
		Example: "  halfopen policy diff openbsd-pf freebsd-pf-classic",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := openPolicy(args[0], nil)
			if err != nil {
				return err
			}
			b, err := openPolicy(args[1], nil)
			if err != nil {
				return err
			}
			differences := policy.Diff(a, b)
			if len(differences) == 0 {
				fmt.Fprintf(c.ErrOrStderr(), "%s and %s are the same: %s\n", args[0], args[1], a.Rev())
				return nil
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "--- %s\n+++ %s\n", args[0], args[1])
			for _, d := range differences {
				fmt.Fprintf(out, "%s\n", d.Key)
				for _, side := range []struct{ sign, value string }{{"-", d.A}, {"+", d.B}} {
					if side.value != "" {
						fmt.Fprintf(out, "  %s %s\n", side.sign, side.value)
					}
				}
			}
			return errFound
		},
	}
}

func newPolicySchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of policy files, for editors",
		Example: "  halfopen policy schema > halfopen-policy.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(policy.Schema())
			return err
		},
	}
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
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nSTATE\tTIMEOUT\tSOURCE")
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		fmt.Fprintf(w, "%s\t%s\t%s\n", strings.ToLower(s.String()), policy.FormatDuration(p.Timeouts(-1)[s]), noteText(p, p.TimeoutNote(s)))
	}
	w.Flush()
	showSettings(out, p)
	showFindings(out, p)
	return showRules(out, p)
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
	return strings.TrimSpace("[" + n.From + "] " + n.Text)
}

// showRules prints what each rule has of its own.
func showRules(out io.Writer, p *policy.Policy) error {
	for r := range int32(p.Rules()) {
		fmt.Fprintf(out, "\nRULE %s %s\n", p.RuleName(r), p.RuleMatch(r).Text())
		for _, line := range p.RuleChanges(r) {
			fmt.Fprintln(out, "  "+line)
		}
	}
	return nil
}

// bound returns a limit, of which 0 is none.
func bound(n int) string {
	if n == 0 {
		return "any"
	}
	return strconv.Itoa(n)
}
