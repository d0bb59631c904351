package lab

import (
	"math"
	"net/netip"
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

// TestForetoldExperiments: for many seeds, the report on connections that go exactly as foretold names the better arm, and its intervals have the
// true effect in them as often as they promise.
func TestForetoldExperiments(t *testing.T) {
	const seeds = 30
	for _, q := range habits.Questions() {
		covered := 0
		for seed := range uint64(seeds) {
			r := foretell(t, q, seed)
			if r.Effects[0].Covers {
				covered++
			}
			for _, c := range r.Contradictions {
				if !strings.Contains(c, "misses the true effect") && !strings.Contains(c, "differences between what the log says") { // there is no log here
					t.Errorf("%s, seed %d: %s", q.Name, seed, c)
				}
			}
		}
		t.Logf("%s: %d of %d intervals cover", q.Name, covered, seeds)
		if covered < 25 { // of 30 at 95 %: fewer have a chance of 0.003
			t.Errorf("%s: %d of %d intervals have the true effect in them", q.Name, covered, seeds)
		}
	}
}

// foretell is an experiment in which nothing surprises.
func foretell(t *testing.T, q *habits.Question, seed uint64) *ExperimentReport {
	t.Helper()
	o := ExperimentOptions{Question: q.Name, Seed: seed, Clients: 90, Span: time.Minute, Out: t.TempDir()}
	x := &assay{ExperimentOptions: o, question: q}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var err error
	if x.plan, err = q.Make(o.Seed, o.Clients, o.Span); err != nil {
		t.Fatal(err)
	}
	if err := x.configure(began); err != nil {
		t.Fatal(err)
	}
	s := &testimony{}
	var outcomes []experiment.Outcome
	foretold := map[string][]habits.Expected{}
	for _, a := range q.Arms() {
		foretold[a.Name] = q.Expect(x.plan, a)
	}
	for _, talk := range x.plan.Talks {
		l := &Lived{Talk: talk.ID, Attempt: 1, Client: talk.Client, From: netip.AddrPortFrom(habits.Address(talk.Client), talk.Port),
			To: withPort(server4, servicePorts[talk.Service]), Dialled: began.Add(talk.At), ResponseS: []float64{0}}
		l.Arm = x.arm(l).Name
		e := foretold[l.Arm][talk.ID-1]
		l.Connected, l.Unanswered, l.GaveUp = e.Connects, e.Broken, e.GaveUp
		s.lived = append(s.lived, l)
		outcomes = append(outcomes, outcomeOf(l, e.StillThere))
		if e.Retried() {
			again := *l
			again.Attempt, again.From, again.Dialled = 2, withPort(l.From.Addr(), talk.RetryPort), l.Dialled.Add(3*time.Second)
			again.Connected, again.Unanswered = true, false
			s.lived = append(s.lived, &again)
			outcomes = append(outcomes, outcomeOf(&again, false))
		}
	}
	rep := experiment.Analyze(x.spec, func(yield func(*experiment.Outcome) bool) {
		for i := range outcomes {
			if !yield(&outcomes[i]) {
				return
			}
		}
	}, experiment.Options{Final: true, Seed: seed, Resamples: 50})
	return x.report(rep, nil, s)
}

func outcomeOf(l *Lived, stillThere bool) experiment.Outcome {
	return experiment.Outcome{Arm: l.Arm, Client: l.From, Server: l.To, Start: l.Dialled, End: l.Dialled.Add(time.Second), Finished: true,
		Connected: l.Connected, GaveUp: l.GaveUp, StillThere: stillThere, ConnectS: math.NaN(), ResponseS: math.NaN(), RecoveryS: math.NaN(), ChallengeS: math.NaN()}
}
