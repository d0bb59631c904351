package conntrack

import "time"

// Instant is a point in time in nanoseconds since an epoch that the caller chooses: the monotonic clock on a live
// gateway, the Unix epoch for a capture. Only differences mean anything here. It is an integer, not a time.Time,
// because entries must be free of pointers.
type Instant int64

// Never is an instant that no clock reaches: the deadline of an entry that does not expire.
const Never = Instant(1<<63 - 1)

// Add returns the instant d after i. It saturates at [Never].
func (i Instant) Add(d time.Duration) Instant {
	if d > 0 && i > Never-Instant(d) {
		return Never
	}
	return i + Instant(d)
}

// Sub returns the duration from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }
