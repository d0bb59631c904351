package outcome

import (
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// joiner puts together what the records of one log say about each connection.
type joiner struct {
	r      *reader
	slabs  []*slab
	used   int32   // places ever
	free   []int32 // of them
	live   int     // places in use
	at     map[key]int32
	tries  map[ends]int32   // the latest attempt without an entry, by who dials whom
	units  map[wordID]uint8 // by arm: its experiment's unit, and 1
	err    error            // of who is told
	early  map[key]struct{} // told for want of room, of those that a timer ended
	strays map[ends]*looseSegments
}

const none = int32(-1)

func newJoiner(r *reader) *joiner {
	return &joiner{r: r, at: map[key]int32{}, tries: map[ends]int32{}, units: map[wordID]uint8{}, strays: map[ends]*looseSegments{}}
}

// slab is so many conns, so that their places stay where they are.
type slab [1 << slabBits]conn

const slabBits = 10

// c returns the conn at a place.
func (j *joiner) c(i int32) *conn { return &j.slabs[i>>slabBits][i&(1<<slabBits-1)] }

// place returns a free place. It may tell of other connections for want of room.
func (j *joiner) place() (int32, *conn) {
	if j.live >= j.r.opt.Held {
		j.makeRoom()
	}
	j.live++
	if n := len(j.free); n > 0 {
		i := j.free[n-1]
		j.free = j.free[:n-1]
		*j.c(i) = conn{}
		return i, j.c(i)
	}
	if j.used>>slabBits == int32(len(j.slabs)) {
		j.slabs = append(j.slabs, new(slab))
	}
	j.used++
	return j.used - 1, j.c(j.used - 1)
}

// maxResumed is how many runs back a connection that goes on is looked for.
const maxResumed = 8

// conn returns the connection of the record at hand, a new one where the log has not told of it. A connection that the table was
// restored with after a restart goes on under its id; one that begins is another.
func (j *joiner) conn(id uint64, begins bool) *conn {
	k := key{uint32(j.r.run), id}
	i, ok := j.at[k]
	if ok && !(begins && j.c(i).has(begun)) {
		return j.c(i)
	}
	if ok { // twice: a log that is no gateway's
		j.tell(i)
	} else if !begins {
		for back := k.run; back > 0 && k.run-back < maxResumed; back-- {
			old := key{back - 1, id}
			if i, ok := j.at[old]; ok && !j.c(i).has(finished) {
				delete(j.at, old)
				j.at[k] = i
				j.c(i).lastRun = k.run
				return j.c(i)
			}
		}
	}
	i, c := j.place()
	j.at[k] = i
	c.id, c.run, c.lastRun, c.next = id, k.run, k.run, none
	return c
}

// flow takes a flow record.
func (j *joiner) flow(at int64) {
	f := &j.r.f
	event := f.Text(slots.event)
	c := j.conn(f.Uint(slots.flowID), string(event) == "new")
	if string(event) == "new" {
		c.flags |= begun
	}
	if !c.has(hasEnds) {
		if e, ok := readEnds(f); ok {
			c.setEnds(&e)
		}
	}
	shift := j.r.clocks[j.r.run].shift
	start, end := f.Nanos(slots.start), f.Nanos(slots.end)
	if start == 0 {
		start = at - shift
	}
	if c.first == 0 || c.start == 0 {
		c.start = start
		c.first = start + shift
	}
	if end >= start {
		c.last = max(c.last, c.first+(end-start))
	}
	for i := range 2 {
		c.pkts[i], c.bytes[i], c.fast[i] = f.Uint(slots.pkts[i]), f.Uint(slots.bytes[i]), f.Uint(slots.fast[i])
		c.fastBytes[i] = f.Uint(slots.fastBytes[i])
		c.retransmits[i], c.outside[i] = uint32(f.Uint(slots.retransmits[i])), uint32(f.Uint(slots.outside[i]))
	}
	c.pred = f.Uint(slots.predecessor)
	c.told.all, c.told.resets = uint32(f.Uint(slots.acts)), uint32(f.Uint(slots.resets))
	c.response, c.stall = f.Seconds(slots.response), f.Seconds(slots.stall)
	c.again = max(c.again, uint32(f.Uint(slots.again)))
	c.set(stalledFlag, f.Uint(slots.stalled) != 0)
	if f.Uint(slots.adopted) != 0 {
		c.flags |= adopted
	}
	history := f.Text(slots.history)
	c.set(answered, len(history) > 0 && history[0] == 'h')
	for _, letter := range history {
		switch letter {
		case 'D':
			c.flags |= dataUp
		case 'd':
			c.flags |= dataDown
		}
	}
	if h := f.Seconds(slots.handshake); h > 0 { // 0 on the first record
		c.handshake = h
		c.flags |= stands
	}
	w := j.r.words
	c.arm, c.rev, c.preset = w.idAt(f, slots.flowArm), w.idAt(f, slots.flowRev), w.idAt(f, slots.flowPreset)
	if u := j.units[c.arm]; u != 0 && c.unit == 0 {
		c.unit = u
	}
	switch w.at(f, slots.state).state {
	case stateStands:
		c.flags |= stands
	case stateDenied:
		c.flags |= denied
	}
	if string(event) == "end" {
		j.end(c, at)
	}
}

func (c *conn) set(f connFlags, on bool) {
	c.flags &^= f
	if on {
		c.flags |= f
	}
}

// end takes the last record of a connection.
func (j *joiner) end(c *conn, at int64) {
	f, w := &j.r.f, j.r.words
	c.flags |= finished
	c.ended = at
	c.endedBy, c.reason, c.outcome = w.idAt(f, slots.endedBy), w.idAt(f, slots.endReason), w.idAt(f, slots.outcome)
	switch w.text(c.outcome) {
	case "closed", "half-closed", "reset", "dead", "forgotten":
		c.flags |= stands
	case "picked-up":
		c.flags |= adopted
	case "denied":
		c.flags |= denied
	}
	if timer(w.text(c.reason)) {
		c.flags |= timedOut
	}
}

// timer reports whether a connection was forgotten because its time had run out, from the word for why.
func timer(why string) bool { return why == "idle" || why == "adaptive" || why == "dead" }

// inject takes a packet that time caused. What a decision caused the decision tells.
func (j *joiner) inject(at int64) {
	f := &j.r.f
	if !f.Has(slots.injectTrigger) || len(f.Text(slots.injectError)) > 0 || !isRST(f.Text(slots.injectKind)) {
		return
	}
	i, ok := j.at[key{uint32(j.r.run), f.Uint(slots.flowID)}]
	if !ok {
		return
	}
	c, to := j.c(i), rstToServer
	if string(f.Text(slots.injectTo)) == "client" {
		to = rstToClient
	}
	switch { // a RST may be sent with two numbers, and one to each end, for one reason
	case at != c.lastAct:
		c.flags &^= rstToServer | rstToClient
		c.act(at, acts{all: 1, resets: 1})
	case !c.has(to):
		c.act(at, acts{resets: 1})
	}
	c.flags |= to
}

// act notes an intervention on an entry, whose records count it too.
func (c *conn) act(at int64, a acts) {
	if a == (acts{}) {
		return
	}
	c.seen.add(a)
	c.acted(at, at)
}

// acted notes when interventions were.
func (c *conn) acted(first, last int64) {
	if c.firstAct == 0 || first < c.firstAct {
		c.firstAct = first
	}
	c.lastAct = max(c.lastAct, last)
}

func isRST(kind []byte) bool { return strings.HasPrefix(string(kind), policy.ReplyRST.String()) }

// deed is what a decision has done.
type deed struct {
	acts        // to its segment and the segment's sender
	peer uint32 // RSTs to the other end
}

// whole is all of it.
func (d deed) whole() acts {
	if d.peer > 0 {
		d.all = 1
	}
	d.resets += d.peer
	return d.acts
}

// deedOf says what the decision at hand has done.
func (j *joiner) deedOf() (d deed) {
	f := &j.r.f
	verdict, reply := f.Text(slots.verdict), f.Text(slots.reply)
	if string(verdict) == decisionlog.VerdictDrop {
		d.drops = 1
	}
	if isRST(reply) {
		d.resets = 1
	}
	if isRST(f.Text(slots.peer)) {
		d.peer = 1
	}
	if d.drops > 0 || len(reply) > 0 || string(verdict) == decisionlog.VerdictHold {
		d.all = 1
	}
	return d
}

var ackTracked = policy.ReplyACKTracked.String()

// decision takes a decision.
func (j *joiner) decision(at int64) {
	f, w := &j.r.f, j.r.words
	id := f.Uint(slots.flowID)
	seg := w.at(f, slots.tcpFlags).flags
	if !f.Has(slots.tcpFlags) && id == 0 {
		return
	}
	if f.Has(slots.trigger) { // a probe's answer did not come; inject records tell what was sent
		return
	}
	if seg&(flagSYN|flagACK|flagRST) == flagSYN {
		j.syn(at, id)
		return
	}
	if id == 0 || f.Has(slots.tomb) && unknownBefore(w.at(f, slots.before)) {
		j.stray(at, id)
	}
	if id == 0 {
		return
	}
	i, ok := j.at[key{uint32(j.r.run), id}]
	if !ok {
		j.older(j.conn(id, false), at) // older than the log, or than a restart, or its SYN's record was held back
		i = j.at[key{uint32(j.r.run), id}]
	}
	c := j.c(i)
	toClient := string(f.Text(slots.direction)) == "to_client"
	a := j.deedOf().whole()
	if f.Has(slots.settles) {
		a.all = 0 // the hold was one
	}
	met := c
	if before := w.at(f, slots.before).state; w.at(f, slots.after).state == stateDenied && before != stateDenied && before != stateNone {
		if i, ok := j.at[key{uint32(j.r.run), c.pred}]; ok {
			met = j.c(i) // the connection that the denial has ended
		}
	}
	met.act(at, a)
	if !c.has(finished) {
		c.last = max(c.last, at)
	}
	if a.drops == 0 && f.Uint(slots.length) > 0 && w.at(f, slots.after).state == stateStands { // until a flow record tells it
		if toClient {
			c.flags |= dataDown
		} else {
			c.flags |= dataUp
		}
	}
	if w.at(f, slots.before).state == stateEmbryonic && w.at(f, slots.after).state == stateStands {
		c.flags |= stands
		if c.handshake == 0 && w.at(f, slots.reason).base == conntrack.Handshake && c.has(begun) { // until a flow record tells it
			c.handshake = max(at-c.begin(), 1)
		}
	}
	j.challenge(c, at, toClient, seg)
}

func unknownBefore(before *word) bool { return before.state == stateNone }

// older begins a connection of which the log has no first record.
func (j *joiner) older(c *conn, at int64) {
	if c.first != 0 {
		return
	}
	f, w := &j.r.f, j.r.words
	c.first, c.start, c.last = at, at-j.r.clocks[j.r.run].shift, at
	c.arm, c.rev, c.preset = w.idAt(f, slots.arm), w.idAt(f, slots.rev), w.idAt(f, slots.preset)
	if e, ok := readEnds(f); ok {
		if string(f.Text(slots.direction)) == "to_client" {
			e = e.reverse()
		}
		c.setEnds(&e)
	}
	switch w.at(f, slots.before).state {
	case stateStands, stateClosed:
		c.flags |= adopted
	}
	if w.at(f, slots.reason).base == conntrack.Adopted {
		c.flags |= adopted
	}
}

// challenge takes what a SYN that met an old connection is answered with, and what that leads to.
func (j *joiner) challenge(c *conn, at int64, toClient bool, seg segFlags) {
	f, w := &j.r.f, j.r.words
	base := w.at(f, slots.reason).base
	switch {
	case base == conntrack.AckForSyn:
		to := j.attemptOn(c)
		if to == nil {
			to = c
		}
		if to.challenged == 0 {
			to.challenged = at
		}
	case base == conntrack.RstAfterChallenge, seg&flagRST != 0 && !toClient && base == conntrack.Rst:
		if to := j.attemptOn(c); to != nil && to.challenged != 0 {
			to.flags |= challengeRST
		} else if base == conntrack.RstAfterChallenge {
			c.flags |= challengeRST
		}
	case base == conntrack.SynAckResync:
		j.prove(c)
	}
}
