package proxy

import (
	"math/bits"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// A connection comes back to the fast path at a moment when nothing of it waits in the queue: then the worker's state lacks no segment that
// the program has seen, and no data is under way here that later data would overtake. A sender that is faster than the worker leaves no
// such moment: by the time a batch is decided the next segments are numbered, and the connection is armed in vain.
//
// Such a connection is given a lull. For a moment its data goes on as ever, and the bare acknowledgments that answer it wait, decided,
// for their verdicts. A sender sends no more than its receiver's window without an acknowledgment; so the queue brings the rest of the
// window, its acknowledgments, and then nothing. That is when the connection is armed, and the acknowledgments leave in their order: what they
// set off passes. Overtaken is nothing but acknowledgments, as always (see decided).
//
// Where data goes both ways, its segments are the acknowledgments too, and to keep them would reorder them at the moment of release; such
// a connection gets no lull. Neither does one that the lull did not help get another at once: the sender may be so far away that acknowledgments
// on their way to it keep it sending for longer than the lull was. The next is twice as long, up to 80 ms; Linux repeats a segment after 200
// without an acknowledgment at the earliest.
const (
	fastVain      = 16                   // batches in a row after which a connection was armed in vain, that make it worth a lull
	fastLull      = 5 * time.Millisecond // of the first lull
	fastLullTwice = 4                    // how often its length is doubled
	fastLullRest  = 8                    // times as long as it was: no other before that
	fastLulls     = 4                    // at a time
	fastAwaits    = 4 * fastLulls        // connections looked after at the end of a turn
	fastLullShare = 16                   // a lull keeps so small a part of what the kernel's queue can hold
)

// lull is a connection whose bare acknowledgments wait.
type lull struct {
	slot         uint32
	dir          conntrack.Direction // theirs
	since, until conntrack.Instant
	ids          []uint32 // in their order
}

// vainly takes note that the connection was armed in vain, or not at all because too much of it waits.
func (sl *fastSlot) vainly() { sl.vain = min(sl.vain, 254) + 1 }

// passes takes note that the connection has come back.
func (sl *fastSlot) passes() { sl.vain, sl.ways = 0, 0 }

// rearmed is called when the connection was to be armed, and sees whether it passes now, where that is in question: in a lull, and where it
// was not for long.
func (f *fastWorker) rearmed(n uint32, sl *fastSlot) {
	if !sl.lulled && sl.vain < fastVain {
		return
	}
	snap, err := f.flows.Read(n)
	if err != nil {
		f.gate.standDown(fastOffBroken, err.Error())
		return
	}
	switch {
	case sl.armed && snap.Armed:
		f.endLull(n, sl, true)
		sl.passes()
	case !sl.lulled:
		f.beginLull(n, sl)
	}
}

// beginLull gives the connection a lull, where it may have one.
func (f *fastWorker) beginLull(n uint32, sl *fastSlot) {
	ways := sl.ways
	sl.passes() // as many batches to the next try
	if bits.OnesCount8(ways) != 1 || f.w.now < sl.rest || len(f.lulls) == fastLulls || f.w.stopping.Load() {
		return
	}
	if len(f.lulls) < cap(f.lulls) {
		f.lulls = f.lulls[:len(f.lulls)+1] // with the room for ids that it had
	} else {
		f.lulls = append(f.lulls, lull{})
	}
	l := &f.lulls[len(f.lulls)-1]
	*l = lull{slot: n, dir: conntrack.Direction(bits.TrailingZeros8(ways)).Other(), since: f.w.now, until: f.w.now.Add(fastLull << sl.lullTwice), ids: l.ids[:0]}
	sl.lulled = true
	f.counts.Lulls++
	f.await(n, sl)
}

// meet sees what a segment of a connection in a lull, which was just decided, is to it: it may have to wait, or be the end of the lull.
func (f *fastWorker) meet(n uint32, sl *fastSlot, s *conntrack.Segment, out *policy.Outcome) {
	for i := range f.lulls {
		l := &f.lulls[i]
		switch {
		case l.slot != n:
			continue
		case out.Counted && out.Settled && out.Dir != l.dir:
		case out.Counted && out.Settled && s.Len == 0 && uint32(len(l.ids)) < f.gate.queueLen/fastLullShare:
			f.keep = l
		default:
			f.endLull(n, sl, false) // what waits leaves before this one
		}
		return
	}
}

// keeps reports whether the packet at hand, which is to go on, has its verdict later.
func (f *fastWorker) keeps(id uint32) bool {
	if f == nil || f.keep == nil {
		return false
	}
	f.keep.ids = append(f.keep.ids, id)
	f.keep = nil
	return true
}

// endLull lets go what waits, with the next flush.
func (f *fastWorker) endLull(n uint32, sl *fastSlot, passes bool) {
	if !sl.lulled {
		return
	}
	sl.lulled = false
	for i := range f.lulls {
		l := &f.lulls[i]
		if l.slot != n {
			continue
		}
		if passes {
			sl.lullTwice = 0
		} else {
			sl.lullTwice = min(sl.lullTwice+1, fastLullTwice)
			sl.rest = f.w.now.Add(fastLullRest * l.until.Sub(l.since))
		}
		for _, id := range l.ids {
			f.w.main.Accept(id)
		}
		f.letGo = f.letGo || len(l.ids) > 0
		last := len(f.lulls) - 1
		f.lulls[i], f.lulls[last] = f.lulls[last], f.lulls[i]
		f.lulls = f.lulls[:last]
		return
	}
}

// endLulls ends the lulls that were to end by an instant.
func (f *fastWorker) endLulls(by conntrack.Instant) {
	if f == nil || len(f.lulls) == 0 {
		return
	}
	for i := len(f.lulls) - 1; i >= 0; i-- {
		if l := &f.lulls[i]; l.until <= by {
			f.endLull(l.slot, f.slot(l.slot), false)
		}
	}
	f.sendLet()
}

// sendLet sends the verdicts of what waited in lulls that have ended.
func (f *fastWorker) sendLet() {
	if f.letGo {
		f.letGo = false
		f.w.flush()
	}
}

// lullEnds returns when the next lull is to end; Never without one.
func (f *fastWorker) lullEnds() conntrack.Instant {
	next := conntrack.Never
	if f != nil {
		for i := range f.lulls {
			next = min(next, f.lulls[i].until)
		}
	}
	return next
}
