package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy"
)

// checkOptions are the flags of `halfopen experiment check`.
type checkOptions struct {
	policy, output string
	units          []string
	inConfig       bool
}

func newExperimentCheckCmd() *cobra.Command {
	var opt checkOptions
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a file of experiments, and say what it means",
		Long: "check reads experiments and the policies of their arms, reports every problem at once (status 1), and says what a good file\n" +
			"means: arms, revisions, in what each differs from the control, and for some units, or those of --unit, which arm they are\n" +
			"in. With -o json problems are one JSON object a line, and a good file is one object.",
		Example: "  halfopen experiment check exp.yaml --policy office.yaml\n" +
			"  halfopen experiment check exp.yaml --unit 10.2.0.17 --unit 2001:db8::1\n" +
			"  halfopen experiment check exp.yaml --unit '10.2.0.17:721 > 10.0.1.9:515'\n" +
			"  halfopen experiment check /etc/halfopen/run.yaml --config",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return opt.run(c, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&opt.policy, "policy", "observe", "what the gateway enforces, for arms whose policy is gateway (`NAME|FILE`)")
	f.StringArrayVar(&opt.units, "unit", nil, "say the arm of this `ADDR` (or ADDR:PORT > ADDR:PORT; repeatable)")
	f.BoolVar(&opt.inConfig, "config", false, "FILE is one of 'run --config', whose key experiment it is")
	f.StringVarP(&opt.output, "output", "o", "text", "text or json")
	return c
}

func newExperimentSchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of experiment files, for editors",
		Example: "  halfopen experiment schema > halfopen-experiment.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(experiment.Schema())
			return err
		},
	}
}

// unitArm is where a unit belongs.
type unitArm struct {
	Experiment string `json:"experiment"`
	Unit       string `json:"unit"`
	Arm        string `json:"arm"`            // "" for none
	Place      int    `json:"place"`          // on the weights, of 10,000
	SharePlace int    `json:"share_place"`    // on the share, of 10,000
	Match      bool   `json:"match"`          // the experiment's match holds
	Note       string `json:"note,omitempty"` // what was assumed of the connection
}

// block is a block of a switchback's schedule.
type block struct {
	Experiment string    `json:"experiment"`
	Start      time.Time `json:"start"`
	Arm        string    `json:"arm"`
}

// checked is what a good file means.
type checked struct {
	File        string            `json:"file"`
	Experiments []experiment.Spec `json:"experiments"`
	Units       []unitArm         `json:"units,omitempty"`
	Blocks      []block           `json:"blocks,omitempty"`
	Notes       []string          `json:"notes"`

	pols    []*policy.Policy // by number less one, the gateway's too
	set     *experiment.Set
	gateway *policy.Policy
}

func (opt *checkOptions) run(c *cobra.Command, file string) error {
	asJSON, err := wantsJSON(opt.output)
	if err != nil {
		return err
	}
	var ends []conntrack.Tuple
	for _, text := range opt.units {
		tu, err := parseUnit(text)
		if err != nil {
			return err
		}
		ends = append(ends, tu)
	}
	gateway, err := openPolicy(opt.policy, nil)
	if err != nil {
		return err
	}
	set, pols, err := proxy.LoadExperiments(file, opt.inConfig, gateway)
	if err != nil {
		return reportExperiment(c, err, asJSON)
	}
	if opt.inConfig && len(set.Specs) == 0 {
		return fmt.Errorf("%s has no key experiment with an experiment", file)
	}
	for i, p := range pols {
		if p == nil {
			pols[i] = gateway
		}
	}
	x := &checked{File: file, Experiments: set.Specs, Notes: []string{}, set: set, pols: pols, gateway: gateway}
	x.look(ends)
	if asJSON {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(x)
	}
	return x.text(c.OutOrStdout())
}

// reportExperiment prints what is wrong with a file: problems to stdout, as policy check does; anything else is the error.
func reportExperiment(c *cobra.Command, err error, asJSON bool) error {
	var problems policy.Problems
	if !errors.As(err, &problems) {
		return err
	}
	if !asJSON {
		fmt.Fprintln(c.OutOrStdout(), err)
		return errFound
	}
	enc := json.NewEncoder(c.OutOrStdout())
	for i := range problems {
		if err := enc.Encode(&problems[i]); err != nil {
			return err
		}
	}
	return errFound
}

// parseUnit reads a client's address, or both ends with or without ports; what is not said is zero.
func parseUnit(text string) (tu conntrack.Tuple, err error) {
	from, to, both := strings.Cut(text, ">")
	if tu.Src, tu.SrcPort, err = parseEnd(from); err == nil && both {
		tu.Dst, tu.DstPort, err = parseEnd(to)
	}
	if err != nil {
		return tu, usagef("--unit %q: want an address, or two ends such as 10.0.0.1:721 > 10.0.1.9:515", text)
	}
	return tu, nil
}

// look finds out where units are and what has no effect.
func (x *checked) look(ends []conntrack.Tuple) {
	for _, a := range x.set.Arms() {
		if keys := proxy.SharedKeys(x.gateway, x.pols[a.Number-1]); len(keys) > 0 {
			x.Notes = append(x.Notes, fmt.Sprintf("%s: what differs from the gateway's policy in %s has no effect: all arms share one table and one log", a.Arm.Name, strings.Join(keys, ", ")))
		}
		if a.Arm != &a.Spec.Arms[0] && !a.Arm.AA && a.Arm.Rev == a.Spec.Arms[0].Rev {
			x.Notes = append(x.Notes, fmt.Sprintf("%s: its policy is the control's; say aa: true if that is meant", a.Arm.Name))
		}
	}
	salts := map[string]string{}
	for i := range x.set.Specs {
		s := &x.set.Specs[i]
		if other, again := salts[s.Salt]; again {
			x.Notes = append(x.Notes, fmt.Sprintf("%s has the salt of %s: a unit is at the same place in both", s.Name, other))
		}
		salts[s.Salt] = s.Name
		if s.Switchback != nil {
			for k := range int64(2 * len(s.Arms)) {
				x.Blocks = append(x.Blocks, block{s.Name, s.BlockStart(k), s.Arms[s.ArmOfBlock(k)].Name})
			}
			continue
		}
		if len(ends) == 0 {
			for _, tu := range exampleUnits(s) {
				x.Units = append(x.Units, unitPlace(s, tu, ""))
			}
		}
		for _, tu := range ends {
			full, note := complete(s, tu)
			x.Units = append(x.Units, unitPlace(s, full, note))
		}
	}
}

// unitPlace says where the unit of a connection belongs while the experiment runs.
func unitPlace(s *experiment.Spec, tu conntrack.Tuple, note string) unitArm {
	u := unitArm{Experiment: s.Name, Unit: s.UnitOf(&tu), Match: s.Matches(&tu), Note: note}
	u.Place, u.SharePlace = s.Place(&tu)
	if i := s.ArmOf(runningTime(s), &tu); i >= 0 {
		u.Arm = s.Arms[i].Name
	}
	return u
}

// runningTime is a moment at which the experiment runs.
func runningTime(s *experiment.Spec) time.Time {
	switch {
	case !s.Start.IsZero():
		return s.Start
	case !s.End.IsZero():
		return s.End.Add(-1)
	}
	return time.Now()
}
