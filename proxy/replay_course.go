package proxy

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"halfopen/conntrack"
	"halfopen/policy"
)

// course is what a replay remembers of a connection beside the engine: since when the capture no longer shows what would have
// happened.
type course struct {
	changed int // frame of the first decision that would have changed what follows, 0 for none
	listed  int // place in the report's list, -1 where that was full
}

// courses holds the courses of connections that have one, by canonical tuple, the most recent ones within a bound. A connection
// without state has a tuple too, so this does not go by flow ids.
type courses struct {
	lru       *simplelru.LRU[conntrack.Tuple, *course]
	forgotten int
}

func (c *courses) init(size int) {
	c.lru, _ = simplelru.NewLRU[conntrack.Tuple, *course](size, nil) // fails for sizes below 1 only
}

// of returns the course of a tuple, nil for none.
func (c *courses) of(key conntrack.Tuple) *course {
	if c.lru.Len() == 0 {
		return nil
	}
	found, _ := c.lru.Get(key)
	return found
}

// begin returns the course of a tuple, made where there is none.
func (c *courses) begin(key conntrack.Tuple) *course {
	if found := c.of(key); found != nil {
		return found
	}
	made := &course{listed: -1}
	if c.lru.Add(key, made) {
		c.forgotten++
	}
	return made
}

// changes reports whether a decision would have changed what follows it on the wire.
func changes(out *policy.Outcome) bool {
	return out.Verdict != policy.Forward || out.HasReply || out.HasPeer
}

// departs reports whether a decision would have changed what the capture shows to follow. An annotated capture shows what followed upon the
// decision that it tells; any other, what follows where nobody interferes.
func (r *replay) departs(out *policy.Outcome) bool {
	if !r.noted {
		return changes(out)
	}
	was, is := noted(&r.note), deedOf(out)
	was.Reason, is.Reason = "", "" // another name for it changes nothing
	return was != is
}

// nameless reports whether a segment does not tell whose it is.
func nameless(s *conntrack.Segment) bool {
	return s.Defect != conntrack.DefectNone && s.Tuple.SrcPort == 0 && s.Tuple.DstPort == 0
}

// course follows the segment's connection and returns its course, nil for none. A new connection that begins with a SYN begins
// afresh, whatever became of the one before it.
func (r *replay) course(s *conntrack.Segment, out *policy.Outcome) *course {
	if r.courses.lru.Len() == 0 && !r.departs(out) {
		return nil
	}
	key, _ := s.Tuple.Canonical()
	c := r.courses.of(key)
	if c != nil && s.Kind() == conntrack.KindSYN && begins(out) {
		r.courses.lru.Remove(key)
		c = nil
	}
	if c != nil && c.changed != 0 {
		r.report.Counterfactual.Frames++
		if c.listed >= 0 {
			r.report.Counterfactual.First[c.listed].After++
		}
		return c
	}
	if !r.departs(out) || nameless(s) {
		return c
	}
	if c == nil {
		c = r.courses.begin(key)
	}
	c.changed = r.at.n
	r.report.counterfactual(c, point(r, s, out))
	return c
}

// untimely follows a connection that time alone has sent something into, before the frame at hand. Where the capture is of a gateway with this
// very policy, that gateway has sent it too.
func (r *replay) untimely(ev *policy.TimeEvent) {
	if r.decider.Rev == r.pol.Rev() {
		return
	}
	e := &ev.Flow.Entry
	key, _ := e.Tuple.Canonical()
	c := r.courses.begin(key)
	if c.changed != 0 {
		return
	}
	c.changed = r.at.n - 1 // the frame at hand is behind it
	r.report.counterfactual(c, Point{N: c.changed, Time: stamp(r.journal.now), Flow: e.ID, Src: e.Tuple.From().String(), Dst: e.Tuple.To().String(),
		Reason: ev.Trigger()})
}

// tally counts the connection that a segment belongs to, once: when the table takes it up, or at its first segment where nothing is
// remembered of it then or later. A segment of a connection that was forgotten (the tombstone tells) is none of another.
func (r *replay) tally(s *conntrack.Segment, out *policy.Outcome) {
	made := begins(out)
	stray := !made && out.Before == conntrack.StateNone && out.Flow == 0
	if stray {
		r.report.Stateless++
	}
	if !made && (!stray || out.HasTomb || nameless(s)) {
		return
	}
	key, _ := s.Tuple.Canonical()
	switch known := r.strays.Len() > 0 && r.strays.Contains(key); {
	case made && known: // its earlier segments made it count
		r.strays.Remove(key)
	case made:
		r.report.Flows++
	case !known:
		r.report.Flows++
		r.strays.Add(key, struct{}{})
	}
}

// begins reports whether the step made a flow.
func begins(out *policy.Outcome) bool {
	for i := range out.Flows {
		if out.Flows[i].Kind == policy.FlowNew {
			return true
		}
	}
	return false
}
