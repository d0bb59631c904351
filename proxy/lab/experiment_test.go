package lab

import (
	"strings"
	"testing"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/lab/habits"
)

func TestExperimentOptions(t *testing.T) {
	good := ExperimentOptions{Question: "idle", Clients: DefaultClients, Span: DefaultSpan}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*ExperimentOptions)
		want   string
	}{
		{func(o *ExperimentOptions) { o.Question = "none" }, `no question "none" (there are idle, stale-syn)`},
		{func(o *ExperimentOptions) { o.Question, o.Switchback = "stale-syn", true }, "stale-syn is none for a switchback"},
		{func(o *ExperimentOptions) { o.Switchback = true }, "want at least 2m0s"},
		{func(o *ExperimentOptions) { o.Clients = 1 }, "1 clients: want 2"},
		{func(o *ExperimentOptions) { o.Span = time.Second }, "a span of 1s"},
	} {
		o := good
		c.change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", o, err, c.want)
		}
	}
}

// TestContradictions holds reports that are right and wrong against a truth: ten connections in each arm, of which the treatment spoils four.
func TestContradictions(t *testing.T) {
	q := habits.Find("idle")
	truths := []habits.Truth{{Metric: "still-there", Control: habits.Rate{Num: 0, Den: 20}, Treatment: habits.Rate{Num: 8, Den: 20}}}
	var lived []*Lived
	for i := range 20 {
		lived = append(lived, &Lived{Talk: i, Attempt: 1, Arm: []string{"control", "short"}[i%2]})
	}
	foretold := func(l *Lived, _ string) float64 {
		if l.Arm == "short" && l.Talk < 8 {
			return 1
		}
		return 0
	}
	right := func() *experiment.Report {
		return &experiment.Report{
			Verdict: experiment.Verdict{Kind: experiment.Harm, Arms: []experiment.ArmWord{{Arm: "short", Kind: experiment.Harm, Worse: []string{"stall", "still-there"}}}},
			Effects: []experiment.Effect{{Arm: "short", Metric: "still-there", Difference: &experiment.Estimate{Value: 0.4, Lo: 0.1, Hi: 0.7}}},
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(*experiment.Report)
		want  string // "" for none
	}{
		{"right", func(*experiment.Report) {}, ""},
		{"wrong way round", func(r *experiment.Report) { r.Verdict.Kind = experiment.Better }, `the verdict is "better", and in truth control is the better arm`},
		{"withheld", func(r *experiment.Report) { r.Verdict.Kind = experiment.Withheld }, `"harm" is due`},
		{"rests on something else", func(r *experiment.Report) { r.Verdict.Arms[0].Worse = []string{"stall"} }, "does not rest on still-there"},
		{"mixed, for what nobody foretold", func(r *experiment.Report) {
			r.Verdict.Kind, r.Verdict.Arms[0].Better = experiment.Mixed, []string{"response-time"}
		}, ""},
		{"mixed, wrongly", func(r *experiment.Report) {
			r.Verdict.Kind, r.Verdict.Arms[0].Better, r.Verdict.Arms[0].Worse = experiment.Mixed, []string{"still-there"}, []string{"stall"}
		}, "the verdict finds still-there on the wrong side: its true effect is +0.400; the verdict does not rest"},
		{"another estimate", func(r *experiment.Report) { r.Effects[0].Difference.Value = 0.35 }, "the estimate for still-there is +0.350, and the clients lived +0.400"},
		{"another interval", func(r *experiment.Report) { r.Effects[0].Difference.Lo = 0.41 }, "misses the true effect +0.400"},
		{"no estimate", func(r *experiment.Report) { r.Effects = nil }, "the report estimates no difference in still-there"},
	} {
		r := &ExperimentReport{Talks: 20, Report: right(), Agreement: &Agreement{}}
		c.spoil(r.Report)
		r.weigh(q, truths, lived, foretold)
		if got := strings.Join(r.Contradictions, "; "); (c.want == "") != (got == "") || !strings.Contains(got, c.want) || len(r.Contradictions) > 1 && !strings.Contains(c.want, ";") {
			t.Errorf("%s: contradictions %q, want %q", c.name, got, c.want)
		}
	}
	r := &ExperimentReport{Talks: 20, Unforetold: 1, Report: right(), Agreement: &Agreement{Lived: 20, Matched: 19}}
	r.weigh(q, truths, lived, foretold)
	if got := strings.Join(r.Contradictions, "; "); len(r.Contradictions) != 2 || !strings.Contains(got, "1 of 20 conversations did not go") || !strings.Contains(got, "1 differences between") {
		t.Errorf("a truth and a log that are none: %q", got)
	}
}
