package outcome

import (
	"halfopen/conntrack"
)

// syn takes the decision about a SYN: of a connection that it opened, or an attempt to connect that has met another one, or no room.
func (j *joiner) syn(at int64, id uint64) {
	f, w := &j.r.f, j.r.words
	e, ok := readEnds(f)
	if !ok {
		return
	}
	seq := uint32(f.Uint(slots.seq))
	before, after := w.at(f, slots.before).state, w.at(f, slots.after).state
	d := j.deedOf()
	var c *conn
	if id != 0 {
		if i, ok := j.at[key{uint32(j.r.run), id}]; ok {
			c = j.c(i)
		} else {
			c = j.conn(id, false)
			j.older(c, at)
		}
	}
	if w.at(f, slots.reason).base == conntrack.SimultaneousOpen {
		if c != nil {
			c.act(at, d.whole())
		}
		return
	}
	to := c
	if c != nil && c.ends() == e && (after == stateEmbryonic || before == stateEmbryonic || after == stateDenied && before != stateStands) {
		j.opening(c, at, &e, seq)
		if before == stateStands || before == stateClosed { // it took the place of an old one, which was reset for it
			if i, ok := j.at[key{uint32(j.r.run), c.pred}]; ok {
				j.c(i).act(at, acts{all: d.peer, resets: d.peer})
			}
			d.peer = 0
		}
		to.act(at, d.whole())
	} else {
		if f.Has(slots.settles) {
			d.all = 0
		}
		met := uint64(0)
		if c != nil { // its record counts what was done, most of which is none of its own
			met = c.id
			if d.peer > 0 {
				c.act(at, acts{all: 1, resets: d.peer})
				c.moved.add(acts{drops: d.drops, resets: d.resets})
				c.seen.add(acts{drops: d.drops, resets: d.resets})
			} else {
				c.moved.add(d.acts)
				c.seen.add(d.acts)
			}
		} else {
			d.resets += d.peer
		}
		to = j.dial(at, &e, seq, met) // c is not valid any more
		to.act(at, d.acts)
	}
	if string(f.Text(slots.reply)) == ackTracked && to.challenged == 0 {
		to.challenged = at
	}
}

// opening takes the SYN of connection c.
func (j *joiner) opening(c *conn, at int64, e *ends, seq uint32) {
	if c.has(hasISN) {
		c.seenAgain++
	} else {
		c.isn = seq
		c.flags |= hasISN
		if i, ok := j.tries[*e]; ok && j.c(i).isn == seq && j.c(i).run == uint32(j.r.run) {
			t := j.c(i) // its SYN was not let in before
			c.dialled = t.first
			c.extraAgain += t.seenAgain + 1
			j.absorb(c, i)
		}
	}
	if !c.has(finished) {
		c.last = max(c.last, at)
	}
}

// dial returns the attempt of a SYN that opened no connection, and met that of id met, 0 for none.
func (j *joiner) dial(at int64, e *ends, seq uint32, met uint64) *conn {
	f, w := &j.r.f, j.r.words
	if i, ok := j.tries[*e]; ok && j.c(i).isn == seq && j.c(i).run == uint32(j.r.run) {
		t := j.c(i)
		t.last = max(t.last, at)
		if !f.Has(slots.settles) { // it was held, and counted then
			t.seenAgain++
			t.pkts[0]++
		}
		return t
	}
	i, t := j.place()
	j.tries[*e] = i
	t.setEnds(e)
	t.met, t.isn, t.run, t.lastRun, t.next = met, seq, uint32(j.r.run), uint32(j.r.run), none
	t.first, t.last, t.start = at, at, at-j.r.clocks[j.r.run].shift
	t.pkts[0] = 1
	t.arm, t.rev, t.preset = w.idAt(f, slots.arm), w.idAt(f, slots.rev), w.idAt(f, slots.preset)
	t.flags |= begun | attempt | hasISN
	return t
}

// attemptOn returns the attempt that has met c, nil for none.
func (j *joiner) attemptOn(c *conn) *conn {
	for _, e := range [...]ends{c.ends(), c.ends().reverse()} {
		if i, ok := j.tries[e]; ok && j.c(i).met == c.id && j.c(i).run == c.lastRun {
			return j.c(i)
		}
	}
	return nil
}

// prove makes an attempt on an old connection, whose SYN a SYN/ACK has proven, a part of the connection that it opened.
func (j *joiner) prove(c *conn) {
	if c.has(proven) {
		return
	}
	e := c.ends()
	i, ok := j.tries[e]
	if !ok || j.c(i).isn+1 != uint32(j.r.f.Uint(slots.ack)) {
		return
	}
	t := j.c(i)
	c.flags |= proven | hasISN
	c.isn = t.isn
	c.dialled, c.synFirst = t.first, t.first
	c.extraAgain += t.seenAgain
	j.absorb(c, i)
}

// absorb moves what an attempt has met to the connection that it became, and frees its place.
func (j *joiner) absorb(c *conn, i int32) {
	t := j.c(i)
	c.lead(t)
	delete(j.tries, t.ends())
	j.release(i)
}

// lead takes over an attempt's interventions and challenge.
func (c *conn) lead(t *conn) {
	c.extra.add(t.seen)
	if t.firstAct != 0 {
		c.acted(t.firstAct, t.lastAct)
	}
	if t.challenged != 0 && (c.challenged == 0 || t.challenged < c.challenged) {
		c.challenged = t.challenged
	}
	c.flags |= t.flags & challengeRST
}
