package loggen_test

import (
	"testing"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/review"
	"halfopen/proxy/review/loggen"
	"halfopen/proxy/review/outcome"
)

// The log of an experiment balances, and its outcomes are those that were made.
func TestExperiment(t *testing.T) {
	dir := t.TempDir()
	spec := &experiment.Spec{Name: "x", Salt: "x", Share: 5000, Start: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
		Arms: []experiment.Arm{{Name: "control", Weight: 5000, Policy: "gateway"}, {Name: "short", Weight: 5000, Policy: "short.yaml"}}}
	if err := loggen.Experiment(loggen.ExperimentConfig{Dir: dir, Spec: spec, Clients: 200, Harm: map[string]float64{"short": 0.5}}); err != nil {
		t.Fatal(err)
	}
	rep, err := review.Verify(dir)
	if err != nil || !rep.OK || rep.Runs[0].Status != review.Balanced {
		t.Errorf("%v, %+v", err, rep.Runs[0].Status)
	}
	d, err := outcome.Read(t.Context(), []string{dir}, outcome.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, failed := map[string]int{}, map[string]int{}
	for i := range d.Outcomes {
		o := &d.Outcomes[i]
		n[o.Arm]++
		if !o.Connected {
			failed[o.Arm]++
		}
	}
	if n[""] == 0 || n["control"] < 50 || n["short"] < 50 || failed["short"] < n["short"]/3 || failed["control"] > n["control"]/5 {
		t.Errorf("connections %v, failed %v", n, failed)
	}
	if c := d.Caveats(); len(c) > 0 {
		t.Errorf("caveats %q", c)
	}
}
