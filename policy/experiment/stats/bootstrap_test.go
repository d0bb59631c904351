package stats

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

// slowQuantile is the quantile of a resample by its definition.
func slowQuantile(units [][]float64, times []int32, q float64) float64 {
	var all []float64
	for u, values := range units {
		for range times[u] {
			all = append(all, values...)
		}
	}
	slices.Sort(all)
	return good(NewECDF(singles(all), 0.5)).Quantile(q)
}

// mixed draws units that make classes (one value each) and others that do not.
func mixed(r *RNG, alone, together int) [][]float64 {
	var units [][]float64
	for range alone {
		units = append(units, []float64{r.Exp()})
	}
	for range together {
		u := make([]float64, 2+r.Intn(9))
		for i := range u {
			u[i] = math.Round(20*r.Exp()) / 20
		}
		units = append(units, u)
	}
	return units
}

// TestResampleIsQuantile: whatever was drawn, the quantile is the one by definition; also where it falls outside the part that is
// looked at first.
func TestResampleIsQuantile(t *testing.T) {
	g := NewRNG(3)
	outside := 0
	for round := range 24 {
		units := mixed(g, 500*(round%2), 30)
		q := []float64{0.5, 0.9, 0.25, 0.8}[round%4]
		r, err := newResampler("the arm", units, q)
		if err != nil {
			t.Fatal(err)
		}
		if want := good(NewECDF(units, 0.5)).Quantile(q); r.quantile != want {
			t.Fatalf("quantile %v, want %v", r.quantile, want)
		}
		if round%2 == 1 && len(r.classes) == 0 {
			t.Fatal("no classes: nothing is tested")
		}
		if round%8 >= 4 { // as if the quantile were easily elsewhere
			r.from, r.to = r.from+(r.to-r.from)/2-3, r.from+(r.to-r.from)/2+3
			r.single, r.classes = nil, nil
			r.classify(len(units))
		}
		// Which of units each number is, by their values.
		own := make([][]float64, len(units))
		for i, u := range r.unit {
			own[u] = append(own[u], r.values[i])
		}
		for range 30 {
			before := r.outside
			got := r.resample(g)
			if outside += r.outside - before; r.outside == before { // who was drawn of a class was not asked, so may be anyone
				clear(r.times[len(r.single):])
				for i, c := range r.classes {
					r.times[c.first] = int32(r.drawn[i])
				}
			}
			if want := slowQuantile(own, r.times, q); got != want {
				t.Fatalf("round %d: %v, want %v", round, got, want)
			}
		}
	}
	if outside < 12 {
		t.Errorf("only %d resamples fell outside", outside)
	}
}

// TestResampleDistribution: the median of a resample of 2m-1 single values is the k-th in order with the probability that Efron gives
// ("Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979, formula 3.3): that at least m of n binomial draws
// fall among the first k less that of the first k-1. With 501 values all but those near the median are drawn by class.
func TestResampleDistribution(t *testing.T) {
	const n, draws = 501, 10_000
	values := make([]float64, n)
	for i := range values {
		values[i] = float64(i + 1)
	}
	r, err := newResampler("the arm", singles(values), 0.5)
	if err != nil || len(r.classes) != 2 {
		t.Fatal(err, len(r.classes))
	}
	atMost := func(k int) (p float64) { // the probability that the median is at most the k-th
		x := float64(k) / n
		all, _ := math.Lgamma(n + 1)
		for j := (n + 1) / 2; j <= n && k > 0; j++ {
			a, _ := math.Lgamma(float64(j + 1))
			b, _ := math.Lgamma(float64(n - j + 1))
			if k == n {
				return 1
			}
			p += math.Exp(all - a - b + float64(j)*math.Log(x) + float64(n-j)*math.Log1p(-x))
		}
		return p
	}
	// Kolmogorov's distance; its 0.999 quantile for n draws is 1.95/sqrt(n).
	distance := func() (worst float64, outside int) {
		r.outside = 0
		var count [n + 1]float64
		g := NewRNG(12)
		for range draws {
			count[int(r.resample(g))]++
		}
		sum := 0.0
		for k, c := range count {
			if sum += c; k >= 200 && k <= 300 {
				worst = max(worst, math.Abs(sum/draws-atMost(k)))
			}
		}
		return worst, r.outside
	}
	if worst, outside := distance(); worst > 1.95/math.Sqrt(draws) || outside > 0 {
		t.Errorf("distance %v; %d of %d fell six standard errors away", worst, outside, draws)
	}
	r.from, r.to, r.single, r.classes = 3, 9, nil, nil // as if it were sure to lie elsewhere
	r.classify(n)
	if worst, outside := distance(); worst > 1.95/math.Sqrt(draws) || outside < draws {
		t.Errorf("looking elsewhere: distance %v; %d of %d fell outside", worst, outside, draws)
	}
}

// TestQuantileDiffKnown: the interval of the median of many single values is that of order statistics (David and Nagaraja, "Order
// Statistics", section 7.1): for one arm fixed and 999 values 1 to 999 in the other the ranks 500 ± 1.96 sqrt(999)/2, that is 469 to 531.
func TestQuantileDiffKnown(t *testing.T) {
	values := make([]float64, 999)
	for i := range values {
		values[i] = float64(i + 1)
	}
	zero := make([]float64, 999)
	i := good(QuantileDiff(singles(values), singles(zero), 0.5, 0.95, 4_000, 1))
	if i.Estimate != 500 || math.Abs(i.Lo-469) > 2 || math.Abs(i.Hi-531) > 2 {
		t.Errorf("%+v", i)
	}
}

// TestQuantileOfEqualArms: the same values in both arms are resampled apart, so that the interval has its width and its middle.
func TestQuantileOfEqualArms(t *testing.T) {
	units := mixed(NewRNG(16), 300, 30)
	i := good(QuantileDiff(units, units, 0.5, 0.95, 2000, 1))
	if i.Estimate != 0 || !(i.Lo < 0 && i.Hi > 0) || math.Abs(i.Lo+i.Hi) > 0.2*(i.Hi-i.Lo) {
		t.Errorf("%+v", i)
	}
}

// TestWidened: R 4.2.2, pnorm(qt(.025, 18) * sqrt(10/9)) and pnorm(qt(.025, 298) * sqrt(100/99)).
func TestWidened(t *testing.T) {
	if a, b := widened(0.025, 10, 10), widened(0.025, 200, 100); !near(a, 0.013394924398515458, 1e-11) || !near(b, 0.023971647111233139, 1e-11) {
		t.Errorf("%.17g, %.17g", a, b)
	}
}

// TestFindAgrees: the value that makes a quantile is the same as ECDF's at every number of values; 0.95 and its like are no binary
// fractions, and 0.3 times 10 is not 3.
func TestFindAgrees(t *testing.T) {
	values := make([]float64, 400)
	for i := range values {
		values[i] = float64(i * i)
	}
	for n := 1; n <= len(values); n++ {
		r := &resampler{values: values[:n], unit: make([]int32, n), times: []int32{1}}
		e := good(NewECDF(singles(values[:n]), 0.5))
		for _, q := range []float64{0.01, 0.05, 0.1, 0.3, 0.35, 0.5, 0.55, 0.7, 0.9, 0.95, 0.99, 1.0 / 3} {
			r.q = q
			if v, ok := r.find(0, n, 0, int64(n)); !ok || v != e.Quantile(q) {
				t.Fatalf("%v of %d values: %v, want %v", q, n, v, e.Quantile(q))
			}
		}
	}
}

func TestQuantileProperties(t *testing.T) {
	g := NewRNG(9)
	one, zero := mixed(g, 300, 40), mixed(g, 200, 60)
	const resamples = 2000
	at := func(a1, a0 [][]float64, seed uint64) Interval {
		return good(QuantileDiff(a1, a0, 0.9, 0.95, resamples, seed))
	}
	i := at(one, zero, 1)
	if again := at(one, zero, 1); again != i {
		t.Errorf("the same seed: %+v, %+v", i, again)
	}
	if other := at(one, zero, 2); other == i || math.Abs(other.Lo-i.Lo) > 0.15*(i.Hi-i.Lo) || math.Abs(other.Hi-i.Hi) > 0.15*(i.Hi-i.Lo) {
		t.Errorf("another seed: %+v, %+v", i, other)
	}
	if s := at(zero, one, 1).Neg(); s.Estimate != i.Estimate || math.Abs(s.Lo-i.Lo) > 0.15*(i.Hi-i.Lo) || math.Abs(s.Hi-i.Hi) > 0.15*(i.Hi-i.Lo) {
		t.Errorf("arms swapped: %+v, %+v", i, s)
	}
	grow := func(units [][]float64) (out [][]float64) {
		for _, u := range units {
			g := make([]float64, len(u))
			for k, v := range u {
				g[k] = 1024 * v
			}
			out = append(out, nil, g) // and units without values
		}
		return out
	}
	if s := at(grow(one), grow(zero), 1); s != (Interval{1024 * i.Estimate, 1024 * i.Lo, 1024 * i.Hi}) {
		t.Errorf("another scale: %+v, %+v", i, s)
	}
	positive := func(units [][]float64) (out [][]float64) {
		for _, u := range units {
			g := make([]float64, len(u))
			for k, v := range u {
				g[k] = v + 1
			}
			out = append(out, g)
		}
		return out
	}
	p1, p0 := positive(one), positive(zero)
	r := good(QuantileRatio(p1, p0, 0.5, 0.95, resamples, 1))
	s := good(QuantileRatio(p0, p1, 0.5, 0.95, resamples, 1))
	if !near(r.Estimate, 1/s.Estimate, 1e-12) || math.Abs(r.Lo-1/s.Hi) > 0.15*(r.Hi-r.Lo) || !(r.Lo <= r.Estimate && r.Estimate <= r.Hi) {
		t.Errorf("%+v, %+v", r, s)
	}
	before := slices.Clone(one[len(one)-1])
	at(one, zero, 1)
	if !slices.Equal(before, one[len(one)-1]) {
		t.Error("the argument was changed")
	}
}

func TestQuantileBadInput(t *testing.T) {
	fine := mixed(NewRNG(1), 200, 0)
	for _, c := range []struct {
		what      string
		a1, a0    [][]float64
		q, conf   float64
		resamples int
		want      error
	}{
		{"empty", nil, fine, 0.5, 0.95, 2000, ErrNotEnough}, {"empty control", fine, [][]float64{{}}, 0.5, 0.95, 2000, ErrNotEnough},
		{"one unit", [][]float64{fine[0]}, fine, 0.5, 0.95, 2000, ErrNotEnough},
		{"one unit with many values", [][]float64{slices.Concat(fine...)}, fine, 0.5, 0.95, 2000, ErrNotEnough},
		{"80 units for the 95th percentile", fine, fine[:80], 0.95, 0.95, 2000, ErrNotEnough},
		{"all equal", singles(make([]float64, 50)), singles(make([]float64, 60)), 0.5, 0.95, 2000, ErrNoVariation},
		{"NaN", append(fine[:20:20], []float64{math.NaN()}), fine, 0.5, 0.95, 2000, ErrInput},
		{"quantile 1", fine, fine, 1, 0.95, 2000, ErrInput}, {"quantile NaN", fine, fine, math.NaN(), 0.95, 2000, ErrInput},
		{"confidence", fine, fine, 0.5, 95, 2000, ErrInput}, {"few resamples", fine, fine, 0.5, 0.95, 100, ErrInput},
	} {
		if i, err := QuantileDiff(c.a1, c.a0, c.q, c.conf, c.resamples, 1); !errors.Is(err, c.want) || i != (Interval{}) {
			t.Errorf("%s: %+v, %v", c.what, i, err)
		}
	}
	if i, err := QuantileRatio(fine, append(fine[:20:20], []float64{0}), 0.5, 0.95, 2000, 1); !errors.Is(err, ErrInput) || i != (Interval{}) {
		t.Errorf("%+v, %v", i, err)
	}
	if i, err := QuantileDiff(fine[:100], fine[100:], 0.95, 0.95, 2000, 1); err != nil || !(i.Hi > i.Lo) {
		t.Errorf("100 units for the 95th percentile: %+v, %v", i, err)
	}
}

func TestQuantileAA(t *testing.T) {
	t.Parallel()
	const resamples = 400
	misses := func(a1, a0 [][]float64, q, truth float64, seed uint64) bool {
		return !good(QuantileDiff(a1, a0, q, 0.95, resamples, seed)).Contains(truth)
	}
	often(t, "QuantileDiff misses, median, 80 and 100 clustered units", 0.05, false, func(r *RNG) bool {
		return misses(visits(r, 80), visits(r, 100), 0.5, 0, r.Uint64())
	})
	often(t, "QuantileDiff misses, 95th, 150 clustered units", 0.05, false, func(r *RNG) bool {
		return misses(visits(r, 150), visits(r, 150), 0.95, 0, r.Uint64())
	})
	often(t, "QuantileDiff misses, median, 15 clustered units", 0.05, true, func(r *RNG) bool {
		return misses(visits(r, 15), visits(r, 15), 0.5, 0, r.Uint64())
	})
	// Classes: single values, twice as long in the treatment. Medians ln 2 and 2 ln 2, 95th percentiles ln 20 and 2 ln 20.
	exps := func(r *RNG, n int, scale float64) [][]float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = scale * r.Exp()
		}
		return singles(v)
	}
	often(t, "QuantileDiff misses, median of single values", 0.05, false, func(r *RNG) bool {
		return misses(exps(r, 400, 2), exps(r, 300, 1), 0.5, math.Ln2, r.Uint64())
	})
	often(t, "QuantileDiff misses, 95th of single values", 0.05, false, func(r *RNG) bool {
		return misses(exps(r, 300, 2), exps(r, 250, 1), 0.95, math.Log(20), r.Uint64())
	})
	often(t, "QuantileRatio misses twice as long", 0.05, false, func(r *RNG) bool {
		return !good(QuantileRatio(exps(r, 400, 2), exps(r, 300, 1), 0.5, 0.95, resamples, r.Uint64())).Contains(2)
	})
}

// TestQuantileLarge logs how long 100,000 values and 2,000 resamples take; the limit is far off, it catches only another order.
func TestQuantileLarge(t *testing.T) {
	if breadth > 1 {
		t.Log("the full tier does the large one")
		return
	}
	r := NewRNG(1)
	for _, c := range []struct{ units, values int }{{50_000, 1}, {5_000, 10}, {100, 500}} {
		draw := func() [][]float64 {
			units := make([][]float64, c.units)
			for i := range units {
				habit := r.Norm()
				for range c.values {
					units[i] = append(units[i], math.Exp(habit+r.Norm()))
				}
			}
			return units
		}
		one, zero := draw(), draw()
		for _, q := range []float64{0.5, 0.95} {
			start := time.Now()
			i := good(QuantileDiff(one, zero, q, 0.95, 2000, 1))
			t.Logf("%d units of %d values, quantile %v: %+v in %v", c.units, c.values, q, i, time.Since(start).Round(time.Millisecond))
			if time.Since(start) > 30*time.Second {
				t.Error("too slow")
			}
		}
	}
}
