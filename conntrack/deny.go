package conntrack

// deny makes the table remember that the tuple of s is denied: a "drop flow". A connection that is remembered of it ends. The entry
// counts as embryonic, so that a flood of what is denied takes no established connection's place; where there is no room for it,
// nothing changes.
func (t *Table) deny(now Instant, v *View, s *Segment, tm Timer, p *Params) Change {
	old := v.Entry
	if t.Embryonic() >= t.cfg.MaxEmbryonic && (old == nil || !old.State.Embryonic()) {
		return t.undenied(now, v, s)
	}
	tu, flags, dir := s.Tuple, EntryFlags(0), Original
	var previous uint64
	c := Change{Effect: Deny}
	if old != nil {
		c.Before = old.State
		tu, flags, dir, previous = old.Tuple, old.Flags&EntryPickedUp, v.Dir, old.ID
		t.bury(old, EndDeleted, now)
	} else {
		previous = t.supersede(now, v, &tu)
		if t.Len() >= t.cfg.Max {
			return Change{}
		}
		switch s.Kind() {
		case KindSYN:
		case KindSYNACK: // its sender is not the originator
			tu, dir = tu.Reverse(), Reply
			flags = EntryPickedUp
		default:
			flags = EntryPickedUp
		}
	}
	e := t.newEntry(now, previous, tu)
	e.State, e.Flags, e.LastDir, e.LastKind = Denied, flags, dir, s.Kind()
	e.seen(now, dir, s)
	e.record(dir, s)
	t.start(now, e, tm, p)
	c.Entry, c.After = e, Denied
	return c
}

// undenied leaves the table as it is, for want of room.
func (t *Table) undenied(now Instant, v *View, s *Segment) Change {
	if v.Entry == nil {
		return Change{}
	}
	v.Entry.seen(now, v.Dir, s)
	return Change{Entry: v.Entry, Before: v.Entry.State, After: v.Entry.State}
}

// commitDenied is Commit on an entry that is denied: it stays so, or is deleted.
func (t *Table) commitDenied(now Instant, v *View, s *Segment, e Effect, tm Timer, p *Params) Change {
	ent := v.Entry
	c := Change{Entry: ent, Before: Denied, After: Denied}
	ent.seen(now, v.Dir, s)
	if e == Delete {
		t.bury(ent, EndDeleted, now)
		return Change{Effect: Delete, Before: Denied}
	}
	t.settle(now, ent, tm, p)
	return c
}
