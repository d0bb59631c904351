package stats

import (
	"math"
	"testing"
)

// atMost fails where of n experiments so many went wrong that a chance of p is unbelievable (3.1 standard errors: one in a thousand).
func atMost(t *testing.T, what string, wrong, n int, p float64) {
	t.Helper()
	if limit := p + 3.1*math.Sqrt(p*(1-p)/float64(n)); float64(wrong)/float64(n) > limit {
		t.Errorf("%s: %d of %d, at most %.2f %% allowed", what, wrong, n, 100*limit)
	}
}

// TestSequenceAnyTime: experiments in which somebody looks after every connection and would stop at the first interval without the
// truth. Of A/A experiments at most 5 % may ever say that there is a difference; of others at most 5 % may ever miss it.
func TestSequenceAnyTime(t *testing.T) {
	t.Parallel()
	for _, w := range worlds() {
		n := 2000
		if breadth > 1 { // the fast tier: a sample, each with tens of thousands of looks
			n = 60_000 / w.conns
		}
		said, missed, own := 0, 0, 0
		for k := range n {
			s, m, o := w.run(uint64(k), 0.95)
			said, missed, own = said+btoi(s), missed+btoi(m), own+btoi(o)
		}
		t.Logf("%-50s %5d experiments, %5.1f %% said something, %.2f %% missed the truth, %.2f %% the arm's own", w.name, n,
			100*float64(said)/float64(n), 100*float64(missed)/float64(n), 100*float64(own)/float64(n))
		atMost(t, w.name, missed, n, 0.05)
		atMost(t, w.name+", own", own, n, 0.05)
		if !w.silent && n >= 100 && float64(said) < 0.8*float64(n) {
			t.Errorf("%s: only %d of %d experiments said something", w.name, said, n)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
