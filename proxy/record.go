package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// decided names the decision at hand and judges whether it gets a record of its own: a plain in-window forward is counted by its flow,
// and what goes beyond its finding's rate is counted as suppressed.
func (w *Worker) decided(out *policy.Outcome) {
	w.cause = w.producer.NextID()
	w.logged = !out.Counted && w.limiter.Allow(int(out.Finding), int64(w.now))
	if !w.logged && !out.Counted {
		w.counts.Suppressed[out.Finding]++
	}
}

// decision appends the record of the segment at hand.
func (w *Worker) decision(p *nfqueue.Packet, s *conntrack.Segment, out *policy.Outcome) *decisionlog.Record {
	r := w.record(decisionlog.EventDecision)
	w.fillSegment(r, s)
	w.fillDecision(r, p, s, out)
	return r
}

// record appends an empty record to the pending ones.
func (w *Worker) record(ev decisionlog.EventType) *decisionlog.Record {
	w.records = append(w.records, decisionlog.Record{Time: w.wall(w.now), Event: ev})
	return &w.records[len(w.records)-1]
}

// publish hands the pending records to the log. The log never blocks: what its ring cannot take it counts.
func (w *Worker) publish() {
	for i := range w.records {
		w.counts.Explained += w.records[i].Explains() // a record that is lost now becomes a gap that explains as much
		w.producer.Put(&w.records[i])
	}
	w.records = w.records[:0]
}

// fillSegment writes the segment's own facts.
func (w *Worker) fillSegment(r *decisionlog.Record, s *conntrack.Segment) {
	r.Src, r.Dst = s.Tuple.From(), s.Tuple.To()
	r.TCP = decisionlog.TCP{
		Set: s.Defect == conntrack.DefectNone || s.Defect == conntrack.DefectOptions, Flags: uint16(s.Flags),
		Seq: uint32(s.Seq), Ack: uint32(s.Ack), Win: uint32(s.Window), Len: s.Len,
	}
	o := &s.Options
	r.TCP.Opts = optionBits(o.Has)
	r.TCP.MSS, r.TCP.WScale, r.TCP.SACKBlocks, r.TCP.TSVal, r.TCP.TSEcr = o.MSS, o.WScale, o.NSACK, o.TSVal, o.TSEcr
}

// optionBits converts the tracker's set of options to the log's.
func optionBits(has conntrack.OptionSet) (bits uint16) {
	for _, m := range [...]struct {
		opt conntrack.OptionSet
		bit uint16
	}{
		{conntrack.OptMSS, decisionlog.OptMSS}, {conntrack.OptWScale, decisionlog.OptWScale},
		{conntrack.OptSACKPermitted, decisionlog.OptSACKOK}, {conntrack.OptSACK, decisionlog.OptSACK},
		{conntrack.OptTimestamp, decisionlog.OptTimestamp}, {conntrack.OptFastOpen, decisionlog.OptFastOpen},
		{conntrack.OptOther, decisionlog.OptOther},
	} {
		if has&m.opt != 0 {
			bits |= m.bit
		}
	}
	return bits
}

// fillDecision writes what the engine found, decided and did.
func (w *Worker) fillDecision(r *decisionlog.Record, p *nfqueue.Packet, s *conntrack.Segment, out *policy.Outcome) {
	pol := w.engine.Policy()
	r.FlowID = out.Flow
	r.Dir = logDirection(out.Dir, out.Flow != 0)
	r.InIface, r.OutIface = w.shared.ifaces.name(p.InDev), w.shared.ifaces.name(p.OutDev)
	d := &r.Decision
	d.ID = w.cause
	d.Verdict = out.Verdict.String()
	d.Reason = out.Finding.String()
	d.Rule, d.Preset, d.PolicyRev = out.Rule, pol.Preset(), pol.Rev()
	d.Queue = p.Queue
	d.Known = out.Before != conntrack.StateNone
	d.StateBefore, d.StateAfter = out.Before.String(), out.After.String()
	d.Idle, d.Remaining, d.Age = int64(out.Idle), int64(out.Remaining), int64(out.Age)
	d.Action = actionWords(out)
	d.Effect = out.Effect.String()
	d.Defect, d.Checksum = s.Defect.String(), [...]string{conntrack.ChecksumUnverified: "unverified", conntrack.ChecksumGood: "", conntrack.ChecksumBad: "bad"}[s.Checksum]
	d.Reply, d.Peer = made(out.HasReply, &out.Reply), made(out.HasPeer, &out.Peer)
	d.Expected = expected(&out.Expect, s)
	if out.HasTomb {
		w.fillTombstone(&d.Tombstone, &out.Tombstone)
	}
	d.Latency = int64(w.shared.clock.Now() - w.now)
}

// logDirection names the direction in EVE's words; without a flow nobody knows it.
func logDirection(d conntrack.Direction, known bool) decisionlog.Direction {
	switch {
	case !known:
		return decisionlog.DirUnknown
	case d == conntrack.Original:
		return decisionlog.ToServer
	}
	return decisionlog.ToClient
}

func actionWords(out *policy.Outcome) decisionlog.Action {
	return decisionlog.Action{Packet: out.Action.Packet.String(), Reply: out.Action.Reply.String(),
		Peer: out.Action.Peer.String(), State: out.Action.State.String(), Timer: out.Action.Timer.Op.String()}
}

func made(has bool, e *policy.Emit) decisionlog.Made {
	if !has {
		return decisionlog.Made{}
	}
	return decisionlog.Made{Kind: e.Kind, Flags: uint16(e.Segment.Flags), Seq: uint32(e.Segment.Seq), Ack: uint32(e.Segment.Ack)}
}

func expected(x *conntrack.Expect, s *conntrack.Segment) decisionlog.Expected {
	return decisionlog.Expected{
		HasSeq: x.Has&conntrack.ExpectSeq != 0, HasAck: x.Has&conntrack.ExpectAck != 0,
		HasSeqWindow: x.Has&conntrack.ExpectSeqWindow != 0, HasAckWindow: x.Has&conntrack.ExpectAckWindow != 0,
		Seq: uint32(x.Seq), Ack: uint32(x.Ack), SeqLo: uint32(x.SeqLo), SeqHi: uint32(x.SeqHi),
		AckLo: uint32(x.AckLo), AckHi: uint32(x.AckHi), SeenEnd: uint32(s.End()),
	}
}

// fillTombstone says when, why and at which numbers the connection was forgotten.
func (w *Worker) fillTombstone(t *decisionlog.Tombstone, from *conntrack.Tombstone) {
	*t = decisionlog.Tombstone{
		Set: true, At: w.wall(from.Forgotten), Why: from.Reason.String(), State: from.State.String(), Timeout: int64(from.Timeout),
		Idle: int64(from.Forgotten.Sub(from.LastSeen)), Age: int64(from.Forgotten.Sub(from.Created)), FlowID: from.ID,
		ClientSeq: uint32(from.Next[conntrack.Original]), ClientAck: uint32(from.LastAck[conntrack.Original]),
		ServerSeq: uint32(from.Next[conntrack.Reply]), ServerAck: uint32(from.LastAck[conntrack.Reply]),
	}
}

// flowEvents logs what happened to entries and tells whoever follows them.
func (w *Worker) flowEvents(events []policy.FlowEvent) {
	for i := range events {
		w.flowEvent(&events[i])
	}
}

func (w *Worker) flowEvent(ev *policy.FlowEvent) {
	w.fillFlow(w.record(decisionlog.EventFlow), w.engine.Policy(), ev)
	if ev.Kind == policy.FlowEnd {
		w.counts.Ended[ev.Why]++
	}
	w.shared.flowEvents.send(ev)
}

// fillFlow writes a flow's record; Counted is what only this record explains.
func (w *Worker) fillFlow(r *decisionlog.Record, pol *policy.Policy, ev *policy.FlowEvent) {
	e := &ev.Entry
	r.Src, r.Dst, r.FlowID = e.Tuple.From(), e.Tuple.To(), e.ID
	f := &r.Flow
	f.Kind = [...]decisionlog.FlowKind{policy.FlowNew: decisionlog.FlowNew, policy.FlowUpdate: decisionlog.FlowUpdate,
		policy.FlowEnd: decisionlog.FlowEnd}[ev.Kind]
	for i := range e.Side {
		f.Pkts[i], f.Bytes[i] = e.Side[i].Packets, e.Side[i].Bytes
	}
	f.Counted = e.Counted
	f.State = e.State.String()
	f.ConnState = connState(e)
	copy(f.History[:], e.History[:e.HistoryN])
	f.Start, f.Last = w.wall(e.Created), w.wall(e.LastSeen)
	if ev.Kind == policy.FlowEnd {
		f.EndReason = ev.Why.String()
		f.Outcome = outcomeWord(e, ev.Why)
	}
	f.Predecessor = e.Previous
	f.Rule, f.Preset, f.PolicyRev = ev.Rule, pol.Preset(), pol.Rev()
	f.Adopted = e.Flags&conntrack.EntryPickedUp != 0
}

// outcomeWord tells how the connection went for its ends.
func outcomeWord(e *conntrack.Entry, why conntrack.EndReason) string {
	fin := conntrack.SideFIN
	switch {
	case e.Flags&conntrack.EntryPickedUp != 0 && e.State == conntrack.Established:
		return "picked-up"
	case e.State == conntrack.Close || why == conntrack.EndRST:
		if e.Flags&conntrack.EntryAssured == 0 {
			return "refused"
		}
		return "reset"
	case e.State.Embryonic():
		if e.Flags&conntrack.EntryReplied == 0 {
			return "unanswered"
		}
		return "never-established"
	case e.Side[0].Flags&fin != 0 && e.Side[1].Flags&fin != 0:
		return "closed"
	case e.Side[0].Flags&fin != 0 || e.Side[1].Flags&fin != 0:
		return "half-closed"
	}
	return "forgotten"
}
