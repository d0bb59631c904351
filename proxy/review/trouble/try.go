package trouble

import "net/netip"

// track is a connection under observation, or segments that belong to none.
type track struct {
	Facts
	own, dial *try // attempts that have neither connected nor been reported
	waits     bool // it is in the Tracker's queue
	over      bool // the table has forgotten it, or never knew it
}

// try is an attempt to connect that others of the same client may be linked to.
type try struct {
	of         *track
	a          *Attempt
	list       *tries // nil: not any more
	prev, next *try
}

// tries are the attempts of one client to one server that have not connected, oldest first.
type tries struct {
	first, last *try
	n           int
}

// pair is who may go on with whose attempt: a client's next one comes from another port as a rule.
type pair struct {
	client netip.Addr
	server netip.AddrPort
}

func (k *track) pair() pair { return pair{k.Client.Addr(), k.Server} }

// maxTries is how many attempts of a pair can be linked; beyond it the oldest cannot.
const maxTries = 64

// begin makes an attempt one that can be linked.
func (t *Tracker) begin(k *track, a *Attempt) *try {
	l := t.pairs[k.pair()]
	if l == nil {
		l = &tries{}
		t.pairs[k.pair()] = l
	}
	y := &try{of: k, a: a, list: l, prev: l.last}
	if l.last != nil {
		l.last.next = y
	} else {
		l.first = y
	}
	l.last = y
	if l.n++; l.n > maxTries {
		t.unlink(l.first)
	}
	return y
}

// unlink makes an attempt one that cannot be linked any more.
func (t *Tracker) unlink(y *try) {
	if y == nil || y.list == nil {
		return
	}
	l := y.list
	if y.prev != nil {
		y.prev.next = y.next
	} else {
		l.first = y.next
	}
	if y.next != nil {
		y.next.prev = y.prev
	} else {
		l.last = y.prev
	}
	if l.n--; l.n == 0 {
		delete(t.pairs, y.of.pair())
	}
	y.list, y.prev, y.next = nil, nil, nil
}

// take makes an earlier attempt part of k's own.
func (t *Tracker) take(k *track, y *try) {
	t.unlink(y)
	k.Own.absorb(y.a)
	if from := y.of; from.dial == y {
		from.Dial, from.dial = nil, nil
	} else {
		from.Moved, from.own = true, nil
	}
}
