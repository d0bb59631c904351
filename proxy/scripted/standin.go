package scripted

import (
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/decisionlog"
)

// standing is said above lines that stand for segments of which there is no record.
const standing = "Segments without records: these stand for them."

// track follows the numbers of both ends as the gateway did.
func (w *writer) track(s *conntrack.Segment, d *decisionlog.DecisionEvent) {
	from := w.side(s)
	snd, rcv := &w.ends[from], &w.ends[1-from]
	if x := d.Expected; x != nil && remembered(d) {
		note(snd, x.Seq)
		note(rcv, x.Ack)
	}
	if snd.heard = true; s.Defect == conntrack.DefectNone {
		defer func() { snd.said = s.End() }()
	}
	switch effect(d) {
	case conntrack.Create.String(), conntrack.CreateLiberal.String(), conntrack.Replace.String(), conntrack.Rearm.String():
		*rcv = endState{}
		*snd = endState{heard: true}
	case conntrack.Track.String(), conntrack.Resync.String():
	default:
		return
	}
	if s.Defect != conntrack.DefectNone || s.Flags.Has(conntrack.RST) {
		return
	}
	if end := s.End(); !snd.known || snd.next.Less(end) || s.Flags.Has(conntrack.SYN) {
		snd.next, snd.known = end, true
	}
	if s.Flags.Has(conntrack.ACK) && (!rcv.known || rcv.next.Less(s.Ack)) {
		rcv.next, rcv.known = s.Ack, true
	}
	snd.window = s.Window
	if s.Flags.Has(conntrack.SYN) {
		if snd.scale = 0; s.Options.Has&conntrack.OptWScale != 0 {
			snd.scale = s.Options.WScale
		}
	}
}

func note(e *endState, n *uint32) {
	if n != nil {
		e.next, e.known = conntrack.Seq(*n), true
	}
}

// reach lets the script's connection reach the numbers, the state and the time that a decision shows of it, where those are beyond what
// records told.
func (w *writer) reach(e *decisionlog.Event) {
	d := e.Decision
	if len(w.rec.Events) == 0 || !settled(d) || d.Expected == nil || d.IdleS == nil || w.whole[e.FlowID] {
		return
	}
	s := Segment(e)
	from := w.side(&s)
	if x := d.Expected; x.SeqHi != nil && x.Seq != nil {
		w.offer(1-from, *x.SeqHi-*x.Seq)
	}
	var next [2]*uint32
	next[from], next[1-from] = d.Expected.Seq, d.Expected.Ack
	w.went(e.Timestamp.Add(-time.Duration(*d.IdleS*float64(time.Second))), next, d.StateBefore)
}

// reachSent is reach for what time has made the gateway send, as record i tells and those after it: numbers of a RST are those that its
// receiver expects, those of a probe one below.
func (w *writer) reachSent(i int) {
	id, at := w.b.events[i].FlowID, w.b.events[i].Timestamp.Time
	if len(w.rec.Events) == 0 || w.whole[id] {
		return
	}
	last := w.at // when the last segment came by is not told: no earlier than what was recorded
	if seen := w.seen[id]; seen.After(last) && seen.Before(at) {
		last = seen
	}
	var next [2]*uint32
	higher := func(end int, n uint32) {
		if next[end] == nil || conntrack.Seq(*next[end]).Less(conntrack.Seq(n)) {
			next[end] = &n
		}
	}
	for ; i < len(w.b.events); i++ {
		e := &w.b.events[i]
		if e.Decision != nil && e.Decision.Trigger != "" {
			continue
		}
		if e.Inject == nil || e.Inject.Cause != "" || !e.Timestamp.Equal(at) || e.TCP == nil {
			break
		}
		s := Segment(e)
		switch e.Inject.Kind {
		case policy.PeerRSTTracked.String():
			higher(w.side(&s), e.TCP.Seq)
		case policy.PeerProbeACK.String():
			higher(w.side(&s), e.TCP.Seq+1)
			higher(1-w.side(&s), e.TCP.Ack)
		}
	}
	w.went(last, next, w.state)
}

// went lets the connection reach numbers (nil: as they are) and a state, by the time of its last segment.
func (w *writer) went(last time.Time, next [2]*uint32, state string) {
	var to [2]conntrack.Seq
	var ahead [2]bool
	for i := range next {
		e := &w.ends[i]
		if !e.known {
			return
		}
		if to[i] = e.next; next[i] != nil {
			to[i] = conntrack.Seq(*next[i])
		}
		ahead[i] = e.next.Less(to[i]) && to[i] != e.said
	}
	switch {
	case ahead[0] || ahead[1]:
		w.stand(last, to, ahead)
	case state != w.state:
		w.rest(last, w.fin == 2, w.fin == 1) // who has not sent the last FIN acknowledges it
	case last.After(w.at.Add(time.Millisecond)):
		w.rest(last, w.fin != 2, w.fin != 1) // who has sent it acknowledges nothing new
	}
}

// settled reports whether the segment met a connection that had completed its handshake. Those of a handshake have records all.
func settled(d *decisionlog.DecisionEvent) bool {
	if !remembered(d) {
		return false
	}
	for _, embryonic := range []conntrack.State{conntrack.SynSent, conntrack.SynSent2, conntrack.SynRecv} {
		if d.StateBefore == embryonic.String() {
			return false
		}
	}
	return true
}

// offer notes the window that an end has advertised, in bytes.
func (w *writer) offer(end int, bytes uint32) {
	scale := w.ends[end].scale
	if w.ends[1-end].scale == 0 {
		scale = 0 // it takes both (RFC 7323 section 2.2)
	}
	w.ends[end].window = uint16(min(bytes>>scale, 65535))
}

// stand lets segments stand for those without records, at the time of the last: what takes the ends from one number to another passed
// unseen, and then each that went ahead sends its last two bytes, and both acknowledge all. The gateway then remembers what it did.
func (w *writer) stand(at time.Time, next [2]conntrack.Seq, ahead [2]bool) {
	first := 0
	if !ahead[0] {
		first = 1
	}
	ev := scenario.RecordedEvent{Comments: []string{standing}, Gap: true}
	send := func(end int, flags conntrack.Flags, seq conntrack.Seq, n uint32, ack conntrack.Seq) {
		ev.Segment = w.says(end, flags, seq, n, ack)
		w.push(at, ev)
		ev = scenario.RecordedEvent{}
	}
	for _, end := range [2]int{first, 1 - first} {
		ack := w.ends[1-end].next
		if end != first {
			ack = next[first]
		}
		for left := min(uint32(next[end]-w.ends[end].next), 2); ahead[end] && left > 0; left-- {
			send(end, conntrack.PSH, next[end].Add(-left), 1, ack)
		}
		w.ends[end].next = next[end]
	}
	for _, end := range [2]int{1 - first, first} {
		send(end, 0, next[end], 0, next[1-end])
	}
}

// rest lets c, s or both say where they are, at the time of the last segment: it had no record and moved no number.
func (w *writer) rest(at time.Time, c, s bool) {
	if !w.ends[0].known || !w.ends[1].known {
		return
	}
	comments := []string{standing}
	for end, says := range [2]bool{c, s} {
		if says && w.ends[end].heard {
			w.push(at, scenario.RecordedEvent{Comments: comments, Segment: w.says(end, 0, w.ends[end].next, 0, w.ends[1-end].next)})
			comments = nil
		}
	}
}

// says returns a segment of an end.
func (w *writer) says(end int, flags conntrack.Flags, seq conntrack.Seq, n uint32, ack conntrack.Seq) *conntrack.Segment {
	tu := w.b.flow
	if end == 1 {
		tu = tu.Reverse()
	}
	return &conntrack.Segment{Tuple: tu, Flags: conntrack.ACK | flags, Seq: seq, Len: n, Ack: ack, Window: w.ends[end].window}
}
