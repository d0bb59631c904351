package decisionlog

import (
	"cmp"
	"slices"
)

// Limiter bounds how many individual records per reason and second are written,
// so that a flood cannot drown the log. It decides about records only: what it
// holds back its owner counts, and the counts must go into the next stats
// record. It belongs to one goroutine and reads no clock.
type Limiter struct {
	buckets []bucket
}

// bucket is a generic cell rate algorithm's state: a token bucket in one number.
type bucket struct {
	interval int64 // nanoseconds per record; 0: no limit; negative: no record at all
	depth    int64 // nanoseconds of credit that a burst may use
	next     int64 // when the bucket would be full again
}

// NewLimiter limits each reason (the index) to so many records a second, with
// bursts of up to a second's worth. A negative rate is no limit, 0 lets nothing
// through.
func NewLimiter(perSecond []int32) *Limiter {
	l := &Limiter{buckets: make([]bucket, len(perSecond))}
	for i, rate := range perSecond {
		b := &l.buckets[i]
		switch {
		case rate == 0:
			b.interval = -1
		case rate > 0:
			b.interval = 1e9 / int64(rate)
			b.depth = int64(rate-1) * b.interval
		}
	}
	return l
}

// Allow says whether a record of this reason may be written now (nanoseconds of
// any clock that the caller keeps to). A reason outside the range given to
// NewLimiter is always allowed.
func (l *Limiter) Allow(reason int, now int64) bool {
	if reason < 0 || reason >= len(l.buckets) {
		return true
	}
	b := &l.buckets[reason]
	if b.interval <= 0 {
		return b.interval == 0
	}
	ahead := b.next - now
	if ahead <= 0 || ahead > b.depth+b.interval { // full, or the clock jumped back
		b.next, ahead = now, 0
	}
	if ahead > b.depth {
		return false
	}
	b.next += b.interval
	return true
}

// sortedCounts turns a map into counts in the order of their words.
func sortedCounts(m map[string]uint64) []Count {
	out := make([]Count, 0, len(m))
	for w, n := range m {
		out = append(out, Count{w, n})
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Compare(a.Word, b.Word) })
	return out
}
