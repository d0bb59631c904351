package policy

import "halfopen/conntrack"

// Arms are the policies of an experiment's arms, beside the gateway's own. Connections of all arms share one table, whose limits,
// pressure, log and adoption are the gateway's policy's; everything else about a connection is decided by its arm's.
type Arms struct {
	// Policies are those of arms 1, 2, ...; arm 0 is the gateway's own policy, and so is one whose policy is nil. At most 255.
	Policies []*Policy
	// Assign returns the arm of a new connection from its tuple in original direction. It must not allocate, nor call the engine. An
	// arm beyond Policies is the gateway's. Nil: all connections are arm 0's.
	Assign func(now conntrack.Instant, tu *conntrack.Tuple) uint8
}

// SetArms puts arms in force for connections that begin from now on. Those that live keep their number, and are decided by the
// policy which that number has now: who means other arms gives them other numbers. A timeout that was set stays until it is set anew.
func (e *Engine) SetArms(now conntrack.Instant, a Arms) {
	e.now = now
	e.arms = a
	e.enforce()
}

// enforce begins another epoch with the policies in force.
func (e *Engine) enforce() {
	n := e.policy.Rules() + 1
	for _, p := range e.arms.Policies {
		if p != nil {
			n += p.Rules() + 1
		}
	}
	if e.timers.full(n) {
		e.compactTimers()
	}
	e.epoch++
	e.by = e.policy
	e.useTimers()
}

// useTimers enters the timeouts of the policies in force.
func (e *Engine) useTimers() {
	arms := len(e.arms.Policies) + 1
	e.timers.rules = e.timers.rules[:0]
	for arm := range arms {
		e.timers.rules = append(e.timers.rules, e.timers.of(e.of(uint8(arm))))
	}
	e.usePlain()
	if len(e.budgets) < arms {
		e.budgets = append(e.budgets, make([]budgets, arms-len(e.budgets))...)
	}
}

// of returns the policy of an arm.
func (e *Engine) of(arm uint8) *Policy {
	if arm != 0 && int(arm) <= len(e.arms.Policies) {
		if p := e.arms.Policies[arm-1]; p != nil {
			return p
		}
	}
	return e.policy
}

// Arm returns the policy that decides about connections of an arm.
func (e *Engine) Arm(arm uint8) *Policy { return e.of(arm) }

// assign returns the arm of a connection that begins with tuple tu in original direction.
func (e *Engine) assign(now conntrack.Instant, tu conntrack.Tuple) uint8 {
	if e.arms.Assign == nil {
		return 0
	}
	e.asking = tu // a caller's own would have to be on the heap
	return e.arms.Assign(now, &e.asking)
}

// armOf returns the arm that a segment belongs to: that of its connection, also of one lately forgotten, and else that of the
// connection which it would begin. Where nothing tells who opened that, the end with the higher port is taken for the one: clients'
// ports are ephemeral as a rule, and so both ends' segments have the same arm.
func (e *Engine) armOf(now conntrack.Instant, v *conntrack.View, s *conntrack.Segment) uint8 {
	switch k := s.Kind(); {
	case v.Entry != nil:
		return v.Entry.Arm
	case e.arms.Assign == nil:
		return 0
	case k == conntrack.KindSYN:
		return e.assign(now, s.Tuple)
	case v.HasTomb:
		return v.Tombstone.Arm
	case k == conntrack.KindSYNACK, s.Tuple.SrcPort < s.Tuple.DstPort:
		return e.assign(now, s.Tuple.Reverse())
	}
	return e.assign(now, s.Tuple)
}
