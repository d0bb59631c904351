package proxy

import (
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

const (
	// recordsAnEnd is how many records the end of a connection by time makes at most: its own, and for each end of it two segments (a RST
	// in the handshake, whose number may be one of two).
	recordsAnEnd = 1 + 2*2
	// expiryPatience is how long expiry waits for a log that takes nothing at all.
	expiryPatience = 5 * time.Second
	// expiryHaste is how long it waits for the log in all, where the timers that wait with it are those of probes: a probe that is late
	// would find its connection over, and the sender of a SYN waits for what becomes of one.
	expiryHaste = time.Second
)

// expiryPace is how a worker's expiry keeps step with the log's writer. Where a great many connections end at one instant, their records are made
// several times as fast as the writer takes them. Expiry has time: whoever looks a connection up sees it expired to the nanosecond, and who needs its
// place in the table takes it.
type expiryPace struct {
	since conntrack.Instant // since when expiry waits for the log; 0: it does not
	limit int               // what the last turn that had something to end could end at most
	hasty bool              // a policy in force has ends asked whether they still hold a connection
}

// advance lets the engine do what time alone causes, as far as the log has room for it. Held packets are let go in any case.
func (w *Worker) advance() {
	if p := &w.pace; w.engine.Next() <= w.now {
		p.limit = w.endings()
		w.engine.Advance(w.now, p.limit, w.timeEvent)
	} else if p.since != 0 && w.logRoom() > 0 {
		p.since = 0
	}
	w.publish()
}

// endings is how many connections this turn may end. 0 leaves them to a later one; a worker that has no packets sleeps till then.
func (w *Worker) endings() int {
	p, n := &w.pace, w.logRoom()
	patience := expiryPatience
	if p.hasty {
		patience = expiryHaste
	}
	switch {
	case n > 0 && !p.hasty:
		p.since = 0
	case n == expireChunk:
	case p.since == 0:
		p.since = w.now
	case w.now.Sub(p.since) >= patience: // what the log has no room for it counts
		return expireChunk
	}
	return n
}

// logRoom is how many connections may end so that their records leave half of the log's ring to those of packets; 0 where so few are not worth a turn.
func (w *Worker) logRoom() int {
	most := w.producer.Cap() / 2 / recordsAnEnd
	n := w.producer.Spare() / recordsAnEnd
	if n < min(most, expireChunk)/8 {
		return 0
	}
	return min(n, expireChunk)
}

// endingsOfShadows is how many connections each shadow's turn may end: as many as the policy in force, so that both come to the same ends at about the same
// time.
func (w *Worker) endingsOfShadows() int {
	if w.engine.Next() <= w.now {
		return w.pace.limit
	}
	return expireChunk
}

// setPace finds out how much time the policies in force leave.
func (w *Worker) setPace() {
	w.pace.hasty = false
	for arm := range max(len(w.arms), 1) {
		w.pace.hasty = w.pace.hasty || asks(w.engine.Arm(uint8(arm)))
	}
}

// asks reports whether the policy ever has an end of a connection asked whether it still holds it.
func asks(p *policy.Policy) bool {
	for rule := int32(-1); rule < int32(p.Rules()); rule++ {
		if p.Upkeep(rule).Probes.Tries > 0 {
			return true
		}
		for f := range conntrack.NumFindings {
			for dir := conntrack.Original; dir <= conntrack.Reply; dir++ {
				if a := p.Action(rule, dir, f); a.Peer == policy.PeerProbeACK || a.Peer == policy.PeerProbeSYN {
					return true
				}
			}
		}
	}
	return false
}
