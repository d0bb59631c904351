package experiment

import (
	"time"

	"halfopen/conntrack"
)

// AttemptOver is how long after its last SYN an attempt that got no connection is given up: two SYNs of one attempt lie further apart
// only from its sixth repetition on (RFC 6298 section 2.1 and 5.5: one second, doubled each time).
const AttemptOver = 30 * time.Second

// Attempts follows dials that the gateway did not let through, and that made no entry in its table: a SYN that it answered itself, held
// or dropped. Such a dial has failed when nothing came of it in time; a SYN of it that gets through after all is no failure. It
// belongs to one goroutine.
type Attempts struct {
	most  int
	open  map[conntrack.Tuple]*Attempt // by tuple of the SYN
	order []*Attempt                   // the same, and some that got through
	// Lost counts attempts that were not followed because so many were already.
	Lost uint64
}

// Attempt is a dial that was refused.
type Attempt struct {
	Tuple       conntrack.Tuple // of its SYN
	Arm         uint8
	ISN         conntrack.Seq
	First, Last conntrack.Instant // of its SYNs
	SYNs        int
}

// NewAttempts returns a tracker of at most so many attempts at a time.
func NewAttempts(most int) *Attempts {
	return &Attempts{most: most, open: make(map[conntrack.Tuple]*Attempt)}
}

// Refused notes a SYN that did not get through. It returns the attempt before it on the same tuple, if this is another: that one has
// failed.
func (a *Attempts) Refused(now conntrack.Instant, arm uint8, tu *conntrack.Tuple, isn conntrack.Seq) (failed Attempt, ok bool) {
	at := a.open[*tu]
	if at != nil && at.ISN == isn {
		at.Last, at.SYNs = now, at.SYNs+1
		return Attempt{}, false
	}
	if at != nil {
		failed, ok = *at, true
		*at = Attempt{Tuple: *tu, Arm: arm, ISN: isn, First: now, Last: now, SYNs: 1}
		return failed, ok
	}
	if len(a.open) >= a.most || len(a.order) >= 2*a.most {
		a.Lost++
		return Attempt{}, false
	}
	at = &Attempt{Tuple: *tu, Arm: arm, ISN: isn, First: now, Last: now, SYNs: 1}
	a.open[*tu] = at
	a.order = append(a.order, at)
	return Attempt{}, false
}

// Through notes a SYN that begins an entry. It returns what was refused of the same tuple before: with the same number it is this very
// attempt, and over is false; with another that one has failed.
func (a *Attempts) Through(tu *conntrack.Tuple, isn conntrack.Seq) (before Attempt, over, ok bool) {
	at := a.open[*tu]
	if at == nil {
		return Attempt{}, false, false
	}
	delete(a.open, *tu)
	return *at, at.ISN != isn, true
}

// Due calls fn for each attempt that is over at now.
func (a *Attempts) Due(now conntrack.Instant, fn func(*Attempt)) {
	left := a.order[:0]
	for _, at := range a.order {
		switch {
		case a.open[at.Tuple] != at: // it got through
		case now.Sub(at.Last) >= AttemptOver:
			delete(a.open, at.Tuple)
			fn(at)
		default:
			left = append(left, at)
		}
	}
	clear(a.order[len(left):])
	a.order = left
}

// Len is how many attempts are followed.
func (a *Attempts) Len() int { return len(a.open) }
