package proxy

import (
	"slices"

	"halfopen/conntrack"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// ReplayArm is an arm of an experiment in a replay.
type ReplayArm struct {
	Experiment string     `json:"experiment"`
	Arm        string     `json:"arm"`
	Policy     PolicyName `json:"policy"`
	Flows      uint64     `json:"flows"` // connections that the table took up
	Units      uint64     `json:"units"` // of those, about
}

// loadExperiments reads the experiments of a replay.
func (r *replay) loadExperiments() error {
	set, pols, err := LoadExperiments(r.cfg.Experiment, false, r.pol)
	if err != nil {
		return err
	}
	if r.exps, err = newExperiments(set, pols, nil); err != nil {
		return err
	}
	for i := range set.Specs {
		if !set.Specs[i].End.IsZero() {
			r.endings = append(r.endings, &set.Specs[i])
		}
	}
	slices.SortStableFunc(r.endings, func(a, b *experiment.Spec) int { return a.End.Compare(b.End) })
	return nil
}

// putStarts says in the log which experiments there are, as a gateway does when it starts.
func (r *replay) putStarts() {
	if r.exps == nil {
		return
	}
	for i := range r.exps.set.Specs {
		r.log.Put(experimentRecord(int64(r.now), decisionlog.ExperimentStart, &r.exps.set.Specs[i], "", ""))
	}
}

// putEnds says in the log which experiments have ended by now.
func (r *replay) putEnds() {
	for len(r.endings) > 0 && conntrack.Instant(r.endings[0].End.UnixNano()) <= r.now {
		if r.log != nil {
			r.log.Put(experimentRecord(int64(r.now), decisionlog.ExperimentEnd, r.endings[0], "", "its end has come"))
		}
		r.endings = r.endings[1:]
	}
}

// arms tells of the arms of the replay's experiments.
func (r *replay) arms() (out []ReplayArm) {
	if r.exps == nil {
		return nil
	}
	byKey := map[armKey]ArmCounters{}
	for _, c := range r.exps.counters() {
		byKey[armKey{c.Experiment, c.Arm}] = c
	}
	for _, a := range r.exps.setArms() {
		c := byKey[armKey{a.Spec.Name, a.Arm.Name}]
		name := PolicyName{Name: a.PolicyRef, Preset: a.Arm.Preset, Rev: a.Arm.Rev}
		if a.PolicyRef == experiment.GatewayPolicy {
			name.Name = r.cfg.Policy
		}
		out = append(out, ReplayArm{a.Spec.Name, a.Arm.Name, name, c.Flows, c.Units})
	}
	return out
}
