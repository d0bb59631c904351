package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/trial"
	"halfopen/proxy/review/web"
)

// reportOptions are the flags of `halfopen experiment report`.
type reportOptions struct {
	output       string
	name         string
	since, until string
	final        bool
	alpha        float64
	seed         uint64
}

func newExperimentReportCmd() *cobra.Command {
	var opt reportOptions
	c := &cobra.Command{
		Use:   "report LOGDIR...",
		Short: "Say what an experiment shows, from the logs of one or several gateways",
		Long: "report reads decision logs, each of one gateway, and says for each experiment in one sentence what may be concluded, then\n" +
			"why. While an experiment runs it shows what may be looked at at any time; once it has ended (or with --final) the tests\n" +
			"that are for one look. Status 1: an arm does harm, the verdict is withheld, or there is none although the\n" +
			"experiment is over.",
		Example: "  halfopen experiment report /var/log/halfopen\n" +
			"  halfopen experiment report gateway-a/log gateway-b/log --name idle-5m --final\n" +
			"  halfopen experiment report /var/log/halfopen -o html > report.html\n" +
			"  halfopen experiment report /var/log/halfopen -o json | jq -r '.[0].verdict.sentence'",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return opt.run(c, args) },
	}
	fl := c.Flags()
	fl.StringVarP(&opt.output, "output", "o", "text", "text, json or html")
	fl.StringVar(&opt.name, "name", "", "of the experiment; without it all that the logs tell of")
	fl.StringVar(&opt.since, "since", "", "leave out connections that began before: a duration before now (36h) or a time (2026-12-01T08:00:00Z)")
	fl.StringVar(&opt.until, "until", "", "leave out connections that began then or later")
	fl.BoolVar(&opt.final, "final", false, "the experiment is over: make the tests that are for one look")
	fl.Float64Var(&opt.alpha, "alpha", 0.05, "chance of naming an effect where there is none, over all metrics and arms")
	fl.Uint64Var(&opt.seed, "seed", 0, "of what is drawn at random; the same logs with the same seed give the same report")
	return c
}

// ask makes the question of the flags.
func (o *reportOptions) ask(now time.Time) (ask trial.Ask, err error) {
	switch o.output {
	case "text", "json", "html":
	default:
		return ask, usagef("-o %q: text, json or html", o.output)
	}
	if !(o.alpha > 0 && o.alpha <= 0.5) {
		return ask, usagef("--alpha %v: more than 0 and at most 0.5", o.alpha)
	}
	ask = trial.Ask{Name: o.name, Final: o.final, Alpha: o.alpha, Seed: o.seed}
	if ask.Since, err = timeFlag("--since", o.since, now); err != nil {
		return ask, err
	}
	ask.Until, err = timeFlag("--until", o.until, now)
	return ask, err
}

// timeFlag reads a time as filters have it; "" is none.
func timeFlag(flag, value string, now time.Time) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, err := index.ParseTime(value, now)
	if err != nil {
		return t, usagef("%s %q: a duration before now (36h) or a time (2026-12-01T08:00:00Z)", flag, value)
	}
	return t, nil
}

func (o *reportOptions) run(c *cobra.Command, logs []string) error {
	ask, err := o.ask(time.Now())
	if err != nil {
		return err
	}
	if err := readable(logs); err != nil {
		return err
	}
	reports, err := trial.Load(c.Context(), logs, ask)
	if err != nil {
		return err
	}
	if err := o.write(c.OutOrStdout(), reports); err != nil {
		return err
	}
	for _, r := range reports {
		if r.Verdict.Kind.Found() {
			return errFound
		}
	}
	return nil
}

// readable checks that logs are there before anything is read, and are not given twice.
func readable(logs []string) error {
	var seen []os.FileInfo
	for _, path := range logs {
		st, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("experiment: %w", err)
		}
		for i, other := range seen {
			if os.SameFile(st, other) {
				return usagef("%s and %s are the same log: each of its connections would count twice", logs[i], path)
			}
		}
		seen = append(seen, st)
	}
	return nil
}

func (o *reportOptions) write(w io.Writer, reports []*experiment.Report) error {
	switch o.output {
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(reports)
	case "html":
		page, err := web.Standalone(reports)
		if err != nil {
			return err
		}
		_, err = w.Write(page)
		return err
	}
	var errs []error
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		errs = append(errs, trial.WriteText(w, r))
	}
	return errors.Join(errs...)
}
