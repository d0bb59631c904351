package proxy

import (
	"sync"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// journal turns what an engine has decided into records of the decision log. A live worker and a replay write by the same one, so
// that a record means the same wherever it comes from. It belongs to the engine's goroutine.
type journal struct {
	producer *decisionlog.Producer
	limiter  *decisionlog.Limiter
	records  []decisionlog.Record // that publish will hand over
	counts   Counts
	now      conntrack.Instant // of what is at hand
	offset   int64             // from Instants to Unix nanoseconds, as of now
	frame    uint64            // number of the captured frame at hand; 0 on a live gateway and where no frame is
	cause    decisionlog.ID    // of the decision at hand
	logged   bool              // it gets a record of its own
	arms     []string          // names by arm; what is beyond has none

	said        []decisionlog.Shadow // what the pending records' shadows point to
	shadowLimit *decisionlog.Limiter // of records that are there for shadows alone

	books books
}

// origin says where a segment came from.
type origin struct {
	in, out string // interfaces, "" where it is not known
	queue   uint16
}

// wall converts to Unix nanoseconds.
func (j *journal) wall(i conntrack.Instant) int64 { return int64(i) + j.offset }

// arm returns the name of an experiment's arm, "" for none.
func (j *journal) arm(n uint8) string {
	return armName(j.arms, n)
}

// decided names the decision at hand and judges whether it gets a record of its own: a plain in-window forward is counted by its flow,
// and what goes beyond its finding's rate is counted as suppressed.
func (j *journal) decided(out *policy.Outcome) {
	for _, why := range [...]string{out.ReplyOmitted, out.PeerOmitted} {
		if why != "" {
			j.counts.Omitted++
		}
	}
	j.cause = j.producer.NextID()
	j.logged = !out.Counted && j.limiter.Allow(int(out.Finding), int64(j.now))
	if !j.logged && !out.Counted {
		j.counts.Suppressed[out.Finding]++
	}
}

// decision appends the record of the segment at hand.
func (j *journal) decision(from origin, s *conntrack.Segment, out *policy.Outcome) *decisionlog.Record {
	r := j.record(decisionlog.EventDecision)
	fillSegment(r, s)
	j.fillDecision(r, s, out)
	r.InIface, r.OutIface, r.Decision.Queue = from.in, from.out, from.queue
	return r
}

// record appends an empty record to the pending ones.
func (j *journal) record(ev decisionlog.EventType) *decisionlog.Record {
	n := len(j.records)
	if n < cap(j.records) { // a record is long: it is made in its place
		j.records = j.records[:n+1]
	} else {
		j.records = append(j.records, decisionlog.Record{})
	}
	r := &j.records[n]
	r.Begin(ev)
	r.Time, r.PcapCnt = j.wall(j.now), j.frame
	return r
}

// publish hands the pending records to the log. The log never blocks: what its ring cannot take it counts.
func (j *journal) publish() {
	if len(j.records) > 0 && j.account() {
		for i := range j.records {
			j.producer.Put(&j.records[i]) // one that is lost now becomes a gap that explains as much
		}
	}
	j.records, j.said = j.records[:0], j.said[:0]
}

// books are what a journal's records account for. The supervisor closes them for a thread that it has given up, and admits as a gap what they do
// not explain; so nothing may be added afterwards.
type books struct {
	mu        sync.Mutex
	closed    bool
	explained uint64   // counts.Explained
	fast      [2]int64 // counts.FastTold
}

// account enters the pending records, and reports whether they may be handed over.
func (j *journal) account() bool {
	var explained uint64
	var fast [2]int64
	for i := range j.records {
		r := &j.records[i]
		explained += r.Explains()
		if r.Event == decisionlog.EventFlow {
			fast[0] += r.Flow.FastCounted[0]
			fast[1] += r.Flow.FastCounted[1]
		}
	}
	b := &j.books
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.explained += explained
	b.fast[0] += fast[0]
	b.fast[1] += fast[1]
	j.counts.Explained, j.counts.FastTold = b.explained, b.fast
	return true
}

// close closes the books, and returns what they say.
func (b *books) close() (explained uint64, fast [2]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.explained, b.fast
}

// fillSegment writes the segment's own facts.
func fillSegment(r *decisionlog.Record, s *conntrack.Segment) {
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
		{conntrack.OptMD5, decisionlog.OptMD5}, {conntrack.OptAO, decisionlog.OptAO}, {conntrack.OptMPTCP, decisionlog.OptMPTCP},
		{conntrack.OptOther, decisionlog.OptOther},
	} {
		if has&m.opt != 0 {
			bits |= m.bit
		}
	}
	return bits
}

// fillDecision writes what the engine found, decided and did.
func (j *journal) fillDecision(r *decisionlog.Record, s *conntrack.Segment, out *policy.Outcome) {
	r.FlowID = out.Flow
	r.Dir = decisionDirection(s, out)
	d := &r.Decision
	d.ID = j.cause
	d.Verdict = out.Verdict.String()
	d.Reason = out.Finding.String()
	d.Rule, d.Preset, d.PolicyRev, d.Arm = out.Rule, out.By.Preset(), out.By.Rev(), j.arm(out.Arm)
	d.Known = out.Before != conntrack.StateNone
	d.StateBefore, d.StateAfter = out.Before.String(), out.After.String()
	d.Idle, d.Remaining, d.Age = int64(out.Idle), int64(out.Remaining), int64(out.Age)
	d.Action = actionWords(&out.Action)
	d.Effect = out.Effect.String()
	d.Defect, d.Checksum = s.Defect.String(), checksumWords[s.Checksum]
	d.Reply, d.Peer = made(out.HasReply, &out.Reply), made(out.HasPeer, &out.Peer)
	d.Stripped, d.RewriteOmitted = uint16(out.Strip), out.RewriteOmitted
	d.ReplyOmitted, d.PeerOmitted, d.Unmet = out.ReplyOmitted, out.PeerOmitted, out.Unmet
	d.Expected = expected(&out.Expect, s)
	if out.HasTomb {
		j.fillTombstone(&d.Tombstone, &out.Tombstone)
	}
}

// checksumWords are the log's for what is known of a checksum.
var checksumWords = [...]string{conntrack.ChecksumUnverified: "unverified", conntrack.ChecksumGood: "", conntrack.ChecksumBad: "bad"}

// decisionDirection names the direction of the segment at hand. Without a flow its connection's tombstone tells, or that it is a SYN.
func decisionDirection(s *conntrack.Segment, out *policy.Outcome) decisionlog.Direction {
	return logDirection(out.Dir, out.Flow != 0 || out.HasTomb || s.Kind() == conntrack.KindSYN && s.Defect == conntrack.DefectNone)
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

func actionWords(a *policy.Action) decisionlog.Action {
	return decisionlog.Action{Packet: a.Packet.String(), Reply: a.Reply.String(), Peer: a.Peer.String(), State: a.State.String(),
		Timer: a.Timer.Op.String()}
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
		HasEdge: x.Has&conntrack.ExpectEdge != 0, Edge: uint32(x.Edge), SeenEdge: uint32(x.SeenEdge),
		HasTS: x.Has&conntrack.ExpectTS != 0, TS: x.TS, SeenTS: s.Options.TSVal,
		HasLen: x.Has&conntrack.ExpectLen != 0, Len: x.Len,
	}
}

// fillTombstone says when, why and at which numbers the connection was forgotten.
func (j *journal) fillTombstone(t *decisionlog.Tombstone, from *conntrack.Tombstone) {
	*t = decisionlog.Tombstone{
		Set: true, At: j.wall(from.Forgotten), Why: from.Reason.String(), State: from.State.String(), Timeout: int64(from.Timeout),
		Idle: int64(from.Forgotten.Sub(from.LastSeen)), Age: int64(from.Forgotten.Sub(from.Created)), FlowID: from.ID,
		ClientSeq: uint32(from.Next[conntrack.Original]), ClientAck: uint32(from.LastAck[conntrack.Original]),
		ServerSeq: uint32(from.Next[conntrack.Reply]), ServerAck: uint32(from.LastAck[conntrack.Reply]),
	}
}

// flowEvent appends the record of what happened to an entry.
func (j *journal) flowEvent(ev *policy.FlowEvent) {
	j.fillFlow(j.record(decisionlog.EventFlow), ev)
	if ev.Kind == policy.FlowEnd {
		j.counts.Ended[ev.Why]++
	}
}

// fillFlow writes a flow's record; Counted is what only this record explains.
func (j *journal) fillFlow(r *decisionlog.Record, ev *policy.FlowEvent) {
	e := &ev.Entry
	r.Src, r.Dst, r.FlowID = e.Tuple.From(), e.Tuple.To(), e.ID
	f := &r.Flow
	f.Kind = [...]decisionlog.FlowKind{policy.FlowNew: decisionlog.FlowNew, policy.FlowUpdate: decisionlog.FlowUpdate,
		policy.FlowEnd: decisionlog.FlowEnd}[ev.Kind]
	for i := range e.Side {
		f.Pkts[i], f.Bytes[i] = e.Side[i].Packets, e.Side[i].Bytes
	}
	fastOf(f, e)
	f.Counted = e.Counted
	f.State = e.State.String()
	f.ConnState = connState(e)
	copy(f.History[:], e.History[:e.HistoryN])
	f.Start, f.Last = j.wall(e.Created), j.wall(e.LastSeen)
	if ev.Kind == policy.FlowEnd {
		f.EndReason = ev.Why.String()
		f.Outcome, f.EndedBy = outcomeWord(e, ev.Why), endedBy(e, ev.Why)
	}
	fillMeasures(f, e)
	f.Predecessor = e.Previous
	f.Rule, f.Preset, f.PolicyRev, f.Arm = ev.Rule, ev.By.Preset(), ev.By.Rev(), j.arm(e.Arm)
	f.Adopted = e.Flags&conntrack.EntryPickedUp != 0
	f.Probes, f.Answered = e.Probe.Tries, [4]string{1: "client", 2: "server", 3: "both"}[e.Probe.Answered&3]
}

// injected appends the record of a packet that was made, and returns its id: wire is the tuple that it carries, err why it was not sent.
// Where the record of its decision is suppressed, so is this one.
func (j *journal) injected(e *policy.Emit, why *injection, wire conntrack.Tuple, err error) (id decisionlog.ID) {
	id = j.producer.NextID()
	if err == nil {
		j.counts.Injected++
		if !why.cause.IsZero() && !j.logged {
			return id
		}
	}
	r := j.record(decisionlog.EventInject)
	r.FlowID = why.flow
	fillSegment(r, &e.Segment)
	r.Dir = logDirection(why.dir, why.flow != 0)
	in := &r.Inject
	in.ID, in.Cause, in.Trigger, in.Kind, in.To = id, why.cause, why.trigger, e.Kind, injectedTo(why.dir)
	if wire != e.Segment.Tuple {
		in.WireSrc, in.WireDst = wire.From(), wire.To()
	}
	if err != nil {
		j.counts.InjectErrors++
		in.Error = err.Error()
	}
	return id
}

// injectedTo names the end that a packet of a direction goes to.
func injectedTo(dir conntrack.Direction) string {
	if dir == conntrack.Reply {
		return "client"
	}
	return "server"
}

// settled appends the record that ends a hold. It explains no further message.
func (j *journal) settled(h *heldPacket, ev *policy.TimeEvent, queue uint16) {
	r := j.record(decisionlog.EventDecision)
	fillSegment(r, &h.seg)
	r.FlowID, r.Dir = h.flow, logDirection(h.dir, h.flow != 0)
	r.Decision = decisionlog.Decision{ID: j.cause, Settles: h.cause, Verdict: ev.Verdict.String(), Reason: h.finding.String(),
		Rule: h.rule, Preset: h.by.Preset(), PolicyRev: h.by.Rev(), Arm: j.arm(h.arm), Queue: queue, Reply: made(ev.HasEmit[0], &ev.Emit[0]),
		Action: decisionlog.Action{Packet: ev.Verdict.String()}}
}

// untimely appends the record of a decision that time caused and no segment. It explains no message.
func (j *journal) untimely(ev *policy.TimeEvent) {
	e, a, pol := &ev.Flow.Entry, &ev.Action, ev.Flow.By
	r := j.record(decisionlog.EventDecision)
	r.Src, r.Dst, r.FlowID = e.Tuple.From(), e.Tuple.To(), e.ID
	after := e.State
	if a.State == conntrack.Delete {
		after = conntrack.StateNone
	}
	r.Decision = decisionlog.Decision{ID: j.producer.NextID(), Trigger: ev.Trigger(), Reason: ev.Finding.String(), Rule: ev.Rule,
		Preset: pol.Preset(), PolicyRev: pol.Rev(), Arm: j.arm(e.Arm), Known: true, StateBefore: e.State.String(), StateAfter: after.String(),
		Idle: int64(ev.At.Sub(e.LastSeen)), Remaining: int64(e.Deadline.Sub(ev.At)), Age: int64(ev.At.Sub(e.Created)),
		Action: decisionlog.Action{Packet: a.Packet.String(), Reply: a.Reply.String(), Peer: a.Peer.String(), State: a.State.String(),
			Timer: a.Timer.Op.String()},
		Effect: a.State.String(), Reply: made(ev.HasEmit[0], &ev.Emit[0]), Peer: made(ev.HasEmit[1], &ev.Emit[1]),
		ReplyOmitted: ev.Omitted[0], PeerOmitted: ev.Omitted[1]}
}

// fillWould writes what another engine found and would have done.
func fillWould(to *decisionlog.Would, would *policy.Outcome, diverged bool) {
	*to = decisionlog.Would{Verdict: would.Verdict.String(), Reason: would.Finding.String(), Rule: would.Rule,
		Preset: would.By.Preset(), PolicyRev: would.By.Rev(), Action: actionWords(&would.Action),
		Reply: made(would.HasReply, &would.Reply), Peer: made(would.HasPeer, &would.Peer), Stripped: uint16(would.Strip), Diverged: diverged}
}
