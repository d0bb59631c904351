package outcome

import (
	"math/rand/v2"
	"testing"
)

// Spans meet a time where one of them does, whatever their order.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var s spans
		var plain []span
		for range rng.IntN(8) {
			from := rng.Int64N(60)
			x := span{from, from + rng.Int64N(6)}
			plain = append(plain, x)
			s.add(x.from, x.to)
			for range 5 {
				from := rng.Int64N(70) - 3
				to := from + rng.Int64N(4)
				want := false
				for _, p := range plain {
					want = want || p.from <= to && from <= p.to
				}
				if got := s.meet(from, to); got != want {
					t.Fatalf("%v meet %d to %d: %v", plain, from, to, got)
				}
			}
		}
	}
}
