package conntrack

import "github.com/hashicorp/golang-lru/v2/simplelru"

// graveyard holds tombstones, the most recent ones within a bound. The least recently buried is forgotten first. The LRU list has numbers
// only, by the index's hash of the tuple: what it allocates for each of millions that expire is a fifth of what it would with tuple and tombstone in
// it, and free of them for the garbage collector. Of two tuples with one hash the later is remembered.
type graveyard struct {
	lru   *simplelru.LRU[uint64, uint32] // places in stones; nil where none are kept
	stone pool[Tombstone]
}

// resize sets the bound; below 1 there are none.
func (g *graveyard) resize(limit int) {
	switch {
	case limit < 1:
		*g = graveyard{}
	case g.lru != nil:
		g.lru.Resize(limit)
	default:
		g.lru, _ = simplelru.NewLRU(limit, func(_ uint64, place uint32) { g.stone.put(place) }) // fails for sizes below 1 only
	}
}

// Len returns how many there are.
func (g *graveyard) Len() int {
	if g.lru == nil {
		return 0
	}
	return g.lru.Len()
}

// at returns the tombstone on a tuple of that hash, nil for none. It counts as no use: a look-up changes nothing.
func (g *graveyard) at(tu *Tuple, hash uint64) *Tombstone {
	if g.Len() == 0 {
		return nil
	}
	place, ok := g.lru.Peek(hash)
	if !ok {
		return nil
	}
	if tomb := g.stone.at(place); tomb.From == *tu || tomb.From.Reverse() == *tu {
		return tomb
	}
	return nil
}

// put sets a tombstone, in place of an older one of that hash.
func (g *graveyard) put(hash uint64, tomb *Tombstone) {
	place, ok := g.lru.Get(hash)
	if !ok {
		place = g.stone.take()
		g.lru.Add(hash, place)
	}
	*g.stone.at(place) = *tomb
}

// tombstone returns what is kept of the connection last forgotten on a tuple.
func (t *Table) tombstone(tu *Tuple) (Tombstone, bool) {
	if t.tombs.Len() == 0 {
		return Tombstone{}, false
	}
	var name name
	t.index.naming(tu, &name)
	if tomb := t.tombs.at(tu, name.hash); tomb != nil {
		return *tomb, true
	}
	return Tombstone{}, false
}

// epitaph returns the tombstone that will stand on e's tuple once e is buried, so that a view does not depend on whether an expired
// entry was swept.
//
// It is e's own as a rule. What is denied was no connection, and leaves the one in place that it ended. A SYN that nobody answered leaves none: a SYN flood would wash away all others. And a handshake
// that failed leaves an established connection's in place: that is the one which explains why the next will fail.
func (t *Table) epitaph(e *Entry, why EndReason, at Instant) (Tombstone, bool) {
	if t.tombs.lru == nil {
		return Tombstone{}, false
	}
	if e.State == Denied {
		return t.tombstone(&e.Tuple)
	}
	if e.Flags&(EntryAssured|EntryPickedUp) == 0 {
		older, ok := t.tombstone(&e.Tuple)
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
