package index

import (
	"halfopen/proxy/decisionlog"
)

// slots are the fields of a line that the index knows.
var slots = struct {
	timestamp, eventType, flowID, communityID, srcIP, srcPort, destIP, destPort, direction                         decisionlog.Slot
	header, trailer, stats, gap, reload, experiment, expEvent, expArm                                              decisionlog.Slot
	flags                                                                                                          decisionlog.Slot
	decision, settles, trigger, verdict, reason, rule, preset, rev, arm                                            decisionlog.Slot
	before, after, replyKind, peerKind, shadow                                                                     decisionlog.Slot
	flow, flowEvent, pkts0, pkts1, bytes0, bytes1, fast0, fast1, fastBytes0, fastBytes1, counted, state, connState decisionlog.Slot
	fastCounted, fastCountedBytes                                                                                  decisionlog.Slot
	history, start, end, endReason, outcome, predecessor, adopted, probes, answered                                decisionlog.Slot
	handshake, response, stall, stalled, endedBy, synRetransmits, retransmits0, retransmits1, outside0, outside1   decisionlog.Slot
	flowRule, flowPreset, flowRev, flowArm                                                                         decisionlog.Slot
	inject, injectID, cause, injectTrigger, kind, to, injectError                                                  decisionlog.Slot
}{
	timestamp: slot("timestamp"), eventType: slot("event_type"), flowID: slot("flow_id"), communityID: slot("community_id"),
	srcIP: slot("src_ip"), srcPort: slot("src_port"), destIP: slot("dest_ip"), destPort: slot("dest_port"), direction: slot("direction"),
	header: slot("header"), trailer: slot("trailer"), stats: slot("stats"), gap: slot("gap"), reload: slot("reload"),
	experiment: slot("experiment"), expEvent: slot("experiment.event"), expArm: slot("experiment.arm"),
	flags:    slot("tcp.flags"),
	decision: slot("decision"), settles: slot("decision.settles"), trigger: slot("decision.trigger"), verdict: slot("decision.verdict"),
	reason: slot("decision.reason"), rule: slot("decision.rule"), preset: slot("decision.preset"), rev: slot("decision.policy_rev"),
	arm: slot("decision.arm"), before: slot("decision.state_before"), after: slot("decision.state_after"),
	replyKind: slot("decision.reply.kind"), peerKind: slot("decision.peer.kind"), shadow: slot("shadow"),
	flow: slot("flow"), flowEvent: slot("flow.event"), pkts0: slot("flow.pkts_toserver"), pkts1: slot("flow.pkts_toclient"),
	bytes0: slot("flow.bytes_toserver"), bytes1: slot("flow.bytes_toclient"), fast0: slot("flow.fastpath_pkts_toserver"),
	fast1: slot("flow.fastpath_pkts_toclient"), fastBytes0: slot("flow.fastpath_bytes_toserver"), fastBytes1: slot("flow.fastpath_bytes_toclient"), counted: slot("flow.counted"),
	fastCounted: slot("flow.fastpath_counted"), fastCountedBytes: slot("flow.fastpath_counted_bytes"), state: slot("flow.state"),
	connState: slot("flow.conn_state"), history: slot("flow.history"), start: slot("flow.start"), end: slot("flow.end"),
	endReason: slot("flow.reason"), outcome: slot("flow.outcome"), predecessor: slot("flow.predecessor"), adopted: slot("flow.adopted"),
	probes: slot("flow.probes"), answered: slot("flow.probes_answered"), flowRule: slot("flow.rule"), flowPreset: slot("flow.preset"),
	flowRev: slot("flow.policy_rev"), flowArm: slot("flow.arm"),
	handshake: slot("flow.handshake_s"), response: slot("flow.response_s"), stall: slot("flow.stall_s"), stalled: slot("flow.stalled"),
	endedBy: slot("flow.ended_by"), synRetransmits: slot("flow.syn_retransmits"), retransmits0: slot("flow.retransmits_toserver"),
	retransmits1: slot("flow.retransmits_toclient"), outside0: slot("flow.out_of_window_toserver"), outside1: slot("flow.out_of_window_toclient"),
	inject: slot("inject"), injectID: slot("inject.id"), cause: slot("inject.cause"), injectTrigger: slot("inject.trigger"),
	kind: slot("inject.kind"), to: slot("inject.to"), injectError: slot("inject.error"),
}

func slot(path string) decisionlog.Slot { return decisionlog.SlotOf(path) }

// record is what a line means to the index.
type record struct {
	fields   *decisionlog.Fields
	at       int64
	offset   int64
	line     int // from 1
	shape    shape
	conn     connKey
	hash     uint32
	swapped  bool
	toServer bool // as far as anything tells
}

// takeRecord reads the shape and the connection off a line that is decoded.
func (b *builder) takeRecord(f *decisionlog.Fields, at decisionlog.Position) record {
	w, s := b.words, &slots
	r := record{fields: f, at: f.Nanos(s.timestamp), offset: at.Offset, line: at.Line + 1}
	r.conn.flow = f.Uint(s.flowID)
	r.conn.ends, r.swapped = makeEnds(f.Text(s.srcIP), f.Text(s.destIP), uint16(f.Uint(s.srcPort)), uint16(f.Uint(s.destPort)))
	r.hash = communityHash(f.Text(s.communityID))
	sh := &r.shape
	sh.event = w.id(f.Text(s.eventType))
	sh.flags = w.id(f.Text(s.flags))
	if r.swapped {
		sh.bits |= bitSwapped
	}
	r.toServer = true
	switch string(f.Text(s.direction)) {
	case "to_server":
		sh.bits |= bitToServer
	case "to_client":
		sh.bits |= bitToClient
		r.toServer = false
	}
	switch {
	case f.Has(s.decision):
		sh.kind = w.id(f.Text(s.trigger))
		sh.verdict, sh.reason = w.id(f.Text(s.verdict)), w.id(f.Text(s.reason))
		sh.rule, sh.preset, sh.rev, sh.arm = w.id(f.Text(s.rule)), w.id(f.Text(s.preset)), w.id(f.Text(s.rev)), w.id(f.Text(s.arm))
		sh.before, sh.after = w.id(f.Text(s.before)), w.id(f.Text(s.after))
		sh.reply, sh.replyP = w.id(f.Text(s.replyKind)), w.id(f.Text(s.peerKind))
		if f.Has(s.shadow) {
			b.takeShadows(f, sh)
		}
	case f.Has(s.flow):
		sh.kind, sh.after = w.id(f.Text(s.flowEvent)), w.id(f.Text(s.state))
		sh.rule, sh.preset, sh.rev, sh.arm = w.id(f.Text(s.flowRule)), w.id(f.Text(s.flowPreset)), w.id(f.Text(s.flowRev)), w.id(f.Text(s.flowArm))
	case f.Has(s.inject):
		sh.kind, sh.replyP = w.id(f.Text(s.kind)), w.id(f.Text(s.to))
	case f.Has(s.experiment):
		sh.kind, sh.arm = w.id(f.Text(s.expEvent)), w.id(f.Text(s.expArm))
	}
	return r
}

// takeShadows reads what a decision's shadows say.
func (b *builder) takeShadows(f *decisionlog.Fields, sh *shape) {
	if e, err := f.Event(); err == nil {
		sh.shadows = b.words.id([]byte(disagreeing(e)))
	}
}

// rare fills the shape of a record that is decoded as a whole.
func (b *builder) rare(r *record, e *decisionlog.Event) {
	switch {
	case e.Gap != nil:
		r.shape.kind = b.words.id([]byte(e.Gap.Where))
	case e.Reload != nil:
		r.shape.kind = b.words.id([]byte(reloadWord(e.Reload.OK)))
		r.shape.preset, r.shape.rev = b.words.id([]byte(e.Reload.Preset)), b.words.id([]byte(e.Reload.PolicyRev))
	}
}

func reloadWord(ok bool) string {
	if ok {
		return "ok"
	}
	return "refused"
}
