package proxy

import "halfopen/conntrack"

// overload tells whether a worker has time for shadows. Its signal is what it costs nothing to know: a receive call that takes a full batch
// has left packets behind, and several in a row say that they come faster than they are decided.
type overload struct {
	full     int // full batches in a row
	shedding bool
}

// shedAfter is how many full batches in a row (2048 packets) make a worker leave its shadows out; a batch of less than half its size lets
// them in again.
const shedAfter = 8

// look takes a batch of n packets, of at most size, and reports whether the shadows are to be left out.
func (o *overload) look(n, size int) bool {
	switch {
	case n == size:
		if o.full++; o.full >= shedAfter {
			o.shedding = true
		}
	case n < size/2:
		o.full, o.shedding = 0, false
	default:
		o.full = 0
	}
	return o.shedding
}

// shed leaves n segments out. Which ones they were nobody remembers.
func (ss *shadows) shed(now conntrack.Instant, n int) {
	for _, sh := range ss.list {
		t := &sh.tally
		if !sh.missed {
			sh.missed = true
			t.Sheds++
		}
		if t.ShedFrom == 0 {
			t.ShedFrom = int64(now)
		}
		t.Shed += uint64(n)
		t.ShedTo = int64(now)
		sh.gapAt = now
	}
}

// resume tells the shadows that they have missed segments, where they have.
func (ss *shadows) resume(now conntrack.Instant) {
	for _, sh := range ss.list {
		if sh.missed {
			sh.missed = false
			sh.engine.Gap(now)
		}
	}
}
