package proxy

import (
	"sync/atomic"

	"halfopen/conntrack"
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
	byTuple map[conntrack.Tuple]int32 // canonical tuple -> slot
	slots   []atomic.Pointer[SavedEntry]
}

// NewPending returns an empty set.
func NewPending() *Pending { return &Pending{} }

// Load fills the set, instead of what it held, and returns how many connections it holds. Of several on one tuple the one
// seen last counts. Those already expired are taken too: whoever claims one sees an expired entry, not an unknown tuple.
func (p *Pending) Load(entries []SavedEntry) int {
	set := &pendingSet{byTuple: make(map[conntrack.Tuple]int32, len(entries)), slots: make([]atomic.Pointer[SavedEntry], len(entries))}
	for i := range entries {
		e := entries[i] // a copy of its own, so that a claimed one can be collected
		key, _ := e.Entry.Tuple.Canonical()
		slot, twice := set.byTuple[key]
		if !twice {
			slot = int32(len(set.byTuple))
			set.byTuple[key] = slot
		} else if set.slots[slot].Load().Entry.LastSeen >= e.Entry.LastSeen {
			continue
		}
		set.slots[slot].Store(&e)
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

// Claim takes the connection of a segment's tuple, in either direction. Of several callers one gets it. The caller owns it.
func (p *Pending) Claim(tu *conntrack.Tuple) (*SavedEntry, bool) {
	set := p.set.Load()
	if set == nil {
		return nil, false
	}
	key, _ := tu.Canonical()
	slot, ok := set.byTuple[key]
	if !ok {
		return nil, false
	}
	e := set.slots[slot].Swap(nil)
	if e == nil {
		return nil, false
	}
	p.took()
	return e, true
}

// Take removes the connections that fn picks and returns how many it removed. A connection that a worker claims meanwhile is
// not counted.
func (p *Pending) Take(fn func(*SavedEntry) bool) (n int) {
	set := p.set.Load()
	if set == nil {
		return 0
	}
	for i := range set.slots {
		if e := set.slots[i].Load(); e != nil && fn(e) && set.slots[i].CompareAndSwap(e, nil) {
			p.took()
			n++
		}
	}
	return n
}

// Expire removes the connections whose time is over, so that what nobody claims does not stay for ever. Call it now and then.
func (p *Pending) Expire(now conntrack.Instant) int {
	return p.Take(func(e *SavedEntry) bool { return e.Entry.Deadline <= now })
}

// All yields what is left; the entries are read-only. It may be used with [SaveState]: a second stop saves what the first start
// found no use for.
func (p *Pending) All(yield func(*SavedEntry) bool) {
	set := p.set.Load()
	if set == nil {
		return
	}
	for i := range set.slots {
		if e := set.slots[i].Load(); e != nil && !yield(e) {
			return
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
