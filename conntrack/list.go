package conntrack

// Entries that may be evicted to make room are chained, oldest first: those whose handshake is not complete, and those
// that are closing. Established entries are in neither.
const (
	listEmbryonic = iota
	listClosing
	numLists
)

type list struct{ first, last int32 }

func listOf(s State) int8 {
	switch {
	case s.Embryonic():
		return listEmbryonic
	case s.Closing():
		return listClosing
	}
	return none
}

// enlist appends e to the list of its state.
func (t *Table) enlist(e *Entry) {
	e.list = listOf(e.State)
	if e.list == none {
		return
	}
	l := &t.lists[e.list]
	e.listPrev, e.listNext = l.last, none
	if l.last != none {
		t.at(l.last).listNext = e.index
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
	l := &t.lists[e.list]
	if e.listPrev != none {
		t.at(e.listPrev).listNext = e.listNext
	} else {
		l.first = e.listNext
	}
	if e.listNext != none {
		t.at(e.listNext).listPrev = e.listPrev
	} else {
		l.last = e.listPrev
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

// Evict makes room by burying one entry, and reports whether it could: the oldest embryonic one, or with closing and no
// embryonic one the oldest that is closing. An established entry is never evicted.
func (t *Table) Evict(now Instant, closing bool) bool {
	i := t.lists[listEmbryonic].first
	if i == none && closing {
		i = t.lists[listClosing].first
	}
	if i == none {
		return false
	}
	if e := t.at(i); e.Deadline <= now {
		t.bury(e, e.expiry(), e.Deadline)
	} else {
		t.bury(e, EndEvicted, now)
	}
	return true
}
