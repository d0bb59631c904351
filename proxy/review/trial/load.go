package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/outcome"
)

// Ask says what is reported.
type Ask struct {
	Name  string    // of the experiment; "": all that the logs tell of
	Since time.Time // connections that began before are left out; zero: none
	Until time.Time // and those that began then or later
	Final bool      // it is over, whatever its end says: fixed tests, once
	Alpha float64   // 0: 0.05
	Seed  uint64    // of what resamples
}

// ErrNone is the error of logs without experiments.
var ErrNone = errors.New("experiment: the log tells of no experiment, expected experiment records: halfopen run --experiment FILE writes them")

// maxExperiments bounds the experiments that are reported at once.
const maxExperiments = 64

// Load reads logs, each of one gateway (a directory, or one file), and reports the experiments that they tell of, in the order in which
// they do. It is an error where they tell of none, or not of the one that was asked for.
func Load(ctx context.Context, logs []string, ask Ask) ([]*experiment.Report, error) {
	f, err := records(ctx, logs)
	if err != nil {
		return nil, err
	}
	picked, err := f.pick(ask.Name)
	if err != nil {
		return nil, err
	}
	accs := make([]*experiment.Accumulator, len(picked))
	opts := make([]experiment.Options, len(picked))
	for i, x := range picked {
		opts[i] = x.options(&ask, f.end, logs)
		accs[i] = experiment.NewAccumulator(x.Spec, opts[i])
	}
	data, err := outcome.Each(ctx, logs, outcome.Options{}, func(o *experiment.Outcome) error {
		if !ask.Since.IsZero() && o.Start.Before(ask.Since) || !ask.Until.IsZero() && !o.Start.Before(ask.Until) {
			return nil
		}
		o.Gateway = gatewayName(o.Gateway, logs)
		for _, a := range accs {
			a.Add(o)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]*experiment.Report, len(picked))
	for i, x := range picked {
		accs[i].Lost(lossOf(data), append(slices.Clone(x.Remarks), data.Caveats()...))
		out[i] = accs[i].Report()
	}
	return out, nil
}

// pick returns the experiments that are asked for.
func (f *found) pick(name string) ([]*Found, error) {
	var names []string
	var out []*Found
	for _, x := range f.list {
		names = append(names, x.Name())
		if (name == "" || name == x.Name()) && len(x.Spec.Arms) > 0 && len(out) < maxExperiments {
			out = append(out, x)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(names) == 0:
		return nil, ErrNone
	case slices.Contains(names, name) || name == "":
		return nil, fmt.Errorf("%w; the records of %s do not say what it is (event start with spec)", ErrNone, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("experiment: the log tells of no experiment %s, but of %s", policy.Quote(name), strings.Join(names, ", "))
}

// options are those of an experiment's analysis.
func (x *Found) options(ask *Ask, end time.Time, logs []string) experiment.Options {
	o := experiment.Options{Alpha: ask.Alpha, Final: ask.Final, Now: end, Seed: ask.Seed, Events: x.Events, Policies: x.policies(logs)}
	if !x.Spec.End.IsZero() && !end.Before(x.Spec.End) {
		o.Final = true
	}
	stopped := map[string]bool{}
	for _, e := range x.Events {
		if e.Kind == experiment.EventStop || e.Kind == experiment.EventGuardrail {
			stopped[e.Arm] = true
		}
		if (e.Kind == experiment.EventEnd || e.Kind == experiment.EventStop) && e.Arm == "" && !x.restarted(e.Time) {
			o.Final = true
		}
	}
	for i := range x.Spec.Arms { // nothing goes on where no arm gets connections any more
		if i > 0 && !stopped[x.Spec.Arms[i].Name] {
			return o
		}
	}
	o.Final = true
	return o
}

// restarted says whether the experiment began again after a time.
func (x *Found) restarted(t time.Time) bool {
	return slices.ContainsFunc(x.Events, func(e experiment.Event) bool { return e.Kind == experiment.EventStart && e.Time.After(t) })
}

// policies reads the arms' policies from the texts that are kept beside the logs. What is missing is no error: the report says less.
func (x *Found) policies(logs []string) map[string]*policy.Policy {
	out := map[string]*policy.Policy{}
	for arm, rev := range x.Revs {
		for _, dir := range logs {
			if p := PolicyOf(dir, rev); p != nil {
				out[arm] = p
				break
			}
		}
	}
	return out
}

// PolicyOf reads the policy of a revision from the text that is kept beside a log; nil where it is not, or is another's.
func PolicyOf(dir, rev string) *policy.Policy {
	text, err := decisionlog.PolicyText(dir, rev)
	if err != nil {
		return nil
	}
	spec, problems := policy.Parse("policy", text)
	if len(problems) > 0 {
		return nil
	}
	p, problems := policy.Compile(spec, nil)
	if len(problems) > 0 || p.Rev() != rev {
		return nil
	}
	return p
}

// lossOf is what the logs admit to have lost, as connections that may have another outcome than the log says, or none in it: at most as many as
// lived during a gap, and at most as many as segments were lost.
func lossOf(d *outcome.Data) (l experiment.Loss) {
	l.Gaps = d.Loss.GapRecords
	l.Packets = d.Loss.GapMessages + d.Loss.GapAtMost
	for _, a := range d.Arms {
		l.Flows += a.Gapped
	}
	l.Flows = min(l.Flows, l.Packets) + d.Loss.Omitted["flow"]
	return l
}
