package stats

import (
	"errors"
	"math"
	"testing"
)

// TestShares against R (testdata/prop.R says the version).
func TestShares(t *testing.T) {
	golden(t, "prop.txt", map[string]func(string, []float64){
		"Wilson": func(line string, v []float64) {
			i, err := Wilson(int(v[0]), int(v[1]), v[2])
			if err != nil || !near(i.Lo, v[3], 1e-10) || !near(i.Hi, v[4], 1e-10) || i.Estimate != v[0]/v[1] {
				t.Errorf("%s: got %+v, %v", line, i, err)
			}
		},
		"Fisher": func(line string, v []float64) {
			// R's own log-densities keep about ten digits at a million.
			if p, err := Fisher(int(v[0]), int(v[1]), int(v[2]), int(v[3])); err != nil || !near(p, v[4], 2e-9) {
				t.Errorf("%s: got %.17g, %v", line, p, err)
			}
		},
		"ChiSquare": func(line string, v []float64) {
			c, err := CompareShares(int(v[0]), int(v[1]), int(v[2]), int(v[3]), 0.95)
			if err != nil || !near(c.P, v[4], 1e-9) || c.Method != "chi-square" {
				t.Errorf("%s: got %+v, %v", line, c, err)
			}
		},
	})
}

// TestWilsonPublished: Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, 1998, table I,
// method 3, its four examples at 95 %.
func TestWilsonPublished(t *testing.T) {
	for _, c := range []struct {
		x, n   int
		lo, hi float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}} {
		i := good(Wilson(c.x, c.n, 0.95))
		if math.Abs(i.Lo-c.lo) > 0.00005 || math.Abs(i.Hi-c.hi) > 0.00005 {
			t.Errorf("%d of %d: %+v, want %v to %v", c.x, c.n, i, c.lo, c.hi)
		}
	}
}

// TestNewcombePublished: Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17,
// 1998, table II, method 10, examples (a) to (h) at 95 %.
func TestNewcombePublished(t *testing.T) {
	for _, c := range []struct {
		x1, n1, x0, n0 int
		lo, hi         float64
	}{
		{56, 70, 48, 80, 0.0524, 0.3339},
		{9, 10, 3, 10, 0.1705, 0.8090},
		{6, 7, 2, 7, 0.0582, 0.8062},
		{5, 56, 0, 29, -0.0381, 0.1926},
		{0, 10, 0, 20, -0.1611, 0.2775},
		{0, 10, 0, 10, -0.2775, 0.2775},
		{10, 10, 0, 20, 0.6791, 1},
		{10, 10, 0, 10, 0.6075, 1},
	} {
		i := good(Newcombe(c.x1, c.n1, c.x0, c.n0, 0.95))
		if math.Abs(i.Lo-c.lo) > 0.00005 || math.Abs(i.Hi-c.hi) > 0.00005 {
			t.Errorf("%+v: got %+v", c, i)
		}
	}
}

// TestFisherByHand: the sum over all tables by exact binomial coefficients, for every table of small margins; and far tails.
func TestFisherByHand(t *testing.T) {
	choose := func(n, k int) float64 {
		c := 1.0
		for i := range k {
			c = math.Round(c * float64(n-i) / float64(i+1))
		}
		return c
	}
	tables := 0
	for n1 := 1; n1 <= 9; n1++ {
		for n0 := 1; n0 <= 7; n0++ {
			for x1 := range n1 + 1 {
				for x0 := range n0 + 1 {
					k := x1 + x0
					var all, extreme float64
					for a := max(0, k-n0); a <= min(k, n1); a++ {
						w := choose(n1, a) * choose(n0, k-a)
						all += w
						if w <= choose(n1, x1)*choose(n0, x0) {
							extreme += w
						}
					}
					if p := good(Fisher(x1, n1, x0, n0)); !near(p, extreme/all, 1e-12) {
						t.Errorf("%d/%d, %d/%d: %v, want %v", x1, n1, x0, n0, p, extreme/all)
					}
					tables++
				}
			}
		}
	}
	if tables < 1000 {
		t.Errorf("only %d tables", tables)
	}
	if p := good(Fisher(1_000_000, 1_000_000, 0, 1_000_000)); p != 0 {
		t.Errorf("a probability of 10^-600000 is %v", p)
	}
}

func TestSharesSwapArms(t *testing.T) {
	r := NewRNG(1)
	for range 500 {
		n1, n0 := 1+r.Intn(60), 1+r.Intn(60)
		x1, x0 := r.Intn(n1+1), r.Intn(n0+1)
		a, b := good(CompareShares(x1, n1, x0, n0, 0.95)), good(CompareShares(x0, n0, x1, n1, 0.95))
		c := good(CompareShares(n0-x0, n0, n1-x1, n1, 0.95)) // failures for successes, and arms swapped: the same difference
		for _, o := range []ShareTest{{b.Diff.Neg(), b.P, b.Method, b.Why}, c} {
			if o.Method != a.Method || !near(o.P, a.P, 1e-9) || math.Abs(o.Diff.Lo-a.Diff.Lo)+math.Abs(o.Diff.Hi-a.Diff.Hi) > 1e-12 {
				t.Fatalf("%d/%d, %d/%d: %+v, %+v", x1, n1, x0, n0, a, o)
			}
		}
		if d := a.Diff; !(d.Lo <= d.Estimate && d.Estimate <= d.Hi && d.Lo >= -1 && d.Hi <= 1) || !(a.P > 0 && a.P <= 1) {
			t.Fatalf("%d/%d, %d/%d: %+v", x1, n1, x0, n0, a)
		}
	}
}

func TestCompareSharesChooses(t *testing.T) {
	for _, c := range []struct {
		x1, n1, x0, n0 int
		method         string
	}{
		{5, 100, 5, 100, "chi-square"}, {5, 100, 4, 100, "fisher"}, {95, 100, 95, 100, "chi-square"}, {96, 100, 95, 100, "fisher"},
		{0, 100, 0, 100, "fisher"}, {3, 9, 500, 1000, "fisher"}, {3, 11, 500, 1000, "chi-square"},
	} {
		got := good(CompareShares(c.x1, c.n1, c.x0, c.n0, 0.95))
		if got.Method != c.method || got.Why == "" {
			t.Errorf("%+v: got %+v", c, got)
		}
	}
}

func TestSharesBadInput(t *testing.T) {
	for _, c := range []struct {
		x1, n1, x0, n0 int
		conf           float64
		want           error
	}{
		{0, 0, 1, 2, 0.95, ErrNotEnough}, {1, 2, 0, 0, 0.95, ErrNotEnough}, {3, 2, 1, 2, 0.95, ErrInput}, {-1, 2, 1, 2, 0.95, ErrInput},
		{1, 2, 1, -2, 0.95, ErrInput}, {1, 2, 1, 2, 1, ErrInput}, {1, 2, 1, 2, 0, ErrInput}, {1, 2, 1, 2, math.NaN(), ErrInput},
	} {
		if i, err := Newcombe(c.x1, c.n1, c.x0, c.n0, c.conf); !errors.Is(err, c.want) || i != (Interval{}) {
			t.Errorf("%+v: %+v, %v", c, i, err)
		}
		if _, err := CompareShares(c.x1, c.n1, c.x0, c.n0, c.conf); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := Wilson(0, 0, 0.95); !errors.Is(err, ErrNotEnough) {
		t.Error(err)
	}
	if _, err := Wilson(1, 2, 95); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
	if _, err := Fisher(0, 0, 1, 2); !errors.Is(err, ErrNotEnough) {
		t.Error(err)
	}
}

// TestSharesAA: false positives of each test, and how often each interval holds the truth. Discrete data keep no level exactly: the
// average over true shares is what is near nominal, so each experiment draws its own.
func TestSharesAA(t *testing.T) {
	reject := below5(t)
	often(t, "chi-square, 3-30 % of 400 and 300", 0.05, false, func(r *RNG) bool {
		p := 0.03 + 0.27*r.Float64()
		c, err := CompareShares(binomial(r, 400, p), 400, binomial(r, 300, p), 300, 0.95)
		return reject(c.P, err)
	})
	often(t, "Fisher, 0.5 % of 300 and 500", 0.05, true, func(r *RNG) bool {
		return reject(Fisher(binomial(r, 300, 0.005), 300, binomial(r, 500, 0.005), 500))
	})
	often(t, "CompareShares, 0-5 % of 300 and 300", 0.05, true, func(r *RNG) bool {
		p := 0.05 * r.Float64()
		c, err := CompareShares(binomial(r, 300, p), 300, binomial(r, 300, p), 300, 0.95)
		return reject(c.P, err)
	})
	often(t, "Wilson misses, 5-95 % of 100", 0.05, false, func(r *RNG) bool {
		p := 0.05 + 0.9*r.Float64()
		return !good(Wilson(binomial(r, 100, p), 100, 0.95)).Contains(p)
	})
	often(t, "Newcombe misses, true difference -10..+10 points", 0.05, false, func(r *RNG) bool {
		p0 := 0.15 + 0.3*r.Float64()
		p1 := p0 + 0.2*(r.Float64()-0.5)
		return !good(Newcombe(binomial(r, 250, p1), 250, binomial(r, 200, p0), 200, 0.95)).Contains(p1 - p0)
	})
	often(t, "Newcombe misses at 80 %", 0.2, false, func(r *RNG) bool {
		p0, p1 := 0.1+0.3*r.Float64(), 0.1+0.3*r.Float64()
		return !good(Newcombe(binomial(r, 250, p1), 250, binomial(r, 200, p0), 200, 0.8)).Contains(p1 - p0)
	})
	often(t, "Newcombe misses, rare (0.5 % of 1000)", 0.05, true, func(r *RNG) bool {
		return !good(Newcombe(binomial(r, 1000, 0.005), 1000, binomial(r, 1000, 0.005), 1000, 0.95)).Contains(0)
	})
}
