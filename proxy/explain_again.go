package proxy

import (
	"fmt"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/explain"
)

// again has another policy decide the recorded segment: its engine is given the connection as the record knows it, as of its last
// segment, and steps at the record's time.
func (r *recorded) again(pol *policy.Policy, log string) *explain.Explanation {
	now := conntrack.Instant(r.ev.Timestamp.UnixNano())
	ent, had := r.rebuild(now)
	start := now
	if had {
		start = ent.LastSeen
	}
	eng := policy.NewEngine(policy.EngineConfig{Policy: pol, Start: start, NoAdopt: r.find != conntrack.Adopted})
	if had {
		saved := policy.Saved{Entry: ent, Timeouts: *pol.Timeouts(pol.Match(&ent.Tuple, true))}
		d := saved.Timeouts[ent.State]
		saved.Entry.Created -= start // a saved flow's times are reckoned from when it was saved
		saved.Entry.LastSeen, saved.Entry.Refreshed, saved.Entry.Timeout, saved.Entry.Deadline = 0, 0, d, conntrack.Instant(d)
		eng.Restore(start, 0, &saved)
	}
	_, trace := eng.Explain(now, &r.seg)
	x := explain.Step(trace, nil)
	x.Input = "record " + r.ev.Decision.ID + " of " + log + ", decided again"
	x.Notes = append(x.Notes, fmt.Sprintf("the record's own decision: %s (%s), by policy revision %s", r.ev.Decision.Verdict, r.ev.Decision.Reason, r.ev.Decision.PolicyRev))
	return r.judge(x, trace, pol)
}

// judge says how far a decision made again can be trusted; where it cannot, what the policy says of the recorded finding stands in
// its place.
func (r *recorded) judge(x *explain.Explanation, t *policy.Trace, pol *policy.Policy) *explain.Explanation {
	got := t.Outcome.Finding
	alive := t.Entry != nil
	switch tomb := r.ev.Decision.Tombstone != nil; {
	case r.know && got.Base() == r.find.Base():
		if r.entry() || tomb {
			x.Notes = append(x.Notes, "the connection was rebuilt from the record, with its timer set at its last segment; the finding is the recorded one")
		}
		return x
	case r.find == conntrack.Adopted && pol.Adopt() == 0:
		x.Notes = append(x.Notes, "this policy takes up no connection that is older than the gateway (adopt)")
		return x
	case r.entry() && !alive:
		x.Notes = append(x.Notes, "under this policy the connection would have been forgotten by then: its timer is shorter than the silence before the segment")
		return x
	case !r.entry() && tomb && alive:
		x.Notes = append(x.Notes, "under this policy the connection would still be remembered; its windows are not in the record, so numbers were judged liberally")
		return x
	}
	x.Notes = append(x.Notes, fmt.Sprintf("the record does not suffice to decide again: rebuilt from it, the segment is %s and not %s; what follows the look-up is not reliable. %s",
		got, r.ev.Decision.Reason, r.were(t, pol)))
	x.Sentence = "It cannot be told from the record alone what this policy would do; replay a capture of the connection to know."
	x.Verdict, x.Reason, x.Line = "unknown", r.ev.Decision.Reason, ""
	return x
}

// were says what the policy does about the recorded finding, were it the same.
func (r *recorded) were(t *policy.Trace, pol *policy.Policy) string {
	if !r.know {
		return "This version does not know the finding."
	}
	note, _ := pol.ActionNote(t.Rule, t.RuleDir, r.find)
	where := note.String()
	if where == "" {
		where = "the finding's default"
	}
	return fmt.Sprintf("On %s this policy does %s (%s).", r.find, pol.Action(t.Rule, t.RuleDir, r.find).Text(), where)
}

// rebuild makes the connection that the record tells of, as of its last segment: an entry, or from a tombstone of the idle timer
// what it stood for. It reports false where there is nothing to rebuild.
func (r *recorded) rebuild(now conntrack.Instant) (ent conntrack.Entry, ok bool) {
	d := r.ev.Decision
	dir := r.direction()
	ent.Tuple = r.seg.Tuple
	if dir == conntrack.Reply {
		ent.Tuple = ent.Tuple.Reverse()
	}
	ent.ID, ent.Flags = max(r.ev.FlowID, 1), conntrack.EntryReplied|conntrack.EntryAssured
	ent.Wake = conntrack.Never
	snd, rcv := &ent.Side[dir], &ent.Side[dir.Other()]
	switch t := d.Tombstone; {
	case r.entry():
		ent.State = stateByName(d.StateBefore)
		if d.IdleS == nil || d.AgeS == nil {
			return ent, false
		}
		ent.LastSeen, ent.Created = now.Add(-seconds(*d.IdleS)), now.Add(-seconds(*d.AgeS))
		if x := d.Expected; x != nil {
			known(snd, x.Seq, x.SeqHi, x.SeqLo, rcv)
			known(rcv, x.Ack, x.AckHi, nil, snd) // how far ACKs may lag says little of the sender's window
		}
		if ent.State.Embryonic() { // nothing but the SYN and its answer was sent
			ent.Flags = 0
			for i := range ent.Side {
				if s := &ent.Side[i]; s.Flags&conntrack.SideKnown != 0 {
					s.ISN, s.Flags = s.End.Add(^uint32(0)), s.Flags|conntrack.SideSYN
				}
			}
		}
	case t != nil && t.Why == conntrack.EndIdle.String():
		ent.State, ent.ID = stateByName(t.State), max(t.FlowID, 1)
		gone := conntrack.Instant(t.Forgotten.UnixNano())
		ent.LastSeen, ent.Created = gone.Add(-seconds(t.IdleS)), gone.Add(-seconds(t.AgeS))
		a, b := conntrack.Seq(t.ClientSeq), conntrack.Seq(t.ServerSeq)
		ent.Side[0].End, ent.Side[0].MaxEnd, ent.Side[0].MaxAck = a, a, conntrack.Seq(t.ClientAck)
		ent.Side[1].End, ent.Side[1].MaxEnd, ent.Side[1].MaxAck = b, b, conntrack.Seq(t.ServerAck)
		for i := range ent.Side {
			ent.Side[i].Flags = conntrack.SideSeen | conntrack.SideKnown | conntrack.SideMaxAck
		}
	default:
		return ent, false
	}
	return ent, ent.State != conntrack.StateNone
}

// known notes the numbers of one end that a record tells: the next one, the highest that it may send, and how far back the other
// end's window reaches.
func known(s *conntrack.Side, next, hi, lo *uint32, other *conntrack.Side) {
	if next == nil {
		return
	}
	s.End, s.MaxEnd = conntrack.Seq(*next), conntrack.Seq(*next)
	s.Flags |= conntrack.SideSeen | conntrack.SideKnown
	if hi != nil {
		s.MaxEnd = conntrack.Seq(*hi)
	}
	if lo != nil {
		other.MaxWin = max(other.MaxWin, uint32(s.End-conntrack.Seq(*lo)))
	}
}

func stateByName(name string) conntrack.State {
	for s := conntrack.SynSent; s < conntrack.NumStates; s++ {
		if s.String() == name {
			return s
		}
	}
	return conntrack.StateNone
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
