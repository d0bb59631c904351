package conntrack

// Entries that may be evicted to make room are chained, oldest first: those whose handshake is not complete, those that are closing,
// and established ones without traffic in both directions after the handshake. Assured entries are in none.
const (
	listEmbryonic = iota
	listClosing
	listUnassured
	numLists
)

type list struct{ first, last int32 }

func listOf(e *Entry) int8 {
	switch s := e.State; {
	case s.Embryonic():
		return listEmbryonic
	case s.Closing():
		return listClosing
	case s == Established && e.Flags&EntryAssured == 0:
		return listUnassured
	}
	return none
}

// enlist appends e to the list of its state.
func (t *Table) enlist(e *Entry) {
	e.list = listOf(e)
	if e.list == none {
		return
	}
	l, own := &t.lists[e.list], t.link(e.index)
	own.prev, own.next = l.last, none
	if l.last != none {
		t.link(l.last).next = e.index
	} else {
		l.first = e.index
	}
	l.last = e.index
}

// unlist takes e out of its list.
func (t *Table) unlist(e *Entry) {
	if e.list == none {
		return
	}
	l, own := &t.lists[e.list], t.link(e.index)
	if own.prev != none {
		t.link(own.prev).next = own.next
	} else {
		l.first = own.next
	}
	if own.next != none {
		t.link(own.next).prev = own.prev
	} else {
		l.last = own.prev
	}
	e.list = none
}

// A segment that needs a place buries about roomChunk entries at most that are due, in roomRounds steps of the wheel, most of which may be entries that
// only move. Where a great many are due at once, it is not to wait for all of them, of which none may be of the kind whose place it needs.
const (
	roomChunk  = 64
	roomRounds = 16
)

// making is a segment's work to have a place.
type making struct{ rounds, buried int }

// more buries some of what is due, and reports whether that may have helped.
func (m *making) more(t *Table, now Instant) bool {
	if m.rounds == roomRounds || m.buried >= roomChunk || t.Next() > now {
		return false
	}
	m.rounds++
	m.buried += t.Advance(now, roomChunk-m.buried)
	return true
}

// Room reports whether a new embryonic entry may be made, after burying what is due, as far as that takes no longer than a segment can wait. Otherwise
// the finding says which bound stands against it: TableFull, or EmbryonicLimit, which an established entry (CreateLiberal) need not heed.
func (t *Table) Room(now Instant) (Finding, bool) {
	var m making
	for {
		f, ok := t.room()
		if ok || t.Next() > now {
			return f, ok
		}
		if f == EmbryonicLimit {
			if e := t.oldest(VictimEmbryonic); e != nil && t.lapsed(e, now) {
				t.bury(e, e.expiry(), e.Deadline)
				continue
			}
		}
		if !m.more(t, now) {
			return f, false
		}
	}
}

// oldest returns the entry that has been of a kind the longest, nil for none.
func (t *Table) oldest(who Victim) *Entry {
	i := t.lists[who].first
	if i == none {
		return nil
	}
	return t.glance(i)
}

func (t *Table) room() (Finding, bool) {
	switch {
	case t.Len() >= t.cfg.Max:
		return TableFull, false
	case t.Embryonic() >= t.cfg.MaxEmbryonic:
		return EmbryonicLimit, false
	}
	return New, true
}

// relist puts e into the list that it belongs to, at the end, where that is another one.
func (t *Table) relist(e *Entry) {
	if listOf(e) != e.list {
		t.unlist(e)
		t.enlist(e)
	}
}

// Victim is a kind of entries that may be evicted.
type Victim uint8

// Kinds of victims.
const (
	VictimEmbryonic Victim = listEmbryonic // the handshake is not complete
	VictimClosing   Victim = listClosing   // an end has closed or reset
	VictimUnassured Victim = listUnassured // established, and never had traffic in both directions
)

// Victims reports whether there is an entry of a kind.
func (t *Table) Victims(who Victim) bool { return t.lists[who].first != none }

// Evict makes room by burying one entry, and reports whether it could: the oldest embryonic one, or with closing and no
// embryonic one the oldest that is closing.
func (t *Table) Evict(now Instant, closing bool) bool {
	return t.EvictOne(now, VictimEmbryonic) || closing && t.EvictOne(now, VictimClosing)
}

// EvictOne makes room by burying the oldest entry of a kind (the one that has been in its state the longest), and reports
// whether there was one. An assured, open entry is never evicted.
func (t *Table) EvictOne(now Instant, who Victim) bool {
	e := t.oldest(who)
	if e == nil {
		return false
	}
	if t.lapsed(e, now) {
		t.bury(e, e.expiry(), e.Deadline)
	} else {
		t.bury(e, EndEvicted, now)
	}
	return true
}
