package trial

import (
	"bytes"
	"strings"
	"testing"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/loggen"
)

// A plan of a log without effects: the figures that it has, what can be found, and what cannot be said.
func TestPlan(t *testing.T) {
	dir := written(t, func(c *loggen.ExperimentConfig) { c.Seed, c.Clients = 4, 400 })
	p, err := LoadPlan(t.Context(), []string{dir}, experiment.PlanOptions{Effects: map[experiment.Metric]float64{experiment.ConnectFailure: 0.01}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WritePlan(&b, p); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.txt", b.Bytes())
	if p.Units != 400 || p.Days != 7 || p.Comparisons != 10 {
		t.Errorf("%+v", p)
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		if m.Metric == "reset" && (m.Note == "" || len(m.Finds) > 0) {
			t.Errorf("what never happens has a plan: %+v", m)
		}
		for k := 1; k < len(m.Finds); k++ {
			if m.Finds[k].Rise >= m.Finds[k-1].Rise {
				t.Errorf("%s: after %v days a rise by %v, before by %v", m.Metric, m.Finds[k].Days, m.Finds[k].Rise, m.Finds[k-1].Rise)
			}
		}
	}
	if _, err := LoadPlan(t.Context(), []string{t.TempDir()}, experiment.PlanOptions{}); err == nil || !strings.Contains(err.Error(), "no two records at different times") {
		t.Errorf("an empty log: %v", err)
	}
}
