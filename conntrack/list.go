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

// Room reports whether a new embryonic entry may be made, after burying what is due. Otherwise the finding says which
// bound stands against it: TableFull, or EmbryonicLimit, which an established entry (CreateLiberal) need not heed.
func (t *Table) Room(now Instant) (Finding, bool) {
	for {
		f, ok := t.room()
		if ok || t.Next() > now {
			return f, ok
		}
		t.Advance(now, 64)
	}
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
	i := t.lists[who].first
	if i == none {
		return false
	}
	if e := t.glance(i); t.lapsed(e, now) {
		t.bury(e, e.expiry(), e.Deadline)
	} else {
		t.bury(e, EndEvicted, now)
	}
	return true
}
