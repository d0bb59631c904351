package stats

import (
	"math"
	"testing"
)

// simulated is how many experiments each simulation makes: 2,000 in the full tier.
const simulated = 2000 / breadth

// often runs a simulated experiment of its own seed many times and checks how often it says yes: within 3.3 standard errors of the
// binomial distribution of want, which one simulation in a thousand leaves by chance (seeds are fixed: never the same one sometimes).
// atMost leaves the lower side open, for methods that are conservative by design.
func often(t *testing.T, what string, want float64, atMost bool, experiment func(r *RNG) bool) {
	t.Helper()
	seed := uint64(0)
	for _, c := range what {
		seed = seed*31 + uint64(c)
	}
	base := NewRNG(seed)
	yes := 0
	for i := range simulated {
		if experiment(base.Fork(uint64(i))) {
			yes++
		}
	}
	got := float64(yes) / simulated
	z := (got - want) / math.Sqrt(want*(1-want)/simulated)
	t.Logf("%-60s %.4f of %d, nominal %.4f (%+.1f standard errors)", what, got, simulated, want, z)
	if z > 3.3 || z < -3.3 && !atMost {
		t.Errorf("%s: %.4f of %d, nominal %.4f: %+.1f standard errors off", what, got, simulated, want, z)
	}
}

// below5 returns what often asks of an A/A experiment: p below 0.05. An error is a failure.
func below5(t *testing.T) func(p float64, err error) bool {
	return func(p float64, err error) bool {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if !(p >= 0 && p <= 1) {
			t.Fatalf("p = %v", p)
		}
		return p < 0.05
	}
}

// good panics on an error, for values that must be there.
func good[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func binomial(r *RNG, n int, p float64) (x int) {
	for range n {
		if r.Bernoulli(p) {
			x++
		}
	}
	return x
}
