package lab

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"halfopen/policy/experiment"
	"halfopen/proxy/lab/habits"
)

// ExperimentReport is what `halfopen lab experiment -o json` prints of one question: what is true, and what the report makes of the log.
type ExperimentReport struct {
	Question   string  `json:"question"`
	Asks       string  `json:"asks"`
	Seed       uint64  `json:"seed"`
	Clients    int     `json:"clients"`
	SpanS      float64 `json:"span_s"`
	Switchback bool    `json:"switchback,omitempty"`
	Control    string  `json:"control"` // names of arms
	Treatment  string  `json:"treatment"`
	Better     string  `json:"better"` // the arm that truly is

	Talks       int `json:"talks"`       // conversations that were planned
	Connections int `json:"connections"` // that the clients tried, their retries included
	// LateS is how far behind the plan a client was at the worst.
	LateS float64 `json:"late_s"`
	// Unforetold counts conversations that did not go as the plan foretells for the arm of their client.
	Unforetold int      `json:"unforetold"`
	Surprises  []string `json:"surprises,omitempty"` // the first of them

	Effects   []TrueEffect `json:"effects"` // the primary metric first
	Agreement *Agreement   `json:"agreement"`
	// Contradictions are what the report says and is not so. Without one the experiment has found the truth.
	Contradictions []string           `json:"contradictions"`
	Report         *experiment.Report `json:"report"`
	Files          ExperimentFiles    `json:"files"`
}

// TrueEffect is the effect of the treatment on a metric, its figure less the control's, as it is and as it was estimated.
type TrueEffect struct {
	habits.Truth
	// True is the effect on all clients: the figure if all met the treatment, less the figure if all met the control.
	True float64 `json:"true"`
	// Drawn is the effect among the clients as they fell to the arms: what an estimate without any error of measurement comes to.
	Drawn float64 `json:"drawn"`
	// Estimate is the report's, with its interval; nil where it has none.
	Estimate *experiment.Estimate `json:"estimate"`
	Covers   bool                 `json:"covers"` // the interval has the true effect in it
	// Unlike says why there is no estimate to compare.
	Unlike string `json:"unlike,omitempty"`
}

// ExperimentFiles names what a run leaves.
type ExperimentFiles struct {
	Plan       string `json:"plan"`
	Experiment string `json:"experiment"` // the configuration
	Log        string `json:"log"`        // directory
	Clients    string `json:"clients"`    // what each client experienced, a line a connection
	Servers    string `json:"servers"`    // what the servers did
}

func filesIn(dir string) ExperimentFiles {
	at := func(name string) string { return filepath.Join(dir, name) }
	return ExperimentFiles{at("plan.json"), at("experiment.yaml"), at("log"), at("clients.jsonl"), at("servers.jsonl")}
}

// Contradicted reports whether the report says what is not so.
func (r *ExperimentReport) Contradicted() bool { return len(r.Contradictions) > 0 }

// maxDrift is how far an estimate may be from what the clients lived: more is an error of measurement.
const maxDrift = 0.01

// maxUnforetold is the share of conversations that may go another way than foretold (a machine that stood still) before the truth is none.
const maxUnforetold = 0.02

// weigh holds the report against what is true.
func (r *ExperimentReport) weigh(q *habits.Question, truths []habits.Truth, lived []*Lived, foretold func(*Lived, string) float64) {
	for _, t := range truths {
		e := TrueEffect{Truth: t, True: t.Effect(), Drawn: drawn(q, t.Metric, lived, foretold)}
		if m, ok := experiment.ParseMetric(t.Metric); ok {
			e.compare(r.Report.EffectOf(q.Treatment.Name, m))
		}
		r.Effects = append(r.Effects, e)
		r.doubt(&e, t.Metric == q.Primary)
	}
	r.hear(q)
	if float64(r.Unforetold) > maxUnforetold*float64(r.Talks) {
		r.contradict("%d of %d conversations did not go as the plan foretells: what is called true here may not be", r.Unforetold, r.Talks)
	}
	if n := r.Agreement.Total(); float64(n) > maxUnforetold*float64(r.Agreement.Lived) {
		r.contradict("%d differences between what the log says of %d connections and what their clients lived", n, r.Agreement.Lived)
	}
}

// compare takes over the report's estimate, where it is of the same thing.
func (e *TrueEffect) compare(found *experiment.Effect) {
	switch {
	case found == nil || found.Difference == nil:
		e.Unlike = "no estimate"
	case found.Of == "units": // with few events; the share of units that have any is another figure
		e.Unlike = "estimated by units"
	default:
		e.Estimate = found.Difference
		e.Covers = e.Estimate.Lo <= e.True && e.True <= e.Estimate.Hi
	}
}

func (r *ExperimentReport) contradict(format string, args ...any) {
	r.Contradictions = append(r.Contradictions, fmt.Sprintf(format, args...))
}

// doubt notes where an estimate is wrong. An interval may miss a true effect of a secondary metric; it does so in one case of twenty.
func (r *ExperimentReport) doubt(e *TrueEffect, primary bool) {
	switch {
	case e.Estimate == nil:
		if primary {
			r.contradict("the report estimates no difference in %s; the true one is %+.3f", e.Metric, e.True)
		}
	case !r.Switchback && math.Abs(e.Estimate.Value-e.Drawn) > maxDrift: // a switchback's estimate is a mean of blocks
		r.contradict("the estimate for %s is %+.3f, and the clients lived %+.3f", e.Metric, e.Estimate.Value, e.Drawn)
	case primary && !e.Covers:
		r.contradict("the interval for %s, %+.3f to %+.3f, misses the true effect %+.3f (at most one seed in twenty deals clients out so; these came to %+.3f)",
			e.Metric, e.Estimate.Lo, e.Estimate.Hi, e.True, e.Drawn)
	}
}

// hear holds the report's verdict against the arm that is better. It may be mixed, if what speaks for the other arm is nothing that the plan
// foretells: a shift of microseconds between the arms may be real.
func (r *ExperimentReport) hear(q *habits.Question) {
	want := experiment.Harm
	if q.Better == q.Treatment.Name {
		want = experiment.Better
	}
	v := &r.Report.Verdict
	if v.Kind != want && v.Kind != experiment.Mixed {
		r.contradict("the verdict is %q, and in truth %s is the better arm: %q is due", v.Kind, q.Better, want)
		return
	}
	rests := false
	for _, a := range v.Arms {
		if a.Arm != q.Treatment.Name {
			continue
		}
		right, wrong := a.Worse, a.Better
		if want == experiment.Better {
			right, wrong = wrong, right
		}
		rests = slices.Contains(right, q.Primary)
		for i := range r.Effects {
			if e := &r.Effects[i]; slices.Contains(wrong, e.Metric) {
				r.contradict("the verdict finds %s on the wrong side: its true effect is %+.3f", e.Metric, e.True)
			}
		}
	}
	if !rests {
		r.contradict("the verdict does not rest on %s, in which the arms truly differ", q.Primary)
	}
}

// drawn is the effect among the connections as they were, each foretold for the arm that it fell to.
func drawn(q *habits.Question, metric string, lived []*Lived, foretold func(*Lived, string) float64) float64 {
	var control, treatment habits.Rate
	for _, l := range lived {
		side := &control
		if l.Arm == q.Treatment.Name {
			side = &treatment
		}
		side.Den++
		side.Num += foretold(l, metric)
	}
	return treatment.Value() - control.Value()
}
