package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
)

// newReviewCmd is `halfopen review`.
func newReviewCmd() *cobra.Command {
	var f review.Filter
	var since, output string
	c := &cobra.Command{
		Use:   "review LOGDIR",
		Short: "List and prove decision logs",
		Long: "review lists the records of a decision log, one line each. LOGDIR is a directory, one of its files, or - for stdin.\n" +
			"Filters combine: a record must fit all of them; --reason and --verdict pick decisions only.",
		Example: "  halfopen review /var/log/halfopen --verdict drop --since 1h\n" +
			"  halfopen review /var/log/halfopen --flow 1234567890123 -o json | jq .decision\n" +
			"  halfopen review verify /var/log/halfopen",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			if f.Since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			return list(c, args[0], f, asJSON)
		},
	}
	fl := c.Flags()
	fl.Uint64Var(&f.Flow, "flow", 0, "only records of this flow id")
	fl.StringVar(&f.Reason, "reason", "", "only decisions with this reason (a finding's word)")
	fl.StringVar(&f.Verdict, "verdict", "", "only decisions with this verdict: forward, drop, rewrite or hold")
	fl.StringVar(&f.Arm, "arm", "", "only records of this arm of an experiment")
	fl.StringVar(&since, "since", "", "only records from then on: a duration before now (1h30m) or a time (2026-11-23T18:00:00Z)")
	fl.StringVarP(&output, "output", "o", "text", "text, or json for the log's own lines")
	c.AddCommand(newReviewVerifyCmd())
	return c
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

func list(c *cobra.Command, path string, f review.Filter, asJSON bool) error {
	out := bufio.NewWriterSize(c.OutOrStdout(), 64<<10)
	done, err := review.List(out, path, f, asJSON)
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	for _, b := range done.Bad {
		fmt.Fprintln(c.ErrOrStderr(), b)
	}
	if err != nil || done.Records > 0 {
		return err
	}
	if st, serr := os.Stat(path); serr == nil && st.IsDir() {
		if files, ferr := decisionlog.Files(path); ferr == nil && len(files) == 0 {
			return fmt.Errorf("review: no decision log in %s", path)
		}
	}
	if _, known := conntrack.FindingByWord(f.Reason); f.Reason != "" && !known {
		fmt.Fprintf(c.ErrOrStderr(), "no record picked; %q is no reason that this version knows\n", f.Reason)
	}
	switch f.Verdict {
	case "", decisionlog.VerdictForward, decisionlog.VerdictDrop, decisionlog.VerdictRewrite, decisionlog.VerdictHold:
	default:
		fmt.Fprintf(c.ErrOrStderr(), "no record picked; %q is no verdict (forward, drop, rewrite, hold)\n", f.Verdict)
	}
	return nil
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

// parseSince reads a duration before now, or a time with or without its zone's colon.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--since %q: want a duration (1h30m) or a time (2026-11-23T18:00:00Z)", s)
}
