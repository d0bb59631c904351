package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"halfopen/policy/experiment"
	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
	outcomes "halfopen/proxy/review/outcome"
	"halfopen/proxy/review/trouble"
)

// splitLogs divides the words behind the first log into further logs and words of a filter.
func splitLogs(args []string) (logs, words []string) {
	logs = args[:1]
	for _, a := range args[1:] {
		if strings.Contains(a, ":") && !strings.ContainsAny(strings.SplitN(a, ":", 2)[0], "/.") {
			words = append(words, a)
		} else {
			logs = append(logs[:len(logs):len(logs)], a)
		}
	}
	return logs, words
}

// listOutcomes is `halfopen review LOGDIR... --outcomes`.
func listOutcomes(c *cobra.Command, logs []string, f index.Filter, opt reviewOptions) error {
	if opt.reverse || opt.follow || opt.svg || opt.trouble {
		return usagef("--outcomes lists connections from the first on: --reverse, -f, --svg and --trouble do not go with it")
	}
	if len(f.Event)+len(f.Verdict)+len(f.Reason)+len(f.Rule)+len(f.Outcome)+len(f.CommunityID) > 0 {
		return usagef("--outcomes: connections are not picked by event, verdict, reason, rule, outcome or community-id")
	}
	for _, l := range logs {
		if l == "-" {
			return usagef("--outcomes wants directories or files, and stdin is none")
		}
	}
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	pick := trouble.Filter{Since: f.Since, Until: f.Until, Addr: f.Addr, Src: f.Src, Dst: f.Dst, Port: f.Port, SrcPort: f.SrcPort, DstPort: f.DstPort, Flow: f.Flow, Arm: f.Arm}
	w := outcomes.NewWriter(c.OutOrStdout(), review.Format(opt.output))
	left := opt.limit
	d, err := outcomes.Each(ctx, logs, outcomes.Options{}, func(o *experiment.Outcome) error {
		k := trouble.Case{FlowID: o.Flow, Client: o.Client, Server: o.Server, Arm: o.Arm}
		k.At.Time, k.Until.Time = o.Start, o.End
		if !pick.Match(&k) || !f.MatchRev(o.Rev) || opt.limit > 0 && left == 0 {
			return nil
		}
		left--
		return w.Write(o)
	})
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	if d != nil {
		for _, b := range d.Loss.BadSample {
			fmt.Fprintln(c.ErrOrStderr(), b)
		}
		for _, s := range d.Caveats() {
			fmt.Fprintln(c.ErrOrStderr(), "review: "+s)
		}
		for _, name := range slices.Sorted(maps.Keys(d.Experiments)) {
			for _, s := range slices.Concat(d.Experiments[name].Changes, d.Experiments[name].Problems) {
				fmt.Fprintln(c.ErrOrStderr(), "review: experiment "+s)
			}
		}
	}
	return err
}
