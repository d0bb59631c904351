package outcome

import (
	"bytes"
	"encoding/json"
	"fmt"

	"halfopen/proxy/decisionlog"
)

// maxSpecRecords bounds the records that are kept of an experiment.
const maxSpecRecords = 10000

// experiment takes an experiment record.
func (r *reader) experiment(e *decisionlog.Event, spec json.RawMessage) {
	x := r.data.Experiments[e.Experiment.Name]
	if x == nil {
		x = &Experiment{Name: e.Experiment.Name}
		r.data.Experiments[e.Experiment.Name] = x
	}
	rec := SpecRecord{At: e.Timestamp.Time, Gateway: r.gateway.Name, Run: r.clocks[r.run].name, File: r.file, Line: r.line,
		Event: e.Experiment.Event, Arm: e.Experiment.Arm, Detail: e.Experiment.Detail, Spec: bytes.Clone(spec)}
	if first := x.spec(); first != nil && len(rec.Spec) > 0 {
		for _, what := range differences(first.Spec, rec.Spec) {
			x.Changes = append(x.Changes, fmt.Sprintf("%s: %s (%s:%d, first said in %s:%d)", e.Experiment.Name, what, r.file, r.line, first.File, first.Line))
		}
	}
	if rec.Event == "changed" {
		x.Changes = append(x.Changes, fmt.Sprintf("%s: the gateway says that it was changed: %s (%s:%d)", e.Experiment.Name, rec.Detail, r.file, r.line))
	}
	r.join.learn(rec.Spec)
	if len(x.Records) < maxSpecRecords {
		x.Records = append(x.Records, rec)
	}
}

// spec returns the first record with a spec.
func (x *Experiment) spec() *SpecRecord {
	for i := range x.Records {
		if len(x.Records[i].Spec) > 0 {
			return &x.Records[i]
		}
	}
	return nil
}

// assigning are the parts of a spec that an assignment depends on.
var assigning = []string{"unit", "salt", "share", "match", "switchback"}

// differences says in what two specs assign differently. Other parts may change.
func differences(a, b json.RawMessage) (out []string) {
	var was, is map[string]json.RawMessage
	if json.Unmarshal(a, &was) != nil || json.Unmarshal(b, &is) != nil {
		return nil
	}
	for _, key := range assigning {
		if !same(was[key], is[key]) {
			out = append(out, fmt.Sprintf("%s was %s and is %s", key, shown(was[key]), shown(is[key])))
		}
	}
	if x, y := weights(was["arms"]), weights(is["arms"]); x != y {
		out = append(out, fmt.Sprintf("arms were %s and are %s", x, y))
	}
	return out
}

// same compares two values, not their layout.
func same(a, b json.RawMessage) bool {
	return shown(a) == shown(b)
}

// shown is a value in one layout.
func shown(v json.RawMessage) string {
	var any any
	if len(v) == 0 || json.Unmarshal(v, &any) != nil {
		return "nothing"
	}
	b, err := json.Marshal(any)
	if err != nil {
		return "nothing"
	}
	return string(b)
}

// specArm is what is read of an arm.
type specArm struct {
	Name   string          `json:"name"`
	Weight json.RawMessage `json:"weight"`
}

// weights writes the names and weights of a spec's arms, in their order.
func weights(arms json.RawMessage) (out string) {
	var list []specArm
	if json.Unmarshal(arms, &list) != nil {
		return "none"
	}
	for i, a := range list {
		if i > 0 {
			out += ", "
		}
		out += a.Name + " " + shown(a.Weight)
	}
	return out
}
