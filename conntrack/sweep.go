package conntrack

// Advance buries at most limit entries whose deadline is now or earlier, oldest tick first, and returns how many it did.
// The work of one call is bounded by limit also where entries only move within the wheel, so it may return less than limit
// with entries still due: that is so while Next() <= now.
func (t *Table) Advance(now Instant, limit int) int {
	w := &t.wheel
	end := tickOf(now)
	buried, moves := 0, 3*limit+256
	for buried < limit && moves > 0 {
		at, begins, ok := w.nextSlot()
		if !ok || begins > end {
			w.now = max(w.now, end)
			return buried
		}
		w.now = max(w.now, begins)
		block := w.head[at]
		t.near(w.blocks.at(uint32(block)))
		for ; w.head[at] == block && buried < limit && moves > 0; moves-- {
			i := w.last(at)
			w.drop(at)
			t.link(i).timer = unqueued
			if due := t.dueOf(i); due > now {
				t.requeue(i, due)
			} else if t.ripe(t.glance(i), now) {
				buried++
			}
		}
	}
	return buried
}

// ripe does what is due to e, which is in no slot, and reports whether it ended by that.
func (t *Table) ripe(e *Entry, now Instant) bool {
	if e.FastLook != 0 && e.FastLook <= now {
		t.Peek(e)
		e.FastLook = now.Add(e.FastEvery)
	}
	if e.Wake <= now && e.Wake < e.Deadline && t.wake(e) {
		return true
	}
	if e.Deadline <= e.Wake && t.lapsed(e, now) {
		t.bury(e, e.expiry(), e.Deadline)
		return true
	}
	t.unqueue(e.index)
	t.queue(e)
	return false
}

// near reads what a sweep through a block of timers is about to need, so that the processor waits for all of it at once and not for one
// after the other.
func (t *Table) near(b *timers) {
	var buckets [blockTimers]*bucket
	sum := uint64(0)
	places := b.place[:b.n]
	for _, i := range places {
		r := t.record(i)
		sum += r.id + uint64(r.sides[1].isn) + uint64(t.link(i).timer)
	}
	for n, i := range places {
		buckets[n] = t.index.bucket(t.hashOf(i))
	}
	for _, b := range buckets[:len(places)] {
		sum += b.tags
	}
	t.sum = sum // so that the reads are not taken for useless
}

// expiry returns why e ends when its timer runs out.
func (e *Entry) expiry() EndReason {
	switch {
	case e.State == LastAck || e.State == TimeWait:
		return EndFIN
	case e.State == Close:
		return EndRST
	case e.State == Denied:
		return EndDenied
	case e.State == Established && e.Probe.Until == 0 && e.Probe.Asked&^e.Probe.Answered != 0:
		return EndDead
	}
	return EndIdle
}

// Expired returns the finding of an end by time for the reason why, by the state that the entry ended in; not ok where the end is
// another one, or a denial's.
func (e *Entry) Expired(why EndReason) (f Finding, ok bool) {
	switch {
	case why == EndDead:
		return DeadConnection, true
	case why != EndIdle && why != EndAdaptive, e.State == Denied:
		return 0, false
	case e.State.Embryonic():
		return IdleEmbryonic, true
	case e.State == FinWait || e.State == CloseWait:
		return IdleHalfClosed, true
	}
	return IdleExpired, true
}
