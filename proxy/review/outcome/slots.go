package outcome

import "halfopen/proxy/decisionlog"

// slots are the fields that are read.
var slots = struct {
	timestamp, flowID, srcIP, srcPort, destIP, destPort, direction                             decisionlog.Slot
	header, headerRun, schema, trailer, decision, flow, inject, gap, stats, reload, experiment decisionlog.Slot
	tcpFlags, seq, ack, length                                                                 decisionlog.Slot
	settles, trigger, verdict, reason, preset, rev, arm, before, after                         decisionlog.Slot
	reply, peer                                                                                decisionlog.Slot
	tomb, tombFlow, forgotten, why, clientSeq, serverSeq                                       decisionlog.Slot
	injectTrigger, injectKind, injectTo, injectError                                           decisionlog.Slot
	event, state, start, end, endReason, outcome, endedBy, predecessor, adopted, history       decisionlog.Slot
	flowPreset, flowRev, flowArm                                                               decisionlog.Slot
	pkts, bytes, fast, fastBytes, retransmits, outside                                         [2]decisionlog.Slot
	acts, resets                                                                               decisionlog.Slot
	handshake, response, again, stall, stalled                                                 decisionlog.Slot
}{
	timestamp: slot("timestamp"), flowID: slot("flow_id"), srcIP: slot("src_ip"), srcPort: slot("src_port"), destIP: slot("dest_ip"),
	destPort: slot("dest_port"), direction: slot("direction"),
	header: slot("header"), headerRun: slot("header.run"), schema: slot("header.schema_version"), trailer: slot("trailer"), decision: slot("decision"),
	flow: slot("flow"), inject: slot("inject"), gap: slot("gap"), stats: slot("stats"), reload: slot("reload"), experiment: slot("experiment"),
	tcpFlags: slot("tcp.flags"), seq: slot("tcp.seq"), ack: slot("tcp.ack"), length: slot("tcp.len"),
	settles: slot("decision.settles"), trigger: slot("decision.trigger"), verdict: slot("decision.verdict"), reason: slot("decision.reason"),
	preset: slot("decision.preset"), rev: slot("decision.policy_rev"), arm: slot("decision.arm"), before: slot("decision.state_before"),
	after: slot("decision.state_after"), reply: slot("decision.reply.kind"), peer: slot("decision.peer.kind"),
	tomb: slot("decision.tombstone"), tombFlow: slot("decision.tombstone.flow_id"), forgotten: slot("decision.tombstone.forgotten"),
	why: slot("decision.tombstone.why"), clientSeq: slot("decision.tombstone.client_seq"), serverSeq: slot("decision.tombstone.server_seq"),
	injectTrigger: slot("inject.trigger"), injectKind: slot("inject.kind"), injectTo: slot("inject.to"), injectError: slot("inject.error"),
	event: slot("flow.event"), state: slot("flow.state"), start: slot("flow.start"), end: slot("flow.end"), endReason: slot("flow.reason"),
	outcome: slot("flow.outcome"), endedBy: slot("flow.ended_by"), predecessor: slot("flow.predecessor"), adopted: slot("flow.adopted"),
	history: slot("flow.history"), flowPreset: slot("flow.preset"), flowRev: slot("flow.policy_rev"), flowArm: slot("flow.arm"),
	pkts:        [2]decisionlog.Slot{slot("flow.pkts_toserver"), slot("flow.pkts_toclient")},
	bytes:       [2]decisionlog.Slot{slot("flow.bytes_toserver"), slot("flow.bytes_toclient")},
	fast:        [2]decisionlog.Slot{slot("flow.fastpath_pkts_toserver"), slot("flow.fastpath_pkts_toclient")},
	fastBytes:   [2]decisionlog.Slot{slot("flow.fastpath_bytes_toserver"), slot("flow.fastpath_bytes_toclient")},
	retransmits: [2]decisionlog.Slot{slot("flow.retransmits_toserver"), slot("flow.retransmits_toclient")},
	outside:     [2]decisionlog.Slot{slot("flow.out_of_window_toserver"), slot("flow.out_of_window_toclient")},
	acts:        slot("flow.interventions"), resets: slot("flow.resets"),
	handshake: slot("flow.handshake_s"), response: slot("flow.response_s"), again: slot("flow.syn_retransmits"), stall: slot("flow.stall_s"),
	stalled: slot("flow.stalled"),
}

func slot(path string) decisionlog.Slot { return decisionlog.SlotOf(path) }
