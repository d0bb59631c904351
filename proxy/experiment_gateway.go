package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// loadExperiments loads what the configuration names, for a gateway with policy pol; before is what runs, nil at the start. It returns nil
// where there are no experiments and never were. A change that an experiment must not have while it runs is an error.
func (c *Config) loadExperiments(pol *policy.Policy, before *experiments) (*experiments, []experiment.Change, error) {
	if c.Experiment == "" {
		return nil, nil, nil
	}
	set, pols, err := LoadExperiments(c.Experiment, c.ExperimentInConfig, pol)
	if err != nil {
		return nil, nil, err
	}
	if len(set.Specs) == 0 && before == nil {
		return nil, nil, nil
	}
	x, err := newExperiments(set, pols, before)
	if err != nil || before == nil {
		return x, nil, err
	}
	changes := set.Changed(before.set, time.Now())
	var refused []error
	for i := range changes {
		if changes[i].Refused {
			refused = append(refused, fmt.Errorf("experiment %s is running, and its units would change arms; give it another name or leave it as it is", &changes[i]))
		}
	}
	return x, changes, errors.Join(refused...)
}

// warnShared says what of an arm's policy has no effect, and that somebody must write down what happens.
func (g *Gateway) warnShared(x *experiments) {
	if x != nil && g.cfg.LogDir == "" {
		g.cfg.Logger.Warn("experiments without a decision log: nothing can be concluded from them")
	}
	for _, a := range x.setArms() {
		p := x.pols[x.numbers[armKey{a.Spec.Name, a.Arm.Name}]-1]
		if p == nil {
			continue
		}
		if keys := SharedKeys(g.pol, p); len(keys) > 0 {
			g.cfg.Logger.Warn("an arm's policy differs from the gateway's in what all arms share; that has no effect", "experiment", a.Spec.Name,
				"arm", a.Arm.Name, "keys", strings.Join(keys, " "))
		}
	}
}

// setArms returns the arms of the set in force; none of nil.
func (x *experiments) setArms() []experiment.SetArm {
	if x == nil {
		return nil
	}
	return x.set.Arms()
}

// adoptExperiments puts experiments in force on this worker for what begins from now on.
func (w *Worker) adoptExperiments(now conntrack.Instant, x *experiments) {
	if x == nil && w.experiments == nil {
		return
	}
	w.experiments, w.arms = x, x.names()
	w.engine.SetArms(now, x.arms(w.wall))
}

// running returns the experiments in force, nil for none.
func (g *Gateway) running() *experiments {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.experiments
}

// Arms returns the names of experiments' arms by the numbers that entries have, "" for none. A number never gets another name.
func (g *Gateway) Arms() []string { return g.running().names() }

// putExperiment writes a record about an experiment, with its configuration.
func (g *Gateway) putExperiment(kind string, s *experiment.Spec, arm, detail string) {
	g.log.Put(experimentRecord(time.Now().UnixNano(), kind, s, arm, detail))
}

func experimentRecord(at int64, kind string, s *experiment.Spec, arm, detail string) *decisionlog.Record {
	spec, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has no value that JSON lacks: the parser takes none
	}
	return &decisionlog.Record{Time: at, Event: decisionlog.EventExperiment,
		Experiment: &decisionlog.Experiment{Name: s.Name, Kind: kind, Arm: arm, Detail: detail, Spec: spec}}
}

// putStarts says which experiments there are. Each file of the log says it, so that none is needed to read another.
func (g *Gateway) putStarts() {
	x := g.running()
	if x == nil {
		return
	}
	g.startsIn = max(g.log.Files(), 1) // where nothing was written yet, this begins the first
	for i := range x.set.Specs {
		g.putExperiment(decisionlog.ExperimentStart, &x.set.Specs[i], "", "")
		g.putStops(x, &x.set.Specs[i])
	}
}

// watchExperiments writes what time alone has to say about experiments: that one has ended, and in a new file which there are.
func (g *Gateway) watchExperiments(now time.Time) {
	x := g.running()
	if x == nil {
		return
	}
	if g.log.Files() > g.startsIn {
		g.putStarts()
	}
	for i := range x.set.Specs {
		s := &x.set.Specs[i]
		if !s.End.IsZero() && !now.Before(s.End) && !slices.Contains(g.ended, s.Name) {
			g.ended = append(g.ended, s.Name)
			g.putExperiment(decisionlog.ExperimentEnd, s, "", "its end has come")
		}
		if s.End.IsZero() || now.Before(s.End) { // a reload put it off, or the clock stepped back
			g.ended = slices.DeleteFunc(g.ended, func(name string) bool { return name == s.Name })
		}
	}
}

// putChanges writes what a reload did to the experiments; before is what ran until then.
func (g *Gateway) putChanges(x, before *experiments, changes []experiment.Change) {
	edited := map[string]string{}
	for i := range changes {
		switch c := &changes[i]; c.Kind {
		case experiment.Removed:
			g.putExperiment(decisionlog.ExperimentEnd, before.set.Find(c.Name), "", "a reload removed it")
		case experiment.Edited:
			edited[c.Name] = c.Words()
		}
	}
	for i := range x.set.Specs {
		s := &x.set.Specs[i]
		if words, ok := edited[s.Name]; ok {
			g.putExperiment(decisionlog.ExperimentChanged, s, "", words)
		} else {
			g.putExperiment(decisionlog.ExperimentStart, s, "", "")
		}
	}
}

// restoreArms gives saved flows the numbers that their arms have here, and says how many have an arm that is none any more.
func (x *experiments) restoreArms(st *State) (lost int) {
	numbers := x.numbersOf(st.Meta.Arms)
	for i := range st.Flows {
		e := &st.Flows[i].Entry
		if e.Arm != 0 && numbers[e.Arm] == 0 {
			lost++
		}
		e.Arm = numbers[e.Arm]
	}
	return lost
}

// changeWords says what a reload changed in the experiments.
func changeWords(changes []experiment.Change) (words []string) {
	for i := range changes {
		words = append(words, changes[i].String())
	}
	return words
}
