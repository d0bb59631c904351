package proxy

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/spool"
)

// ArmStop says since when an arm gets no new connections, and why.
type ArmStop struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`   // stop: the operator; guardrail
	Detail string    `json:"detail"` // a sentence
}

// stop makes new connections of an arm's units be decided by the control's policy from now on, without an arm: under the control's name
// they would bring to its figures what the arm has done to them. Without an arm's name that holds for all arms, the control too.
// Connections that live keep their arm. It reports which arms it stopped: none where they were already. The caller sees to it that nobody
// else changes x meanwhile.
func (x *experiments) stop(name, arm string, why ArmStop) (stopped []string, err error) {
	s := x.set.Find(name)
	if s == nil {
		return nil, fmt.Errorf("experiment: there is no experiment %q here (%s)", name, x.choices())
	}
	known := arm == ""
	for i := range s.Arms {
		k := armKey{name, s.Arms[i].Name}
		if arm != "" && k.arm != arm {
			continue
		}
		known = true
		if arm != "" && i == 0 {
			return nil, fmt.Errorf("experiment: %s is the control of %s, which the other arms are compared with: stop the experiment, or one of them", arm, name)
		}
		if _, already := x.stopped[k]; already {
			continue
		}
		x.stopped[k] = why
		stopped = append(stopped, k.arm)
	}
	if !known {
		return nil, fmt.Errorf("experiment: %s has no arm %q (it has %s)", name, arm, strings.Join(armNames(s), ", "))
	}
	x.reroute()
	return stopped, nil
}

// choices names the experiments that there are.
func (x *experiments) choices() string {
	var names []string
	for i := range x.set.Specs {
		names = append(names, x.set.Specs[i].Name)
	}
	if names == nil {
		return "there is none"
	}
	return "there is " + strings.Join(names, ", ")
}

func armNames(s *experiment.Spec) (names []string) {
	for i := range s.Arms {
		names = append(names, s.Arms[i].Name)
	}
	return names
}

// StopExperiment makes an arm of an experiment, or with arm "" all of it, get no new connections any more: the control's policy decides
// them, and they belong to no arm. Connections that live stay on their arm's policy. A stopped arm stays so over reloads, and over
// restarts as long as the log's last file is kept; who wants it again begins an experiment under another name.
func (g *Gateway) StopExperiment(_ context.Context, name, arm string) (stopped []string, err error) {
	return g.haltArms(name, arm, ArmStop{At: stopNow(), Kind: decisionlog.ExperimentStop, Detail: "stopped by the operator"})
}

// crossedLimit takes an arm out that has crossed a limit.
func (g *Gateway) crossedLimit(s *experiment.Spec, arm, detail string) {
	stopped, err := g.haltArms(s.Name, arm, ArmStop{At: stopNow(), Kind: decisionlog.ExperimentGuardrail, Detail: detail})
	if err == nil && len(stopped) > 0 {
		g.cfg.Logger.Warn("an arm of an experiment has crossed a limit; its new connections go to the control's policy", "experiment", s.Name,
			"arm", arm, "why", detail)
	}
}

// haltArms stops arms and writes a record for each.
func (g *Gateway) haltArms(name, arm string, why ArmStop) (stopped []string, err error) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	x := g.running()
	if x == nil {
		return nil, fmt.Errorf("experiment: this gateway has no experiments (run --experiment FILE)")
	}
	g.mu.Lock()
	stopped, err = x.stop(name, arm, why)
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s := x.set.Find(name)
	for _, a := range stopped {
		g.watcher.halt(s, a)
		g.putStop(s, a, &why)
	}
	return stopped, nil
}

// watching makes the way of a queue's worker to the watcher, nil where there are no experiments.
func (g *Gateway) watching(queue uint16) *spool.Ring[watched] {
	if g.running() == nil {
		return nil
	}
	return g.watcher.ring(queue)
}

// putStops repeats in a new file of the log which arms were stopped before, so that the last file alone tells it.
func (g *Gateway) putStops(x *experiments, s *experiment.Spec) {
	g.mu.Lock() // the watcher or the operator may stop an arm meanwhile
	stopped := maps.Clone(x.stopped)
	g.mu.Unlock()
	for i := range s.Arms {
		if st, ok := stopped[armKey{s.Name, s.Arms[i].Name}]; ok {
			g.putStop(s, s.Arms[i].Name, &st)
		}
	}
}

// putStop writes the record of an arm's stop.
func (g *Gateway) putStop(s *experiment.Spec, arm string, st *ArmStop) {
	r := experimentRecord(time.Now().UnixNano(), st.Kind, s, arm, st.Detail)
	r.Experiment.Since = st.At.UnixNano()
	g.log.Put(r)
}

// stopNow is the moment of a stop, as exactly as a log has it.
func stopNow() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// resumeStops takes over what the log's previous run says of arms that were stopped.
func (x *experiments) resumeStops(p *decisionlog.Previous) {
	if x == nil || p == nil {
		return
	}
	for _, st := range p.Stops {
		k := armKey{st.Name, st.Arm}
		if _, known := x.numbers[k]; known && k.arm != "" && x.set.Find(k.experiment) != nil {
			x.stopped[k] = ArmStop{At: st.Since.UTC(), Kind: st.Event, Detail: st.Detail}
		}
	}
	x.reroute()
}
