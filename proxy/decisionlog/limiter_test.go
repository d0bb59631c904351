package decisionlog

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l := NewLimiter([]int32{10, -1, 0})
	second := int64(time.Second)
	count := func(reason int, at int64, tries int) (n int) {
		for range tries {
			if l.Allow(reason, at) {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		what         string
		reason       int
		at           int64
		tries, allow int
	}{
		{"a burst of a second's worth", 0, 5 * second, 100, 10},
		{"half a second later half of it", 0, 5*second + second/2, 100, 5},
		{"a minute later no more than a burst", 0, 65 * second, 100, 10},
		{"the clock jumped back", 0, 1 * second, 100, 10},
		{"no limit", 1, 1 * second, 10000, 10000},
		{"nothing", 2, 1 * second, 100, 0},
		{"a reason that nobody limits", 7, 1 * second, 100, 100},
	} {
		if n := count(c.reason, c.at, c.tries); n != c.allow {
			t.Errorf("%s: %d records allowed, want %d", c.what, n, c.allow)
		}
	}
	if n := testing.AllocsPerRun(100, func() { l.Allow(0, 1) }); n != 0 {
		t.Errorf("Allow allocates %v times", n)
	}
}

// In any window of any traffic no more than a burst and rate * time passes.
func TestLimiterBound(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const rate = 100
	l := NewLimiter([]int32{rate})
	var times []int64
	now := int64(0)
	for range 50000 {
		now += rng.Int64N(4e6)
		if l.Allow(0, now) {
			times = append(times, now)
		}
	}
	for i := range times {
		for _, n := range []int{rate, 2 * rate, 5 * rate} {
			if j := i + n; j < len(times) && times[j]-times[i] < int64(n-rate)*1e9/rate {
				t.Fatalf("%d records within %d ns", n+1, times[j]-times[i])
			}
		}
	}
}
