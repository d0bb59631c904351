package stats

import (
	"math"
	"slices"
	"testing"
)

// TestRNGGolden: the streams of other implementations of SplitMix64. Seed 1234567 is the check that Rosetta Code's task
// "Pseudo-random numbers/Splitmix64" publishes; seed 0 begins with 0xe220a8397b1dcdaf in Vigna's splitmix64.c and in Java's
// SplittableRandom (both: same constants).
func TestRNGGolden(t *testing.T) {
	for _, c := range []struct {
		seed uint64
		want []uint64
	}{
		{1234567, []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821}},
		{0, []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f}},
	} {
		r := NewRNG(c.seed)
		for i, want := range c.want {
			if got := r.Uint64(); got != want {
				t.Errorf("seed %d, number %d: %d, want %d", c.seed, i, got, want)
			}
		}
	}
}

func TestRNGMoments(t *testing.T) {
	const n = 60_000
	for _, c := range []struct {
		name           string
		draw           func(*RNG) float64
		mean, variance float64
	}{
		{"Float64", (*RNG).Float64, 0.5, 1.0 / 12},
		{"Norm", (*RNG).Norm, 0, 1},
		{"Exp", (*RNG).Exp, 1, 1},
		{"Intn", func(r *RNG) float64 { return float64(r.Intn(6)) }, 2.5, 35.0 / 12},
		{"Bernoulli", func(r *RNG) float64 {
			if r.Bernoulli(0.3) {
				return 1
			}
			return 0
		}, 0.3, 0.21},
		{"Binomial", func(r *RNG) float64 { return float64(r.Binomial(1_000, 0.7)) }, 700, 210},
		{"Binomial, rare", func(r *RNG) float64 { return float64(r.Binomial(1_000_000, 2e-6)) }, 2, 2},
	} {
		r := NewRNG(7)
		var sum, squares float64
		for range n {
			v := c.draw(r)
			sum += v
			squares += (v - c.mean) * (v - c.mean)
		}
		if z := (sum/n - c.mean) / math.Sqrt(c.variance/n); math.Abs(z) > 4 {
			t.Errorf("%s: mean %v is %.1f standard errors from %v", c.name, sum/n, z, c.mean)
		}
		if got := squares / n; math.Abs(got/c.variance-1) > 0.05 {
			t.Errorf("%s: variance %v, want %v", c.name, got, c.variance)
		}
	}
}

// TestIntnUniform: chi-square of 7 places over 70,000 draws; 22.46 is its 0.999 quantile at 6 degrees of freedom.
func TestIntnUniform(t *testing.T) {
	var count [7]float64
	r := NewRNG(3)
	for range 70_000 {
		count[r.Intn(7)]++
	}
	var x2 float64
	for _, c := range count {
		x2 += (c - 10_000) * (c - 10_000) / 10_000
	}
	if x2 > 22.46 {
		t.Errorf("chi-square %v of %v", x2, count)
	}
	// With a bound of 3/8 of 2^64 a third of the numbers would come from two of eight parts, if bias were left.
	var part [3]float64
	for range 30_000 {
		part[r.Intn(3<<61)%3]++
	}
	// So would the first of three things stay in its place more often than each third time. 13.82: the 0.999 quantile at 2.
	var first [3]float64
	for range 30_000 {
		first[r.Perm(3)[0]]++
	}
	for _, c := range [][3]float64{part, first} {
		var x2 float64
		for _, n := range c {
			x2 += (n - 10_000) * (n - 10_000) / 10_000
		}
		if x2 > 13.82 {
			t.Errorf("chi-square %v of %v", x2, c)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Intn(0) gave a number")
		}
	}()
	r.Intn(0)
}

// TestBinomialFits: chi-square of 40,000 draws of 12 trials with 0.3 against the distribution; 31.26 is its 0.999 quantile at 11
// degrees of freedom (counts of 11 and 12 taken together).
func TestBinomialFits(t *testing.T) {
	const draws = 40_000
	var count [13]float64
	r := NewRNG(4)
	for range draws {
		count[r.Binomial(12, 0.3)]++
	}
	var x2, tail float64
	p := math.Pow(0.7, 12)
	for k := range 13 {
		if k >= 11 {
			tail += p * draws
		} else {
			x2 += (count[k] - p*draws) * (count[k] - p*draws) / (p * draws)
		}
		p *= float64(12-k) / float64(k+1) * 0.3 / 0.7
	}
	if seen := count[11] + count[12]; x2+(seen-tail)*(seen-tail)/tail > 31.26 {
		t.Errorf("chi-square %v of %v", x2, count)
	}
	if r.Binomial(0, 0.5) != 0 || r.Binomial(7, 0) != 0 || r.Binomial(7, 1) != 7 || r.Binomial(7, -1) != 0 || r.Binomial(7, math.NaN()) != 0 {
		t.Error("ends")
	}
}

func TestPermAndFork(t *testing.T) {
	r := NewRNG(11)
	p := r.Perm(50)
	if slices.IsSorted(p) {
		t.Error("50 numbers in their own order")
	}
	slices.Sort(p)
	for i, v := range p {
		if v != i {
			t.Fatalf("not a permutation: %v", p)
		}
	}
	at := *r
	a, b, again := r.Fork(1), r.Fork(2), r.Fork(1)
	if *r != at {
		t.Error("Fork moved its parent")
	}
	seen := map[uint64]bool{}
	for range 1000 {
		va, vb, vr := a.Uint64(), b.Uint64(), r.Uint64()
		if va != again.Uint64() {
			t.Fatal("the same part gave another stream")
		}
		for _, v := range []uint64{va, vb, vr} {
			if seen[v] {
				t.Fatal("streams overlap")
			}
			seen[v] = true
		}
	}
}
