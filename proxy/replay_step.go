package proxy

import (
	"bytes"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// start makes the engines, which begin at the first frame as a gateway does at its first packet.
func (r *replay) start() {
	cfg := policy.EngineConfig{Policy: r.pol, Start: r.now, NoAdopt: r.cfg.Fresh, FirstID: 1, Memory: newTableMemory(nil)}
	r.journal.arms, cfg.Arms = r.exps.names(), r.exps.arms(r.journal.wall)
	r.engine = policy.NewEngine(cfg)
	cfg.Arms = policy.Arms{}
	r.journal.now = r.now
	r.startShadows(cfg)
	if r.log != nil {
		r.putStats(false)
		r.putStarts()
	}
}

// segment decides the segment at hand.
func (r *replay) segment(f *sighting, s *conntrack.Segment) {
	r.at, r.now, r.journal.frame = f, f.time, uint64(f.n)
	r.advance()
	out := r.step(s)
	r.journal.counts.Received++
	r.journal.counts.verdict(out.Finding, out.Verdict)
	if len(out.Flows) > 0 || out.Flow == 0 {
		r.tally(s, out)
	}
	c := r.course(s, out)
	if r.shadows != nil {
		r.compare(s, out)
	}
	if r.noted {
		r.recorded(out)
	}
	if r.sides.seen(f.iface, s) {
		r.report.SeenBefore++
	}
	if r.log != nil {
		r.write(s, out)
	} else {
		r.inject(out, s)
		r.flows(out.Flows)
	}
	if r.cfg.Frame != nil {
		r.show(s, out, c)
		r.err = r.cfg.Frame(&r.shown)
	}
}

// step decides the segment at hand, and has it told how where somebody asked for this frame.
func (r *replay) step(s *conntrack.Segment) *policy.Outcome {
	if r.cfg.explain == nil || r.at.n != r.cfg.explain.n {
		return r.engine.Step(r.now, s)
	}
	out, trace := r.engine.Explain(r.now, s)
	r.cfg.explain.trace = trace
	return out
}

// inject counts, and with a log records, what the decision would have sent.
func (r *replay) inject(out *policy.Outcome, s *conntrack.Segment) {
	if !changes(out) && out.PeerOmitted == "" && out.ReplyOmitted == "" {
		return
	}
	if out.HasPeer {
		r.injected(&out.Peer, causedBy(out, r.journal.cause, out.Dir, r.at.packet))
	}
	if out.HasReply {
		r.injected(&out.Reply, causedBy(out, r.journal.cause, out.Dir.Other(), r.at.packet))
	}
	for _, why := range [...]string{out.PeerOmitted, out.ReplyOmitted} {
		if why != "" {
			r.report.Omitted[why]++
		}
	}
	if out.Verdict == policy.Hold {
		h := heldPacket{cause: r.journal.cause, seg: *s, flow: out.Flow, dir: out.Dir, finding: out.Finding, rule: out.Rule, by: out.By, arm: out.Arm}
		if r.tap.log != nil {
			h.quote, h.length = bytes.Clone(r.at.packet), uint32(r.at.length)
		}
		r.held[out.Hold] = h
	}
}

func (r *replay) injected(e *policy.Emit, why injection) {
	r.injectedOne(e, why)
	if second, ok := e.Second(); ok {
		r.injectedOne(&second, why)
	}
}

func (r *replay) injectedOne(e *policy.Emit, why injection) {
	r.report.Injected++
	r.report.InjectedKinds[e.Kind]++
	if r.log != nil {
		r.tapInjection(e, &why, r.journal.injected(e, &why, e.Segment.Tuple, nil))
	}
}

// flows counts, and with a log records, what happened to entries.
func (r *replay) flows(events []policy.FlowEvent) {
	for i := range events {
		r.flow(&events[i])
	}
}

func (r *replay) flow(ev *policy.FlowEvent) {
	r.exps.began(ev)
	switch ev.Kind {
	case policy.FlowNew:
		r.report.Tracked++
	case policy.FlowEnd:
		r.report.Ended[ev.Why.String()]++
	}
	if r.log != nil {
		r.journal.flowEvent(ev)
	}
}

// write records a decision as the live gateway does: what goes to the peer, the reply, the flows, the decision itself. The first
// shadow is the record's "would".
func (r *replay) write(s *conntrack.Segment, out *policy.Outcome) {
	would := r.first()
	if would != nil && out.Counted && !would.out.Counted {
		r.engine.Uncount()
		out.Counted = false
	}
	r.journal.decided(out)
	r.tapDecision(s, out)
	r.inject(out, s)
	r.flows(out.Flows)
	if r.journal.logged {
		rec := r.journal.decision(origin{in: r.at.iface}, s, out)
		if would != nil {
			fillWould(&rec.Decision.Would, would.out, would.how == diverged)
		}
	}
	r.writeShadows(s)
	r.publish()
}

// advance lets the engines do what time alone causes, before the frame that shows the time is looked at. It goes from timer to timer,
// as a worker that sleeps until the next one, so that records and probes have their times however long the capture is silent.
func (r *replay) advance() {
	frame := r.journal.frame
	r.journal.frame = 0 // no frame causes what time does
	for next := r.engine.Next(); next <= r.now; next = r.engine.Next() {
		r.journal.now = max(r.journal.now, next)
		r.engine.Advance(r.journal.now, expireChunk, r.timeEvent)
		r.publish()
	}
	r.journal.now, r.journal.frame = r.now, frame
	r.putEnds()
	if r.shadows != nil {
		r.shadows.advanceAll(r.now)
		r.publish()
	}
}

// timeEvent counts and records what time alone has caused.
func (r *replay) timeEvent(ev *policy.TimeEvent) {
	r.shadows.liveTime(ev)
	switch ev.Kind {
	case policy.TimeFlow:
		r.flow(&ev.Flow)
	case policy.TimeExpired, policy.TimeProbe, policy.TimeUnanswered:
		if ev.Kind == policy.TimeUnanswered && r.log != nil {
			r.journal.untimely(ev)
		}
		for dir, has := range ev.HasEmit {
			if has {
				r.injected(&ev.Emit[dir], injection{trigger: ev.Trigger(), rule: ev.Rule, flow: ev.Flow.Entry.ID, arm: ev.Flow.Entry.Arm,
					dir: conntrack.Direction(dir).Other()})
			}
		}
		if ev.HasEmit[0] || ev.HasEmit[1] {
			r.untimely(ev)
		}
	case policy.TimeRelease:
		r.released(ev)
	}
}

// released tells how a hold ended.
func (r *replay) released(ev *policy.TimeEvent) {
	h, ok := r.held[ev.Hold]
	if !ok {
		return
	}
	delete(r.held, ev.Hold)
	r.report.Released[ev.Verdict.String()]++
	if r.log != nil {
		r.journal.cause, r.journal.logged = r.journal.producer.NextID(), true
		r.tapRelease(&h, ev)
	}
	if ev.HasEmit[0] {
		r.injected(&ev.Emit[0], h.reply(r.journal.cause))
	}
	if r.log != nil {
		r.journal.settled(&h, ev, 0)
	}
}

// finish does what a gateway does at its stop: holds end, and every forward that no record explains gets one.
func (r *replay) finish() {
	r.now, r.at = r.clock.now, &sighting{n: r.report.Packets + 1} // what happens now is behind the last frame
	r.journal.frame = 0
	r.advance()
	r.report.Live = r.engine.Len()
	r.engine.ReleaseHolds(r.now, policy.Forward, r.timeEvent)
	if r.log == nil {
		return
	}
	r.publish()
	r.engine.RestartFlush()
	for more := true; more; {
		more = r.engine.FlushCounted(r.now, flushChunk, r.flow)
		r.publish()
	}
	for s := range r.journal.counts.Flows {
		r.journal.counts.Flows[s] = uint64(r.engine.Count(conntrack.State(s)))
	}
	r.journal.counts.Tombstones = uint64(r.engine.Tombstones())
	r.putStats(true)
}

// logRing is the ring between the replay and its log's writer, in records. A replay waits where a gateway would lose records.
const logRing = 1 << 12

// publish hands records to the log and waits for it well before its ring is full.
func (r *replay) publish() {
	if r.log == nil {
		return
	}
	r.put += len(r.journal.records)
	r.journal.publish()
	if r.put >= logRing/2 {
		r.log.Flush()
		r.put = 0
	}
}

// putStats writes a stats record. There is no kernel's counter: conservation is proven against the segments received.
func (r *replay) putStats(final bool) {
	c := &r.journal.counts
	st := &decisionlog.Stats{Run: r.log.Run(), Final: final, Uptime: int64(r.now.Sub(r.clock.first)), Received: c.Received,
		Verdicts: c.byVerdict(), Reasons: c.byReason(), Suppressed: c.suppressedSince(&Counts{}), Tombstones: c.Tombstones,
		Injected: c.Injected, Flows: c.live(), Shadows: shadowStats(r.shadows.snapshot(), r.journal.wall)}
	r.log.Put(&decisionlog.Record{Time: int64(r.now), Event: decisionlog.EventStats, Stats: st})
}
