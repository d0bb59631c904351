package proxy

import (
	"time"

	"halfopen/policy/experiment"
)

// ExperimentStatus is how one experiment does.
type ExperimentStatus struct {
	Name  string           `json:"name"`
	State string           `json:"state"` // waiting, warm-up, running, stopped or ended
	Spec  *experiment.Spec `json:"spec"`
	Arms  []ArmStatus      `json:"arms"`
	// Monitor is what the guardrails know; null where they could not be made.
	Monitor   *experiment.MonitorState `json:"monitor"`
	Unwatched uint64                   `json:"unwatched"` // things of any experiment that the guardrails' figures lack, because the gateway was too busy
}

// ArmStatus is how one arm does.
type ArmStatus struct {
	Name    string   `json:"name"`
	Policy  string   `json:"policy"`
	Preset  string   `json:"preset"`
	Rev     string   `json:"policy_rev"`
	Weight  float64  `json:"weight"` // percent
	AA      bool     `json:"aa"`
	Units   uint64   `json:"units"` // about, since the gateway's start
	Flows   uint64   `json:"flows"` // connections that began since then
	Stopped *ArmStop `json:"stopped"`
}

// Experiments says how the experiments do.
func (g *Gateway) Experiments() []ExperimentStatus {
	out := []ExperimentStatus{}
	x := g.running()
	if x == nil {
		return out
	}
	states := g.watcher.states()
	unwatched := g.unwatched()
	now, started := time.Now(), time.Unix(0, g.clock.Wall(g.start))
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range x.set.Specs {
		s := &x.set.Specs[i]
		st := ExperimentStatus{Name: s.Name, Spec: s, State: stateOf(s, started, now), Monitor: states[s.Name], Unwatched: unwatched}
		all := true
		for j := range s.Arms {
			a := &s.Arms[j]
			k := armKey{s.Name, a.Name}
			as := ArmStatus{Name: a.Name, Policy: a.Policy, Preset: a.Preset, Rev: a.Rev, Weight: float64(a.Weight) / 100, AA: a.AA}
			if a.AA {
				as.Policy = s.Arms[0].Policy
			}
			c := x.counts[x.numbers[k]]
			as.Units, as.Flows = c.units.estimate(), c.flows.Load()
			if stop, ok := x.stopped[k]; ok {
				as.Stopped = &stop
			} else if j > 0 {
				all = false
			}
			st.Arms = append(st.Arms, as)
		}
		if all && st.State != "ended" {
			st.State = "stopped"
		}
		out = append(out, st)
	}
	return out
}

// unwatched is how many things the watcher was not told in time, or could not follow.
func (g *Gateway) unwatched() uint64 {
	c := g.retiredSum()
	for _, w := range g.workerList() {
		c.add(w.copied.Load())
	}
	return c.Unwatched + g.watcher.lost()
}

// stateOf says where an experiment stands; began is when its gateway began to assign.
func stateOf(s *experiment.Spec, began, now time.Time) string {
	switch {
	case !s.End.IsZero() && !now.Before(s.End):
		return "ended"
	case !s.Running(now):
		return "waiting"
	case !s.Analysed(now, began):
		return "warm-up"
	}
	return "running"
}
