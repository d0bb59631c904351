package policy

import "halfopen/conntrack"

// plainRule is what a rule of a policy in force does about plain in-window segments, worked out once for all of them.
type plainRule struct {
	by      *Policy
	name    string
	settles bool                // see [Outcome.Settled]
	rules   conntrack.FastRules // but for what is the connection's
	action  [2]*Action          // by the rule's direction; nil where a segment may need more than to be let go on and tracked
}

// usePlain works out the plain rules of the policies in force, by arm and rule+1.
func (e *Engine) usePlain() {
	e.plain.rules = e.plain.rules[:0]
	for arm := range len(e.arms.Policies) + 1 {
		by := e.of(uint8(arm))
		rules := make([]plainRule, by.Rules()+1)
		for i := range rules {
			rules[i] = by.plain(int32(i) - 1)
		}
		e.plain.rules = append(e.plain.rules, rules)
	}
	e.plain.last = nil
	e.plain.counts = e.policy.Log().Detail == LogDecision
}

// plain returns what a rule does about plain segments.
func (p *Policy) plain(rule int32) plainRule {
	w, u := p.Window(rule), p.Upkeep(rule)
	r := plainRule{by: p, name: p.RuleName(rule), settles: p.settles[rule+1]}
	r.rules = conntrack.MakeFastRules(w, &u.Caps)
	if u.Probes.Tries > 0 || u.Refresh != RefreshEither {
		return r
	}
	for dir := range r.action {
		a := p.Action(rule, conntrack.Direction(dir), conntrack.InWindow)
		if a.Packet == Forward && a.Reply == ReplyNone && a.Peer == PeerNone && a.State == conntrack.Track &&
			a.Timer.Op == conntrack.TimerRefresh && a.Strip == 0 && !a.conditional() {
			r.action[dir] = a
		}
	}
	return r
}

// plainSteps are the steps that take the short way.
type plainSteps struct {
	rules   [][]plainRule
	counts  bool // the gateway's policy counts plain forwards in flow records
	seen    conntrack.Glimpse
	counted bool // the last step has counted its segment in the connection that was seen, for Uncount
	was     conntrack.Followed
	last    *Action // of the last step, where that took the short way: what the outcome holds still
	refused bool    // nobody may take it, for a test to compare
}

// stepPlain is the whole step of a plain in-window segment of a settled connection about which policy says no more than to let it go on. It
// reports whether it was one. Otherwise nothing has happened, but e.plain.seen has been looked up.
func (e *Engine) stepPlain(now conntrack.Instant, s *conntrack.Segment) bool {
	p := &e.plain
	g := &p.seen
	const other = conntrack.SYN | conntrack.FIN | conntrack.RST | conntrack.URG
	if !e.table.Glimpse(s, g) || s.Flags&(other|conntrack.ACK) != conntrack.ACK || g.Epoch != e.epoch || e.trace != nil || e.holds.n() > 0 || p.refused {
		return false
	}
	arm := int(g.Arm)
	if arm >= len(p.rules) {
		arm = 0
	}
	r := &p.rules[arm][g.Rule+1]
	if g.Flags&conntrack.EntryPickedUp != 0 && r.by.Rules() > 0 {
		return false // its direction under the rules may be another by now
	}
	dir := g.Direction()
	a := r.action[dir^conntrack.Direction(g.Marks&markFlipped)]
	if a == nil {
		return false
	}
	r.rules.Timeout = e.timers.set(g.Timers)[conntrack.Established]
	if !e.table.Follow(now, g, s, &r.rules, p.counts, &p.was, &e.out.Expect) {
		return false
	}
	out, was := &e.out, &p.was
	if p.last == nil {
		*out = Outcome{Flows: out.Flows[:0], Finding: conntrack.InWindow, Expect: out.Expect, Effect: conntrack.Track, Verdict: Forward,
			Before: conntrack.Established, After: conntrack.Established}
	}
	if p.last != a {
		out.Action, out.By, out.Rule, p.last = *a, r.by, r.name, a
	}
	out.Flows = out.Flows[:0]
	out.Arm, out.Flow, out.Previous, out.Dir, out.Counted = g.Arm, was.ID, was.Previous, dir, p.counts
	out.Settled, out.Packets = p.counts && r.settles, was.Packets
	p.counted = p.counts
	out.Idle, out.Age, out.Remaining = now.Sub(was.LastSeen), now.Sub(was.Created), was.Deadline.Sub(now)
	return true
}
