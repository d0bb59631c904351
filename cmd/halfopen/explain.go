package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"halfopen/policy/explain"
	"halfopen/proxy"
)

// explainFlags are what the user asked for.
type explainFlags struct {
	record, log      string
	capture          string
	frame            int
	segment          string
	all              bool
	policy           string
	set              []string
	output           string
	iface            string
	experiment       string
	ignore, adoptNot bool
}

// newExplainCmd is `halfopen explain`.
func newExplainCmd() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain (--record ID --log DIR | --capture FILE --frame N | --segment TEXT)",
		Short: "Say why a segment gets the verdict that it gets",
		Long: `explain tells how one decision comes about, phase by phase: decode, look up, classify, the rules tried and why not, decision with
the line of the policy that is responsible, and effect. It ends with the verdict, the reason and one sentence.

The segment is a record of a decision log, a frame of a capture (the frames before it are replayed), or typed: segments of the
scenario language with ; between them, of which the last is explained. There numbers may be left out, and "wait 301s" lets time pass.
A record is explained as it stands; with --policy another policy decides it again, as far as the record suffices.`,
		Example: `  halfopen explain --segment 'c > s S; s > c S.; c > s .; wait 301s; c > s S' --policy lpd-case-2015
  halfopen explain --capture office.pcapng --frame 42 --policy site.yaml
  halfopen explain --record 1K8ZQ4T9X5M2A0000000000001 --log /var/log/halfopen
  halfopen explain --segment '10.2.0.7:721 > 10.3.0.1:515 P. (100)' --policy site.yaml --set adopt=0s -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			xs, err := f.explain(c)
			if err != nil {
				return err
			}
			return printExplanations(c.OutOrStdout(), xs, f.output == "json", f.all)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.record, "record", "", "explain the decision of this `ID` in a decision log")
	fl.StringVar(&f.log, "log", "", "the decision log: a `DIR` or one of its files")
	fl.StringVar(&f.capture, "capture", "", "explain a frame of this `FILE`, pcap or pcapng")
	fl.IntVar(&f.frame, "frame", 0, "number `N` of the frame, from 1")
	fl.StringVar(&f.segment, "segment", "", "explain segments typed in scenario notation (`TEXT`)")
	fl.BoolVar(&f.all, "all", false, "explain every typed segment, not only the last")
	fl.StringVar(&f.policy, "policy", "", "policy that decides (`NAME|FILE`; default observe, for a record the one that decided it)")
	fl.StringArrayVar(&f.set, "set", nil, "override one key of the policy (`PATH=VALUE`, repeatable)")
	fl.StringVar(&f.experiment, "experiment", "", "of a capture: decide some connections by other policies, as this `FILE` of experiments says")
	fl.StringVar(&f.iface, "interface", "", "only frames of the interface of this `NAME` (pcapng)")
	fl.BoolVar(&f.ignore, "ignore-checksums", false, "take no TCP checksum of a capture for wrong")
	fl.BoolVar(&f.adoptNot, "fresh", false, "adopt nothing: connections older than the capture are unknown")
	fl.StringVarP(&f.output, "output", "o", "text", "text or json")
	return c
}

// check finds flags that do not go together.
func (f *explainFlags) check(c *cobra.Command) error {
	given := func(name string) bool { return c.Flags().Changed(name) }
	inputs := 0
	for _, name := range []string{"record", "capture", "segment"} {
		if given(name) {
			inputs++
		}
	}
	switch {
	case inputs != 1:
		return usagef("want one of --record, --capture and --segment")
	case f.output != "text" && f.output != "json":
		return usagef("-o %q: want text or json", f.output)
	case given("record") && f.log == "":
		return usagef("--record wants --log DIR")
	case given("log") && !given("record"):
		return usagef("--log wants --record ID")
	case given("capture") && f.frame < 1:
		return usagef("--capture wants --frame N, from 1")
	case given("frame") && !given("capture"):
		return usagef("--frame wants --capture FILE")
	case f.all && !given("segment"):
		return usagef("--all wants --segment TEXT")
	case !given("capture") && (given("interface") || given("ignore-checksums") || given("fresh") || given("experiment")):
		return usagef("--interface, --ignore-checksums, --fresh and --experiment want --capture FILE")
	case given("record") && f.policy == "" && len(f.set) > 0:
		return usagef("--set wants --policy NAME|FILE with a record")
	}
	return nil
}

// explain returns the explanations of what was asked for.
func (f *explainFlags) explain(c *cobra.Command) ([]*explain.Explanation, error) {
	ref := f.policy
	if ref == "" && f.record == "" {
		ref = "observe"
	}
	if ref != "" { // problems with the policy are told as every verb tells them
		if _, err := openPolicy(ref, f.set); err != nil {
			return nil, err
		}
	}
	switch {
	case f.segment != "" || c.Flags().Changed("segment"):
		xs, err := explain.Typed(f.segment, ref, readPolicyFile, f.set)
		if err == nil && !f.all {
			xs = xs[len(xs)-1:]
		}
		return xs, err
	case f.capture != "":
		x, err := proxy.ExplainFrame(c.Context(), proxy.ReplayConfig{Capture: f.capture, Policy: ref, Overrides: f.set,
			Experiment: f.experiment, Interface: f.iface, IgnoreChecksums: f.ignore, Fresh: f.adoptNot, Logger: newLogger(false)}, f.frame)
		return []*explain.Explanation{x}, err
	}
	x, err := proxy.ExplainRecord(f.log, f.record, ref, f.set)
	return []*explain.Explanation{x}, err
}

// printExplanations prints one explanation, or with all each of them: in JSON as a list.
func printExplanations(w io.Writer, xs []*explain.Explanation, asJSON, all bool) error {
	if !asJSON {
		for i, x := range xs {
			if i > 0 {
				fmt.Fprintln(w, "\n----")
			}
			if _, err := io.WriteString(w, x.Text()); err != nil {
				return err
			}
		}
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if all {
		return enc.Encode(xs)
	}
	return enc.Encode(xs[0])
}
