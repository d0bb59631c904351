package proxy

import (
	"math"
	"runtime/debug"
	"testing"
)

// TestCollectorPercent: garbage is at most what is allowed, and not much less, whatever lives.
func TestCollectorPercent(t *testing.T) {
	if p := collectorPercent(0); p != 100 {
		t.Errorf("nothing lives: %d", p)
	}
	last := 100
	for live := uint64(1 << 20); live < 1<<40; live += live / 7 {
		p := collectorPercent(live)
		garbage := live * uint64(p) / 100
		if p > last || p < minPercent || p > 100 {
			t.Errorf("%d bytes live: %d percent after %d", live, p, last)
		}
		if p > minPercent && garbage > garbageAllowed || p < 100 && p > minPercent && garbage < garbageAllowed*3/5 {
			t.Errorf("%d bytes live: %d percent, %d of garbage", live, p, garbage)
		}
		last = p
	}
	if last != minPercent {
		t.Errorf("a terabyte lives: %d percent", last)
	}
}

// TestCollectorIsTheOperators: who sets GOGC has it as set; else it follows what lives.
func TestCollectorIsTheOperators(t *testing.T) {
	was := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(was) })
	t.Setenv("GOGC", "77")
	c := newPacer()
	c.percent = 0 // whatever is right is a change
	c.pace(0)
	if c.percent != 0 {
		t.Errorf("set to %d", c.percent)
	}
	c.off = false
	c.pace(0)
	if p := debug.SetGCPercent(100); p != c.percent || p < minPercent {
		t.Errorf("set to %d, is %d", c.percent, p)
	}
}

// TestLimitIsTheOperators: GOMEMLIMIT is of all memory, the tables' outside the heap included; without one nothing is set.
func TestLimitIsTheOperators(t *testing.T) {
	was := debug.SetMemoryLimit(1 << 40)
	t.Cleanup(func() { debug.SetMemoryLimit(was) })
	t.Setenv("GOGC", "100")
	c := newPacer()
	for _, step := range []struct{ outside, want int64 }{{0, 1 << 40}, {1 << 38, 3 << 38}, {1<<38 + 1<<30, 3 << 38}, {1 << 41, 1 << 38}, {0, 1 << 40}} {
		c.pace(step.outside)
		if got := debug.SetMemoryLimit(-1); got != step.want {
			t.Errorf("%d bytes outside: limit %d, want %d", step.outside, got, step.want)
		}
	}
	debug.SetMemoryLimit(math.MaxInt64)
	c = newPacer()
	c.pace(1 << 38)
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("no limit was asked for: %d", got)
	}
}
