package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// tap gives a worker's packets, with what was decided about each, to the annotated capture (--pcap). Every packet goes there, plain
// in-window forwards too, whatever the log's detail is. It belongs to the worker's thread; the zero value gives nothing to anybody.
//
// A packet is captured before its decision is carried out, so that it stands before what the decision makes, and handed over after, because
// a rewrite may come to another end than the decision had in mind.
type tap struct {
	producer *capture.Producer // nil: no capture
	deciders deciders
	open     *capture.Packet // the packet at hand, its decision not carried out yet; nil for none
}

// openTap opens the capture, if there is to be one.
func (g *Gateway) openTap(undo *undoList) (err error) {
	if g.cfg.PcapDir == "" {
		return nil
	}
	g.recorder, err = capture.StartRecorder(capture.RecorderOptions{PacketLogOptions: capture.PacketLogOptions{Dir: g.cfg.PcapDir,
		MaxFileBytes: g.cfg.PcapFile, MaxTotalBytes: g.cfg.PcapTotal, MaxAge: g.cfg.PcapAge, Version: g.cfg.Version, Run: g.log.Run(),
		IfaceName: g.shared.ifaces.name, Logger: g.cfg.Logger}})
	if err != nil {
		return err
	}
	undo.add(func() { _ = g.recorder.Close() })
	return nil
}

// decider names the policies whose decisions a capture will tell: the one in force, and the one beside it or nil.
func decider(pol, would *policy.Policy) *capture.Decider {
	d := &capture.Decider{Policy: pol.Name(), Preset: pol.Preset(), Rev: pol.Rev()}
	if would != nil {
		d.WouldPolicy, d.WouldPreset, d.WouldRev = would.Name(), would.Preset(), would.Rev()
	}
	return d
}

// deciders are who decides, by arm.
type deciders []*capture.Decider

// decidersOf returns the deciders of an engine with so many arms, the gateway's own policy counted as one, beside would or nil.
func decidersOf(e *policy.Engine, arms int, would *policy.Policy) (out deciders) {
	for arm := range max(arms, 1) {
		out = append(out, decider(e.Arm(uint8(arm)), would))
	}
	return out
}

// of returns who decides for an arm.
func (d deciders) of(arm uint8) *capture.Decider {
	if int(arm) < len(d) {
		return d[arm]
	}
	return d[0]
}

// nameDeciders tells the tap whose decisions follow.
func (w *Worker) nameDeciders() {
	if w.tap.producer == nil {
		return
	}
	var would *policy.Policy
	if w.trial != nil {
		would = w.trial.pol
	}
	w.tap.deciders = decidersOf(w.engine, len(w.arms), would)
}

// record captures a packet of the main queue with the decision at hand, up to [tap.done]. With would another policy's decision stands
// beside it.
func (t *tap) record(w *Worker, p *nfqueue.Packet, s *conntrack.Segment, out, would *policy.Outcome, diverged bool) {
	if t.producer == nil {
		return
	}
	k := t.producer.Record(capture.Received, w.queue, t.deciders.of(out.Arm), p.Data)
	if k == nil {
		return
	}
	k.Time, k.OrigLen, k.InDev, k.OutDev = w.wall(w.now), p.CapLen, p.InDev, p.OutDev
	w.noteDecision(&k.Note, s, out)
	if would != nil {
		noteWould(&k.Note.Would, would, diverged)
	}
	t.open = k
	t.producer.Stage()
}

// done hands over the packet at hand and what its decision has made.
func (t *tap) done(out *policy.Outcome) {
	if t.producer == nil {
		return
	}
	if t.open != nil && out.RewriteOmitted != "" {
		t.open.Note.Verdict, t.open.Note.Stripped, t.open.Note.RewriteOmitted = out.Verdict.String(), uint16(out.Strip), out.RewriteOmitted
	}
	t.open = nil
	t.producer.Publish()
}

// push hands over a packet, behind the one at hand.
func (t *tap) push() {
	if t.open != nil {
		t.producer.Stage()
	} else {
		t.producer.Push()
	}
}

// rewritten captures what is left of the packet at hand, or of a piece of it.
func (t *tap) rewritten(w *Worker, left []byte, out *policy.Outcome) {
	if t.producer == nil {
		return
	}
	k := t.producer.Record(capture.Released, w.queue, t.deciders.of(out.Arm), left)
	if k == nil {
		return
	}
	k.Time = w.wall(w.now)
	w.noteRewrite(&k.Note, out)
	t.push()
}

// released captures how a hold ended. The packet is the one that was captured when it was received.
func (t *tap) released(w *Worker, h *heldPacket, ev *policy.TimeEvent) {
	if t.producer == nil {
		return
	}
	k := t.producer.Record(capture.Released, w.queue, t.deciders.of(h.arm), h.quote)
	if k == nil {
		return
	}
	k.Time, k.OrigLen = w.wall(w.now), h.length
	w.noteRelease(&k.Note, h, ev)
	t.push()
}

// emitted captures a packet that was made, whether it could be sent or not; id is its own.
func (t *tap) emitted(w *Worker, packet []byte, e *policy.Emit, why *injection, id decisionlog.ID, err error) {
	if t.producer == nil || len(packet) == 0 {
		return
	}
	k := t.producer.Record(capture.Emitted, w.queue, t.deciders.of(why.arm), packet)
	if k == nil {
		return
	}
	k.Time = w.wall(w.now)
	noteInjection(&k.Note, e, why, id)
	if err != nil {
		k.Note.Error = err.Error()
	}
	t.push()
}

// noteDecision writes what was decided about the segment at hand, in the words of its record.
func (j *journal) noteDecision(n *capture.Note, s *conntrack.Segment, out *policy.Outcome) {
	n.ID, n.Flow, n.Direction = j.cause, out.Flow, decisionDirection(s, out)
	n.Verdict, n.Reason, n.Rule = out.Verdict.String(), out.Finding.String(), out.Rule
	n.State = out.Before.String()
	if out.After != out.Before {
		n.StateAfter = out.After.String()
	}
	n.Known, n.Idle = out.Before != conntrack.StateNone, int64(out.Idle)
	if out.HasReply {
		n.Reply = out.Reply.Kind
	}
	if out.HasPeer {
		n.Peer = out.Peer.Kind
	}
	n.ReplyOmitted, n.PeerOmitted, n.Unmet = out.ReplyOmitted, out.PeerOmitted, out.Unmet
	n.Stripped, n.RewriteOmitted = uint16(out.Strip), out.RewriteOmitted
	n.Defect = s.Defect.String()
	if s.Checksum == conntrack.ChecksumBad { // "unverified" would stand in nearly every comment: it is the rule where a queue copies headers
		n.Checksum = checksumWords[s.Checksum]
	}
	if out.HasTomb {
		t := &out.Tombstone
		n.Tombstone, n.TombstoneWhy, n.Forgotten = t.ID, t.Reason.String(), int64(j.now.Sub(t.Forgotten))
	}
	n.PcapCnt = j.frame
}

// noteRewrite writes what is to be said of a packet that leaves otherwise than it came.
func (j *journal) noteRewrite(n *capture.Note, out *policy.Outcome) {
	n.Cause, n.Flow, n.Direction = j.cause, out.Flow, logDirection(out.Dir, out.Flow != 0)
	n.Verdict, n.Reason, n.Rule, n.Stripped = policy.Rewrite.String(), out.Finding.String(), out.Rule, uint16(out.Strip)
}

// noteRelease writes how a hold ended, in the words of the record that settles it.
func (j *journal) noteRelease(n *capture.Note, h *heldPacket, ev *policy.TimeEvent) {
	n.ID, n.Settles, n.Flow, n.Direction = j.cause, h.cause, h.flow, logDirection(h.dir, h.flow != 0)
	n.Verdict, n.Reason, n.Rule = ev.Verdict.String(), h.finding.String(), h.rule
	if ev.HasEmit[0] {
		n.Reply = ev.Emit[0].Kind
	}
}

// noteInjection writes why a packet was made, in the words of its record.
func noteInjection(n *capture.Note, e *policy.Emit, why *injection, id decisionlog.ID) {
	n.Verdict, n.Kind, n.To, n.Trigger = capture.Inject, e.Kind, injectedTo(why.dir), why.trigger
	n.Reason, n.Rule, n.Flow, n.Direction = why.reason, why.rule, why.flow, logDirection(why.dir, why.flow != 0)
	n.ID, n.Cause = id, why.cause
}

// noteWould writes what another engine would have done.
func noteWould(n *capture.WouldNote, would *policy.Outcome, diverged bool) {
	*n = capture.WouldNote{Verdict: would.Verdict.String(), Reason: would.Finding.String(), Rule: would.Rule, Stripped: uint16(would.Strip), Diverged: diverged}
	if would.HasReply {
		n.Reply = would.Reply.Kind
	}
	if would.HasPeer {
		n.Peer = would.Peer.Kind
	}
}
