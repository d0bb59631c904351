package conntrack

// tombstone returns what is kept of the connection last forgotten on a tuple.
func (t *Table) tombstone(tu *Tuple) (Tombstone, bool) {
	if t.tombs == nil || t.tombs.Len() == 0 {
		return Tombstone{}, false
	}
	key, _ := tu.Canonical()
	return t.tombs.Peek(key) // not Get: a look-up changes nothing
}

// epitaph returns the tombstone that will stand on key once e is buried, so that a view does not depend on whether an expired
// entry was swept.
//
// It is e's own as a rule. What is denied was no connection, and leaves the one in place that it ended. A SYN that nobody answered leaves none: a SYN flood would wash away all others. And a handshake
// that failed leaves an established connection's in place: that is the one which explains why the next will fail.
func (t *Table) epitaph(e *Entry, key Tuple, why EndReason, at Instant) (Tombstone, bool) {
	if t.tombs == nil {
		return Tombstone{}, false
	}
	if e.State == Denied {
		return t.tombs.Peek(key)
	}
	if e.Flags&(EntryAssured|EntryPickedUp) == 0 {
		older, ok := t.tombs.Peek(key)
		if ok && older.Established || e.Flags&EntryReplied == 0 {
			return older, ok
		}
	}
	return Tombstone{
		ID: e.ID, Forgotten: at, Created: e.Created, LastSeen: e.LastSeen, Timeout: e.Timeout, Reason: why, State: e.State,
		Next:        [2]Seq{e.Side[0].End, e.Side[1].End},
		LastAck:     [2]Seq{e.Side[0].MaxAck, e.Side[1].MaxAck},
		From:        e.Tuple,
		Arm:         e.Arm,
		Established: e.Flags&(EntryAssured|EntryPickedUp) != 0,
	}, true
}
