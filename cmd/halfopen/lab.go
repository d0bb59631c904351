package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"halfopen/policy"
	"halfopen/proxy/lab"
)

// newLabCmd rebuilds incidents between real TCP stacks.
func newLabCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "lab",
		Short:   "Rebuild incidents between real kernel TCP stacks in network namespaces (needs root)",
		Example: "  halfopen lab list\n  halfopen lab run silence-on-the-wire\n  halfopen lab matrix\n  halfopen lab experiment\n  halfopen lab bench",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newLabListCmd(), newLabRunCmd(), newLabMatrixCmd(), newLabExperimentCmd(), newLabBenchCmd())
	return c
}

func newLabListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the scenarios and their phases", Example: "  halfopen lab list", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, s := range lab.Scenarios() {
				fmt.Fprintf(w, "%s\t%s\n", s.Name, s.Summary)
				for _, p := range s.Phases {
					fmt.Fprintf(w, "  %s\t  %s\n", p.Name, p.Title)
				}
			}
			return w.Flush()
		},
	}
}

func newLabRunCmd() *cobra.Command {
	var o lab.Options
	var output, impair string
	c := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Play a scenario and say what each party saw, and why",
		Long: `run builds client, gateway and server as network namespaces, runs the gateway in between, plays the scenario with real TCP
sockets, and reads what happened from the captures on both sides of each gateway. With --far-policy a second gateway stands in
front of the client. With --impair the client's link and the server's lose, repeat and reorder segments.`,
		Example: `  halfopen lab run silence-on-the-wire
  halfopen lab run silence-on-the-wire --policy transparent-resync
  halfopen lab run silence-on-the-wire --far-policy strict.yaml -o json --out /tmp/incident
  halfopen lab run silence-on-the-wire --impair loss=2%,duplicate=1%,reorder=3%,latency=4ms,seed=7
  halfopen lab run silence-on-the-wire --pcap /tmp/incident/pcap`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("-o %q: want text or json", output)
			}
			o.Scenario = args[0]
			if _, err := lab.Find(o.Scenario); err != nil {
				return &usageError{err, "lab run "}
			}
			if c.Flags().Changed("impair") {
				im, err := lab.ParseImpairment(impair)
				if err != nil {
					return &usageError{err, "lab run "}
				}
				o.Impairment = &im
			}
			r, err := lab.Run(c.Context(), o)
			if err != nil {
				return err
			}
			if output == "json" {
				return r.WriteJSON(c.OutOrStdout())
			}
			return r.WriteText(c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.Policy, "policy", lab.DefaultPolicy, "the gateway's policy (`NAME|FILE`)")
	f.StringVar(&o.FarPolicy, "far-policy", "", "put a second gateway with this policy in front of the client (`NAME|FILE`)")
	f.StringVar(&o.Phase, "phase", "", "play only this `PHASE`")
	f.StringArrayVar(&o.Set, "set", nil, "override one key of the gateway's policy (`PATH=VALUE`, repeatable)")
	f.StringVar(&impair, "impair", "", "what the ends' links do to segments: `loss=P%,duplicate=P%,reorder=P%,delay=D,latency=D,seed=N`, each optional")
	f.StringVar(&o.Out, "out", "", "`DIR` for captures and logs (default: a new temporary one)")
	f.StringVar(&o.Pcap, "pcap", "", "let the gateway capture each packet with its decision into this `DIR`, the far one into DIR/far")
	f.BoolVarP(&o.IPv6, "ipv6", "6", false, "play it over IPv6")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

func newLabMatrixCmd() *cobra.Command {
	var o lab.MatrixOptions
	var output string
	c := &cobra.Command{
		Use:   "matrix",
		Short: "Play every phase of every scenario under every preset, and print who connected and how soon",
		Long: `matrix plays every phase of every scenario under every policy, each in a topology of its own, and prints who connected and how
soon, or who gave up. With -o html the result is one self-contained page: behind each cell stand the ladder of what passed, the
decisions that it turned on and the lines of the policy that are responsible.`,
		Example: `  halfopen lab matrix
  halfopen lab matrix -o html > matrix.html
  halfopen lab matrix --policy lpd-case-2015 --policy my.yaml --scenario silence-on-the-wire -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "text" && output != "json" && output != "html" {
				return usagef("-o %q: want text, json or html", output)
			}
			if len(o.Policies) == 0 {
				o.Policies = policy.Presets()
			}
			o.Version = version()
			m, err := lab.RunMatrix(c.Context(), o)
			if err != nil {
				return err
			}
			write := map[string]func(io.Writer) error{"text": m.WriteText, "json": m.WriteJSON, "html": m.WriteHTML}[output]
			if err := write(c.OutOrStdout()); err != nil {
				return err
			}
			if m.Failed() {
				return errFound
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.Policies, "policy", nil, "a column (`NAME|FILE`, repeatable; default: every preset)")
	f.StringArrayVar(&o.Scenarios, "scenario", nil, "only this `SCENARIO` (repeatable)")
	f.StringArrayVar(&o.Set, "set", nil, "override one key of every policy (`PATH=VALUE`, repeatable)")
	f.IntVar(&o.Parallel, "parallel", 0, "cells at a time (0: default)")
	f.StringVar(&o.Out, "out", "", "keep captures and logs of every cell in `DIR`")
	f.StringVarP(&output, "output", "o", "text", "text, json or html (one file, with a ladder and the lines of policy behind each cell)")
	return c
}
