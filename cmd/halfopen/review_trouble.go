package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/trouble"
)

// listTrouble is `halfopen review LOGDIR --trouble`.
func listTrouble(c *cobra.Command, path string, f index.Filter, opt reviewOptions) error {
	pick, err := caseFilter(f)
	if err != nil {
		return err
	}
	format := review.Format(opt.output)
	if opt.limit != 0 || opt.reverse || opt.follow || opt.svg || format == review.CSV {
		return usagef("--trouble prints groups: --limit, --reverse, -f, --svg and -o csv do not go with it")
	}
	r, err := findTrouble(c, path, pick)
	if err != nil {
		return err
	}
	if format == review.JSON {
		err = r.WriteJSON(c.OutOrStdout())
	} else {
		err = r.WriteText(c.OutOrStdout(), func(k *trouble.Case) string { return howToSee(path, k) })
	}
	if err == nil && r.Troubled > 0 {
		err = errFound
	}
	return err
}

// findTrouble asks the index of a directory, which searches for trouble as it is made; of anything else, all is read.
func findTrouble(c *cobra.Command, path string, pick trouble.Filter) (*trouble.Report, error) {
	if st, err := os.Stat(path); path != "-" && err == nil && st.IsDir() {
		r, err := troubleIndexed(c, path, pick)
		if err == nil || errors.Is(err, index.ErrNoLog) || c.Context() != nil && c.Context().Err() != nil {
			return r, explainFlow(err, path, 0)
		}
		fmt.Fprintln(c.ErrOrStderr(), err)
		fmt.Fprintln(c.ErrOrStderr(), "review: reading the log itself, which takes longer")
	}
	r, bad, err := trouble.Read(path, pick)
	for _, b := range bad {
		fmt.Fprintln(c.ErrOrStderr(), b)
	}
	return r, err
}

func troubleIndexed(c *cobra.Command, dir string, pick trouble.Filter) (*trouble.Report, error) {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	say := func(s string) { fmt.Fprintln(c.ErrOrStderr(), s) }
	x, err := index.Open(ctx, dir, index.Options{Warn: say, Progress: progress(c.ErrOrStderr())})
	if x != nil {
		defer x.Close()
	}
	if err != nil {
		return nil, err
	}
	r, err := x.Trouble(ctx, pick)
	if err != nil {
		return nil, err
	}
	problems, err := x.Problems(ctx)
	for _, p := range problems {
		say(p.String())
	}
	return r, err
}

// caseFilter makes a filter of cases of one of records.
func caseFilter(f index.Filter) (trouble.Filter, error) {
	if len(f.Event)+len(f.Rev)+len(f.Outcome)+len(f.CommunityID) > 0 {
		return trouble.Filter{}, usagef("--trouble: cases are not picked by event, rev, outcome or community-id")
	}
	return trouble.Filter{Since: f.Since, Until: f.Until, Addr: f.Addr, Src: f.Src, Dst: f.Dst, Port: f.Port, SrcPort: f.SrcPort, DstPort: f.DstPort,
		Flow: f.Flow, Verdict: f.Verdict, Reason: f.Reason, Rule: f.Rule, Arm: f.Arm}, nil
}

// howToSee is the command that shows more of a case: the connection's story, or where there is no connection the records between its ends.
func howToSee(path string, k *trouble.Case) string {
	if k.FlowID != 0 {
		return fmt.Sprintf("halfopen review %s --flow %d", quoted(path), k.FlowID)
	}
	return fmt.Sprintf("halfopen review %s --addr %s --port %d --since %s", quoted(path), k.Client.Addr(), k.Client.Port(), k.At.Format(time.RFC3339Nano))
}

// quoted makes a path one word for a shell.
func quoted(path string) string {
	if path != "" && !strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+:@%,", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
