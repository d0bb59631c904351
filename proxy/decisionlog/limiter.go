package decisionlog

import (
	"cmp"
	"slices"
)

// Limiter bounds how many individual records per reason and second are written,
// so that a flood cannot drown the log. It decides about records only: what it
// holds back is counted, and the counts must go into the next stats record
// (TakeSuppressed). It belongs to one goroutine and reads no clock.
type Limiter struct {
	interval int64 // nanoseconds per record; 0: no limit
	depth    int64 // nanoseconds of credit that a burst may use
	buckets  []bucket
}

// bucket is a generic cell rate algorithm's state: a token bucket in one number.
type bucket struct {
	next       int64 // when the bucket would be full again
	suppressed uint64
}

// NewLimiter limits each of so many reasons to rate records a second, with
// bursts of up to burst records (at least 1). A rate of 0 or less is no limit.
func NewLimiter(reasons int, rate float64, burst int) *Limiter {
	l := &Limiter{buckets: make([]bucket, reasons)}
	if rate > 0 {
		l.interval = max(int64(1e9/rate), 1)
		l.depth = int64(max(burst, 1)-1) * l.interval
	}
	return l
}

// Allow says whether a record of this reason may be written now (nanoseconds of
// any clock that the caller keeps to); if not it counts it as suppressed. A
// reason outside the range given to NewLimiter is always allowed.
func (l *Limiter) Allow(reason int, now int64) bool {
	if l.interval == 0 || reason < 0 || reason >= len(l.buckets) {
		return true
	}
	b := &l.buckets[reason]
	ahead := b.next - now
	if ahead <= 0 || ahead > l.depth+l.interval { // full, or the clock jumped back
		b.next, ahead = now, 0
	}
	if ahead > l.depth {
		b.suppressed++
		return false
	}
	b.next += l.interval
	return true
}

// TakeSuppressed returns the counts since the last call, named by words (indexed
// like the reasons), and sets them to zero.
func (l *Limiter) TakeSuppressed(words []string) []Count {
	var out []Count
	for i := range l.buckets {
		if n := l.buckets[i].suppressed; n > 0 {
			out = append(out, Count{words[i], n})
			l.buckets[i].suppressed = 0
		}
	}
	return out
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
