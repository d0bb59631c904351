package experiment

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"halfopen/policy/experiment/stats"
)

var monitorStart = time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)

// trialSpec is an experiment of a control (50 %), an arm short (40 %) and the control again (10 %).
func trialSpec(guardrails ...Guardrail) *Spec {
	return &Spec{Name: "trial", Salt: "trial", Share: perHundred, Start: monitorStart, Guardrails: guardrails, Arms: []Arm{
		{Name: "control", Weight: 5000, Policy: GatewayPolicy}, {Name: "short", Weight: 4000, Policy: "short.yaml"},
		{Name: "again", Weight: 1000, AA: true}}}
}

func newMonitor(t *testing.T, spec *Spec, units int) *Monitor {
	t.Helper()
	m, err := NewMonitor(spec, units)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// traffic is clients that come, each with its own luck, and keep connecting, some much more than others.
type traffic struct {
	r       *stats.RNG
	clients int        // at most
	fail    [3]float64 // by arm: the mean share of failed connections
	reset   [3]float64 // mean RSTs
	stall   [3]float64 // mean seconds
	arms    []int
	luck    []float64
}

// next makes the next connection.
func (tr *traffic) next() (arm int, unit uint64, o Outcome) {
	i := len(tr.arms)
	if i == tr.clients || i > 0 && !tr.r.Bernoulli(0.2) {
		u := tr.r.Float64()
		i = int(float64(i) * u * math.Sqrt(u))
	} else {
		a := 0
		switch u := tr.r.Float64(); {
		case u < 0.1:
			a = 2
		case u < 0.5:
			a = 1
		}
		tr.arms, tr.luck = append(tr.arms, a), append(tr.luck, 2*tr.r.Float64())
	}
	arm, luck := tr.arms[i], tr.luck[i]
	o = Outcome{Start: monitorStart, Connected: tr.r.Float64() >= luck*tr.fail[arm], StallS: luck * tr.stall[arm] * tr.r.Exp()}
	if tr.r.Bernoulli(luck * tr.reset[arm] / 2) {
		o.Resets = 2
	}
	return arm, uint64(i), o
}

// TestMonitorNoHarm: arms at their limits exactly, checked after every five connections. Of all experiments at most 1 % may ever be stopped.
func TestMonitorNoHarm(t *testing.T) {
	t.Parallel()
	experiments := 2000
	if breadth > 1 {
		experiments = 20
	}
	for _, c := range []struct {
		name       string
		guardrails []Guardrail
		tr         traffic
	}{
		{"arms alike, no increase allowed", []Guardrail{{Metric: ConnectFailure}, {Metric: ResetRate}, {Metric: StallTime}},
			traffic{fail: [3]float64{0.05, 0.05, 0.05}, reset: [3]float64{0.1, 0.1, 0.1}, stall: [3]float64{1, 1, 1}}},
		{"two points more, as allowed", []Guardrail{{Metric: ConnectFailure, Max: 0.02}},
			traffic{fail: [3]float64{0.02, 0.04, 0.02}}},
		{"rare", []Guardrail{{Metric: ConnectFailure, Max: 0}}, traffic{fail: [3]float64{0.002, 0.002, 0.002}}},
		{"resets at the limit", []Guardrail{{Metric: ResetRate, Max: 0.05, Absolute: true}}, traffic{reset: [3]float64{0, 0.05, 0}}},
		{"failures of one in ten at the limit", []Guardrail{{Metric: ConnectFailure, Max: 0.1, Absolute: true}}, traffic{fail: [3]float64{0, 0.1, 0}}},
	} {
		crossed := 0
		for seed := range experiments {
			tr := c.tr
			tr.r, tr.clients = stats.NewRNG(uint64(seed)), 600
			m := newMonitor(t, trialSpec(c.guardrails...), 0)
			for k := range 3000 {
				arm, unit, o := tr.next()
				m.Add(arm, unit, &o)
				if k%5 == 0 && m.Check(monitorStart) != nil {
					crossed++
					break
				}
			}
		}
		rate := float64(crossed) / float64(experiments)
		t.Logf("%-40s %d of %d experiments stopped (%.2f %%)", c.name, crossed, experiments, 100*rate)
		if rate > 0.01+3.1*math.Sqrt(0.01*0.99/float64(experiments)) {
			t.Errorf("%s: %d of %d experiments stopped", c.name, crossed, experiments)
		}
	}
}

// TestMonitorHarm: harm above the limit is found, within so many connections in nine of ten experiments, and only in the arm that does it.
func TestMonitorHarm(t *testing.T) {
	t.Parallel()
	experiments := 200
	if breadth > 1 {
		experiments = 10
	}
	for _, c := range []struct {
		name      string
		guardrail Guardrail
		tr        traffic
		within    int
	}{
		{"all connections fail", Guardrail{Metric: ConnectFailure, Max: 0.02}, traffic{fail: [3]float64{0.01, 1e9, 0.01}}, 900},
		{"15 % fail, control 2 %, limit 2 points", Guardrail{Metric: ConnectFailure, Max: 0.02}, traffic{fail: [3]float64{0.02, 0.15, 0.02}}, 2500},
		{"7 % fail, control 2 %, limit 2 points", Guardrail{Metric: ConnectFailure, Max: 0.02}, traffic{fail: [3]float64{0.02, 0.07, 0.02}}, 8000},
		{"2 s of stall, control 1 s, limit 0.5 s", Guardrail{Metric: StallTime, Max: 0.5}, traffic{stall: [3]float64{1, 2, 1}}, 15_000},
		{"0.2 resets, limit 0.05", Guardrail{Metric: ResetRate, Max: 0.05, Absolute: true}, traffic{reset: [3]float64{0, 0.2, 0}}, 2000},
		{"2 resets each time, limit 0.05", Guardrail{Metric: ResetRate, Max: 0.05, Absolute: true}, traffic{reset: [3]float64{0, 1e9, 0}}, 1200},
	} {
		var took []float64
		for seed := range experiments {
			tr := c.tr
			tr.r, tr.clients = stats.NewRNG(uint64(seed)), 5000
			m := newMonitor(t, trialSpec(c.guardrail), 0)
			n := 2 * c.within
			for k := range n {
				arm, unit, o := tr.next()
				m.Add(arm, unit, &o)
				if got := m.Check(monitorStart.Add(time.Duration(k))); got != nil {
					n = k + 1
					if len(got) != 1 || got[0].Arm != 1 || got[0].ArmName != "short" || got[0].At != monitorStart.Add(time.Duration(k)) {
						t.Errorf("%s: crossings %+v", c.name, got)
					}
					break
				}
			}
			took = append(took, float64(n))
		}
		e, late := 0.0, 0
		for _, n := range took {
			e += n / float64(len(took))
			if n > float64(c.within) {
				late++
			}
		}
		t.Logf("%-45s %.0f connections on average", c.name, e)
		if 10*late > len(took) {
			t.Errorf("%s: %d of %d experiments took more than %d connections", c.name, late, len(took), c.within)
		}
	}
}

// TestMonitorMoments: what is told of a connection as it happens adds up to what Add tells afterwards.
func TestMonitorMoments(t *testing.T) {
	var all []Guardrail
	for metric := range NumMetrics {
		if LiveMetric(metric) {
			all = append(all, Guardrail{Metric: metric, Max: 0.5})
		}
	}
	whole, parts := newMonitor(t, trialSpec(all...), 0), newMonitor(t, trialSpec(all...), 0)
	tr := traffic{r: stats.NewRNG(1), clients: 400, fail: [3]float64{0.2, 0.3, 0.2}, reset: [3]float64{0.1, 0.1, 0.1}, stall: [3]float64{1, 1, 1}}
	var open []func()
	for k := range 3000 {
		arm, unit, o := tr.next()
		o.SYNRetransmits, o.PktsToServer, o.RetransmitsToClient, o.StillThere = k%3, uint64(k%7), k%2, k%11 == 0
		whole.Add(arm, unit, &o)
		parts.Begin(arm, unit, o.Start)
		if o.Connected {
			parts.Connected(arm, unit, &o)
		}
		open = append(open, func() {
			parts.Ended(arm, unit, &o)
			if o.StillThere {
				parts.StillThere(arm, unit, o.Start)
			}
		})
	}
	tr.r.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	for _, end := range open {
		end()
	}
	a, b := whole.State(), parts.State()
	for i := range a.Arms {
		for k, f := range a.Arms[i].Figures {
			if g := b.Arms[i].Figures[k]; f.Den == 0 || math.Abs(f.Num-g.Num) > 1e-6 || f.Den != g.Den {
				t.Errorf("arm %d, %+v at once, %+v by parts", i, f, g)
			}
		}
		if a.Arms[i].Connections != b.Arms[i].Connections || a.Arms[i].Units != b.Arms[i].Units || a.Arms[i].Units == 0 {
			t.Errorf("arm %d: %+v at once, %+v by parts", i, a.Arms[i], b.Arms[i])
		}
	}
	for i, g := range a.Guardrails {
		if g.Lo == nil || b.Guardrails[i].Lo == nil || math.Abs(*g.Lo-*b.Guardrails[i].Lo) > 1e-6 {
			t.Errorf("%s: %+v at once, %+v by parts", g.Metric, g, b.Guardrails[i])
		}
	}
	if len(a.Guardrails) != len(all) {
		t.Errorf("%d limits of %d guardrails on one arm that is not the control's policy", len(a.Guardrails), len(all))
	}
}

// TestMonitorCrossed: a crossing is told once, with its numbers, stops the arm and freezes the ratio of units.
func TestMonitorCrossed(t *testing.T) {
	m := newMonitor(t, trialSpec(Guardrail{Metric: ConnectFailure, Max: 0.02}, Guardrail{Metric: ConnectFailure, Max: 0.1, Absolute: true}), 0)
	o := Outcome{Start: monitorStart}
	for k := range uint64(250) {
		o.Connected = true
		m.Add(0, k, &o)
		if o.Connected = k%2 == 0; k < 200 {
			m.Add(1, 1000+k, &o)
		}
		if o.Connected = false; k < 50 {
			m.Add(2, 2000+k, &o) // as bad as can be, but the control's own policy
		}
	}
	got := m.Check(monitorStart.Add(time.Hour))
	if len(got) != 2 {
		t.Fatalf("crossings: %+v", got)
	}
	c := got[0]
	if c.Arm != 1 || c.Guardrail != 0 || c.Figure != 0.5 || c.Control != 0 || c.Lo <= 0.2 || c.Lo >= 0.5 || c.Units != 200 || c.ControlUnits != 250 ||
		c.Alpha != 0.005 || c.At != monitorStart.Add(time.Hour) {
		t.Errorf("%+v", c)
	}
	if !strings.HasPrefix(c.Detail, "connect-failure of arm short is 50.00 % of 200 units, against 0.00 % of 250 in the control: at least ") ||
		!strings.HasSuffix(c.Detail, ", above the limit of 2.00 % (tested sequentially, alpha 0.005)") {
		t.Error(c.Detail)
	}
	if d := got[1].Detail; d != "connect-failure of arm short is 50.00 % of 200 units: above the limit of 10.00 % (tested sequentially, alpha 0.005)" {
		t.Error(d)
	}
	if again := m.Check(monitorStart.Add(2 * time.Hour)); again != nil {
		t.Errorf("told again: %+v", again)
	}
	for k := range uint64(5000) {
		m.Begin(0, 10_000+k, monitorStart)
	}
	s := m.State()
	if s.SRM.Alarm || !s.SRM.Frozen || !reflect.DeepEqual(s.SRM.Counts, []int{250, 200, 50}) || !reflect.DeepEqual(s.SRM.Expected, []float64{250, 200, 50}) {
		t.Errorf("ratio of units after a stop: %+v", s.SRM)
	}
	if at := s.Arms[1].Stopped; at == nil || !at.Equal(c.At) || s.Arms[0].Stopped != nil || s.Arms[2].Stopped != nil {
		t.Errorf("stopped: %+v", s.Arms)
	}
	if g := s.Guardrails[0]; g.Crossed == nil || !reflect.DeepEqual(*g.Crossed, c) || g.Arm != "short" {
		t.Errorf("%+v", g)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}
