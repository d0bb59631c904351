package stats

import (
	"errors"
	"math"
	"testing"
)

// TestPowerGolden: how long an experiment takes, against the textbook's formula for two shares without continuity correction, in R:
//
//	(qnorm(.975)+qnorm(.8))^2 * (.05*.95+.07*.93) / .02^2                              2209.45964521927 a group
//	(qnorm(1-.05/12)+qnorm(.9))^2 * (1/.3 + .07*.93/(.05*.95)/.2) * .05*.95 / .02^2    18585.1285724859 in all, 6 metrics
//
// and for two means a fifth of a standard deviation apart (with Student's t 393.4, as R's power.t.test has it):
//
//	2 * (qnorm(.975)+qnorm(.8))^2 / .04     392.443986717454
func TestPowerGolden(t *testing.T) {
	share := Baseline{Ratio: 0.05, Variance: 0.05 * 0.95 / 1000, Units: 1000, Days: 1, Growth: 1, Share: true}
	mean := Baseline{Ratio: 3, Variance: 1. / 500, Units: 500, Days: 1, Growth: 1}
	slow := share
	slow.Growth = 0.5
	even := Design{Control: 0.5, Treatment: 0.5, Alpha: 0.05, Comparisons: 1, Power: 0.8}
	uneven := Design{Control: 0.3, Treatment: 0.2, Alpha: 0.05, Comparisons: 6, Power: 0.9}
	for _, c := range []struct {
		name   string
		b      Baseline
		d      Design
		effect float64
		days   float64
	}{
		{"5 % and 7 %", share, even, 0.02, 2 * 2209.45964521927 / 1000},
		{"Holm, uneven arms", share, uneven, 0.02, 18585.1285724859 / 1000},
		{"precision grows with the root", slow, even, 0.02, math.Pow(2*2209.45964521927/1000, 2)},
		{"a fifth of a standard deviation", mean, even, 0.2, 2 * 392.443986717454 / 500},
		{"the same, down", mean, even, -0.2, 2 * 392.443986717454 / 500},
	} {
		days, err := c.d.DaysFor(c.b, c.effect)
		if err != nil || math.Abs(days/c.days-1) > 1e-5 { // the formulas leave out the chance of finding the opposite
			t.Errorf("%s: %v days, want %v; %v", c.name, days, c.days, err)
		}
		power, err := c.d.PowerOf(c.b, c.effect, days)
		if err != nil || math.Abs(power-c.d.Power) > 1e-9 {
			t.Errorf("%s: power %v, %v", c.name, power, err)
		}
		up, down, err := c.d.MDE(c.b, days)
		got := up
		if c.effect < 0 {
			got = down
		}
		if err != nil || math.Abs(got-math.Abs(c.effect)) > 1e-9 {
			t.Errorf("%s: smallest effects %v and %v, want %v; %v", c.name, up, down, c.effect, err)
		}
	}
	// Without an effect the power is the level.
	if p, err := even.PowerOf(share, 0, 3); err != nil || math.Abs(p-0.05) > 1e-12 {
		t.Errorf("power of no effect: %v, %v", p, err)
	}
	// A share of 1 in 1,000 cannot sink so far that 1,000 units show it.
	share.Ratio, share.Variance = 0.001, 0.001*0.999/1000
	if up, down, err := even.MDE(share, 1); err != nil || down != 0 || up < 0.005 {
		t.Errorf("%v and %v, %v", up, down, err)
	}
}

// habit is a population of units: what a unit adds in some days. Treatment adds effect.
type habitOf func(r *RNG, days, effect float64) Cluster

func (h habitOf) arm(r *RNG, units int, days, effect float64) []Cluster {
	a := make([]Cluster, units)
	for i := range a {
		a[i] = h(r, days, effect)
	}
	return a
}

// TestPowerSimulated: a plan from a simulated log promises 80 % (60 % with three comparisons) for its smallest effect; experiments with
// that effect find it as often.
func TestPowerSimulated(t *testing.T) {
	failures := func(r *RNG, days, effect float64) Cluster { // each unit a connection a day, 4 % fail, more or less of them by unit
		p := 0.08*r.Float64() + effect
		n := max(1, int(days))
		return Cluster{float64(binomial(r, n, min(1, max(0, p)))), float64(n)}
	}
	once := func(r *RNG, _, effect float64) Cluster {
		return Cluster{float64(binomial(r, 1, 0.1+effect)), 1}
	}
	times := func(r *RNG, days, effect float64) Cluster { // a unit has its own pace and number of connections
		n, pace := 1+r.Intn(2*int(days)), 0.5+r.Float64()
		c := Cluster{Den: float64(n)}
		for range n {
			c.Num += pace*math.Exp(0.5*r.Norm()) + effect
		}
		return c
	}
	const busier = 40 // the log has so many times the units, so that the plan itself is exact
	for _, c := range []struct {
		name  string
		habit habitOf
		units int // a log's; all of them are there from the first day on, or with new they come evenly
		new   bool
		share bool
		d     Design
		days  float64 // log and plan 8 days
	}{
		{"one connection a unit", once, 2000, true, true, Design{0.5, 0.5, 0.05, 1, 0.8}, 8},
		{"half the time", once, 2000, true, true, Design{0.5, 0.5, 0.05, 1, 0.8}, 4},
		{"uneven arms, three comparisons", once, 4000, true, true, Design{0.6, 0.2, 0.05, 3, 0.6}, 8},
		{"clients that come back", failures, 1000, false, true, Design{0.5, 0.5, 0.05, 1, 0.8}, 8},
		{"clients that come back, half the time", failures, 1000, false, true, Design{0.5, 0.5, 0.05, 1, 0.8}, 4},
		{"times by unit", times, 600, false, false, Design{0.5, 0.4, 0.05, 1, 0.8}, 8},
	} {
		r := NewRNG(99)
		half := c.units * busier
		if c.new {
			half /= 2
		}
		b, err := NewBaseline(c.habit.arm(r, half, 4, 0), c.habit.arm(r, c.units*busier, 8, 0), 8, c.share)
		if err != nil {
			t.Fatal(err)
		}
		b.Variance *= busier
		up, _, err := c.d.MDE(b, c.days)
		if err != nil {
			t.Fatal(err)
		}
		n := float64(c.units)
		if c.new {
			n *= c.days / 8
		}
		n1, n0 := int(n*c.d.Treatment), int(n*c.d.Control)
		t.Logf("%s: figure %.4f, growth %.2f, smallest effect %.4f", c.name, b.Ratio, b.Growth, up)
		often(t, "power, "+c.name, c.d.Power, false, func(r *RNG) bool {
			_, p, err := RatioDiff(c.habit.arm(r, n1, c.days, up), c.habit.arm(r, n0, c.days, 0), 0.95)
			if err != nil {
				t.Fatal(err)
			}
			return p < c.d.Alpha/float64(c.d.Comparisons)
		})
	}
}

func TestPowerBad(t *testing.T) {
	good := []Cluster{{1, 2}, {0, 2}, {1, 1}}
	for _, c := range []struct {
		half, whole []Cluster
		days        float64
		share       bool
		want        error
	}{
		{good, good, 0, true, ErrInput},
		{good[:1], good, 1, true, ErrNotEnough},
		{good, nil, 1, true, ErrNotEnough},
		{good, []Cluster{{0, 1}, {0, 3}}, 1, false, ErrNoVariation},
		{good, []Cluster{{3, 1}, {1, 3}}, 1, true, ErrInput},
	} {
		if b, err := NewBaseline(c.half, c.whole, c.days, c.share); !errors.Is(err, c.want) {
			t.Errorf("%+v: %+v, %v", c, b, err)
		}
	}
	b, err := NewBaseline(good, good, 2, true)
	if err != nil || b.Growth != 0 || b.Units != 3 || b.Ratio != 0.4 {
		t.Fatalf("%+v, %v", b, err)
	}
	fine := Design{0.5, 0.5, 0.05, 1, 0.8}
	for _, d := range []Design{{0, 0.5, 0.05, 1, 0.8}, {0.6, 0.5, 0.05, 1, 0.8}, {0.5, 0.5, 0, 1, 0.8}, {0.5, 0.5, 0.05, 0, 0.8}, {0.5, 0.5, 0.05, 1, 1}} {
		if _, _, err := d.MDE(b, 1); !errors.Is(err, ErrInput) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if _, err := fine.PowerOf(b, 0.7, 1); !errors.Is(err, ErrInput) {
		t.Errorf("a share of 1.1: %v", err)
	}
	if _, err := fine.PowerOf(Baseline{}, 0.7, 1); !errors.Is(err, ErrInput) {
		t.Errorf("no baseline: %v", err)
	}
	if _, _, err := fine.MDE(b, math.Inf(1)); !errors.Is(err, ErrInput) {
		t.Errorf("endless: %v", err)
	}
	// Units that are all known and differ for good: no length of time is enough.
	if _, err := fine.DaysFor(b, 0.1); !errors.Is(err, ErrNotEnough) {
		t.Errorf("no growth: %v", err)
	}
	if _, err := fine.DaysFor(b, 0); !errors.Is(err, ErrNotEnough) {
		t.Errorf("no effect: %v", err)
	}
}
