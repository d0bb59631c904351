package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/review/trial"
)

// planOptions are the flags of `halfopen experiment plan`.
type planOptions struct {
	output  string
	file    string
	name    string
	effects []string
	power   float64
	alpha   float64
}

func newExperimentPlanCmd() *cobra.Command {
	var opt planOptions
	c := &cobra.Command{
		Use:   "plan LOGDIR...",
		Short: "Say what an experiment could find, from logs of past traffic",
		Long: "plan reads logs of a gateway as it is now and says for each metric the smallest effect that an experiment finds after 1, 7,\n" +
			"14 and 28 days, and how long it takes to find a given one. Without --experiment it plans two arms of half of all clients\n" +
			"each. Effects are in the metric's unit: 2% are two points of a share, 50ms a time, 0.1 a ratio.",
		Example: "  halfopen experiment plan /var/log/halfopen\n" +
			"  halfopen experiment plan /var/log/halfopen --experiment idle.yaml --effect connect-failure=1%\n" +
			"  halfopen experiment plan /var/log/halfopen --effect connect-time=50ms -o json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return opt.run(c, args) },
	}
	fl := c.Flags()
	fl.StringVarP(&opt.output, "output", "o", "text", "text or json")
	fl.StringVar(&opt.file, "experiment", "", "file of the experiment (see docs/experiments.md): its unit, match, share, arms and weights")
	fl.StringVar(&opt.name, "name", "", "of the experiment, where the file has several")
	fl.StringArrayVar(&opt.effects, "effect", nil, "METRIC=DIFFERENCE that is to be found; may be given again")
	fl.Float64Var(&opt.power, "power", 0.8, "chance to find an effect that is there")
	fl.Float64Var(&opt.alpha, "alpha", 0.05, "chance of naming an effect where there is none, over all metrics and arms")
	return c
}

func (o *planOptions) run(c *cobra.Command, logs []string) error {
	if o.output != "text" && o.output != "json" {
		return usagef("-o %q: text or json", o.output)
	}
	if !(o.power > 0 && o.power < 1) {
		return usagef("--power %v: more than 0 and less than 1", o.power)
	}
	if !(o.alpha > 0 && o.alpha <= 0.5) {
		return usagef("--alpha %v: more than 0 and at most 0.5", o.alpha)
	}
	opt := experiment.PlanOptions{Alpha: o.alpha, Power: o.power, Effects: map[experiment.Metric]float64{}}
	for _, text := range o.effects {
		m, v, err := parseEffect(text)
		if err != nil {
			return err
		}
		opt.Effects[m] = v
	}
	var err error
	if opt.Spec, err = o.spec(); err != nil {
		return err
	}
	if err := readable(logs); err != nil {
		return err
	}
	plan, err := trial.LoadPlan(c.Context(), logs, opt)
	if err != nil {
		return err
	}
	if o.output == "json" {
		e := json.NewEncoder(c.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(plan)
	}
	return trial.WritePlan(c.OutOrStdout(), plan)
}

// maxExperimentFile is the most octets that a file of experiments may have.
const maxExperimentFile = policy.MaxFileSize

// spec reads the experiment of a file; nil where none is given.
func (o *planOptions) spec() (*experiment.Spec, error) {
	if o.file == "" {
		return nil, nil
	}
	data, err := readUpTo(o.file, maxExperimentFile)
	if err != nil {
		return nil, fmt.Errorf("--experiment: %w", err)
	}
	set, problems := experiment.Parse(filepath.ToSlash(o.file), data)
	if set == nil {
		return nil, problems
	}
	if o.name != "" {
		if s := set.Find(o.name); s != nil {
			return s, nil
		}
		return nil, fmt.Errorf("--name: %s has no experiment %s", o.file, policy.Quote(o.name))
	}
	if len(set.Specs) != 1 {
		return nil, usagef("%s has %d experiments: say which with --name", o.file, len(set.Specs))
	}
	return &set.Specs[0], nil
}

// parseEffect reads METRIC=DIFFERENCE.
func parseEffect(text string) (experiment.Metric, float64, error) {
	word, value, ok := strings.Cut(text, "=")
	m, known := experiment.ParseMetric(word)
	if !ok || !known || m.Descriptive() {
		var words []string
		for _, m := range experiment.Ranked() {
			words = append(words, m.String())
		}
		return 0, 0, usagef("--effect %q: METRIC=DIFFERENCE, with one of %s", text, strings.Join(words, ", "))
	}
	v, err := parseDifference(m, value)
	if err != nil {
		return 0, 0, usagef("--effect %q: %v", text, err)
	}
	return m, v, nil
}

// parseDifference reads a difference in a metric's unit.
func parseDifference(m experiment.Metric, value string) (float64, error) {
	var v float64
	var err error
	expected := "a number, for example 0.1"
	switch {
	case m.Kind() == experiment.KindShare:
		expected = "points, for example 2%"
		number, percent := strings.CutSuffix(value, "%")
		if v, err = strconv.ParseFloat(number, 64); percent {
			v /= 100
		}
		if err == nil && (v > 1 || v < -1) {
			return 0, fmt.Errorf("%s is more than all, expected %s", value, expected)
		}
	case m.UnitWord() == "s":
		expected = "a time, for example 50ms"
		d, e := policy.ParseDuration(value)
		v, err = d.Seconds(), e
	default:
		v, err = strconv.ParseFloat(value, 64)
	}
	if err != nil || v != v || v == 0 || v > 1e9 || v < -1e9 {
		return 0, fmt.Errorf("expected %s", expected)
	}
	return v, nil
}
