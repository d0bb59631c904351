package conntrack

import "math/bits"

// The timer wheel: wheelLevels wheels of 64 slots each. A tick is a nanosecond; the wheels together span every Instant, so that
// nothing is ever clamped or rounded. An entry sits on the level of the highest 6-bit digit in which its tick differs from the wheel's
// present one, and moves at most once per level on its way down: amortised O(1).
//
// An entry is due at its Deadline, or at its Wake before that. A refresh writes only these. The wheel finds out when the old tick comes
// due, and queues it again. Only a deadline before its slot begins moves the entry at once. The wheel decides when an entry is looked at,
// never whether it has expired: that is Deadline <= now, exactly.
//
// A slot is a chain of blocks of places, not of entries: a sweep knows which records it will need before it needs them.
const (
	slotBits    = 6
	wheelSlots  = 1 << slotBits
	wheelLevels = 11 // 11*6 bits cover the 63 bits of a tick
	none        = -1

	blockTimers = 14
	unqueued    = 1<<32 - 1 // of link.timer
)

// timers is a block of one cache line.
type timers struct {
	next  int32 // of the slot, none for none; all but the first are full
	slot  int16 // level*slots + slot
	n     int16
	place [blockTimers]int32
}

type wheel struct {
	now      int64 // tick up to which slots have been taken
	levels   uint16
	occupied [wheelLevels]uint64
	head     [wheelLevels * wheelSlots]int32
	blocks   pool[timers]
	queued   int
	soonest  Instant // what Next returns, with known: it is asked at every segment, and seldom another
	known    bool    // no slot was begun or emptied since; as long as it is occupied a slot begins when it did, whatever now is
}

func (w *wheel) init() {
	for i := range w.head {
		w.head[i] = none
	}
}

// tickOf returns the tick in which i lies. Instants before the epoch share the first.
func tickOf(i Instant) int64 { return max(int64(i), 0) }

// queue puts e into the slot of its deadline. An entry that never expires is not queued.
func (t *Table) queue(e *Entry) {
	e.queued = e.due()
	t.queueAt(e.index, e.queued)
}

// requeue is queue for an entry that may be filed.
func (t *Table) requeue(i int32, due Instant) {
	if d := t.record(i).desk(); d != 0 {
		t.desk.entries[d-1].queued = due
	}
	t.queueAt(i, due)
}

// queueAt puts entry i, which is in no slot, into that of the instant at which it is due.
func (t *Table) queueAt(i int32, due Instant) {
	if due == Never {
		return
	}
	w := &t.wheel
	tick := max(tickOf(due), w.now)
	level := 0
	if d := uint64(tick ^ w.now); d != 0 {
		level = (bits.Len64(d) - 1) / slotBits
	}
	slot := int(tick>>(level*slotBits)) & (wheelSlots - 1)
	at := level*wheelSlots + slot
	n := w.head[at]
	if n == none || w.blocks.at(uint32(n)).n == blockTimers {
		next := n
		n = int32(w.blocks.take())
		b := w.blocks.at(uint32(n))
		b.next, b.slot, b.n = next, int16(at), 0
		w.head[at] = n
		w.known = false
		w.occupied[level] |= 1 << slot
		w.levels |= 1 << level
	}
	b := w.blocks.at(uint32(n))
	b.place[b.n] = i
	t.link(i).timer = uint32(n)<<4 | uint32(b.n)
	b.n++
	w.queued++
}

// unqueue takes entry i out of the wheel.
func (t *Table) unqueue(i int32) {
	l := t.link(i)
	if l.timer == unqueued {
		return
	}
	w := &t.wheel
	b, off := w.blocks.at(l.timer>>4), l.timer&15
	at := int(b.slot)
	last := w.last(at) // takes its place
	b.place[off] = last
	t.link(last).timer = l.timer
	w.drop(at)
	l.timer = unqueued
}

// last returns the last place of a slot that is not empty.
func (w *wheel) last(at int) int32 {
	b := w.blocks.at(uint32(w.head[at]))
	return b.place[b.n-1]
}

// drop takes the last place out of a slot.
func (w *wheel) drop(at int) {
	n := uint32(w.head[at])
	b := w.blocks.at(n)
	w.queued--
	if b.n--; b.n > 0 {
		return
	}
	w.head[at] = b.next
	w.known = false
	w.blocks.put(n)
	if level := at / wheelSlots; b.next == none {
		if w.occupied[level] &^= 1 << (at % wheelSlots); w.occupied[level] == 0 {
			w.levels &^= 1 << level
		}
	}
}

// retimed must follow each write to a queued entry's Deadline or Wake.
func (t *Table) retimed(e *Entry) {
	due := e.due()
	if due >= e.queued && due != Never {
		return
	}
	if due != Never && t.looksBefore(e.index, due) {
		e.queued = due
		return
	}
	t.unqueue(e.index)
	t.queue(e)
}

// looksBefore reports whether the wheel looks at entry i at an instant or before it.
func (t *Table) looksBefore(i int32, due Instant) bool {
	l := t.link(i)
	return l.timer != unqueued && t.wheel.begins(int(t.wheel.blocks.at(l.timer>>4).slot)) <= tickOf(due)
}

// begins returns the tick at which an occupied slot begins.
func (w *wheel) begins(at int) int64 {
	shift := at / wheelSlots * slotBits
	return w.now>>(shift+slotBits)<<(shift+slotBits) | int64(at%wheelSlots)<<shift
}

// nextSlot returns the earliest occupied slot and the tick at which it begins. Where two begin together it is the one of
// the higher level, whose entries must come down first.
func (w *wheel) nextSlot() (at int, begins int64, ok bool) {
	for levels := w.levels; levels != 0; levels &= levels - 1 {
		level := bits.TrailingZeros16(levels)
		slot := level*wheelSlots + bits.TrailingZeros64(w.occupied[level])
		if b := w.begins(slot); !ok || b <= begins {
			at, begins, ok = slot, b, true
		}
	}
	return at, begins, ok
}

// Next returns an instant before which no entry is due: [Never] when nothing expires. It is in the future exactly when
// Advance has nothing left to do.
func (t *Table) Next() Instant {
	if w := &t.wheel; !w.known {
		w.soonest, w.known = Never, true
		if _, begins, ok := w.nextSlot(); ok {
			w.soonest = Instant(begins)
		}
	}
	return t.wheel.soonest
}
