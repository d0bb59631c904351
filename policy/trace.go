package policy

import "halfopen/conntrack"

// Trace is how one step came to its outcome: what it looked at, in the order of the step. All of it is a copy.
type Trace struct {
	Now     conntrack.Instant
	Segment conntrack.Segment
	Policy  *Policy // that decided: the gateway's or an arm's

	// What was remembered, before the step.
	Entry    *conntrack.Entry   // nil for none
	Expired  *conntrack.Entry   // an entry whose timer had run out, not swept yet; its tombstone is in Outcome
	Relaxed  bool               // segments had passed the gateway unseen: the entry was judged liberally
	Timeouts conntrack.Timeouts // of Entry, by state; those of the policy that it was made under where a reload kept them

	// The rule.
	Rule    int32               // that governs the segment, -1 for none
	RuleDir conntrack.Direction // the segment's, as the rule means it
	Subject conntrack.Tuple     // that the rules are tried on, in original direction
	Either  bool                // the original direction is not known: the reverse was tried too
	Tried   []Trial             // the rules up to the one that governs

	// What the segment is.
	Class   conntrack.Class // before what the gateway's age and the table's bounds make of it
	Window  conntrack.Rules // that it was judged by
	Adopted bool            // taken up because the gateway is younger than the connection

	// What became of it.
	Refused bool   // the table had no place for the entry that the action Wanted makes; Outcome's finding is the bound
	Wanted  Action // with Refused
	Timer   conntrack.Timer
	Outcome Outcome
	After   *conntrack.Entry // nil for none
	Flows   int              // entries after the step
}

// Trial is a rule that was tried on a segment's flow.
type Trial struct {
	Rule    int32
	Matched bool
	// Failed are the conditions that did not hold, for the subject and, with Trace.Either, for its reverse.
	Failed, FailedReversed []MatchPart
}

// Explain is [Engine.Step], and tells how the step came to its outcome. It decides and remembers as Step does; unlike Step it
// allocates.
func (e *Engine) Explain(now conntrack.Instant, s *conntrack.Segment) (*Outcome, *Trace) {
	t := &Trace{Now: now, Segment: *s}
	e.trace = t
	out := e.Step(now, s)
	e.trace = nil
	t.Outcome = *out
	t.Outcome.Flows = append([]FlowEvent(nil), out.Flows...)
	t.Adopted = out.Finding == conntrack.Adopted
	var v conntrack.View
	e.table.Lookup(now, &s.Tuple, &v)
	t.After = copied(v.Entry)
	t.Flows = e.table.Len()
	return out, t
}

// looked notes what a step has looked up, and how its rule was found.
func (t *Trace) looked(e *Engine, v *conntrack.View, s *conntrack.Segment, rule int32, dir conntrack.Direction, class conntrack.Class) {
	t.Entry, t.Expired, t.Relaxed = copied(v.Entry), copied(v.Expired), v.Relaxed
	if v.Entry != nil {
		t.Timeouts = *e.timers.set(v.Entry.Timers)
	}
	t.Policy, t.Rule, t.RuleDir, t.Class, t.Window = e.by, rule, dir, class, *e.by.Window(rule)
	t.Subject, _, t.Either = subject(v, s)
	t.Tried = e.by.try(&t.Subject, t.Either, rule)
}

func copied(e *conntrack.Entry) *conntrack.Entry {
	if e == nil {
		return nil
	}
	c := *e
	return &c
}

// try returns the trials of the rules up to and with the one that governs.
func (p *Policy) try(tu *conntrack.Tuple, either bool, governs int32) []Trial {
	rev := tu.Reverse()
	var out []Trial
	for r := range int32(p.Rules()) {
		trial := Trial{Rule: r, Matched: r == governs, Failed: p.matches[r].failed(tu)}
		if either {
			trial.FailedReversed = p.matches[r].failed(&rev)
		}
		if out = append(out, trial); r == governs {
			break
		}
	}
	return out
}

// failed returns the parts that do not hold.
func (m *Match) failed(tu *conntrack.Tuple) (parts []MatchPart) {
	for part := range NumMatchParts {
		if !m.Holds(part, tu) {
			parts = append(parts, part)
		}
	}
	return parts
}
