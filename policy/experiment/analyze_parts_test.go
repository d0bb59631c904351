package experiment

import (
	"math"
	"slices"
	"strings"
	"testing"

	"halfopen/policy/experiment/stats"
)

// TestSmall: what is certain and means nothing decides nothing.
func TestSmall(t *testing.T) {
	e := Effect{Kind: "time", Control: &Figure{Value: 0.5}, Difference: &Estimate{Value: 0.0004}, P95: &Estimate{Value: -0.0009}}
	if !e.tooSmall() {
		t.Errorf("%+v matters", e)
	}
	e.Control.Value = 0.01 // four parts in a hundred
	if e.tooSmall() {
		t.Errorf("%+v does not matter", e)
	}
	e.Control.Value, e.P95.Value = 0.5, 0.002
	if e.tooSmall() {
		t.Errorf("%+v does not matter", e)
	}
	w, spec := newWorld(21, 1500), testSpec(false)
	tiny := func(yield func(*Outcome) bool) {
		for o := range w.outcomes(spec) {
			o.ConnectS = 2 + float64(o.Start.UnixNano()%1000)/1e7
			if o.Arm == "short" {
				o.ConnectS += 0.0003
			}
			if !yield(o) {
				return
			}
		}
	}
	r := Analyze(spec, tiny, Options{Final: true, Resamples: 400})
	if e := r.EffectOf("short", ConnectTime); !e.Found || !e.Small || found(r) {
		t.Errorf("%+v; %s", e, r.Verdict.Sentence)
	}
}

// TestWrongArms: a few connections in another arm are left out and told.
func TestWrongArms(t *testing.T) {
	w, spec := newWorld(7, 900), testSpec(false)
	list := collect(spec, w)
	for _, i := range []int{100, 2000} {
		list[i].Arm = map[string]string{"control": "short", "short": "control"}[list[i].Arm]
	}
	r := Analyze(spec, values2(list), Options{Final: true, Resamples: 400})
	if r.Excluded.Misassigned != 2 || r.Excluded.MixedUnits != 2 || r.Assignment.Checked != len(list) || r.Verdict.Kind == Withheld {
		t.Errorf("%+v %+v %s", r.Excluded, r.Assignment, r.Verdict.Sentence)
	}
	if !slices.ContainsFunc(r.Caveats, func(c string) bool { return strings.Contains(c, "of 2 units, are in another arm") }) {
		t.Errorf("%q", r.Caveats)
	}
}

// TestOverTimeAndSegments: the parts are the whole, and few.
func TestOverTimeAndSegments(t *testing.T) {
	w, spec := newWorld(19, 900), testSpec(false)
	w.harm = map[string]float64{"short": 0.1}
	r := Analyze(spec, w.outcomes(spec), Options{Final: true, Resamples: 400})
	want := [2]int{r.Arms[0].Load.Connections, r.Arms[1].Load.Connections}
	var got [2]int
	for i, p := range r.OverTime {
		for k := range p.Arms {
			got[k] += p.Arms[k].Connections
		}
		if i > 0 && p.From.Before(r.OverTime[i-1].To) {
			t.Errorf("%s overlaps %s", p.From, r.OverTime[i-1].To)
		}
	}
	if got != want || len(r.OverTime) > maxPoints || len(r.OverTime) < 20 {
		t.Errorf("%d points with %v connections, want %v", len(r.OverTime), got, want)
	}
	byKind := map[string][2]int{}
	for _, s := range r.Segments {
		n := byKind[s.Kind]
		for k := range s.Arms {
			n[k] += s.Arms[k].Connections
		}
		byKind[s.Kind] = n
		found := false
		for _, e := range s.Effects {
			if e.Metric == "connect-failure" {
				found = e.Difference.Lo < 0.1 && 0.1 < e.Difference.Hi && e.Difference.Hi-e.Difference.Lo < 0.15
			}
		}
		if !found {
			t.Errorf("%s %s: %+v", s.Kind, s.Value, s.Effects)
		}
	}
	if byKind["port"] != want || byKind["family"] != want || len(byKind) != 2 {
		t.Errorf("segments have %v, want %v", byKind, want)
	}
}

// TestManyTimes: of a unit's times each has the same chance to be kept.
func TestManyTimes(t *testing.T) {
	var s side
	rng := stats.NewRNG(1)
	for i := range 4000 {
		s.keep(ConnectTime, 0, float64(i/1000), rng)
	}
	of := map[float64]int{}
	for _, v := range s.times[ConnectTime][0].vals {
		of[v]++
	}
	if n := len(s.values(ConnectTime)[0]); n != maxTimes || !s.cut(ConnectTime) {
		t.Errorf("%d times are kept", n)
	}
	for v := range 4 {
		if n := of[float64(v)]; n < 2 || n > 16 {
			t.Errorf("%d of %d times are %d, which a quarter is", n, maxTimes, v)
		}
	}
}

// TestBehind: the connections that add the most, of equals the first.
func TestBehind(t *testing.T) {
	var b behind
	for i := range 1000 {
		v := values{}
		v.ok[StallTime], v.num[StallTime], v.den[StallTime] = true, float64((i*7919)%1000), 1
		v.ok[GaveUpRate], v.num[GaveUpRate] = true, float64(i%2)
		b.add(&Outcome{Flow: uint64(i)}, &v)
	}
	if list := b[StallTime]; len(list) != maxBehind || list[0].Value != 999 || list[maxBehind-1].Value != 800 {
		t.Errorf("%d, from %v to %v", len(list), list[0].Value, list[len(list)-1].Value)
	}
	if list := b[GaveUpRate]; len(list) != maxBehind || list[0].Flow != 1 || list[1].Flow != 3 {
		t.Errorf("%d, %d, %d", len(list), list[0].Flow, list[1].Flow)
	}
}

// TestFewEvents: what is rare is not tested by an approximation for what is not.
func TestFewEvents(t *testing.T) {
	for _, c := range []struct {
		unit   Unit
		metric Metric
		want   Method
		of     string
	}{{UnitClient64, StillThere, MethodShare, "connections"}, {UnitClient64, ResetRate, MethodFisherUnits, "units"}, {UnitFlow, StillThere, MethodFisher, "connections"},
		{UnitClient64, ConnectFailure, MethodRatio, "connections"}, {UnitClient64, Unrecovered, MethodRatio, "connections"}} {
		w, spec := newWorld(31, 400), testSpec(false)
		w.fail, spec.Unit = 0.08, c.unit
		n := 0
		rare := func(yield func(*Outcome) bool) {
			for o := range w.outcomes(spec) {
				n++
				o.StillThere, o.Resets = n%150 == 0, 0
				if n%120 == 0 {
					o.Resets = 1
				}
				if !yield(o) {
					return
				}
			}
		}
		e := Analyze(spec, rare, Options{Final: true, Resamples: 400}).EffectOf("short", c.metric)
		if e.Test != c.want || e.Of != c.of || e.Difference == nil || e.P == nil {
			t.Errorf("%s by %s: %s of %s, %+v, want %s of %s", c.metric, c.unit, e.Test, e.Of, e.Difference, c.want, c.of)
		}
	}
}

// TestUnitFlow: the interference that a unit of one connection brings is said.
func TestUnitFlow(t *testing.T) {
	w, spec := newWorld(33, 200), testSpec(false)
	spec.Unit = UnitFlow
	r := Analyze(spec, w.outcomes(spec), Options{})
	if !strings.HasPrefix(r.Caveats[0], "The unit is the connection: a client meets both arms") {
		t.Errorf("%q", r.Caveats)
	}
	if e := r.EffectOf("short", ConnectFailure); e.Treated.Units != int(e.Treated.Den) {
		t.Errorf("%+v", e.Treated)
	}
}

func TestRound(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 1.23456789: 1.23457, -0.000123456789: -0.000123457, 123456789: 123457000, math.Inf(1): 0} {
		if got := round(v); math.Abs(got-want) > math.Abs(want)*1e-9 {
			t.Errorf("round(%v) = %v, want %v", v, got, want)
		}
	}
}
