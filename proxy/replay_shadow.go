package proxy

import (
	"encoding/json"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// startShadows makes the shadows' engines, which begin as the policy's does.
func (r *replay) startShadows(cfg policy.EngineConfig) {
	if len(r.beside) == 0 {
		return
	}
	var list []*shadow
	names := shadowNames(r.beside)
	for i, pol := range r.beside {
		cfg.Policy, cfg.Memory = pol, newTableMemory(nil)
		list = append(list, newShadow(i, names[i], false, cfg))
	}
	r.shadows = newShadows(r.engine, list, 1)
	r.shadows.record = func(ev *shadowEvent) bool {
		r.journal.shadowTimed(ev)
		r.tell(&r.journal.records[len(r.journal.records)-1])
		if r.log == nil {
			r.journal.records, r.journal.said = r.journal.records[:0], r.journal.said[:0]
		}
		return true
	}
}

// ahead prepares the steps of these segments.
func (ss *shadows) ahead(segs []conntrack.Segment) {
	if ss == nil {
		return
	}
	for _, sh := range ss.list {
		sh.engine.Ahead(segs)
	}
}

// first is the first shadow, which a log's "would" and an annotated capture show; nil for none.
func (r *replay) first() *shadow {
	if r.shadows == nil {
		return nil
	}
	return r.shadows.list[0]
}

// compare lets each shadow decide the segment at hand, and tells the report where one first would have done something else. Without a log
// the report is told by a record that nobody else sees.
func (r *replay) compare(s *conntrack.Segment, out *policy.Outcome) {
	live := r.shadows.take(0, s, out)
	r.differs, r.parts = r.shadows.segment(r.now, s, live)
	if r.log != nil || !r.parts {
		return
	}
	rec := r.journal.shadowed(s, live)
	rec.Shadow = r.shadows.records(&r.journal)
	r.tell(rec)
	r.journal.records, r.journal.said = r.journal.records[:0], r.journal.said[:0]
}

// writeShadows writes what the shadows say of the segment at hand, whose record is the last where it has one.
func (r *replay) writeShadows(s *conntrack.Segment) {
	if !r.differs {
		return
	}
	j, live := &r.journal, &r.shadows.live[0]
	live.cause = j.cause
	var rec *decisionlog.Record
	switch {
	case j.logged:
		rec = &j.records[len(j.records)-1]
	case r.parts:
		rec = j.shadowed(s, live)
	default:
		return
	}
	rec.Shadow = r.shadows.records(j)
	if r.parts {
		r.tell(rec)
	}
}

// tell tells the report of a record with a first disagreement, as it would read in the log.
func (r *replay) tell(rec *decisionlog.Record) {
	var e decisionlog.Event
	if err := json.Unmarshal(rec.AppendJSON(nil), &e); err == nil { // what is written can be read: a test of the log's
		r.story.Add(&e)
	}
}

// tellStats tells the report the shadows' numbers.
func (r *replay) tellStats() {
	if r.shadows == nil {
		return
	}
	st := &decisionlog.Stats{Run: strings.Repeat("0", 13), Shadows: shadowStats(r.shadows.snapshot(), r.journal.wall)}
	r.tell(&decisionlog.Record{Time: int64(r.now), Event: decisionlog.EventStats, Stats: st})
	r.report.Shadows = r.story.Report().Shadows
}
