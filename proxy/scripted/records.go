package scripted

import (
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
	"halfopen/proxy/decisionlog"
)

// push appends an event at its time; the clock does not go back.
func (w *writer) push(at time.Time, ev scenario.RecordedEvent) {
	if !w.at.IsZero() && at.After(w.at) {
		ev.Wait = at.Sub(w.at)
	}
	if at.After(w.at) {
		w.at = at
	}
	w.swept = nil
	w.rec.Events = append(w.rec.Events, ev)
}

// event takes record number i.
func (w *writer) event(i int) {
	e := &w.b.events[i]
	if e.FlowID != 0 && !slices.Contains(w.flows, e.FlowID) {
		w.flows = append(w.flows, e.FlowID)
	}
	at := e.Timestamp.Time
	switch d := e.Decision; {
	case e.Flow != nil:
		w.flow(e)
	case e.Inject != nil && e.Inject.Cause == "":
		if w.swept == nil || !at.Equal(w.at) {
			w.reachSent(i)
		}
		w.timed(at, e.Inject.Trigger, e)
	case d == nil, d.Trigger == decisionlog.TriggerShadow:
	case d.Settles != "":
		ev := scenario.RecordedEvent{Decision: &scenario.RecordedDecision{}}
		add := facts(ev.Decision)
		w.emits(&ev, e)
		add("reply", made(d.Reply))
		add("released", d.Verdict)
		w.push(at, ev)
	case d.Trigger != "":
		w.reachSent(i)
		w.timed(at, d.Trigger, nil)
	default:
		w.segment(e)
	}
}

// facts returns a function that adds facts to a decision, but for empty ones.
func facts(d *scenario.RecordedDecision) func(key, value string) {
	return func(key, value string) {
		if value != "" {
			d.Facts = append(d.Facts, [2]string{key, value})
		}
	}
}

func made(m *decisionlog.MadeEvent) string {
	if m == nil {
		return ""
	}
	return m.Kind
}

// side returns the end that has an address: 0 for c, 1 for s.
func (w *writer) side(s *conntrack.Segment) int {
	if s.Tuple == w.b.flow {
		return 0
	}
	return 1
}

// segment takes the decision about a segment.
func (w *writer) segment(e *decisionlog.Event) {
	d := e.Decision
	seg := Segment(e)
	w.segments++
	if len(w.rec.Events) == 0 {
		w.unbegun = remembered(d)
	}
	w.rec.Adopt = w.rec.Adopt || d.Reason == conntrack.Adopted.String()
	w.reach(e)
	ev := scenario.RecordedEvent{Segment: &seg}
	if e.TCP != nil {
		_, ev.Options = options(e.TCP.Options)
		w.sack = w.sack || strings.Contains(e.TCP.Options, "sack ")
	}
	if f, known := conntrack.FindingByWord(d.Reason); known {
		ev.Decision = decided(f, d)
		w.emits(&ev, e)
	} else {
		ev.Comments = append(ev.Comments, "The log says "+d.Verdict+", for a reason that this version does not know: "+d.Reason)
	}
	w.would(&ev, d)
	w.push(e.Timestamp.Time, ev)
	w.track(&seg, d)
	if w.state = d.StateAfter; seg.Flags.Has(conntrack.FIN) && d.Verdict == decisionlog.VerdictForward {
		w.fin = 1 + w.side(&seg)
	} else if !settled(d) {
		w.fin = 0
	}
}

// remembered reports whether the segment met an entry.
func remembered(d *decisionlog.DecisionEvent) bool {
	return d.StateBefore != "" && d.StateBefore != conntrack.StateNone.String()
}

// effect returns what the table did.
func effect(d *decisionlog.DecisionEvent) string {
	if d.Effect == "" && d.Action != nil {
		return d.Action.State
	}
	return d.Effect
}

// decided writes a decision with the facts that an update of a scenario would tell.
func decided(f conntrack.Finding, d *decisionlog.DecisionEvent) *scenario.RecordedDecision {
	out := &scenario.RecordedDecision{Head: d.Verdict + "/" + d.Reason}
	add := facts(out)
	add("reply", made(d.Reply))
	add("peer", made(d.Peer))
	add("stripped", strings.Join(d.Stripped, ","))
	add("reply-omitted", d.ReplyOmitted)
	add("peer-omitted", d.PeerOmitted)
	if d.StateAfter != d.StateBefore {
		add("state", d.StateAfter)
	}
	add("unmet", d.Unmet)
	switch did := effect(d); did {
	case f.Info().Effect.String(), conntrack.Keep.String(), conntrack.Track.String():
	default:
		add("effect", did)
	}
	add("rule", d.Rule)
	if d.Tombstone != nil && !remembered(d) {
		add("tombstone", d.Tombstone.Why)
	}
	return out
}

// would adds what a policy on trial would have done, where that is a preset that can be played beside.
func (w *writer) would(ev *scenario.RecordedEvent, d *decisionlog.DecisionEvent) {
	t := d.Would
	if t == nil || t.PolicyRev != presetRev(t.Preset) || len(w.rec.Shadows) > 0 && w.rec.Shadows[0] != t.Preset {
		return
	}
	if _, known := conntrack.FindingByWord(t.Reason); !known {
		return
	}
	w.rec.Shadows = []string{t.Preset}
	what := scenario.RecordedDecision{Head: t.Verdict + "/" + t.Reason}
	add := facts(&what)
	add("reply", made(t.Reply))
	add("peer", made(t.Peer))
	ev.Would = append(ev.Would, scenario.RecordedWould{Name: t.Preset, Decision: what})
}

// emits adds what a decision had injected: by its records, or where those are missing by what it says itself.
func (w *writer) emits(ev *scenario.RecordedEvent, e *decisionlog.Event) {
	d := e.Decision
	for _, in := range w.made[d.ID] {
		ev.Emits = append(ev.Emits, emit(in))
	}
	if len(ev.Emits) > 0 {
		return
	}
	tu, _ := ends(e)
	one := func(m *decisionlog.MadeEvent, tu conntrack.Tuple) {
		if m == nil {
			return
		}
		in := decisionlog.Event{SrcIP: tu.From().Addr().String(), SrcPort: tu.SrcPort, DestIP: tu.To().Addr().String(), DestPort: tu.DstPort,
			TCP: &decisionlog.TCPEvent{Flags: m.Flags, Seq: m.Seq, Ack: m.Ack}, Inject: &decisionlog.InjectEvent{Kind: m.Kind}}
		ev.Emits = append(ev.Emits, emit(&in))
	}
	one(d.Peer, tu)
	one(d.Reply, tu.Reverse())
}

// emit returns the segment that a record of an injection tells.
func emit(in *decisionlog.Event) scenario.RecordedEmit {
	em := scenario.RecordedEmit{Segment: Segment(in)}
	switch in.Inject.Kind {
	case policy.ReplyICMPPort.String(), policy.ReplyICMPAdmin.String():
		em.ICMP = in.Inject.Kind
	}
	return em
}

// timed takes what time caused: a finding, a probe, and what was sent because of it. What happened at the same time is one event.
func (w *writer) timed(at time.Time, trigger string, in *decisionlog.Event) {
	if w.swept == nil || !at.Equal(w.at) {
		w.push(at, scenario.RecordedEvent{Decision: &scenario.RecordedDecision{}})
		w.swept = []string{}
	}
	ev := &w.rec.Events[len(w.rec.Events)-1]
	if f, known := conntrack.FindingByWord(trigger); known && !f.Info().Packet && !slices.Contains(w.swept, trigger) {
		w.swept = append(w.swept, trigger)
		ev.Decision.Head = strings.Join(w.swept, ",")
	}
	if in == nil {
		return
	}
	ev.Emits = append(ev.Emits, emit(in))
	key := "reply"
	if in.Inject.To == "server" {
		key = "peer"
	}
	for i := range ev.Decision.Facts {
		if f := &ev.Decision.Facts[i]; f[0] == key {
			if !slices.Contains(strings.Split(f[1], ","), in.Inject.Kind) {
				f[1] += "," + in.Inject.Kind
			}
			return
		}
	}
	facts(ev.Decision)(key, in.Inject.Kind)
}

// flow takes what a flow's record counts, and that time ended it.
func (w *writer) flow(e *decisionlog.Event) {
	f := e.Flow
	w.counted += f.Counted
	if f.Event != "end" {
		return
	}
	entry := conntrack.Entry{}
	for entry.State = conntrack.NumStates - 1; entry.State > conntrack.StateNone && entry.State.String() != f.State; entry.State-- {
	}
	what, timed := conntrack.Finding(0), false
	for why := conntrack.EndNone; why < conntrack.NumEndReasons && !timed; why++ {
		if why.String() == f.Reason {
			what, timed = entry.Expired(why)
		}
	}
	if !timed {
		return // a segment did it, and has its record, or it was nothing that happens to a connection
	}
	if f.Counted > 0 && (w.swept == nil || !e.Timestamp.Equal(w.at)) {
		w.went(f.End.Time, [2]*uint32{}, f.State)
	}
	w.timed(e.Timestamp.Time, what.String(), nil)
}
