package outcome

import (
	"bytes"
	"fmt"

	"halfopen/conntrack"
	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// Bounds of what is kept of an experiment.
const (
	maxSpecRecords = 10000
	maxChanges     = 100
)

// experiment takes an experiment record.
func (r *reader) experiment(e *decisionlog.Event) {
	name := e.Experiment.Name
	x := r.data.Experiments[name]
	if x == nil {
		x = &Experiment{Name: name}
		r.data.Experiments[name] = x
	}
	rec := SpecRecord{At: e.Timestamp.Time, Gateway: r.gateway.Name, Run: r.clocks[r.run].name, File: r.file, Line: r.line,
		Event: e.Experiment.Event, Arm: e.Experiment.Arm, Detail: e.Experiment.Detail}
	where := fmt.Sprintf("%s:%d", r.file, r.line)
	if len(e.Experiment.Spec) > 0 && string(e.Experiment.Spec) != "null" {
		rec.Raw = bytes.Clone(e.Experiment.Spec)
		var err error
		if rec.Spec, err = experiment.FromJSON(rec.Raw); err != nil && len(x.Problems) < maxChanges {
			x.Problems = append(x.Problems, fmt.Sprintf("%s: %v", where, err))
		}
	}
	if before := x.latest(); before != nil && rec.Spec != nil {
		for _, d := range rec.Spec.Differences(before.Spec) {
			if d.Assignment && len(x.Changes) < maxChanges {
				x.Changes = append(x.Changes, fmt.Sprintf("%s: %s (%s, against %s:%d)", name, d.String(), where, before.File, before.Line))
			}
		}
	}
	if rec.Spec != nil {
		r.join.learn(rec.Spec)
	}
	if len(x.Records) < maxSpecRecords {
		x.Records = append(x.Records, rec)
	}
}

// latest returns the last record with a spec.
func (x *Experiment) latest() *SpecRecord {
	for i := len(x.Records) - 1; i >= 0; i-- {
		if x.Records[i].Spec != nil {
			return &x.Records[i]
		}
	}
	return nil
}

// learn takes from a spec what its arms' units are.
func (j *joiner) learn(s *experiment.Spec) {
	for _, a := range s.Arms {
		j.units[j.r.words.id([]byte(a.Name))] = 1 + uint8(s.Unit)
	}
}

// unit names the unit of a connection. Of one whose SYN nobody saw it is the one that it was assigned by.
func (j *joiner) unit(c *conn, o *experiment.Outcome) string {
	if j.r.opt.Unit != nil {
		return j.r.opt.Unit(o)
	}
	u := c.unit
	if u == 0 {
		u = j.units[c.arm] // the experiment's record came a little later than the connection's
	}
	if c.arm == 0 || u == 0 {
		return ""
	}
	tu := conntrack.MakeTuple(o.Client, o.Server)
	if c.has(adopted) && !c.has(answered) {
		tu = experiment.FromClient(tu)
	}
	return experiment.Unit(u - 1).Text(&tu)
}
