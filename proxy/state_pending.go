package proxy

import (
	"iter"
	"sync/atomic"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Pending holds restored connections until a worker meets them. Which worker that will be only the kernel knows: it spreads
// address pairs over the queues by a seed that it draws anew at each boot (net/netfilter/nf_queue.h), and the number of
// queues may be another than before. So a connection is in no table at first; the worker that sees its first segment and knows
// nothing of it claims it here, once.
//
// All methods are safe for concurrent use after Load and take no lock.
type Pending struct {
	left atomic.Int64
	set  atomic.Pointer[pendingSet]
}

// pendingSet is never changed but for its slots, which become nil once claimed.
type pendingSet struct {
	at      conntrack.Instant         // when the flows were saved, on the running clock
	due     atomic.Int64              // Instant before which no flow's time is over
	byTuple map[conntrack.Tuple]int32 // canonical tuple -> slot
	slots   []atomic.Pointer[policy.Saved]
}

// away is how long ago the flows were saved.
func (s *pendingSet) away(now conntrack.Instant) time.Duration { return now.Sub(s.at) }

// expired reports whether a flow's time is over.
func (s *pendingSet) expired(f *policy.Saved, now conntrack.Instant) bool {
	return f.Entry.Deadline != conntrack.Never && time.Duration(f.Entry.Deadline) <= s.away(now)
}

// NewPending returns an empty set.
func NewPending() *Pending { return &Pending{} }

// Load fills the set, instead of what it held, with flows that were saved at that instant (see [State.SavedAt]) and live now.
// Of several on one tuple the one seen last counts. It returns how many the set holds.
func (p *Pending) Load(flows []policy.Saved, at, now conntrack.Instant) int {
	set := &pendingSet{at: at, byTuple: make(map[conntrack.Tuple]int32, len(flows)), slots: make([]atomic.Pointer[policy.Saved], len(flows))}
	for i := range flows {
		f := flows[i] // a copy of its own, so that a claimed one can be collected
		if set.expired(&f, now) {
			continue
		}
		key, _ := f.Entry.Tuple.Canonical()
		slot, twice := set.byTuple[key]
		if !twice {
			slot = int32(len(set.byTuple))
			set.byTuple[key] = slot
		} else if set.slots[slot].Load().Entry.LastSeen >= f.Entry.LastSeen {
			continue
		}
		set.slots[slot].Store(&f)
	}
	p.set.Store(set)
	p.left.Store(int64(len(set.byTuple)))
	p.drop()
	return len(set.byTuple)
}

// Any reports whether anything is left to claim: one atomic load, for the packet path.
func (p *Pending) Any() bool { return p.left.Load() > 0 }

// Len returns how many are left.
func (p *Pending) Len() int { return int(max(p.left.Load(), 0)) }

// Claim takes the flow of a segment's tuple, in either direction, and returns it with how long ago it was saved, as
// policy.Engine.Restore wants them. Of several callers one gets it, and owns it. A flow whose time is over is not given.
func (p *Pending) Claim(now conntrack.Instant, tu *conntrack.Tuple) (f *policy.Saved, away time.Duration, ok bool) {
	set := p.set.Load()
	if set == nil {
		return nil, 0, false
	}
	key, _ := tu.Canonical()
	slot, ok := set.byTuple[key]
	if !ok {
		return nil, 0, false
	}
	f = set.slots[slot].Swap(nil)
	if f == nil {
		return nil, 0, false
	}
	p.took()
	return f, set.away(now), !set.expired(f, now)
}

// Take removes the flows that fn picks and returns how many it removed. A flow that a worker claims meanwhile is not counted.
func (p *Pending) Take(fn func(*conntrack.Entry) bool) (n int) {
	set := p.set.Load()
	if set == nil {
		return 0
	}
	for i := range set.slots {
		if f := set.slots[i].Load(); f != nil && fn(&f.Entry) && set.slots[i].CompareAndSwap(f, nil) {
			p.took()
			n++
		}
	}
	return n
}

// Expire removes the flows whose time is over, so that what nobody claims does not stay for ever. Call it now and then: it looks
// at the flows only when one is due.
func (p *Pending) Expire(now conntrack.Instant) int {
	set := p.set.Load()
	if set == nil || now < conntrack.Instant(set.due.Load()) {
		return 0
	}
	next := conntrack.Never
	n := p.Take(func(e *conntrack.Entry) bool {
		due := conntrack.Never
		if e.Deadline != conntrack.Never {
			due = set.at.Add(time.Duration(e.Deadline))
		}
		if due > now {
			next = min(next, due)
		}
		return due <= now
	})
	set.due.Store(int64(next))
	return n
}

// Left yields what is left and alive, as copies with instants relative to now: a second stop saves what the first start
// found no use for.
func (p *Pending) Left(now conntrack.Instant) iter.Seq[*policy.Saved] {
	return func(yield func(*policy.Saved) bool) {
		set := p.set.Load()
		if set == nil {
			return
		}
		for i := range set.slots {
			f := set.slots[i].Load()
			if f == nil || set.expired(f, now) {
				continue
			}
			c := *f
			c.Entry.Move(-set.away(now))
			if !yield(&c) {
				return
			}
		}
	}
}

// took counts one that is gone.
func (p *Pending) took() {
	p.left.Add(-1)
	p.drop()
}

// drop lets the memory go once nothing is left.
func (p *Pending) drop() {
	if p.left.Load() <= 0 {
		p.set.Store(nil)
	}
}
