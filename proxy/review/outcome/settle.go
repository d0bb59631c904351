package outcome

import (
	"bytes"
	"cmp"
	"slices"
)

// byPair orders connections by run, client and server, then by their beginning.
func byPair(a, b *conn) int {
	return cmp.Or(cmp.Compare(a.run, b.run), bytes.Compare(a.client[:], b.client[:]), bytes.Compare(a.server[:], b.server[:]),
		cmp.Compare(a.serverPort, b.serverPort), cmp.Compare(a.begin(), b.begin()), cmp.Compare(a.id, b.id), cmp.Compare(a.isn, b.isn))
}

func samePair(a, b *conn) bool {
	return a.run == b.run && a.client == b.client && a.server == b.server && a.serverPort == b.serverPort
}

// begin is when its first SYN came, whether that had an entry or not.
func (c *conn) begin() int64 {
	if c.has(proven) {
		return c.synFirst
	}
	return c.first
}

// stood is when its handshake was complete, 0 for not known.
func (c *conn) stood() int64 {
	if c.handshake == 0 {
		return 0
	}
	return c.begin() + c.handshake
}

// older reports whether its beginning is unknown. A denial in the middle of a connection has none.
func (c *conn) older() bool { return c.has(adopted) || c.has(denied) && !c.has(hasISN) }

// failed reports whether it is an attempt to connect that has come to nothing.
func (c *conn) failed() bool { return !c.has(stands) && !c.older() }

// follows reports whether c can be what the client of an earlier one did next: no denial, and for a failed one no connection that began
// before the gateway.
func (c *conn) follows(earlier *conn) bool {
	return !c.older() || !c.has(denied) && !earlier.failed()
}

// link finds which connection of each pair retries which, over all that are in memory.
func (j *joiner) link() []int32 {
	all := make([]int32, 0, j.live)
	for i := range j.used {
		if !j.c(i).has(gone) {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b int32) int { return byPair(j.c(a), j.c(b)) })
	for from := 0; from < len(all); {
		to := from + 1
		for to < len(all) && samePair(j.c(all[from]), j.c(all[to])) {
			to++
		}
		j.linkPair(all[from:to])
		from = to
	}
	return all
}

// linkPair finds it among the connections of one client to one server, which are in the order of their beginnings.
func (j *joiner) linkPair(of []int32) {
	for n, i := range of { // from the first on: what began the attempt
		c := j.c(i)
		c.next, c.retries, c.reached = none, 0, 0
		c.flags &^= hopeful | retried
		if !c.failed() && c.acts().all == 0 {
			continue
		}
		since := max(c.last, c.lastAct)
		at, _ := slices.BinarySearchFunc(of[n+1:], since, func(o int32, t int64) int { return cmp.Compare(j.c(o).begin(), t) })
		for at += n + 1; at < len(of) && j.c(of[at]).begin()-since <= int64(RetryWindow) && !j.c(of[at]).follows(c); at++ {
		}
		if at == len(of) || j.c(of[at]).begin()-since > int64(RetryWindow) {
			continue
		}
		c.next = int32(at)
		next := j.c(of[at])
		if !c.failed() {
			continue
		}
		c.flags |= retried
		first := c.begin()
		if c.dialled != 0 {
			first = c.dialled
		}
		if next.dialled == 0 || first < next.dialled {
			next.dialled = first
		}
		if !c.has(continued) && !next.older() && c.ends() == next.ends() && (next.pred == c.id && c.id != 0 || c.has(attempt)) && (c.isn == next.isn || !c.has(hasISN) || !next.has(hasISN)) {
			c.flags |= continued
			if c.challenged != 0 && (next.challenged == 0 || c.challenged < next.challenged) {
				next.challenged = c.challenged
				next.flags |= c.flags & challengeRST
			}
			c.challenged, c.flags = 0, c.flags&^challengeRST
			next.extraAgain += 1 + max(c.again, c.seenAgain) + c.extraAgain
		}
	}
	for n := len(of) - 1; n >= 0; n-- { // from the last: what it led to
		c := j.c(of[n])
		if c.next == none {
			c.set(hopeful, !c.has(finished|attempt) || j.r.clocks[c.lastRun].now-c.last <= int64(RetryWindow))
			continue
		}
		next := j.c(of[c.next])
		switch {
		case next.failed():
			c.retries, c.reached = next.retries+1, next.reached
			c.set(hopeful, next.has(hopeful))
		case next.has(dataUp | dataDown):
			c.retries, c.reached = 1, max(next.stood(), next.begin())
			c.flags |= hopeful
		default:
			c.retries, c.reached = 1, next.reached
			c.flags |= hopeful
		}
	}
}

// settle tells of all that is left at the log's end.
func (j *joiner) settle() error {
	all := j.link()
	for _, i := range slices.Backward(all) { // of connections on the same ports the last comes first
		j.claim(j.c(i))
	}
	for _, l := range j.strays {
		j.r.data.Loss.Loose += l.n
		j.r.data.Loss.LooseResets += uint64(l.acts.resets)
	}
	if len(all) > 0 && len(j.strays) > 0 {
		all = j.link() // what was claimed may have led to another attempt
	}
	slices.SortFunc(all, func(a, b int32) int {
		x, y := j.c(a), j.c(b)
		return cmp.Or(cmp.Compare(x.begin(), y.begin()), cmp.Compare(x.run, y.run), cmp.Compare(x.id, y.id), cmp.Compare(x.isn, y.isn))
	})
	for _, i := range all {
		j.tell(i)
	}
	return j.err
}

// makeRoom tells of the half of the connections that was silent for longest, those that have ended first.
func (j *joiner) makeRoom() {
	all := j.link()
	slices.SortFunc(all, func(a, b int32) int {
		x, y := j.c(a), j.c(b)
		if x.has(finished|attempt) != y.has(finished|attempt) {
			if x.has(finished | attempt) {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(max(x.last, x.ended), max(y.last, y.ended)), cmp.Compare(x.id, y.id), cmp.Compare(x.isn, y.isn))
	})
	for _, i := range all[:(len(all)+1)/2] {
		c := j.c(i)
		if c.has(timedOut) && len(j.early) < maxEarly {
			if j.early == nil {
				j.early = map[key]struct{}{}
			}
			j.early[key{c.lastRun, c.id}] = struct{}{}
		}
		j.r.data.Loss.Early++
		j.tell(i)
	}
}

// maxEarly bounds what is remembered of connections told early.
const maxEarly = 1 << 20

// release frees a place.
func (j *joiner) release(i int32) {
	j.c(i).flags = gone
	j.free = append(j.free, i)
	j.live--
}
