package experiment

import (
	"math"
	"strings"
	"testing"
	"time"

	"halfopen/policy/experiment/stats"
)

func TestMonitorAlpha(t *testing.T) {
	spec := trialSpec(Guardrail{Metric: ConnectFailure, Max: 0.02}, Guardrail{Metric: StallTime, Max: 1, Alpha: 0.05},
		Guardrail{Metric: ResetRate, Max: 0.1, Absolute: true})
	spec.Arms = append(spec.Arms, Arm{Name: "longer", Weight: 1000})
	var got []float64
	for _, g := range newMonitor(t, spec, 0).State().Guardrails {
		got = append(got, g.Alpha)
	}
	for i, want := range []float64{0.0025, 0.0025, 0.025, 0.025, 0.0025, 0.0025} { // 0.01 and 0.05 of two guardrails and one, on two arms each
		if math.Abs(got[i]-want) > 1e-15 {
			t.Errorf("limit %d has alpha %v, want %v", i, got[i], want)
		}
	}
}

// TestMonitorLargestAlpha: what a configuration may say at most is watched.
func TestMonitorLargestAlpha(t *testing.T) {
	newMonitor(t, trialSpec(Guardrail{Metric: ConnectFailure, Alpha: maxAlpha}, Guardrail{Metric: ResetRate, Max: 1, Absolute: true, Alpha: maxAlpha}), 0)
}

func TestMonitorRefuses(t *testing.T) {
	for _, c := range []struct {
		g    Guardrail
		want string
	}{
		{Guardrail{Metric: GaveUpRate, Max: 1}, "not known while it runs"},
		{Guardrail{Metric: NumMetrics, Max: 1}, "not known while it runs"},
		{Guardrail{Metric: ResetRate, Absolute: true}, "guardrail on reset: bad input: limit 0, expected above 0"},
	} {
		if _, err := NewMonitor(trialSpec(c.g), 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.g, err)
		}
	}
	spec := trialSpec()
	spec.Arms = spec.Arms[:1]
	if _, err := NewMonitor(spec, 0); err == nil {
		t.Error("one arm is monitored")
	}
}

// TestMonitorBounded: units beyond the limit, and connections that never began, count for nothing.
func TestMonitorBounded(t *testing.T) {
	m := newMonitor(t, trialSpec(Guardrail{Metric: ConnectFailure}), 100)
	o := Outcome{Start: monitorStart}
	for k := range uint64(150) {
		m.Add(int(k%2), k, &o)
		m.Add(int(k%2), k, &o)
	}
	m.Ended(0, 7777, &o)
	m.Begin(-1, 1, monitorStart)
	m.Begin(3, 1, monitorStart)
	s := m.State()
	if s.Units != 100 || s.MaxUnits != 100 || s.Beyond != 100 || s.Arms[0].Units+s.Arms[1].Units != 100 || s.Arms[0].Connections != 100 ||
		s.Arms[0].Figures[0].Den != 100 {
		t.Errorf("%+v", s)
	}
	if m.max = 0; newMonitor(t, trialSpec(), 0).State().MaxUnits != MonitorUnits {
		t.Error("no default limit")
	}
}

// TestMonitorSRM: units are counted when first seen, against the weights.
func TestMonitorSRM(t *testing.T) {
	for _, c := range []struct {
		again, alarm bool
	}{{false, true}, {true, false}} {
		m := newMonitor(t, trialSpec(), 0)
		for k := range uint64(4000) {
			arm := 0
			switch {
			case k%10 < 4:
				arm = 1
			case k%10 == 4 && c.again: // the third arm gets its units, or the control has them
				arm = 2
			}
			m.Begin(arm, k, monitorStart)
			m.Begin(arm, k, monitorStart)
			m.Check(monitorStart)
		}
		if s := m.State().SRM; s.Alarm != c.alarm || s.Counts[1] != 1600 || s.Expected[0] != 2000 {
			t.Errorf("%+v: %+v", c, s)
		}
	}
}

// TestMonitorSwitchback: the unit is the block. What a block's connections have in common is noise, however many they are; the warm-up
// of a block is left out; no ratio of units is tested.
func TestMonitorSwitchback(t *testing.T) {
	spec := switchback(2, 10*time.Minute, 1)
	spec.WarmUp = time.Minute
	spec.Guardrails = []Guardrail{{Metric: ConnectFailure}}
	r := stats.NewRNG(5)
	run := func(harm float64) (crossings int, at int64) {
		m := newMonitor(t, spec, 0)
		for k := range int64(120) {
			arm, bad := spec.ArmOfBlock(k), 0.3*r.Float64()
			if arm == 1 {
				bad += harm
			}
			for i := range 300 {
				o := Outcome{Start: spec.BlockStart(k).Add(time.Duration(i) * 2 * time.Second), Connected: !r.Bernoulli(bad)}
				if i < 30 {
					o.Connected = arm == 0 // carried over from the block before
				}
				m.Add(arm, uint64(i%50), &o)
				if m.Check(o.Start) != nil {
					crossings, at = crossings+1, k
				}
			}
		}
		s := m.State()
		if s.SRM != nil || s.Arms[0].Units != 60 || s.Arms[1].Connections != 60*270 {
			t.Errorf("%+v", s.Arms)
		}
		return crossings, at
	}
	for range 10 {
		if n, at := run(0); n > 0 {
			t.Errorf("stopped in block %d for nothing", at)
		}
	}
	if n, at := run(0.4); n != 1 || at < 2*stats.SequenceUnits-2 || at > 60 {
		t.Errorf("%d crossings, in block %d", n, at)
	}
}

// TestMonitorCost: neither a connection of a known unit nor a check allocates.
func TestMonitorCost(t *testing.T) {
	m := newMonitor(t, trialSpec(Guardrail{Metric: ConnectFailure}, Guardrail{Metric: ResetRate, Max: 1, Absolute: true}), 0)
	o := Outcome{Start: monitorStart, Connected: true}
	k := uint64(0)
	if n := testing.AllocsPerRun(1000, func() { m.Add(int(k%2), k%40, &o); k++ }); n != 0 {
		t.Errorf("%v allocations a connection", n)
	}
}

func BenchmarkMonitorAdd(b *testing.B) {
	m, err := NewMonitor(trialSpec(Guardrail{Metric: ConnectFailure}, Guardrail{Metric: ResetRate, Max: 1, Absolute: true}), 0)
	if err != nil {
		b.Fatal(err)
	}
	r := stats.NewRNG(1)
	o := Outcome{Start: monitorStart, Connected: true}
	b.ReportAllocs()
	for b.Loop() {
		u := uint64(r.Intn(100_000))
		m.Add(int(u%2), u, &o)
	}
}

func BenchmarkMonitorCheck(b *testing.B) {
	m, err := NewMonitor(trialSpec(Guardrail{Metric: ConnectFailure, Max: 0.5}, Guardrail{Metric: ResetRate, Max: 1, Absolute: true}), 0)
	if err != nil {
		b.Fatal(err)
	}
	tr := traffic{r: stats.NewRNG(1), clients: 1000, fail: [3]float64{0.1, 0.1, 0.1}, reset: [3]float64{0.1, 0.1, 0.1}}
	for range 10_000 {
		arm, unit, o := tr.next()
		m.Add(arm, unit, &o)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Check(monitorStart)
	}
}
