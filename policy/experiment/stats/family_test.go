package stats

import (
	"errors"
	"math"
	"slices"
	"testing"
)

var ozone = []float64{41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37, 29, 71, 39, 23,
	21, 37, 20, 12, 13, 135, 49, 32, 64, 40, 77, 97, 97, 85, 10, 27, 7, 48, 35, 61, 79, 63, 16, 80, 108, 20, 52, 82, 50, 64, 59, 39, 9, 16,
	78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85, 96, 78, 73, 91, 47, 32, 20, 23, 21, 24,
	44, 21, 28, 9, 13, 46, 18, 13, 24, 16, 13, 23, 36, 7, 14, 30, 14, 18, 20}

// TestFamily against R (testdata/family.R says the version). R's documentation of chisq.test has the first SRM example.
func TestFamily(t *testing.T) {
	twenty := make([]float64, 20)
	for i := range twenty {
		twenty[i] = float64((20 - i) * (20 - i))
	}
	squares, air := good(NewECDF(singles(twenty), 0.95)), good(NewECDF([][]float64{ozone[:40], nil, ozone[40:]}, 0.95))
	golden(t, "family.txt", map[string]func(string, []float64){
		"Holm": func(line string, v []float64) {
			n := len(v) / 2
			got, err := Holm(v[:n])
			for i := range got {
				if !near(got[i], v[n+i], 1e-14) {
					t.Errorf("%s: got %v", line, got)
				}
			}
			if err != nil || len(got) != n {
				t.Error(got, err)
			}
		},
		"SRM": func(line string, v []float64) {
			n := int(v[0])
			var counts []int
			for _, c := range v[1 : n+1] {
				counts = append(counts, int(c))
			}
			if p, err := SRM(counts, v[n+1:2*n+1]); err != nil || !near(p, v[2*n+1], 1e-11) {
				t.Errorf("%s: got %.17g, %v", line, p, err)
			}
		},
		"Ozone": func(line string, v []float64) {
			if got := air.Quantile(v[0]); got != v[1] {
				t.Errorf("%s: got %v", line, got)
			}
			if x := air.Quantile(v[0] - 1e-6); !near(air.At(x), v[2], 1e-14) && v[0] > 0 {
				t.Errorf("%s: %v of values are at most %v", line, air.At(x), x)
			}
		},
		"Twenty": func(line string, v []float64) {
			if got := squares.Quantile(v[0]); got != v[1] {
				t.Errorf("%s: got %v", line, got)
			}
		},
	})
}

// TestHolmPublished: the example of the article "Holm-Bonferroni method" in Wikipedia: of 0.01, 0.04, 0.03, 0.005 at 5 % the first and
// the last fall, the third does not (0.03 > 0.05/2), and so neither does the second.
func TestHolmPublished(t *testing.T) {
	got := good(Holm([]float64{0.01, 0.04, 0.03, 0.005}))
	for i, want := range []float64{0.03, 0.06, 0.06, 0.02} {
		if !near(got[i], want, 1e-14) {
			t.Errorf("%v", got)
		}
	}
}

func TestHolmProperties(t *testing.T) {
	r := NewRNG(8)
	for range 300 {
		p := make([]float64, r.Intn(12))
		for i := range p {
			p[i] = math.Round(r.Float64()*40) / 40
		}
		got := good(Holm(p))
		order := r.Perm(len(p))
		shuffled := make([]float64, len(p))
		for i, k := range order {
			shuffled[i] = p[k]
		}
		for i, v := range good(Holm(shuffled)) {
			if v != got[order[i]] {
				t.Fatalf("the order matters: %v", p)
			}
		}
		for i := range p {
			if got[i] < p[i] || got[i] > min(1, float64(len(p))*p[i]) {
				t.Fatalf("%v became %v: less than itself, or more than Bonferroni's", p, got)
			}
			for j := range p {
				if p[i] <= p[j] && got[i] > got[j] {
					t.Fatalf("%v became %v: another order", p, got)
				}
			}
		}
	}
	for _, bad := range []float64{-0.1, 1.1, math.NaN()} {
		if got, err := Holm([]float64{0.5, bad}); !errors.Is(err, ErrInput) || got != nil {
			t.Errorf("%v: %v, %v", bad, got, err)
		}
	}
}

func TestSRMBadInput(t *testing.T) {
	for _, c := range []struct {
		counts  []int
		weights []float64
		want    error
	}{
		{[]int{10}, []float64{1}, ErrInput}, {[]int{10, 20}, []float64{1}, ErrInput}, {[]int{10, -1}, []float64{1, 1}, ErrInput},
		{[]int{10, 20}, []float64{1, 0}, ErrInput}, {[]int{10, 20}, []float64{1, math.NaN()}, ErrInput}, {nil, nil, ErrInput},
		{[]int{10, 20}, []float64{1, math.Inf(1)}, ErrInput},
		{[]int{0, 0}, []float64{1, 1}, ErrNotEnough}, {[]int{9, 0}, []float64{1, 1}, ErrNotEnough}, {[]int{90, 2}, []float64{96, 4}, ErrNotEnough},
	} {
		if p, err := SRM(c.counts, c.weights); !errors.Is(err, c.want) || p != 0 {
			t.Errorf("%+v: %v, %v", c, p, err)
		}
	}
	if p := good(SRM([]int{5, 5}, []float64{50, 50})); p != 1 {
		t.Errorf("as expected: %v", p)
	}
	a, b := good(SRM([]int{430, 612, 95}, []float64{40, 50, 10})), good(SRM([]int{95, 612, 430}, []float64{1, 5, 4}))
	if !near(a, b, 1e-12) {
		t.Errorf("weights of another scale: %v, %v", a, b)
	}
}

// TestSRMPower: at most 1 % false alarms, and 52:48 is caught within 20,000 units with power 0.99.
func TestSRMPower(t *testing.T) {
	if SRMAlarm > 0.01 {
		t.Errorf("alarms at %v", SRMAlarm)
	}
	alarm := func(p float64, err error) bool { return err != nil || p < SRMAlarm }
	often(t, "SRM, false alarms", SRMAlarm, false, func(r *RNG) bool {
		n := r.Binomial(20_000, 0.5)
		return alarm(SRM([]int{n, 20_000 - n}, []float64{1, 1}))
	})
	often(t, "SRM, false alarms, 80:19:1 of 600", SRMAlarm, false, func(r *RNG) bool {
		a := r.Binomial(600, 0.8)
		b := r.Binomial(600-a, 0.95)
		return alarm(SRM([]int{a, b, 600 - a - b}, []float64{80, 19, 1}))
	})
	// 1 - power: the noncentral chi-square's, 1-Φ(5.66-2.81) = 0.0022.
	often(t, "SRM misses 52:48 of 20,000", 0.0022, false, func(r *RNG) bool {
		n := r.Binomial(20_000, 0.52)
		return !alarm(SRM([]int{n, 20_000 - n}, []float64{1, 1}))
	})
}

// TestHolmAA: the chance that any of six true hypotheses falls, of tests that depend on each other; and that a p-value is uniform makes
// the unadjusted chance 1 - 0.95^6 = 0.265 where they do not.
func TestHolmAA(t *testing.T) {
	draw := func(r *RNG, common float64) []float64 {
		p := make([]float64, 6)
		shared := r.Norm()
		for i := range p {
			p[i] = NormTwoSided(math.Sqrt(common)*shared + math.Sqrt(1-common)*r.Norm())
		}
		return p
	}
	often(t, "Holm, any of 6 independent", 0.05, false, func(r *RNG) bool { return slices.Min(good(Holm(draw(r, 0)))) < 0.05 })
	often(t, "Holm, any of 6 dependent", 0.05, true, func(r *RNG) bool { return slices.Min(good(Holm(draw(r, 0.7)))) < 0.05 })
	often(t, "unadjusted, any of 6 independent", 1-math.Pow(0.95, 6), false, func(r *RNG) bool { return slices.Min(draw(r, 0)) < 0.05 })
}

func TestECDF(t *testing.T) {
	e := good(NewECDF([][]float64{{3, 1, 3}, {2}, {}, {7, 3}}, 0.95))
	if !slices.Equal(e.X, []float64{1, 2, 3, 7}) || e.Values != 6 || e.Units != 3 || e.At(3) != 5.0/6 || e.At(0.5) != 0 || e.At(2.5) != 2.0/6 || e.At(9) != 1 {
		t.Errorf("%+v", e)
	}
	// Kish: 6^2/(9+1+4).
	if want := math.Sqrt(math.Log(40) / (2 * 36 / 14.0)); !near(e.Band, want, 1e-14) {
		t.Errorf("band %v, want %v", e.Band, want)
	}
	if lo, hi := e.Bounds(3); lo < 0 || hi != 1 || lo > e.At(3) {
		t.Errorf("%v to %v", lo, hi)
	}
	// The band for 100 values at 95 % is 0.1358: the asymptotic critical value 1.358/sqrt(n) of Kolmogorov's table (Miller, JASA 51, 1956,
	// who has 0.13403 for n = 100 exactly, which it must not fall below).
	if b := good(NewECDF(singles(ozone[:100]), 0.95)).Band; math.Abs(b-0.1358) > 0.00005 {
		t.Errorf("band %v", b)
	}
	if _, err := NewECDF([][]float64{{}, nil}, 0.95); !errors.Is(err, ErrNotEnough) {
		t.Error(err)
	}
	if _, err := NewECDF([][]float64{{1, math.NaN()}}, 0.95); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
	if _, err := NewECDF([][]float64{{1}}, 0); !errors.Is(err, ErrInput) {
		t.Error(err)
	}
	same := good(NewECDF([][]float64{{2, 2}, {2}}, 0.95))
	if same.Quantile(0) != 2 || same.Quantile(0.5) != 2 || same.Quantile(1) != 2 || same.At(2) != 1 {
		t.Errorf("%+v", same)
	}
}

func TestECDFThin(t *testing.T) {
	r := NewRNG(6)
	values := make([]float64, 5000)
	for i := range values {
		values[i] = r.Exp()
		if i%3 == 0 {
			values[i] = math.Round(values[i]) // steps
		}
	}
	e := good(NewECDF(singles(values), 0.95))
	for _, n := range []int{0, 2, 3, 50, 400, 1_000_000} {
		x, f := e.Thin(n)
		if len(x) > max(n, 2) && len(x) != len(e.X) || len(x) != len(f) || x[0] != e.X[0] || x[len(x)-1] != e.X[len(e.X)-1] || f[len(f)-1] != 1 {
			t.Fatalf("%d: %d points, %v to %v", n, len(x), x[0], x[len(x)-1])
		}
		for i := range x {
			if e.At(x[i]) != f[i] || i > 0 && x[i] <= x[i-1] {
				t.Fatalf("%d: point %d is no point of it", n, i)
			}
		}
		for i := 1; n >= 50 && i < len(x); i++ {
			before := e.F[max(0, slices.Index(e.X, x[i])-1)] // f just below x[i]
			if before-f[i-1] > 1/float64(n-1)+1e-9 {
				t.Fatalf("%d: from %v to %v nothing is drawn", n, f[i-1], before)
			}
		}
	}
}

// TestDKWAA: the band holds the whole true function.
func TestDKWAA(t *testing.T) {
	misses := func(e *ECDF, truth func(float64) float64) bool {
		below := 0.0
		for i, x := range e.X {
			if f := truth(x); f-below > e.Band || e.F[i]-f > e.Band {
				return true
			}
			below = e.F[i]
		}
		return false
	}
	often(t, "DKW misses somewhere, 100 values", 0.05, true, func(r *RNG) bool {
		v := make([]float64, 100)
		for i := range v {
			v[i] = r.Exp()
		}
		return misses(good(NewECDF(singles(v), 0.95)), func(x float64) float64 { return 1 - math.Exp(-x) })
	})
	often(t, "DKW misses somewhere, clustered", 0.05, true, func(r *RNG) bool {
		return misses(good(NewECDF(visits(r, 60), 0.95)), func(x float64) float64 { return NormCDF(x / math.Sqrt2) })
	})
}
