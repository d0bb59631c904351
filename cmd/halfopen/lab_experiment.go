package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"halfopen/proxy/lab"
)

func newLabExperimentCmd() *cobra.Command {
	o := lab.ExperimentOptions{}
	var output string
	c := &cobra.Command{
		Use:   "experiment [QUESTION]",
		Short: "Let clients with known habits live through a policy experiment, and hold its report against the truth",
		Long: `experiment plays hundreds of clients, whose habits are drawn from a seed, against servers behind a gateway that runs a policy experiment.
What each policy does to these clients is known before a packet is sent, so the report on the gateway's log can be held against
the truth. Questions: ` + strings.Join(lab.ExperimentQuestions(), ", ") + `; without one, each in turn. Exit status 1: a report contradicts the truth.`,
		Example: `  halfopen lab experiment
  halfopen lab experiment idle --seed 7 --clients 500 --duration 2m
  halfopen lab experiment idle --switchback --duration 3m
  halfopen lab experiment stale-syn -o json --out /tmp/stale`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usagef("-o %q: want text or json", output)
			}
			questions := lab.ExperimentQuestions()
			if len(args) > 0 {
				questions = args
			}
			for _, q := range questions {
				o.Question = q
				if err := o.Check(); err != nil {
					return &usageError{err, "lab experiment "}
				}
			}
			results, err := experiments(c, o, questions)
			if err != nil {
				return err
			}
			if output == "json" {
				if err := lab.WriteExperimentsJSON(c.OutOrStdout(), results); err != nil {
					return err
				}
			}
			for i, r := range results {
				if output == "text" {
					if i > 0 {
						fmt.Fprintln(c.OutOrStdout())
					}
					if err := r.WriteText(c.OutOrStdout()); err != nil {
						return err
					}
				}
			}
			for _, r := range results {
				if r.Contradicted() {
					return errFound
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.Uint64Var(&o.Seed, "seed", 1, "of the clients' habits")
	f.IntVar(&o.Clients, "clients", lab.DefaultClients, "clients, each with an address of its own")
	f.DurationVar(&o.Span, "duration", lab.DefaultSpan, "conversations begin within this time; the last ones end some 20 s later")
	f.BoolVar(&o.Switchback, "switchback", false, "let the whole gateway alternate between the arms by time (question idle)")
	f.StringVar(&o.Out, "out", "", "`DIR` for log, plan and what each client experienced (default: a new temporary one)")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// experiments plays the questions one after the other; of several each has a directory of its own in --out.
func experiments(c *cobra.Command, o lab.ExperimentOptions, questions []string) (results []*lab.ExperimentReport, err error) {
	out := o.Out
	for _, q := range questions {
		o.Question = q
		if out != "" && len(questions) > 1 {
			o.Out = filepath.Join(out, q)
		}
		r, err := lab.RunExperiment(c.Context(), o)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}
