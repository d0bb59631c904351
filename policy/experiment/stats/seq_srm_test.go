package stats

import (
	"errors"
	"math"
	"testing"
)

// srmChance returns exactly, by following the distribution of a two-armed count unit by unit, how likely an alarm at alpha is within n
// units of which a share p goes to the first arm, with a look after each unit (every 1) or after every so many.
func srmChance(t *testing.T, weights [2]float64, p, alpha float64, n, every int) float64 {
	t.Helper()
	s, err := NewSequentialSRM(weights[:])
	if err != nil {
		t.Fatal(err)
	}
	limit := -math.Log(alpha)
	// The e-value is a valley in the first arm's count: it alarms below low and above high, which follow slowly.
	mass, next := make([]float64, n+2), make([]float64, n+2)
	mass[0] = 1
	lo, hi := 0, 0 // where there is mass
	var alarm float64
	for u := 1; u <= n; u++ {
		clear(next[max(0, lo-1) : hi+2])
		for k := lo; k <= hi; k++ {
			next[k] += mass[k] * (1 - p)
			next[k+1] += mass[k] * p
		}
		mass, next = next, mass
		hi++
		for lo < hi && mass[lo] < 1e-18 {
			mass[lo] = 0
			lo++
		}
		for hi > lo && mass[hi] < 1e-18 {
			mass[hi] = 0
			hi--
		}
		if u%every != 0 {
			continue
		}
		for lo <= hi && s.logE([]int{lo, u - lo}) >= limit {
			alarm += mass[lo]
			mass[lo] = 0
			lo++
		}
		for hi >= lo && s.logE([]int{hi, u - hi}) >= limit {
			alarm += mass[hi]
			mass[hi] = 0
			hi--
		}
		if lo > hi {
			break
		}
	}
	return alarm
}

// TestSRMChances: exact chances, not simulated. Where units fall as they should, an alarm ever within 20,000 units is rarer than alpha;
// 52:48 in place of 50:50 is found within 20,000 with a probability above 0.99, looking after each unit, after each thousand, or once.
func TestSRMChances(t *testing.T) {
	half := [2]float64{1, 1}
	for _, c := range []struct {
		name        string
		weights     [2]float64
		p, alpha    float64
		every       int
		least, most float64
	}{
		{"as it should be", half, 0.5, 0.01, 1, 0.001, 0.01},
		{"as it should be, 5 %", half, 0.5, 0.05, 1, 0.01, 0.05},
		{"as it should be, 90:10", [2]float64{90, 10}, 0.9, 0.01, 1, 0.001, 0.01},
		{"as it should be, 99:1", [2]float64{99, 1}, 0.99, 0.01, 1, 0.0001, 0.01},
		{"52:48", half, 0.52, 0.01, 1, 0.995, 1},
		{"52:48, each thousand", half, 0.52, 0.01, 1000, 0.993, 1},
		{"52:48, once", half, 0.52, 0.01, 20_000, 0.991, 1},
		{"48:52, once", half, 0.48, 0.01, 20_000, 0.991, 1},
		{"91.2:8.8 for 90:10", [2]float64{90, 10}, 0.912, 0.01, 1, 0.99, 1}, // two hundredths of the standard deviation times two, as 52:48 is
	} {
		got := srmChance(t, c.weights, c.p, c.alpha, 20_000, c.every)
		t.Logf("%-40s %.5f", c.name, got)
		if !(got >= c.least && got <= c.most) {
			t.Errorf("%s: an alarm with probability %v, expected from %v to %v", c.name, got, c.least, c.most)
		}
	}
}

// TestSRMManyArms: a simulation with arms of 50, 40 and 10 %, looked at after each unit.
func TestSRMManyArms(t *testing.T) {
	run := func(r *RNG, p1, p2 float64) bool {
		s, err := NewSequentialSRM([]float64{50, 40, 10, 0})
		if err != nil {
			t.Fatal(err)
		}
		counts := make([]int, 4)
		for range 1000 {
			switch u := r.Float64(); {
			case u < p2:
				counts[2]++
			case u < p1+p2:
				counts[1]++
			default:
				counts[0]++
			}
			if p, err := s.Observe(counts); err != nil || p <= 0.01 {
				return true
			}
		}
		return false
	}
	often(t, "sequential SRM, three arms as they should be", 0.01, true, func(r *RNG) bool { return run(r, 0.4, 0.1) })
	for k := range uint64(20) {
		if !run(NewRNG(k), 0.33, 0.17) {
			t.Errorf("seed %d: 17 %% for 10 %% is not found in 1,000 units", k)
		}
	}
}

func TestSRMBad(t *testing.T) {
	for _, w := range [][]float64{nil, {1}, {1, 0}, {1, -1}, {1, math.NaN()}, {1, math.Inf(1)}} {
		if _, err := NewSequentialSRM(w); !errors.Is(err, ErrInput) {
			t.Errorf("weights %v: %v", w, err)
		}
	}
	s := good(NewSequentialSRM([]float64{1, 1, 0}))
	if p := s.P(); p != 1 {
		t.Errorf("p = %v before the first look", p)
	}
	if p, err := s.Observe([]int{900, 700, 0}); err != nil || p > 0.001 {
		t.Errorf("%v, %v", p, err)
	}
	low := s.P()
	if p, err := s.Observe([]int{900, 900, 0}); err != nil || p != low { // the least of all looks
		t.Errorf("%v, %v, %v before", p, err, low)
	}
	for _, c := range [][]int{{900, 900}, {900, 899, 0}, nil} {
		if _, err := s.Observe(c); !errors.Is(err, ErrInput) {
			t.Errorf("counts %v: %v", c, err)
		}
	}
	if p, err := s.Observe([]int{900, 900, 1}); err != nil || p != 0 { // a unit in an arm that has none
		t.Errorf("%v, %v", p, err)
	}
}
