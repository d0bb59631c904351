package stats

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// ones makes units that hold one value each.
func ones(values ...float64) []Cluster {
	units := make([]Cluster, len(values))
	for i, v := range values {
		units[i] = Cluster{v, 1}
	}
	return units
}

func clusters(num, den []float64) []Cluster {
	units := make([]Cluster, len(num))
	for i := range num {
		units[i] = Cluster{num[i], den[i]}
	}
	return units
}

func scaled(units []Cluster, num, den float64) []Cluster {
	out := make([]Cluster, len(units))
	for i, u := range units {
		out[i] = Cluster{u.Num * num, u.Den * den}
	}
	return out
}

// The clustered example of testdata/cluster.R.
var (
	clustered1 = clusters([]float64{3, 0, 7, 2, 12, 1, 0, 4}, []float64{10, 4, 21, 2, 90, 5, 1, 13})
	clustered0 = clusters([]float64{1, 1, 0, 0, 5, 2}, []float64{8, 3, 30, 6, 60, 7})
)

// Student's sleep data (Biometrika 6, 1908), as R's data set sleep.
var (
	sleep1 = []float64{0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0, 2}
	sleep2 = []float64{1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4}
)

// TestRatioDiffGolden against R (testdata/cluster.R says the version and how). R's documentation of t.test prints the sleep example as
// t = -1.8608, df = 17.776, p-value = 0.07939, interval -3.3654832 to 0.2054832.
func TestRatioDiffGolden(t *testing.T) {
	check := func(a1, a0 []Cluster, conf float64, f func([]Cluster, []Cluster, float64) (Interval, float64, error)) func(string, []float64) {
		return func(line string, v []float64) {
			i, p, err := f(a1, a0, conf)
			digits := 1e-11
			if strings.HasPrefix(line, "Share") { // R's uniroot
				digits = 1e-7
			}
			if err != nil || !near(i.Estimate, v[0], 1e-12) || !near(i.Lo, v[1], digits) || !near(i.Hi, v[2], digits) || !near(p, v[3], digits) {
				t.Errorf("%s: got %+v, %v, %v", line, i, p, err)
			}
		}
	}
	wool := []float64{26, 30, 54, 25, 70, 52, 51, 26, 67, 18, 21, 29, 17, 12, 18, 35, 30, 36, 36, 21, 24, 18, 10, 43, 28, 15, 26}
	woolB := []float64{27, 14, 29, 19, 29, 31, 41, 20, 44, 42, 26, 19, 16, 39, 28, 21, 39, 29, 20, 21, 24, 17, 13, 15, 15, 16, 28}
	golden(t, "cluster.txt", map[string]func(string, []float64){
		"Sleep":        check(ones(sleep1...), ones(sleep2...), 0.95, RatioDiff),
		"Warpbreaks90": check(ones(wool...), ones(woolB...), 0.9, RatioDiff),
		"Unequal":      check(clustered1, clustered0, 0.95, RatioDiff),
		"Relative":     check(clustered1, clustered0, 0.95, RatioRelative),
		"Share":        check(clustered1, clustered0, 0.95, ShareDiff),
		"ShareNone":    check(clustered1, scaled(clustered0, 0, 1), 0.95, ShareDiff),
	})
	i, p, err := RatioDiff(ones(sleep1...), ones(sleep2...), 0.95)
	if err != nil || math.Abs(i.Lo+3.3654832) > 5e-8 || math.Abs(i.Hi-0.2054832) > 5e-8 || math.Abs(p-0.07939) > 5e-6 {
		t.Errorf("sleep: %+v, %v, %v", i, p, err)
	}
}

// TestRatioKnown: one arm with equal weights is the textbook's mean ± t s/sqrt(n): n = 10, mean 0.75, s = 1.7890, t(9) = 2.2622.
func TestRatioKnown(t *testing.T) {
	i := good(Ratio(ones(sleep1...), 0.95))
	if math.Abs(i.Estimate-0.75) > 1e-12 || math.Abs(i.Hi-(0.75+2.262157*1.789010/math.Sqrt(10))) > 1e-5 {
		t.Errorf("%+v", i)
	}
}

func TestRatioProperties(t *testing.T) {
	i, p, err := RatioDiff(clustered1, clustered0, 0.95)
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, j Interval, q, factor float64, err error) {
		t.Helper()
		if err != nil || !near(q, p, 1e-10) || !near(j.Estimate, i.Estimate*factor, 1e-10) ||
			!near(j.Lo, i.Lo*factor, 1e-10) || !near(j.Hi, i.Hi*factor, 1e-10) {
			t.Errorf("%s: %+v %v %v, from %+v %v", what, j, q, err, i, p)
		}
	}
	j, q, err := RatioDiff(clustered0, clustered1, 0.95)
	same("arms swapped", j.Neg(), q, 1, err)
	j, q, err = RatioDiff(scaled(clustered1, 1000, 1), scaled(clustered0, 1000, 1), 0.95)
	same("milliseconds for seconds", j, q, 1000, err)
	j, q, err = RatioDiff(scaled(clustered1, 1, 1e9), scaled(clustered0, 1, 1e9), 0.95)
	same("another denominator", j, q, 1e-9, err)
	j, q, err = RatioDiff(append([]Cluster{{0, 0}}, clustered1...), append(clustered0[:6:6], Cluster{}), 0.95)
	same("units without denominator", j, q, 1, err)

	rel, p1, err1 := RatioRelative(clustered1, clustered0, 0.95)
	rec, p2, err2 := RatioRelative(clustered0, clustered1, 0.95)
	if err1 != nil || err2 != nil || !near(rel.Lo, 1/rec.Hi, 1e-10) || !near(rel.Hi, 1/rec.Lo, 1e-10) || !near(p1, p2, 1e-10) {
		t.Errorf("%+v %v, %+v %v", rel, err1, rec, err2)
	}
}

func TestShareDiffProperties(t *testing.T) {
	r := NewRNG(14)
	for range 100 {
		one, zero := habits(r, 2+r.Intn(30), 0.1*r.Float64()), habits(r, 2+r.Intn(30), 0.1*r.Float64())
		i, p, err := ShareDiff(one, zero, 0.9)
		j, q, err0 := ShareDiff(zero, one, 0.9)
		if err != nil || err0 != nil || !near(p, q, 1e-9) || math.Abs(i.Lo+j.Hi)+math.Abs(i.Hi+j.Lo) > 1e-12 {
			t.Fatalf("arms swapped: %+v %v %v, %+v %v %v", i, p, err, j, q, err0)
		}
		if !(i.Lo >= -1 && i.Lo <= i.Estimate && i.Estimate <= i.Hi && i.Hi <= 1) || i.Contains(0) != (p > 0.1) {
			t.Fatalf("%+v, %v", i, p)
		}
	}
	// One connection a unit and many of them: Newcombe's interval and nearly chi-square's p.
	flows := func(yes, n int) []Cluster {
		units := make([]Cluster, n)
		for i := range units {
			units[i] = Cluster{0, 1}
			if i < yes {
				units[i].Num = 1
			}
		}
		return units
	}
	i, p, err := ShareDiff(flows(600, 20_000), flows(700, 20_000), 0.95)
	want := good(CompareShares(600, 20_000, 700, 20_000, 0.95))
	if err != nil || math.Abs(i.Lo-want.Diff.Lo) > 1e-6 || math.Abs(i.Hi-want.Diff.Hi) > 1e-6 || math.Abs(p/want.P-1) > 0.02 {
		t.Errorf("%+v %v %v, want %+v", i, p, err, want)
	}
	// Units more alike than chance allows do not make more connections than there are; units that are all of one kind inside, and fewer
	// of each kind than the variance says, not fewer than units.
	alike := clusters([]float64{1, 1, 1, 1, 1, 1, 1, 0}, []float64{2, 2, 2, 2, 2, 2, 2, 2})
	if s, err := shareOf("the arm", alike); err != nil || s.n != 16 {
		t.Errorf("%+v, %v: 16 connections", s, err)
	}
	apart := clusters([]float64{9, 0, 0, 0}, []float64{9, 1, 1, 9})
	if s, err := shareOf("the arm", apart); err != nil || !near(s.n, 400.0/164, 1e-12) {
		t.Errorf("%+v, %v: %v units", s, err, 400.0/164)
	}
	// No failure anywhere: RatioDiff cannot say anything, this says how many there may be.
	i, p, err = ShareDiff(flows(0, 300), flows(0, 200), 0.95)
	none := good(Newcombe(0, 300, 0, 200, 0.95))
	if err != nil || p != 1 || math.Abs(i.Lo-none.Lo) > 0.001 || math.Abs(i.Hi-none.Hi) > 0.001 {
		t.Errorf("%+v %v %v, want about %+v", i, p, err, none)
	}
	for _, bad := range [][]Cluster{{{2, 1}, {0, 1}}, {{-1, 1}, {0, 1}}, {{math.NaN(), 1}, {0, 1}}, {{0, math.Inf(1)}, {0, 1}}} {
		if i, p, err := ShareDiff(bad, flows(1, 3), 0.95); !errors.Is(err, ErrInput) || i != (Interval{}) || p != 0 {
			t.Errorf("%v: %+v %v %v", bad, i, p, err)
		}
	}
	for _, few := range [][]Cluster{nil, flows(1, 1), {{0, 0}, {1, 3}}} {
		if _, _, err := ShareDiff(flows(1, 3), few, 0.95); !errors.Is(err, ErrNotEnough) {
			t.Errorf("%v: %v", few, err)
		}
	}
	if _, _, err := ShareDiff(flows(1, 3), flows(1, 3), 95); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
}

func TestRatioBadInput(t *testing.T) {
	fine := ones(1, 2, 3)
	for _, c := range []struct {
		what   string
		a1, a0 []Cluster
		conf   float64
		want   error
	}{
		{"empty treatment", nil, fine, 0.95, ErrNotEnough},
		{"empty control", fine, nil, 0.95, ErrNotEnough},
		{"one unit", ones(4), fine, 0.95, ErrNotEnough},
		{"one unit with a denominator", fine, []Cluster{{1, 1}, {0, 0}}, 0.95, ErrNotEnough},
		{"one unit holds all", fine, []Cluster{{1, 1e20}, {1, 1}}, 0.95, ErrNotEnough},
		{"all equal", ones(2, 2, 2), ones(2, 2), 0.95, ErrNoVariation},
		{"equal in each arm", ones(2, 2, 2), ones(3, 3), 0.95, ErrNoVariation},
		{"equal but for rounding", clusters([]float64{0.1, 0.3, 0.7}, []float64{1, 3, 7}), ones(0.1, 0.1), 0.95, ErrNoVariation},
		{"nothing over nothing", []Cluster{{}, {}, {}}, fine, 0.95, ErrNotEnough},
		{"something over nothing", []Cluster{{1, 0}, {1, 1}, {2, 1}}, fine, 0.95, ErrInput},
		{"negative denominator", []Cluster{{1, -1}, {1, 1}}, fine, 0.95, ErrInput},
		{"NaN", ones(1, math.NaN()), fine, 0.95, ErrInput},
		{"infinite", fine, ones(1, math.Inf(1)), 0.95, ErrInput},
		{"too large a sum", ones(math.MaxFloat64, math.MaxFloat64), fine, 0.95, ErrInput},
		{"percent", fine, fine, 95, ErrInput},
	} {
		if i, p, err := RatioDiff(c.a1, c.a0, c.conf); !errors.Is(err, c.want) || i != (Interval{}) || p != 0 {
			t.Errorf("%s: %+v, %v, %v", c.what, i, p, err)
		}
		if _, _, err := RatioRelative(c.a1, c.a0, c.conf); !errors.Is(err, c.want) {
			t.Errorf("%s, relative: %v", c.what, err)
		}
	}
	if _, _, err := RatioRelative(fine, ones(0, 0, 0), 0.95); !errors.Is(err, ErrNotEnough) {
		t.Errorf("times nothing: %v", err)
	}
	if _, err := Ratio(ones(0, 0), 0.95); !errors.Is(err, ErrNoVariation) {
		t.Error(err)
	}
}

// habits draws units of unequal weight (log-normal, 1 to hundreds of connections) each with a failure rate of its own around mean.
func habits(r *RNG, n int, mean float64) []Cluster {
	units := make([]Cluster, n)
	for i := range units {
		connections := 1 + int(5*math.Exp(r.Norm()))
		p := min(1, mean*math.Exp(0.5*r.Norm()-0.125))
		units[i] = Cluster{float64(binomial(r, connections, p)), float64(connections)}
	}
	return units
}

func TestRatioAA(t *testing.T) {
	reject := below5(t)
	diff := func(a1, a0 []Cluster) bool {
		_, p, err := RatioDiff(a1, a0, 0.95)
		return reject(p, err)
	}
	often(t, "RatioDiff, clustered shares, 60 and 80 units", 0.05, false, func(r *RNG) bool {
		return diff(habits(r, 60, 0.2), habits(r, 80, 0.2))
	})
	often(t, "RatioDiff, units of one value, 15 and 20", 0.05, false, func(r *RNG) bool {
		a := make([]float64, 35)
		for i := range a {
			a[i] = r.Norm()
		}
		return diff(ones(a[:15]...), ones(a[15:]...))
	})
	often(t, "RatioDiff, weights of index 2, 10 and 10 units", 0.05, true, func(r *RNG) bool {
		a := make([]Cluster, 20)
		for i := range a {
			w := math.Pow(1-r.Float64(), -0.5)
			a[i] = Cluster{w * (3 + r.Norm()/math.Sqrt(w)), w}
		}
		return diff(a[:10], a[10:])
	})
	often(t, "RatioRelative, 60 and 80 units", 0.05, false, func(r *RNG) bool {
		_, p, err := RatioRelative(habits(r, 60, 0.2), habits(r, 80, 0.2), 0.95)
		return reject(p, err)
	})
	often(t, "RatioDiff misses a true difference of 10 points", 0.05, false, func(r *RNG) bool {
		i, _, err := RatioDiff(habits(r, 100, 0.2), habits(r, 80, 0.1), 0.95)
		return err != nil || !i.Contains(0.1)
	})
	often(t, "RatioRelative misses twice as many", 0.05, false, func(r *RNG) bool {
		i, _, err := RatioRelative(habits(r, 100, 0.2), habits(r, 80, 0.1), 0.95)
		return err != nil || !i.Contains(2)
	})
	shares := func(a1, a0 []Cluster) bool {
		_, p, err := ShareDiff(a1, a0, 0.95)
		return reject(p, err)
	}
	often(t, "ShareDiff, 60 and 80 units, 20 %", 0.05, false, func(r *RNG) bool { return shares(habits(r, 60, 0.2), habits(r, 80, 0.2)) })
	often(t, "ShareDiff, 60 and 80 units, 0.5 %", 0.05, true, func(r *RNG) bool { return shares(habits(r, 60, 0.005), habits(r, 80, 0.005)) })
	often(t, "ShareDiff, 6 and 8 units, 10 %", 0.05, true, func(r *RNG) bool { return shares(habits(r, 6, 0.1), habits(r, 8, 0.1)) })
	often(t, "ShareDiff misses a true difference of 10 points", 0.05, false, func(r *RNG) bool {
		i, _, err := ShareDiff(habits(r, 100, 0.2), habits(r, 80, 0.1), 0.95)
		return err != nil || !i.Contains(0.1)
	})
	often(t, "Ratio misses", 0.05, false, func(r *RNG) bool {
		return !good(Ratio(habits(r, 100, 0.2), 0.95)).Contains(0.2)
	})
}
