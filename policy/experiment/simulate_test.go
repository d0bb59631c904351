package experiment

import (
	"math"
	"slices"
	"testing"

	"halfopen/policy/experiment/stats"
)

// simulated is how many experiments each simulation makes.
const simulated = 2000 / breadth

// tooOften says whether so many of n are more than chance p allows, by 3.3 standard errors, which one simulation in 2,000 leaves by
// chance. Seeds are fixed: it is always the same one.
func tooOften(yes, n int, p float64) bool {
	return float64(yes) > float64(n)*p+3.3*math.Sqrt(float64(n)*p*(1-p))
}

// found says whether a report names an effect.
func found(r *Report) bool {
	return r.Verdict.Kind == Harm || r.Verdict.Kind == Better || r.Verdict.Kind == Mixed
}

// TestAASimulation: in experiments without any effect, over all metrics and two arms together, an effect is named as often as alpha says at
// most: at the end, and while it runs at any of ten looks. The sample ratio raises a false alarm in one of a hundred at most.
func TestAASimulation(t *testing.T) {
	t.Parallel()
	var end, running, alarms, runningAlarms, single, tests int
	for i := range simulated {
		w, spec := newWorld(uint64(1000+i), 200), testSpec(true)
		spec.Arms[2].AA = false // two arms to be compared with the control: a family of twenty tests
		list := collect(spec, w)
		slices.SortFunc(list, func(a, b *Outcome) int { return a.Start.Compare(b.Start) })
		r := Analyze(spec, slices.Values(list), Options{Final: true, Resamples: 400, Seed: uint64(i)})
		if r.SRM.Alarm {
			alarms++
		} else if found(r) {
			end++
		}
		for k := range r.Effects {
			if e := &r.Effects[k]; e.P != nil && e.Test != MethodNothing {
				if tests++; *e.P < 0.05 {
					single++
				}
			}
		}
		a := NewAccumulator(spec, Options{})
		named, alarm := false, false
		for k, o := range list {
			a.Add(o)
			if k%(len(list)/10+1) == len(list)/10 || k == len(list)-1 {
				r := a.Report()
				named, alarm = named || found(r), alarm || r.SRM.Alarm
			}
		}
		if named {
			running++
		}
		if alarm {
			runningAlarms++
		}
	}
	t.Logf("of %d experiments: an effect named at the end in %d, while running in %d; alarms %d and %d; %d of %d single tests below 0.05", simulated, end, running, alarms,
		runningAlarms, single, tests)
	if tooOften(end, simulated, 0.05) || tooOften(running, simulated, 0.05) {
		t.Errorf("effects where there are none: %d at the end and %d while running, of %d", end, running, simulated)
	}
	if tooOften(alarms, simulated, 0.01) || tooOften(runningAlarms, simulated, 0.01) {
		t.Errorf("false alarms of the sample ratio: %d at the end and %d while running, of %d", alarms, runningAlarms, simulated)
	}
	if p := float64(single) / float64(tests); p > 0.06 {
		t.Errorf("%.3f of single tests are below 0.05", p)
	}
}

// TestSRMSimulation: a mismatch withholds the verdict, whatever the arms do.
func TestSRMSimulation(t *testing.T) {
	n, seen := max(simulated/20, 4), 0
	for i := range n {
		w, spec := newWorld(uint64(5000+i), 3000), testSpec(false)
		w.dials, w.harm = 1, map[string]float64{"short": 0.1}
		rng := stats.NewRNG(uint64(i))
		lost := map[string]bool{}
		kept := func(yield func(*Outcome) bool) {
			for o := range w.outcomes(spec) {
				unit := o.Client.Addr().String()
				if _, ok := lost[unit]; !ok {
					lost[unit] = o.Arm == "short" && rng.Bernoulli(0.2) // 55 to 45
				}
				if !lost[unit] && !yield(o) {
					return
				}
			}
		}
		r := Analyze(spec, kept, Options{Final: true, Resamples: 400})
		if found(r) && r.SRM.Alarm {
			t.Fatalf("a winner beside an alarm: %s", r.Verdict.Sentence)
		}
		if r.Verdict.Kind == Withheld {
			seen++
		}
	}
	if float64(seen) < 0.95*float64(n) {
		t.Errorf("a mismatch of 55 to 45 of 2,700 units was seen in %d of %d", seen, n)
	}
}

// TestCoverage: intervals hold the true difference as often as they say.
func TestCoverage(t *testing.T) {
	t.Parallel()
	n, in, of := simulated/2, 0, 0
	for i := range n {
		w, spec := newWorld(uint64(9000+i), 300), testSpec(false)
		w.harm = map[string]float64{"short": 0.05}
		r := Analyze(spec, w.outcomes(spec), Options{Final: true, Resamples: 400})
		if e := r.EffectOf("short", ConnectFailure); e.Test == MethodRatio {
			if of++; e.Difference.Lo <= 0.05 && 0.05 <= e.Difference.Hi {
				in++
			}
		}
	}
	t.Logf("%d of %d intervals hold the truth", in, of)
	if tooOften(of-in, of, 0.05) || of < n/2 && n > 20 {
		t.Errorf("%d of %d intervals hold the truth", in, of)
	}
}

// TestPlanHolds: an effect is found as often as a plan from the traffic before it has promised.
func TestPlanHolds(t *testing.T) {
	t.Parallel()
	past, spec := newWorld(77, 1500), testSpec(false)
	p := NewPlanner(PlanOptions{Spec: spec, From: past.begin, To: past.begin.Add(past.span)})
	for o := range past.outcomes(spec) {
		p.Add(o)
	}
	var rise float64
	for _, m := range p.Plan().Metrics {
		if m.Metric == ConnectFailure.String() {
			rise = m.Finds[1].Rise // after as long as the past was
		}
	}
	n, seen := max(simulated/5, 6), 0
	for i := range n {
		w := newWorld(uint64(20_000+i), 1500)
		w.harm = map[string]float64{"short": rise}
		r := Analyze(spec, w.outcomes(spec), Options{Final: true, Resamples: 400})
		if e := r.EffectOf("short", ConnectFailure); e.Found && e.Difference.Value > 0 {
			seen++
		}
	}
	t.Logf("a rise by %.4f is found in %d of %d", rise, seen, n)
	if tooOften(n-seen, n, 0.2) || rise < 0.005 || rise > 0.03 {
		t.Errorf("a rise by %.4f is found in %d of %d, 80 %% were promised", rise, seen, n)
	}
}

// TestBounded: of more units than are kept apart the sums are those of groups, and the figures stay.
func TestBounded(t *testing.T) {
	if breadth > 1 {
		t.Log("a sample: the bound itself is reached in the full tier")
	}
	clients := 2_000
	if breadth == 1 {
		clients = 100_000
	}
	w, spec := newWorld(35, clients), testSpec(false)
	spec.Unit = UnitFlow
	w.harm = map[string]float64{"short": 0.02}
	a := NewAccumulator(spec, Options{Final: true, Resamples: 400})
	for o := range w.outcomes(spec) {
		a.Add(o)
	}
	r := a.Report()
	for i := range a.arms {
		if n := len(a.arms[i].slots); n > maxSlots || breadth == 1 && n != maxSlots {
			t.Errorf("%d sums are kept of %s", n, r.Arms[i].Name)
		}
		if r.Arms[i].Units != r.Arms[i].Load.Connections { // ports of a client come again now and then
			if d := r.Arms[i].Load.Connections - r.Arms[i].Units; d < 0 || d > r.Arms[i].Units/100 {
				t.Errorf("%d units of %d connections", r.Arms[i].Units, r.Arms[i].Load.Connections)
			}
		}
	}
	if e := r.EffectOf("short", ConnectFailure); e.Difference == nil || breadth == 1 && (e.Difference.Lo > 0.02 || e.Difference.Hi < 0.02 || e.Difference.Hi-e.Difference.Lo > 0.01) {
		t.Errorf("%+v %s", e.Difference, e.Note)
	}
}
