package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
)

// filterFlags are the flags of `halfopen review` that pick records, by the key that a filter's text has for them.
var filterFlags = []struct{ key, usage string }{
	{"since", "only records from then on: a duration before now (1h30m, 7d) or a time (2026-11-23T18:00:00Z)"},
	{"until", "only records before then"},
	{"event", "only these event types: decision, flow, inject, reload, stats, gap, experiment"},
	{"verdict", "only decisions with this verdict: forward, drop, rewrite or hold"},
	{"reason", "only decisions with this reason (a finding's word)"},
	{"rule", "only decisions and flow records of this rule"},
	{"arm", "only records of this arm of an experiment"},
	{"rev", "only records of this policy revision: how it begins, with or without sha256:"},
	{"disagrees", "only decisions on which this shadow policy first disagrees (its name, or any)"},
	{"outcome", "only records of connections with this outcome, as their end tells it"},
	{"addr", "only records between this address or prefix and any other"},
	{"src", "only records whose segment came from this address or prefix"},
	{"dst", "only records whose segment went to this address or prefix"},
	{"port", "only records with this port at either end"},
	{"src-port", "only records whose segment came from this port"},
	{"dst-port", "only records whose segment went to this port"},
	{"flow", "only records of this flow: its number or its Community ID"},
	{"community-id", "only records between these two ends: a Community ID"},
}

// reviewOptions are the flags that do not pick records.
type reviewOptions struct {
	output   string
	limit    int
	reverse  bool
	follow   bool
	trouble  bool
	outcomes bool
	svg      bool
}

// newReviewCmd is `halfopen review`.
func newReviewCmd() *cobra.Command {
	var opt reviewOptions
	values := make(map[string]*[]string)
	c := &cobra.Command{
		Use:   "review LOGDIR [KEY:VALUE...]",
		Short: "List and prove decision logs",
		Long: "review lists the records of a decision log, one line each. LOGDIR is a directory, one of its files, or - for stdin.\n" +
			"Filters combine: a record must fit all of them, and of several values of one (separated by commas) it must fit one. They are\n" +
			"given as flags or as words: --reason syn-established and reason:syn-established are the same.\n" +
			"Beside a directory's logs review keeps an index (" + index.FileName + "), so that the first records are there at once.\n" +
			"With --flow alone it tells that connection's life: who sent what, what the gateway did with it and why, what it made itself.\n" +
			"With --trouble it says what went wrong for the users of connections, grouped, the most telling first; it then ends with status 1\n" +
			"where something did.\n" +
			"With --outcomes it tells of each connection how it went for its users, joined with what the gateway did about it; several logs may be\n" +
			"given then.",
		Example: "  halfopen review /var/log/halfopen --verdict drop --since 1h\n" +
			"  halfopen review /var/log/halfopen reason:syn-established,late-after-expiry src:10.0.0.0/8 since:1h\n" +
			"  halfopen review /var/log/halfopen -f --verdict drop\n" +
			"  halfopen review /var/log/halfopen --trouble --since 24h\n" +
			"  halfopen review gw1/log gw2/log --outcomes -o csv > outcomes.csv\n" +
			"  halfopen review /var/log/halfopen --flow 1234567890123\n" +
			"  halfopen review /var/log/halfopen --flow 1234567890123 --svg > connection.svg\n" +
			"  halfopen review /var/log/halfopen --flow 1234567890123 -o json | jq .decision\n" +
			"  halfopen review shadow /var/log/halfopen\n" +
			"  halfopen review verify /var/log/halfopen",
		Args: reviewArgs,
		RunE: func(c *cobra.Command, args []string) error {
			logs, words := args[:1], args[1:]
			if opt.outcomes {
				logs, words = splitLogs(args)
			}
			f, err := reviewFilter(values, words, time.Now())
			if err != nil {
				return err
			}
			if err := opt.check(args[0]); err != nil {
				return err
			}
			switch flow, story := oneFlow(f, opt); {
			case opt.outcomes:
				return listOutcomes(c, logs, f, opt)
			case opt.trouble:
				return listTrouble(c, args[0], f, opt)
			case story:
				return tellFlow(c, args[0], flow, opt.svg)
			case opt.svg:
				return usagef("--svg draws one connection: it wants --flow with its number, and no other filter")
			}
			return listRecords(c, args[0], f, opt)
		},
	}
	fl := c.Flags()
	addFilterFlags(fl, values)
	fl.IntVar(&opt.limit, "limit", 0, "at most so many records (0: all; with -f: how many of those that are there, 10)")
	fl.BoolVar(&opt.reverse, "reverse", false, "newest first (directories only)")
	fl.BoolVarP(&opt.follow, "follow", "f", false, "print records as they come, across files, until interrupted (directories only)")
	fl.BoolVar(&opt.trouble, "trouble", false, "say what went wrong for users, grouped; filters pick cases then")
	fl.BoolVar(&opt.outcomes, "outcomes", false, "tell of each connection how it went for its users; filters pick connections then, and there may be several logs")
	fl.BoolVar(&opt.svg, "svg", false, "with --flow: draw the connection's life as SVG")
	fl.StringVarP(&opt.output, "output", "o", "text", "text, json for the log's own lines, or csv")
	c.AddCommand(newReviewVerifyCmd(), newReviewExportCmd(), newReviewServeCmd(), newReviewShadowCmd())
	return c
}

// addFilterFlags adds the flags that pick records, for [reviewFilter].
func addFilterFlags(fl *pflag.FlagSet, values map[string]*[]string) {
	for _, k := range filterFlags {
		values[k.key] = fl.StringArray(k.key, nil, k.usage)
	}
}

// reviewArgs wants a log and words of a filter.
func reviewArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("expected a log's directory, one of its files, or -")
	}
	if several, _ := c.Flags().GetBool("outcomes"); several {
		return nil
	}
	for _, a := range args[1:] {
		if !strings.Contains(a, ":") {
			return fmt.Errorf("%q behind the log, expected key:value, for example reason:syn-established", a)
		}
	}
	return nil
}

// reviewFilter makes the filter of flags and words.
func reviewFilter(flags map[string]*[]string, words []string, now time.Time) (index.Filter, error) {
	var f index.Filter
	for _, k := range filterFlags {
		for _, v := range *flags[k.key] {
			if err := f.SetList(k.key, v, now); err != nil {
				return f, usagef("--%v", err)
			}
		}
	}
	for _, w := range words {
		key, value, _ := strings.Cut(w, ":")
		if err := f.SetList(key, value, now); err != nil {
			return f, usagef("%v", err)
		}
	}
	return f, nil
}

// check finds flags that do not go together.
func (o *reviewOptions) check(path string) error {
	switch format := review.Format(o.output); format {
	case review.Text, review.JSON, review.CSV:
	default:
		return usagef("-o %q: want text, json or csv", o.output)
	}
	if o.limit < 0 {
		return usagef("--limit %d: want a number from 0", o.limit)
	}
	if o.reverse && o.follow {
		return usagef("--reverse and -f exclude each other")
	}
	if path == "-" && (o.reverse || o.follow) {
		return usagef("--reverse and -f want a directory, and stdin is none")
	}
	return nil
}

// newReviewVerifyCmd is `halfopen review verify`.
func newReviewVerifyCmd() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "verify LOGDIR",
		Short: "Prove that a log explains every packet that reached the gateway",
		Long: "verify sums up each run of the gateway in a log and holds it against the kernel's counter in front of the queue:\n" +
			"counter = decision records + packets counted in flow records + suppressed records + gaps.\n" +
			"It ends with status 1 if something is missing, twice there or damaged, and says what.",
		Example: "  halfopen review verify /var/log/halfopen\n  halfopen review verify -o json /var/log/halfopen | jq '.runs[] | {run, status}'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			rep, err := review.Verify(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(rep)
			} else {
				err = rep.WriteText(c.OutOrStdout())
			}
			if err == nil && !rep.OK {
				err = errFound
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// wantsJSON reads -o of verbs that print text or JSON.
func wantsJSON(output string) (bool, error) {
	switch output {
	case "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, usagef("-o %q: want text or json", output)
}
