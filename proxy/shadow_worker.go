package proxy

import (
	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// shadowBatch shows the shadows the batch at hand, whose verdicts have left: nothing that they do can delay a packet of it. A worker that has
// no time for them leaves them out.
func (w *Worker) shadowBatch(n int) {
	ss := w.shadows
	if ss.busy.look(n, batchSize) {
		ss.shed(w.now, n)
		return
	}
	w.shadowTime()
	for i := range n {
		w.shadowSegment(&w.segs[i], &ss.live[i], w.batch[i].Queue)
	}
}

// shadowIdle is a turn without a batch.
func (w *Worker) shadowIdle() {
	w.shadows.busy.look(0, batchSize)
	w.shadowTime()
	w.publish()
}

// shadowTime lets the shadows do what time alone causes.
func (w *Worker) shadowTime() {
	w.shadows.resume(w.now)
	w.shadows.advance(w.now, w.endingsOfShadows(), w.engine.Next())
}

// shadowSegment shows the shadows one segment and writes what they say where one disagrees.
func (w *Worker) shadowSegment(s *conntrack.Segment, live *liveDecision, queue uint16) {
	differs, first := w.shadows.segment(w.now, s, live)
	w.recordShadows(differs, first, s, live, queue)
}

// recordShadows writes what the shadows said of the segment at hand: with its decision's record, or where that has none and one disagrees
// for the first time, with one of their own.
func (w *Worker) recordShadows(differs, first bool, s *conntrack.Segment, live *liveDecision, queue uint16) {
	switch {
	case differs && live.record >= 0:
		w.records[live.record].Shadow = w.shadows.records(&w.journal)
	case first:
		if !w.mayRecordShadow() {
			w.shadows.unrecorded()
			return
		}
		r := w.shadowed(s, live)
		r.Decision.Queue = queue
		r.Shadow = w.shadows.records(&w.journal)
	}
}

// shadowRate bounds the records that are there for shadows alone, in a second and worker.
const shadowRate = 500

// mayRecordShadow reports whether a record that is there for shadows alone may be written now: their rate allows it, and the log's ring has
// room enough for everything else.
func (j *journal) mayRecordShadow() bool {
	if j.shadowLimit == nil { // a replay waits for its log
		return true
	}
	return j.producer.Room() && j.shadowLimit.Allow(0, int64(j.now))
}

// unrecorded counts the first disagreements at hand that no record tells of.
func (ss *shadows) unrecorded() {
	for _, sh := range ss.list {
		if sh.how == disagrees {
			sh.tally.Unrecorded++
		}
	}
}

// records fills the journal's shadows with what each of them said of the segment at hand. They are valid until the journal's records are
// published.
func (ss *shadows) records(j *journal) []decisionlog.Shadow {
	at := len(j.said)
	for _, sh := range ss.list {
		j.said = append(j.said, decisionlog.Shadow{})
		sh.fill(&j.said[len(j.said)-1])
	}
	return j.said[at:len(j.said):len(j.said)]
}

// fill writes what the shadow said of the segment at hand.
func (sh *shadow) fill(r *decisionlog.Shadow) {
	*r = decisionlog.Shadow{Policy: sh.name, Agrees: sh.same, Relaxed: sh.how == relaxed}
	fillWould(&r.Would, sh.out, sh.how == diverged)
	r.PolicyRev = sh.pol.Rev()
}

// shadowed appends a record that is there for its shadows alone, of a decision that has none of its own. Its id is the one that the decision
// was given: nothing else in the log has it.
func (j *journal) shadowed(s *conntrack.Segment, d *liveDecision) *decisionlog.Record {
	r := j.record(decisionlog.EventDecision)
	fillSegment(r, s)
	r.FlowID = d.flow
	r.Dir = logDirection(d.dir, d.flow != 0 || d.hasTomb || s.Kind() == conntrack.KindSYN && s.Defect == conntrack.DefectNone)
	r.Decision = decisionlog.Decision{ID: d.cause, Trigger: decisionlog.TriggerShadow, Reason: d.finding.String(),
		Rule: d.rule, Preset: d.by.Preset(), PolicyRev: d.by.Rev(), Arm: j.arm(d.arm), Known: d.known, StateBefore: d.before.String(), StateAfter: d.after.String(),
		Idle: int64(d.idle), Remaining: int64(d.rest), Age: int64(d.age), Action: actionWords(&d.action), Effect: d.effect.String(),
		Reply: decisionlog.Made{Kind: d.reply}, Peer: decisionlog.Made{Kind: d.peer}, Stripped: uint16(d.strip),
		Defect: s.Defect.String(), Checksum: checksumWords[s.Checksum]}
	r.Decision.Action.Packet = d.verdict.String() // which is no verdict of this record: who counts those counts the packet elsewhere
	return r
}

// shadowTimed appends the record of a first disagreement that time has caused, and reports whether it could.
func (j *journal) shadowTimed(ev *shadowEvent) bool {
	if !j.mayRecordShadow() {
		return false
	}
	about := ev.live
	if about == nil {
		about = ev.would
	}
	r := j.record(decisionlog.EventDecision)
	r.Time = j.wall(about.at)
	r.Src, r.Dst, r.FlowID = about.tuple.From(), about.tuple.To(), about.flow
	d := &r.Decision
	*d = decisionlog.Decision{Trigger: decisionlog.TriggerShadow, Reason: about.trigger,
		StateBefore: about.state.String(), StateAfter: about.state.String()}
	if about.last != 0 && !about.release {
		d.Known, d.Idle, d.Age = true, int64(about.at.Sub(about.last)), int64(about.at.Sub(about.created))
	}
	d.Preset, d.PolicyRev, d.Arm = ev.by.Preset(), ev.by.Rev(), j.arm(about.arm)
	if j.producer != nil {
		d.ID = j.producer.NextSideID()
	}
	if l := ev.live; l != nil {
		d.Rule, d.Reply, d.Peer = l.rule, made(l.has[0], &l.emit[0]), made(l.has[1], &l.emit[1])
		if l.release {
			d.Action.Packet = l.verdict.String()
		}
	}
	at := len(j.said)
	said := decisionlog.Shadow{Policy: ev.sh.name, Trigger: about.trigger, Would: decisionlog.Would{PolicyRev: ev.sh.pol.Rev(), Reason: about.trigger}}
	if w := ev.would; w != nil {
		said.Rule, said.Reply, said.Peer = w.rule, made(w.has[0], &w.emit[0]), made(w.has[1], &w.emit[1])
		if w.release {
			said.Verdict = w.verdict.String()
		}
	}
	j.said = append(j.said, said)
	r.Shadow = j.said[at:len(j.said):len(j.said)]
	return true
}
