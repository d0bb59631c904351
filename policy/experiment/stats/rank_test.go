package stats

import (
	"errors"
	"math"
	"slices"
	"testing"
)

// Values of testdata/rank.R.
var (
	ozoneMay = []float64{41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37}
	ozoneAug = []float64{39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85}
	chorion1 = []float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46}
	chorion0 = []float64{1.15, 0.88, 0.90, 0.74, 1.21}
	units1   = [][]float64{{1.2, 3.4, 2.2}, {5}, {2.2, 2.2}, {0.3, 9, 9, 4}, {3.4}, {6, 7}, {8}, {2.5, 1}, {7.5}, {5, 5, 6}, {4.4}, {9.9}, {3},
		{6.1, 2}, {8.8}}
	units0 = [][]float64{{2.2}, {1, 1.5, 3}, {0.5, 0.7}, {3.4, 2, 1}, {4}, {0.1}, {2.6, 2.7}, {5}, {1.9}, {0.3, 6}, {3.3}, {2.2, 0.2}, {4.1},
		{1.1}, {0.9}, {7}}
)

// TestRanks against R (testdata/rank.R says the version and how). R's documentation of wilcox.test: Hollander and Wolfe's permeability of
// the chorioamnion (1973, page 69), W = 35, one-sided p 0.1272; airquality's ozone in May and August, W = 127.5, p = 0.0001208.
func TestRanks(t *testing.T) {
	check := func(x1, x0 []float64, method string) func(string, []float64) {
		return func(line string, v []float64) {
			r, err := MannWhitney(x1, x0)
			if err != nil || r.U != v[0] || !near(r.P, v[1], 1e-11) || r.Method != method {
				t.Errorf("%s: got %+v, %v", line, r, err)
			}
		}
	}
	squares := func(n, factor, mod int, power, add float64) (v []float64) {
		for i := range n {
			v = append(v, math.Pow(float64((i+1)*factor%mod), power)+add)
		}
		return v
	}
	golden(t, "rank.txt", map[string]func(string, []float64){
		"Chorioamnion": check(chorion1, chorion0, "exact"),
		"Ozone":        check(ozoneMay, ozoneAug, "normal"),
		"Sleep":        check(sleep1, sleep2, "normal"),
		"Squares":      check(squares(60, 37, 61, 1.5, 0), squares(70, 29, 71, 1.6, 0.5), "normal"),
		"Exact": func(line string, v []float64) {
			if p := mannWhitneyExact(v[2], int(v[0]), int(v[1])); !near(p, v[3], 1e-10) {
				t.Errorf("%s: got %.17g", line, p)
			}
		},
		"Clustered": func(line string, v []float64) {
			r, err := ClusterRank(units1, units0, 0.95)
			if s := r.Superiority; err != nil || !near(s.Estimate, v[0], 1e-12) || !near(s.Lo, v[1], 1e-11) || !near(s.Hi, v[2], 1e-11) ||
				!near(r.P, v[3], 1e-10) || r.Method != "student" {
				t.Errorf("%s: got %+v, %v", line, r, err)
			}
		},
		"Few": func(line string, v []float64) {
			r, err := ClusterRank(units1[:5], units0[:6], 0.95)
			if err != nil || !near(r.Superiority.Estimate, v[0], 1e-12) || !near(r.P, v[1], 1e-12) || r.Method != "permutation" {
				t.Errorf("%s: got %+v, %v", line, r, err)
			}
		},
	})
	if r := good(MannWhitney(chorion1, chorion0)); math.Abs(r.P/2-0.1272) > 0.00005 {
		t.Errorf("chorioamnion: %+v", r)
	}
	if r := good(MannWhitney(ozoneMay, ozoneAug)); math.Abs(r.P-0.0001208) > 5e-8 {
		t.Errorf("ozone: %+v", r)
	}
}

// TestMannWhitneyTable: critical values of U at 5 % two-sided (Mann and Whitney's tables; Siegel, "Nonparametric Statistics", table K):
// the largest U that is still significant.
func TestMannWhitneyTable(t *testing.T) {
	for _, c := range []struct {
		n1, n0, u int
	}{{4, 4, 0}, {5, 5, 2}, {6, 8, 8}, {8, 8, 13}, {9, 9, 17}, {10, 10, 23}, {9, 20, 48}, {15, 15, 64}, {20, 20, 127}} {
		if p := mannWhitneyExact(float64(c.u), c.n1, c.n0); p > 0.05 {
			t.Errorf("%+v: p %v", c, p)
		}
		if p := mannWhitneyExact(float64(c.u+1), c.n1, c.n0); p <= 0.05 {
			t.Errorf("%+v, one more: p %v", c, p)
		}
	}
}

// TestBrunnerMunzel: with one value a unit the statistic is theirs. Pain scores of their paper (Biometrical Journal 42, 2000):
// scipy.stats.brunnermunzel of SciPy 1.10.1 (Debian 12, python3-scipy), of whose documentation it is the example, gives these figures.
// (ClusterRank itself permutes so few units.)
func TestBrunnerMunzel(t *testing.T) {
	x1 := []float64{1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 1, 1}
	x0 := []float64{3, 3, 4, 3, 1, 2, 3, 1, 1, 5, 4}
	all := good(pool(singles(x0), singles(x1)))
	p1, p0 := placements(all)
	a := summarise(p1, p0)
	df := satterthwaite(a.v1, float64(len(p1)-1), a.v0, float64(len(p0)-1))
	if s, p := a.statistic(), TTwoSided(a.statistic(), df); !near(s, 3.1374674823029505, 1e-12) || !near(p, 0.005786208666151538, 1e-11) {
		t.Errorf("statistic %v, p %v", s, p)
	}
}

func TestRankProperties(t *testing.T) {
	r := NewRNG(2)
	for i := range 24 {
		one, zero := visits(r, 15+r.Intn(20)), visits(r, 15+r.Intn(20))
		if i%10 == 0 { // few: permuted
			one = one[:12]
		}
		if r.Bernoulli(0.5) { // ties
			for _, arm := range [][][]float64{one, zero} {
				for _, u := range arm {
					for k := range u {
						u[k] = math.Round(u[k])
					}
				}
			}
		}
		a, b := good(ClusterRank(one, zero, 0.95)), good(ClusterRank(zero, one, 0.95))
		if math.Abs(a.Superiority.Estimate+b.Superiority.Estimate-1) > 1e-12 || math.Abs(a.Superiority.Lo+b.Superiority.Hi-1) > 0.02 ||
			math.Abs(a.P-b.P) > 0.02 { // drawn divisions differ
			t.Fatalf("arms swapped: %+v, %+v", a, b)
		}
		if (a.P < 0.05) == a.Superiority.Contains(0.5) {
			t.Fatalf("p and interval disagree: %+v", a)
		}
		x1, x0 := slices.Concat(one...), slices.Concat(zero...)
		m, n := good(MannWhitney(x1, x0)), good(MannWhitney(x0, x1))
		if m.U+n.U != float64(len(x1)*len(x0)) || !near(m.P, n.P, 1e-12) || math.Abs(m.Superiority+n.Superiority-1) > 1e-12 {
			t.Fatalf("arms swapped: %+v, %+v", m, n)
		}
		grow := func(units [][]float64) (out [][]float64) {
			for _, u := range units {
				g := make([]float64, len(u))
				for k, v := range u {
					g[k] = math.Exp(v) * 1000
				}
				out = append(out, g)
			}
			return append(out, nil) // and a unit without values
		}
		if c := good(ClusterRank(grow(one), grow(zero), 0.95)); c != a {
			t.Fatalf("another scale: %+v, %+v", a, c)
		}
	}
}

func TestClusterRankSeparated(t *testing.T) {
	low, high := make([][]float64, 40), make([][]float64, 30)
	for i := range low {
		low[i] = []float64{float64(i), float64(i) / 3}
	}
	for i := range high {
		high[i] = []float64{100 + float64(i), 200, 300}
	}
	r := good(ClusterRank(high, low, 0.95))
	// Wilson of 30 of 30: 30/(30+1.96^2).
	if r.Method != "separated" || math.Abs(r.Superiority.Estimate-1) > 1e-12 || math.Abs(r.Superiority.Lo-0.88648) > 1e-5 || r.Superiority.Hi != 1 ||
		!(r.P > 0 && r.P < 1e-18) {
		t.Errorf("%+v", r)
	}
	few := good(ClusterRank(high[:3], low[:3], 0.95))
	if few.Method != "permutation" || math.Abs(few.P-0.1) > 1e-12 || !(few.Superiority.Lo < 0.5) {
		t.Errorf("of 20 divisions two are as extreme: %+v", few)
	}
	// Of nearly ten million divisions 10,000 are drawn: none is as extreme but the one seen.
	drawn := good(ClusterRank(high[:12], low[:14], 0.95))
	if drawn.Method != "permutation" || !near(drawn.P, 1.0/10_001, 1e-12) {
		t.Errorf("%+v", drawn)
	}
}

// TestClusterRankAgrees: p is below 5 % just where the interval leaves out 0.5, with few units too.
func TestClusterRankAgrees(t *testing.T) {
	r := NewRNG(15)
	below := 0
	for range 300 {
		one, zero := visits(r, 5+r.Intn(2)), visits(r, 5+r.Intn(3))
		for _, u := range one {
			for k := range u {
				u[k] += 1.5
			}
		}
		a := good(ClusterRank(one, zero, 0.95))
		if (a.P < 0.05) == (a.Superiority.Lo <= 0.5+1e-12 && a.Superiority.Hi >= 0.5-1e-12) || a.Method != "permutation" {
			t.Fatalf("%+v", a)
		}
		if a.P < 0.05 {
			below++
		}
	}
	if below < 60 || below > 240 {
		t.Errorf("%d of 300 are below 5 %%: one side is hardly tested", below)
	}
}

func TestRankBadInput(t *testing.T) {
	fine := [][]float64{{1, 2}, {3}, {2}}
	for _, c := range []struct {
		what string
		a, b [][]float64
		want error
	}{
		{"empty", nil, fine, ErrNotEnough}, {"no values", fine, [][]float64{nil, nil}, ErrNotEnough}, {"one unit", fine, fine[:1], ErrNotEnough},
		{"one unit with values", [][]float64{{1, 2, 3}, nil}, fine, ErrNotEnough},
		{"all equal", [][]float64{{2, 2}, {2}}, [][]float64{{2}, {2, 2}}, ErrNoVariation},
		{"units all alike", [][]float64{{1, 3}, {1, 3}, {3, 1}}, [][]float64{{1, 3}, {1, 3}}, ErrNoVariation},
		{"NaN", fine, [][]float64{{math.NaN()}, {1}}, ErrInput}, {"infinite", [][]float64{{1}, {math.Inf(-1)}}, fine, ErrInput},
	} {
		if r, err := ClusterRank(c.a, c.b, 0.95); !errors.Is(err, c.want) || r != (ClusterRankTest{}) {
			t.Errorf("%s: %+v, %v", c.what, r, err)
		}
	}
	if _, err := ClusterRank(fine, fine, 1.5); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
	for _, c := range []struct {
		what   string
		x1, x0 []float64
		want   error
	}{
		{"empty", nil, []float64{1}, ErrNotEnough}, {"empty control", []float64{1}, nil, ErrNotEnough},
		{"all equal", []float64{2, 2}, []float64{2}, ErrNoVariation}, {"NaN", []float64{math.NaN()}, []float64{1}, ErrInput},
	} {
		if r, err := MannWhitney(c.x1, c.x0); !errors.Is(err, c.want) || r != (RankTest{}) {
			t.Errorf("%s: %+v, %v", c.what, r, err)
		}
	}
	x := []float64{3, 1, 2}
	good(MannWhitney(x, []float64{5, 4}))
	if !slices.Equal(x, []float64{3, 1, 2}) {
		t.Error("the argument was sorted")
	}
}

// visits draws units with 1 to dozens of log-times each, alike within a unit: half of the variance lies between units.
func visits(r *RNG, n int) [][]float64 {
	units := make([][]float64, n)
	for i := range units {
		habit := r.Norm()
		for range 1 + int(3*math.Exp(0.8*r.Norm())) {
			units[i] = append(units[i], habit+r.Norm())
		}
	}
	return units
}

func TestRanksAA(t *testing.T) {
	reject := below5(t)
	draw := func(r *RNG, n int, f func() float64) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = f()
		}
		return v
	}
	often(t, "Mann-Whitney, exact, 14 and 18", 0.05, false, func(r *RNG) bool {
		m, err := MannWhitney(draw(r, 14, r.Exp), draw(r, 18, r.Exp))
		return reject(m.P, err)
	})
	often(t, "Mann-Whitney, ties, 80 and 60", 0.05, false, func(r *RNG) bool {
		tens := func() float64 { return math.Round(3 * r.Exp()) }
		m, err := MannWhitney(draw(r, 80, tens), draw(r, 60, tens))
		return reject(m.P, err)
	})
	rank := func(a1, a0 [][]float64) bool {
		c, err := ClusterRank(a1, a0, 0.95)
		return reject(c.P, err)
	}
	often(t, "ClusterRank, 40 and 60 units", 0.05, false, func(r *RNG) bool { return rank(visits(r, 40), visits(r, 60)) })
	often(t, "ClusterRank, 15 and 15 units", 0.05, false, func(r *RNG) bool { return rank(visits(r, 15), visits(r, 15)) })
	often(t, "ClusterRank, 7 and 6 units", 0.05, false, func(r *RNG) bool { return rank(visits(r, 7), visits(r, 6)) })
	often(t, "ClusterRank, 5 and 100 units", 0.05, false, func(r *RNG) bool { return rank(visits(r, 5), visits(r, 100)) })
	shift := func(units [][]float64, by float64) [][]float64 {
		for _, u := range units {
			for k := range u {
				u[k] += by
			}
		}
		return units
	}
	// Two values of different units differ by a normal deviate of variance 4.
	often(t, "ClusterRank misses the superiority of a shift", 0.05, false, func(r *RNG) bool {
		return !good(ClusterRank(shift(visits(r, 50), 0.5), visits(r, 60), 0.95)).Superiority.Contains(NormCDF(0.25))
	})
}
