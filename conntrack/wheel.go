package conntrack

import "math/bits"

// The timer wheel: wheelLevels wheels of 64 slots each. A tick is 2^20 ns (about 1 ms); the wheels together span every
// Instant, so that nothing is ever clamped. An entry sits on the level of the highest 6-bit digit in which its tick
// differs from the wheel's present one, and moves at most once per level on its way down: amortised O(1).
//
// An entry is due at its Deadline, or at its Wake before that. A refresh writes only these. The wheel finds out when the old tick comes due, and queues it again. Only a
// deadline earlier than the queued tick moves the entry at once. The wheel decides when an entry is looked at, never
// whether it has expired: that is Deadline <= now, exactly.
const (
	tickShift   = 20
	slotBits    = 6
	wheelSlots  = 1 << slotBits
	wheelLevels = 8 // 8*6 bits cover the 43 bits of a tick
	none        = -1
)

type wheel struct {
	now      int64 // tick up to which slots have been taken
	occupied [wheelLevels]uint64
	head     [wheelLevels * wheelSlots]int32
	queued   int
}

func (w *wheel) init() {
	for i := range w.head {
		w.head[i] = none
	}
}

// tickOf returns the tick in which i lies. Instants before the epoch share the first.
func tickOf(i Instant) int64 { return max(int64(i)>>tickShift, 0) }

// queue puts e into the slot of its deadline. An entry that never expires is not queued.
func (t *Table) queue(e *Entry) {
	e.timerSlot = none
	due := e.due()
	if due == Never {
		return
	}
	w := &t.wheel
	e.timerTick = max(tickOf(due), w.now)
	level := 0
	if d := uint64(e.timerTick ^ w.now); d != 0 {
		level = (bits.Len64(d) - 1) / slotBits
	}
	slot := int(e.timerTick>>(level*slotBits)) & (wheelSlots - 1)
	at := level*wheelSlots + slot
	e.timerSlot, e.timerPrev, e.timerNext = int16(at), none, w.head[at]
	if e.timerNext != none {
		t.at(e.timerNext).timerPrev = e.index
	}
	w.head[at] = e.index
	w.occupied[level] |= 1 << slot
	w.queued++
}

// unqueue takes e out of the wheel.
func (t *Table) unqueue(e *Entry) {
	if e.timerSlot == none {
		return
	}
	w := &t.wheel
	if e.timerPrev != none {
		t.at(e.timerPrev).timerNext = e.timerNext
	} else {
		w.head[e.timerSlot] = e.timerNext
		if e.timerNext == none {
			w.occupied[e.timerSlot/wheelSlots] &^= 1 << (e.timerSlot % wheelSlots)
		}
	}
	if e.timerNext != none {
		t.at(e.timerNext).timerPrev = e.timerPrev
	}
	e.timerSlot = none
	w.queued--
}

// retimed must follow each write to a queued entry's Deadline or Wake.
func (t *Table) retimed(e *Entry) {
	switch {
	case e.timerSlot == none:
		t.queue(e)
	case e.due() == Never, tickOf(e.due()) < e.timerTick:
		t.unqueue(e)
		t.queue(e)
	}
}

// nextSlot returns the earliest occupied slot and the tick at which it begins. Where two begin together it is the one of
// the higher level, whose entries must come down first.
func (w *wheel) nextSlot() (at int, begins int64, ok bool) {
	for level := range w.occupied {
		o := w.occupied[level]
		if o == 0 {
			continue
		}
		slot := bits.TrailingZeros64(o)
		shift := level * slotBits
		b := w.now>>(shift+slotBits)<<(shift+slotBits) | int64(slot)<<shift
		if !ok || b <= begins {
			at, begins, ok = level*wheelSlots+slot, b, true
		}
	}
	return at, begins, ok
}

// Next returns an instant before which no entry is due: [Never] when nothing expires. It is in the future exactly when
// Advance has nothing left to do.
func (t *Table) Next() Instant {
	at, begins, ok := t.wheel.nextSlot()
	if !ok {
		return Never
	}
	if begins > t.wheel.now || at >= wheelSlots {
		return Instant(begins << tickShift)
	}
	// The slot of the present tick: exact to the nanosecond, so that a caller who waits for Next does not spin.
	next := Instant((begins + 1) << tickShift)
	for i := t.wheel.head[at]; i != none; i = t.at(i).timerNext {
		next = min(next, t.at(i).due())
	}
	return max(next, Instant(begins<<tickShift)) // earlier only where the clock went back
}

// Advance buries at most limit entries whose deadline is now or earlier, oldest tick first, and returns how many it did.
// The work of one call is bounded by limit also where entries only move within the wheel, so it may return less than limit
// with entries still due: that is so while Next() <= now.
func (t *Table) Advance(now Instant, limit int) int {
	w := &t.wheel
	end := tickOf(now)
	buried, moves := 0, 16*limit+256
	for buried < limit && moves > 0 {
		at, begins, ok := w.nextSlot()
		if !ok || begins > end {
			w.now = max(w.now, end)
			return buried
		}
		w.now = max(w.now, begins)
		kept := 0
		for i := w.head[at]; i != none && buried < limit && moves > 0; moves-- {
			e := t.at(i)
			i = e.timerNext
			if e.due() <= now && t.cfg.Due != nil {
				if p, ok := t.cfg.Due(e); ok {
					t.absorb(e, Original, &p)
				}
			}
			if e.Wake <= now && e.Wake < e.Deadline && t.wake(e) {
				buried++
				continue
			}
			switch {
			case e.Deadline <= now && e.Deadline <= e.Wake:
				t.bury(e, e.expiry(), e.Deadline)
				buried++
			case at < wheelSlots && tickOf(e.due()) <= w.now:
				kept++ // later within the present tick
			default:
				t.unqueue(e)
				t.queue(e)
			}
		}
		if kept > 0 && begins >= end {
			return buried
		}
	}
	return buried
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
