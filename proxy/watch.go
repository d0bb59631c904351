package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
)

// A worker tells the watcher of experiments what becomes of connections: through a ring, so that the packet path waits for nobody. What
// is told is what the guardrails' figures are made of, and nothing about packets in between.

// watchKind says what a worker tells.
type watchKind uint8

const (
	watchBegan      watchKind = iota // an entry was made
	watchConnected                   // its handshake is complete
	watchEnded                       // it ended
	watchRefused                     // a SYN came that made no entry
	watchStillThere                  // a segment of a forgotten connection came
)

// watched is one thing that a worker tells.
type watched struct {
	kind  watchKind
	arm   uint8
	flow  uint64
	tuple conntrack.Tuple // from the client
	isn   conntrack.Seq   // of the SYN, with watchRefused; of the entry's, with watchBegan
	at    conntrack.Instant
	start int64 // when the connection began, Unix nanoseconds

	created conntrack.Instant // the same, by the clock that nobody sets

	connected, adopted  bool
	syns, resets        uint8 // SYN retransmissions, the gateway's RSTs
	stall               conntrack.Micros
	packets, retransmit uint64
}

// watchRing is how many things a worker may have told that the watcher has not heard yet: a second of 10,000 connections.
const watchRing = 1 << 15

// put hands something to the watcher; what the ring cannot take is counted, and makes the guardrails' figures incomplete.
func (w *Worker) put(k watched) {
	slot := w.watching.Slot()
	if slot == nil {
		w.counts.Unwatched++
		return
	}
	*slot = k
	w.watching.Push()
}

// watchEntry tells what became of an entry.
func (w *Worker) watchEntry(kind watchKind, e *conntrack.Entry) {
	k := watched{kind: kind, arm: e.Arm, flow: e.ID, tuple: fromClient(e), isn: e.Side[conntrack.Original].ISN, at: w.now, start: w.wall(e.Created), created: e.Created,
		connected: e.Handshake != 0, adopted: e.Flags&conntrack.EntryPickedUp != 0, syns: e.SYNRetransmits, resets: e.Resets, stall: e.Stall,
		packets: e.Side[0].Packets + e.Side[1].Packets, retransmit: uint64(e.Retransmits[0]) + uint64(e.Retransmits[1])}
	w.put(k)
}

// watchFlow tells of an entry that begins or ends.
func (w *Worker) watchFlow(ev *policy.FlowEvent) {
	if w.watching == nil || ev.Entry.Arm == 0 {
		return
	}
	switch ev.Kind {
	case policy.FlowNew:
		w.watchEntry(watchBegan, &ev.Entry)
	case policy.FlowEnd:
		w.watchEntry(watchEnded, &ev.Entry)
	}
}

// watchStep tells what a step shows beside that: a handshake that is complete, a dial that got no entry, a user who was still there.
func (w *Worker) watchStep(s *conntrack.Segment, out *policy.Outcome) {
	if w.watching == nil || out.Arm == 0 {
		return
	}
	switch {
	case out.Before.Embryonic() && !out.After.Embryonic(): // not always ESTABLISHED: after a gap a FIN may be the first to show it
		if e := w.engine.Find(w.now, &s.Tuple); e != nil && e.Handshake != 0 {
			w.watchEntry(watchConnected, e)
		}
	case s.Kind() == conntrack.KindSYN && !begins(out) && !out.Before.Embryonic():
		w.put(watched{kind: watchRefused, arm: out.Arm, tuple: s.Tuple, isn: s.Seq, at: w.now, start: w.wall(w.now), created: w.now})
	case out.HasTomb && stillThere(s, out.Dir, &out.Tombstone):
		w.put(watched{kind: watchStillThere, arm: out.Arm, flow: out.Tombstone.ID, tuple: out.Tombstone.From, at: w.now,
			start: w.wall(out.Tombstone.Created), created: out.Tombstone.Created})
	}
}

// stillThere reports whether a segment shows that its sender was not done with a connection which a timer has ended: it brings data. A
// keepalive has none, or one byte that was sent before (RFC 9293 section 3.8.4).
func stillThere(s *conntrack.Segment, dir conntrack.Direction, tomb *conntrack.Tombstone) bool {
	switch tomb.Reason {
	case conntrack.EndIdle, conntrack.EndAdaptive, conntrack.EndDead:
	default:
		return false
	}
	if k := s.Kind(); k != conntrack.KindACK && k != conntrack.KindFIN {
		return false
	}
	return s.Len > 1 || s.Len == 1 && s.Seq.Add(1) != tomb.Next[dir]
}
