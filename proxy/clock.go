package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// Clock reads CLOCK_MONOTONIC as [conntrack.Instant], the clock that bpf_ktime_get_ns reads too, and converts instants to
// wall time. It is a value, safe for concurrent use; make it with [NewClock].
type Clock struct {
	base time.Time         // carries the runtime's reading of CLOCK_MONOTONIC
	at   conntrack.Instant // the same moment by clock_gettime
}

// NewClock returns a running clock. The runtime reads CLOCK_MONOTONIC through the vDSO but hands out differences only, so
// one clock_gettime anchors it; of a few tries the one with the tightest bracket counts (well below a microsecond).
func NewClock() Clock {
	var c Clock
	best := time.Duration(1<<63 - 1)
	for range 8 {
		before := time.Now()
		at := monotonic()
		if width := time.Since(before); width < best {
			best, c = width, Clock{base: before, at: at.Add(-width / 2)}
		}
	}
	return c
}

// Now returns the present instant.
func (c Clock) Now() conntrack.Instant { return c.at.Add(time.Since(c.base)) }

// Offset returns what must be added to an instant to get Unix nanoseconds, as the wall clock stands at present. Whoever
// converts many instants reads it once (a batch, a listing); it changes when the wall clock is set or slewed.
func (c Clock) Offset() int64 {
	now := time.Now()
	return now.UnixNano() - int64(c.at.Add(now.Sub(c.base)))
}

// wallSlack is how far the wall clock may stray from an offset before it is another one.
const wallSlack = 100 * time.Microsecond

// Follow returns the offset that last has become: the same one until the wall clock has really strayed from it, so that instants that
// are converted over some time stay as far apart as they were. The two clocks cannot be read at once, and a thread that loses its
// processor in between would see another offset by as much: an odd reading is taken again, and the one of the tightest bracket counts.
func (c Clock) Follow(last int64) int64 {
	off := c.Offset()
	best := time.Duration(1<<63 - 1)
	for range 8 {
		if time.Duration(off-last).Abs() <= wallSlack {
			return last
		}
		before := c.Now()
		again := c.Offset()
		if width := c.Now().Sub(before); width < best {
			best, off = width, again
		}
	}
	return off
}

// Wall returns an instant as Unix nanoseconds, as the wall clock stands at present; 0 for [conntrack.Never].
func (c Clock) Wall(i conntrack.Instant) int64 {
	if i == conntrack.Never {
		return 0
	}
	return int64(i) + c.Offset()
}

// monotonic reads CLOCK_MONOTONIC by system call.
func monotonic() conntrack.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock: clock_gettime(CLOCK_MONOTONIC): " + err.Error()) // the kernel has had it since 2.6
	}
	return conntrack.Instant(ts.Nano())
}
