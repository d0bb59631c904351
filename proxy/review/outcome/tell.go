package outcome

import (
	"math"
	"time"

	"halfopen/policy/experiment"
)

// acts are the interventions on a connection, as exactly as is known.
func (c *conn) acts() acts {
	a := c.told.most(c.seen).less(c.moved)
	a.add(c.extra)
	return a
}

// seconds is a duration in seconds, NaN for none.
func seconds(ns int64, known bool) float64 {
	if !known {
		return math.NaN()
	}
	return float64(ns) / 1e9
}

// tell hands out the outcome of a connection and frees its place. The connections must have been linked.
func (j *joiner) tell(i int32) {
	c := j.c(i)
	o := j.outcome(c)
	j.book(c, o)
	if k := (key{c.lastRun, c.id}); j.at[k] == i && c.id != 0 {
		delete(j.at, k)
	}
	if e := c.ends(); c.has(attempt) && j.tries[e] == i {
		delete(j.tries, e)
	}
	j.release(i)
	if j.err == nil {
		j.err = j.r.each(o)
	}
}

// outcome makes the outcome of a connection.
func (j *joiner) outcome(c *conn) *experiment.Outcome {
	w := j.r.words
	a := c.acts()
	o := &experiment.Outcome{
		Flow: c.id, Met: c.met, Gateway: j.r.gateway.Name, Run: j.r.clocks[c.run].name,
		Start: time.Unix(0, c.start-(c.first-c.begin())).UTC(), Client: addrPort(c.client, c.clientPort), Server: addrPort(c.server, c.serverPort),
		Arm: w.text(c.arm), Rev: w.text(c.rev), Finished: c.has(finished) || c.failed() && j.over(c), Adopted: c.older(),
		Continued: c.has(continued), Connected: c.has(stands) && !c.has(denied),
		SYNRetransmits: int(max(c.again, c.seenAgain) + c.extraAgain),
		BytesToServer:  c.bytes[0], BytesToClient: c.bytes[1], PktsToServer: c.pkts[0], PktsToClient: c.pkts[1],
		FastToServer: c.fast[0], FastToClient: c.fast[1], FastBytesToServer: c.fastBytes[0], FastBytesToClient: c.fastBytes[1],
		RetransmitsToServer: int(c.retransmits[0]), RetransmitsToClient: int(c.retransmits[1]),
		OutOfWindowToServer: int(c.outside[0]), OutOfWindowToClient: int(c.outside[1]), StallS: float64(c.stall) / 1e9,
		EndedBy: experiment.EndedBy(w.text(c.endedBy)), Interventions: int(a.all), Dropped: int(a.drops), Resets: int(a.resets),
		HeldOpen: c.has(lateHeld), StillThere: c.has(lateUp | lateDown), StillThereS: seconds(c.late-c.ended, c.late != 0 && c.ended != 0),
		Challenged: c.challenged != 0, ChallengeRST: c.has(challengeRST),
		ResponseS: seconds(c.response, c.response > 0),
	}
	o.End = o.Start.Add(time.Duration(max(c.last-c.begin(), 0)))
	switch {
	case c.has(lateUp) && c.has(lateDown):
		o.StillThereBy = "both"
	case c.has(lateUp):
		o.StillThereBy = "client"
	case c.has(lateDown):
		o.StillThereBy = "server"
	}
	if c.failed() && !c.has(continued) {
		o.Retries, o.GaveUp = int(c.retries), !c.has(hopeful)
	}
	begin := c.begin()
	if c.dialled != 0 {
		begin = c.dialled
	}
	stood := c.stood()
	o.ConnectS = seconds(stood-begin, stood != 0 && o.Connected && !o.Adopted)
	j.recovery(c, o, stood)
	o.ChallengeS = math.NaN()
	if c.challenged != 0 {
		switch {
		case stood > c.challenged:
			o.ChallengeS = seconds(stood-c.challenged, true)
		case c.failed() && c.reached > c.challenged:
			o.ChallengeS = seconds(c.reached-c.challenged, true)
		}
	}
	o.Unit = j.unit(c, o)
	return o
}

// silence is how long a client that has not connected must have sent nothing for its attempt to be over, where nothing else says so.
const silence = int64(10 * time.Second)

// over reports whether a failed attempt has come to its end: its client has dialled again, or was silent.
func (j *joiner) over(c *conn) bool {
	return c.has(retried) || j.r.clocks[c.lastRun].now-c.last > silence
}

// recovery says whether the client's purpose was reached after the first intervention, and how long that took.
func (j *joiner) recovery(c *conn, o *experiment.Outcome, stood int64) {
	o.RecoveryS = math.NaN()
	if o.Interventions == 0 {
		return
	}
	by := c.firstAct
	carried := c.has(dataUp|dataDown) && o.Connected
	switch {
	case carried && stood != 0 && by != 0 && by <= stood: // on its way to stand
		o.Recovered, o.RecoveryS = true, seconds(stood-by, true)
	case o.Connected && c.wentOn(o.EndedBy):
		o.Recovered = true
	case c.reached != 0:
		o.Recovered = true
		o.RecoveryS = seconds(c.reached-by, by != 0 && c.reached > by)
	}
}

// wentOn reports whether a connection that stood went on after the last intervention: it was closed by a FIN of both ends, or segments came
// after it, no end waits, and nobody reset it.
func (c *conn) wentOn(by experiment.EndedBy) bool {
	switch by {
	case experiment.EndedClientFIN, experiment.EndedServerFIN:
		return true
	case experiment.EndedGatewayRST, experiment.EndedClientRST, experiment.EndedServerRST:
		return false
	}
	return !c.has(stalledFlag) && c.lastAct != 0 && c.last > c.lastAct
}

// book counts an outcome for its arm.
func (j *joiner) book(c *conn, o *experiment.Outcome) {
	d := j.r.data
	if c.id == 0 {
		d.Attempts++
	} else {
		d.Connections++
	}
	arm := d.Arms[o.Arm]
	if arm == nil {
		arm = &Arm{Revs: map[string]*Rev{}}
		d.Arms[o.Arm] = arm
	}
	arm.Connections++
	rev := arm.Revs[o.Rev]
	if rev == nil {
		rev = &Rev{Preset: j.r.words.text(c.preset), From: o.Start, To: o.Start}
		arm.Revs[o.Rev] = rev
	}
	rev.Connections++
	if o.Start.Before(rev.From) {
		rev.From = o.Start
	}
	if o.Start.After(rev.To) {
		rev.To = o.Start
	}
	from, to := o.Start.UnixNano(), o.End.UnixNano()
	if c.ended != 0 {
		to = max(to, c.ended-(c.first-c.start))
	} else if !c.has(attempt) {
		to = math.MaxInt64
	}
	if j.r.gaps.meet(from, to) {
		arm.Gapped++
	}
}
