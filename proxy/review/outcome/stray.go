package outcome

import "halfopen/conntrack"

// stray takes a segment that the table did not know: of a connection that it has forgotten, or of none.
func (j *joiner) stray(at int64, id uint64) {
	f, w := &j.r.f, j.r.words
	reason := w.at(f, slots.reason)
	seg := w.at(f, slots.tcpFlags).flags
	var a acts
	if id == 0 { // else the entry that it opened has done
		a = j.deedOf().whole()
	}
	if !f.Has(slots.tomb) {
		j.loose(at, a)
		return
	}
	k := key{uint32(j.r.run), f.Uint(slots.tombFlow)}
	i, ok := j.at[k]
	if !ok {
		if _, told := j.early[k]; told {
			j.r.data.Loss.Missed++
		}
		return
	}
	c := j.c(i)
	c.afterwards(at, at, a)
	switch reason.base {
	case conntrack.LateAfterExpiry, conntrack.AckNoState, conntrack.DataNoState, conntrack.FinNoState, conntrack.Adopted:
	default:
		return
	}
	if !timer(string(f.Text(slots.why))) || seg&(flagRST|flagSYN) != 0 {
		return
	}
	toClient := string(f.Text(slots.direction)) == "to_client"
	next := uint32(f.Uint(slots.clientSeq))
	if toClient {
		next = uint32(f.Uint(slots.serverSeq))
	}
	c.straggler(at, toClient, uint32(f.Uint(slots.seq)), next, f.Uint(slots.length), seg)
}

// afterwards notes what was done about segments that came after c's entry had ended, which its records do not count.
func (c *conn) afterwards(first, last int64, a acts) {
	if a.all > 0 {
		c.extra.add(a)
		c.acted(first, last)
	}
}

// straggler takes a segment that came after c's end by a timer: data, or a sign that its sender holds the connection. A keepalive begins
// before the next number and has a byte at most (RFC 9293 section 3.8.4).
func (c *conn) straggler(at int64, toClient bool, seq, next uint32, length uint64, seg segFlags) {
	c.flags |= timedOut
	switch {
	case length > 1 || length == 1 && seq != next-1:
		if c.late == 0 {
			c.late = at
		}
		if toClient {
			c.flags |= lateDown
		} else {
			c.flags |= lateUp
		}
	case seg&flagFIN == 0:
		c.flags |= lateHeld
	}
}

// maxLoose bounds the ends of which segments without a connection are remembered.
const maxLoose = 1 << 16

// looseSegments are segments between two ends of which nobody knew a connection, from the sender of the first.
type looseSegments struct {
	first, last int64
	n           uint64
	acts        acts
	data        [2]bool // by sender: the one of the first, the other
	held        bool    // some were bare ACKs or keepalives
}

// loose takes a segment of which nobody knew a connection.
func (j *joiner) loose(at int64, a acts) {
	e, ok := readEnds(&j.r.f)
	if !ok {
		return
	}
	dir := 0
	l := j.strays[e]
	if l == nil {
		if l = j.strays[e.reverse()]; l != nil {
			dir = 1
		}
	}
	if l == nil {
		if len(j.strays) >= maxLoose {
			j.r.data.Loss.Loose++
			j.r.data.Loss.LooseResets += uint64(a.resets)
			return
		}
		l = &looseSegments{first: at}
		j.strays[e] = l
	}
	l.last = at
	l.n++
	l.acts.add(a)
	switch seg := j.r.words.at(&j.r.f, slots.tcpFlags).flags; {
	case j.r.f.Uint(slots.length) > 1:
		l.data[dir] = true
	case seg&(flagSYN|flagFIN|flagRST) == 0:
		l.held = true
	}
}

// claim joins the segments between c's ends of which nobody knew a connection to c, where c is the last before them.
func (j *joiner) claim(c *conn) {
	for _, e := range [...]ends{c.ends(), c.ends().reverse()} {
		l := j.strays[e]
		if l == nil || !c.has(finished) || c.ended > l.first {
			continue
		}
		c.afterwards(l.first, l.last, l.acts)
		if c.has(timedOut) {
			client, server := l.data[0], l.data[1]
			if e != c.ends() {
				client, server = server, client
			}
			if (client || server) && c.late == 0 {
				c.late = l.first
			}
			c.set(lateUp, client || c.has(lateUp))
			c.set(lateDown, server || c.has(lateDown))
			c.set(lateHeld, l.held || c.has(lateHeld))
		}
		delete(j.strays, e)
	}
}
