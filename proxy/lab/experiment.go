package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy/experiment"
	"halfopen/proxy/lab/habits"
	"halfopen/proxy/review/outcome"
	"halfopen/proxy/review/trial"
)

// ExperimentOptions say what `halfopen lab experiment` plays.
type ExperimentOptions struct {
	Question string        // a name of habits.Questions
	Seed     uint64        // of the clients' habits
	Clients  int           // units
	Span     time.Duration // conversations begin within it; the last ones end some 20 s later
	Out      string        // directory for everything that stays; "" for a new one below the system's temporary directory
	Binary   string        // the halfopen program that the gateway runs; "" means this one
	// Switchback lets the whole gateway alternate between the arms, block by block, in place of dealing clients out to them.
	Switchback bool
}

// Defaults of an experiment.
const (
	DefaultClients = 300
	DefaultSpan    = time.Minute
)

// switchBlock is the length of a switchback's blocks, and minBlocks how many there must be: six of each arm.
const (
	switchBlock = 10 * time.Second
	minBlocks   = 12
)

// Check says what is wrong with the options; nil where nothing is.
func (o *ExperimentOptions) Check() error {
	q := habits.Find(o.Question)
	switch {
	case q == nil:
		return fmt.Errorf("no question %q (there are %s)", o.Question, strings.Join(ExperimentQuestions(), ", "))
	case o.Switchback && !q.Switches:
		return fmt.Errorf("question %s is none for a switchback: what an arm does to a connection shows after its block", o.Question)
	case o.Switchback && o.Span < minBlocks*switchBlock:
		return fmt.Errorf("a switchback over %v: want at least %v, for %d blocks", o.Span, minBlocks*switchBlock, minBlocks)
	}
	return habits.CheckSize(o.Clients, o.Span)
}

// ExperimentQuestions are the names of the questions that there are.
func ExperimentQuestions() (names []string) {
	for _, q := range habits.Questions() {
		names = append(names, q.Name)
	}
	return names
}

// RunExperiment lets clients with planned habits live through an experiment on a gateway, and holds the report on its log against
// the truth. Whatever happens, also when ctx ends, the namespaces and processes are gone when it returns; the files in o.Out stay. It needs root.
func RunExperiment(ctx context.Context, o ExperimentOptions) (*ExperimentReport, error) {
	ownDir := o.Out == ""
	x, err := newAssay(o)
	if err != nil {
		return nil, err
	}
	report, err := x.run(ctx)
	if err = errors.Join(err, x.close()); err == nil {
		return report, nil
	}
	if ownDir && ctx.Err() != nil { // broken off: nobody looks at half a run
		err = errors.Join(err, os.RemoveAll(x.Out))
	}
	return nil, err
}

// assay is one experiment in the lab: everything that must be taken down again.
type assay struct {
	ExperimentOptions
	question *habits.Question
	plan     *habits.Plan
	spec     *experiment.Spec
	top      *Topology
	scratch  string
}

func newAssay(o ExperimentOptions) (*assay, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if !isRoot() {
		return nil, errNotRoot
	}
	q := habits.Find(o.Question)
	x := &assay{ExperimentOptions: o, question: q}
	var err error
	if x.plan, err = q.Make(o.Seed, o.Clients, o.Span); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	place := Options{Out: o.Out, Binary: o.Binary}
	if err := place.fill(); err != nil {
		return nil, err
	}
	x.Out, x.Binary = place.Out, place.Binary
	RemoveStale()
	if x.scratch, err = newScratch(); err != nil {
		return nil, err
	}
	if x.top, err = Build(false); err == nil {
		err = x.top.settleCrowd()
	}
	if err == nil {
		err = x.writeFiles()
	}
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

// close takes the assay down. The files in Out stay.
func (x *assay) close() error {
	var errs []error
	if x.top != nil {
		errs = append(errs, x.top.Close())
	}
	if x.scratch != "" {
		errs = append(errs, os.RemoveAll(x.scratch))
	}
	return errors.Join(errs...)
}

func (x *assay) file(name string) string { return filepath.Join(x.Out, name) }

func (x *assay) policyFile(arm *habits.Arm) string { return x.file(arm.Name + ".yaml") }

// writeFiles writes what the run is made of: the plan and the arms' policies.
func (x *assay) writeFiles() error {
	for _, a := range x.question.Arms() {
		if err := os.WriteFile(x.policyFile(a), []byte(a.Policy), 0o644); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	b, err := json.MarshalIndent(x.plan, "", " ")
	if err == nil {
		err = os.WriteFile(filesIn(x.Out).Plan, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// play runs the gateway with the policy and further arguments, and lets the crowd live through its plan.
func (x *assay) play(ctx context.Context, policy, logDir string, more ...string) (_ *testimony, err error) {
	h, err := openHall(x.top.Server)
	if err != nil {
		return nil, err
	}
	s := &testimony{}
	defer func() { s.served = h.close() }()
	g, err := startGateway(ctx, x.top.Gateway, gatewayConfig{
		binary: x.Binary, policy: policy, logDir: logDir, more: more, stderr: x.file("gateway.stderr"), runDir: x.scratch,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	c := &crowd{ns: x.top.Client, plan: x.plan, patience: x.question.Patience}
	if err := c.attend(ctx); err != nil {
		return nil, err
	}
	s.lived = c.lived
	return s, pause(ctx, crowdSettle+x.question.Linger)
}

// crowdSettle lets the last segments reach the log.
const crowdSettle = 500 * time.Millisecond

// configure writes the experiment's configuration and reads it as the gateway will.
func (x *assay) configure(now time.Time) error {
	q := x.question
	text := fmt.Sprintf(`# halfopen lab experiment %s --seed %d
experiment:
  name: lab-%s
  salt: lab-%s-%d
`, q.Name, x.Seed, q.Name, q.Name, x.Seed)
	if x.Switchback {
		text += fmt.Sprintf("  start: %s\n  switchback: {block: %s, seed: %d}\n", now.UTC().Truncate(time.Second).Format(time.RFC3339), switchBlock, x.Seed)
	} else {
		text += "  unit: client\n"
	}
	text += fmt.Sprintf(`  arms:
    - {name: %s, weight: 50, policy: gateway}
    - {name: %s, weight: 50, policy: %s}
`, q.Control.Name, q.Treatment.Name, filepath.Base(x.policyFile(&q.Treatment)))
	file := filesIn(x.Out).Experiment
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	set, problems := experiment.Parse(file, []byte(text))
	if set == nil {
		return fmt.Errorf("lab: %w", problems)
	}
	x.spec = &set.Specs[0]
	return nil
}

// arm is the one that a connection belongs to.
func (x *assay) arm(l *Lived) *habits.Arm {
	tu := conntrack.MakeTuple(l.From, l.To)
	if x.spec.ArmOf(l.Dialled, &tu) == 0 {
		return &x.question.Control
	}
	return &x.question.Treatment
}

// run plays the plan under the experiment and reports.
func (x *assay) run(ctx context.Context) (*ExperimentReport, error) {
	files := filesIn(x.Out)
	if _, err := os.Stat(files.Log); err == nil {
		return nil, fmt.Errorf("lab: %s is there already: an experiment wants a log of its own", files.Log)
	}
	if err := x.configure(time.Now()); err != nil {
		return nil, err
	}
	s, err := x.play(ctx, x.policyFile(&x.question.Control), files.Log, "--experiment", files.Experiment)
	if err != nil {
		return nil, err
	}
	for _, l := range s.lived {
		l.Arm = x.arm(l).Name
	}
	if err := errors.Join(writeLines(files.Clients, s.lived), writeLines(files.Servers, s.served)); err != nil {
		return nil, err
	}
	reports, err := trial.Load(ctx, []string{files.Log}, trial.Ask{Name: x.spec.Name, Final: true, Seed: x.Seed})
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	data, err := outcome.Read(ctx, []string{files.Log}, outcome.Options{})
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return x.report(reports[0], data.Outcomes, s), nil
}

// report holds what was lived, foretold and reported against each other.
func (x *assay) report(rep *experiment.Report, outcomes []experiment.Outcome, s *testimony) *ExperimentReport {
	q := x.question
	foretold := map[string][]habits.Expected{}
	for _, a := range q.Arms() {
		foretold[a.Name] = q.Expect(x.plan, a)
	}
	expected := func(l *Lived) habits.Expected {
		if l.Attempt > 1 {
			return habits.Expected{Connects: true}
		}
		return foretold[l.Arm][l.Talk-1]
	}
	r := &ExperimentReport{
		Question: q.Name, Asks: q.Asks, Seed: x.Seed, Clients: x.Clients, SpanS: x.Span.Seconds(), Switchback: x.Switchback,
		Control: q.Control.Name, Treatment: q.Treatment.Name, Better: q.Better,
		Talks: len(x.plan.Talks), Connections: len(s.lived), Report: rep, Files: filesIn(x.Out), Contradictions: []string{},
	}
	for _, l := range s.lived {
		r.LateS = max(r.LateS, l.Late)
		e := expected(l)
		if l.Connected == e.Connects && l.Unanswered == e.Broken {
			continue
		}
		r.Unforetold++
		if len(r.Surprises) < maxExamples {
			r.Surprises = append(r.Surprises, fmt.Sprintf("talk %d (%s), attempt %d of %v, arm %s: connected %v and unanswered %v, foretold %v and %v (%s)",
				l.Talk, l.Habit, l.Attempt, l.From, l.Arm, l.Connected, l.Unanswered, e.Connects, e.Broken, l.Error))
		}
	}
	r.Agreement = agree(s.lived, outcomes, func(l *Lived) bool { e := expected(l); return e.StillThere })
	r.Agreement.witness(s)
	r.weigh(q, q.Truths(x.plan), s.lived, func(l *Lived, metric string) float64 { e := expected(l); return e.Foretold(metric) })
	return r
}

// writeLines writes records, one JSON object a line.
func writeLines[T any](file string, records []T) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("lab: %w", cerr)
		}
	}()
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("lab: %s: %w", file, err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
