package index

import (
	"halfopen/proxy/decisionlog"
)

// lightSlots are fields that only the search for trouble asks for.
var lightSlots = struct {
	effect, idle, replyFlags                                decisionlog.Slot
	tcp, seq, ack, win, length                              decisionlog.Slot
	reply, peer                                             decisionlog.Slot
	tombstone, forgotten, why, tombState, timeout, tombIdle decisionlog.Slot
	tombAge, tombFlow                                       decisionlog.Slot
}{
	effect: slot("decision.effect"), idle: slot("decision.idle_s"), replyFlags: slot("decision.reply.flags"),
	tcp: slot("tcp"), seq: slot("tcp.seq"), ack: slot("tcp.ack"), win: slot("tcp.win"), length: slot("tcp.len"),
	reply: slot("decision.reply"), peer: slot("decision.peer"),
	tombstone: slot("decision.tombstone"), forgotten: slot("decision.tombstone.forgotten"), why: slot("decision.tombstone.why"),
	tombState: slot("decision.tombstone.state"), timeout: slot("decision.tombstone.timeout_s"), tombIdle: slot("decision.tombstone.idle_s"),
	tombAge: slot("decision.tombstone.age_s"), tombFlow: slot("decision.tombstone.flow_id"),
}

// lightEvent makes of a scanned line as much of an Event as the search for trouble reads, at a tenth of what decoding costs. Its strings
// are words, or its own. It is valid until the next call.
type lightEvent struct {
	e     decisionlog.Event
	tcp   decisionlog.TCPEvent
	d     decisionlog.DecisionEvent
	reply decisionlog.MadeEvent
	peer  decisionlog.MadeEvent
	tomb  decisionlog.TombstoneEvent
	f     decisionlog.FlowEvent
	i     decisionlog.InjectEvent
	secs  [3]float64
}

func (l *lightEvent) fill(f *decisionlog.Fields, w *words) *decisionlog.Event {
	s := &slots
	word := func(at decisionlog.Slot) string { return w.word(w.id(f.Text(at))) }
	l.e = decisionlog.Event{Timestamp: nanosTime(f.Nanos(s.timestamp)), EventType: word(s.eventType), FlowID: f.Uint(s.flowID),
		SrcIP: string(f.Text(s.srcIP)), SrcPort: uint16(f.Uint(s.srcPort)), DestIP: string(f.Text(s.destIP)), DestPort: uint16(f.Uint(s.destPort)),
		Direction: word(s.direction)}
	if f.Has(lightSlots.tcp) {
		ls := &lightSlots
		l.tcp = decisionlog.TCPEvent{Flags: word(s.flags), Seq: uint32(f.Uint(ls.seq)), Ack: uint32(f.Uint(ls.ack)), Win: uint32(f.Uint(ls.win)),
			Len: uint32(f.Uint(ls.length))}
		l.e.TCP = &l.tcp
	}
	if f.Has(s.decision) {
		l.decision(f, word)
	}
	if f.Has(s.flow) {
		l.flow(f, word)
	}
	if f.Has(s.inject) {
		l.i = decisionlog.InjectEvent{Cause: string(f.Text(s.cause)), Trigger: word(s.injectTrigger), Kind: word(s.kind), To: word(s.to),
			Error: string(f.Text(s.injectError))}
		l.e.Inject = &l.i
	}
	return &l.e
}

func nanosTime(ns int64) decisionlog.Time {
	return decisionlog.Time{Time: instant(ns)}
}

// seconds is a field of seconds, nil where the line lacks it.
func (l *lightEvent) seconds(f *decisionlog.Fields, at decisionlog.Slot, n int) *float64 {
	if !f.Has(at) {
		return nil
	}
	l.secs[n] = float64(f.Seconds(at)) / 1e9
	return &l.secs[n]
}

func (l *lightEvent) decision(f *decisionlog.Fields, word func(decisionlog.Slot) string) {
	s, ls := &slots, &lightSlots
	l.d = decisionlog.DecisionEvent{Settles: string(f.Text(s.settles)), Trigger: word(s.trigger), Verdict: word(s.verdict), Reason: word(s.reason),
		Rule: word(s.rule), Preset: word(s.preset), PolicyRev: word(s.rev), Arm: word(s.arm), StateBefore: word(s.before), StateAfter: word(s.after),
		Effect: word(ls.effect), IdleS: l.seconds(f, ls.idle, 0)}
	if f.Has(ls.reply) {
		l.reply = decisionlog.MadeEvent{Kind: word(s.replyKind), Flags: word(ls.replyFlags)}
		l.d.Reply = &l.reply
	}
	if f.Has(ls.peer) {
		l.peer = decisionlog.MadeEvent{Kind: word(s.peerKind)}
		l.d.Peer = &l.peer
	}
	if f.Has(ls.tombstone) {
		l.tomb = decisionlog.TombstoneEvent{Forgotten: nanosTime(f.Nanos(ls.forgotten)), Why: word(ls.why), State: word(ls.tombState),
			TimeoutS: float64(f.Seconds(ls.timeout)) / 1e9, IdleS: float64(f.Seconds(ls.tombIdle)) / 1e9, AgeS: float64(f.Seconds(ls.tombAge)) / 1e9,
			FlowID: f.Uint(ls.tombFlow)}
		l.d.Tombstone = &l.tomb
	}
	l.e.Decision = &l.d
}

func (l *lightEvent) flow(f *decisionlog.Fields, word func(decisionlog.Slot) string) {
	s := &slots
	l.f = decisionlog.FlowEvent{Event: word(s.flowEvent), PktsToServer: f.Uint(s.pkts0), PktsToClient: f.Uint(s.pkts1),
		BytesToServer: f.Uint(s.bytes0), BytesToClient: f.Uint(s.bytes1), Counted: f.Uint(s.counted), State: word(s.state),
		ConnState: word(s.connState), History: string(f.Text(s.history)), Start: nanosTime(f.Nanos(s.start)), End: nanosTime(f.Nanos(s.end)),
		Reason: word(s.endReason), Outcome: word(s.outcome), Predecessor: f.Uint(s.predecessor), Adopted: f.Uint(s.adopted) != 0,
		Probes: uint8(f.Uint(s.probes)), Answered: word(s.answered), Rule: word(s.flowRule), Preset: word(s.flowPreset),
		PolicyRev: word(s.flowRev), Arm: word(s.flowArm), HandshakeS: l.seconds(f, s.handshake, 1), ResponseS: l.seconds(f, s.response, 2),
		SYNRetransmits: f.Uint(s.synRetransmits), RetransmitsToServer: f.Uint(s.retransmits0), RetransmitsToClient: f.Uint(s.retransmits1),
		OutOfWindowToServer: f.Uint(s.outside0), OutOfWindowToClient: f.Uint(s.outside1), StallS: float64(f.Seconds(s.stall)) / 1e9,
		Stalled: f.Uint(s.stalled) != 0, EndedBy: word(s.endedBy)}
	l.e.Flow = &l.f
}
