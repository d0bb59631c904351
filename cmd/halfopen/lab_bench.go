package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"halfopen/proxy/lab"
)

func newLabBenchCmd() *cobra.Command {
	var o lab.BenchOptions
	var output string
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine's throughput with and without halfopen in between",
		Long: `bench lets client and server, each in a network namespace, send as much as they can through a gateway that forwards plainly, and
through one that runs halfopen: every segment by the queue, with the kernel's fast path, and with that sending straight out, round by
round in turn. It prints medians, the ratios to plain forwarding with their spread, what limits each, and how much went the fast
path. A kernel without one is told so. Other programs on the machine disturb it. Exit status 1: a connection failed, or a log does not balance.`,
		Example: `  halfopen lab bench
  halfopen lab bench --rounds 9 --seconds 5 -o json > bench.json
  halfopen lab bench --policy transparent-resync`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usagef("-o %q: want text or json", output)
			}
			if o.Rounds < 1 {
				return usagef("--rounds %d: want 1 to 1000", o.Rounds)
			}
			if !(o.Seconds > 0) {
				return usagef("--seconds %v: want 0.1 to 600", o.Seconds)
			}
			if err := o.Check(); err != nil {
				return &usageError{fmt.Errorf("bench: %w", err), "lab bench "}
			}
			r, err := lab.RunBench(c.Context(), o)
			if err != nil {
				return err
			}
			write := r.WriteText
			if output == "json" {
				write = r.WriteJSON
			}
			if err := write(c.OutOrStdout()); err != nil {
				return err
			}
			if r.Bad() {
				return errFound
			}
			return nil
		},
	}
	f := c.Flags()
	f.IntVar(&o.Rounds, "rounds", lab.DefaultBenchRounds, "rounds, each with every mode")
	f.Float64Var(&o.Seconds, "seconds", lab.DefaultBenchSeconds, "how long each figure is measured; a round has five a mode")
	f.StringVar(&o.Policy, "policy", lab.DefaultPolicy, "what halfopen enforces (`NAME|FILE`)")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return c
}
