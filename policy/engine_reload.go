package policy

import (
	"cmp"

	"halfopen/conntrack"
)

// reload is what a change of policy has left to do. Entries remember the epoch of the policy that last governed them, so each
// is settled exactly once: by its next segment or by a chunk of Advance, whichever comes first.
type reload struct {
	drop    uint32 // entries of an earlier epoch end
	rematch uint32 // entries of an earlier epoch get the timeouts of their rule
	walking bool
	cursor  int
	found   []conntrack.Tuple // reused by each chunk
}

// Swap puts p in force as the gateway's policy for all that comes, beside the arms as they are, and says what becomes of live flows. With ReloadKeep they stay and keep their
// timeouts, and what happens to them is decided by p. With ReloadRematch their timers are reckoned anew by the timeouts of the
// rule that matches them now. With ReloadDrop they end; segments of theirs are then late-after-expiry. The last two are done
// by Advance in chunks, and at once for a flow with a segment before that.
func (e *Engine) Swap(now conntrack.Instant, p *Policy, live Reload) {
	e.now = now
	e.policy = p
	e.enforce()
	l := p.Limits()
	e.table.SetLimits(l.Flows, l.Embryonic, l.Tombstones, l.PerSource)
	switch live {
	case ReloadRematch:
		e.reload.rematch = e.epoch
	case ReloadDrop:
		e.reload.drop = e.epoch
	default:
		return
	}
	e.reload.walking, e.reload.cursor = true, 0
}

// reloaded settles the entry of v after a reload, and reports whether it must be looked up again.
func (e *Engine) reloaded(now conntrack.Instant, v *conntrack.View) bool {
	switch {
	case v.Entry.Epoch < e.reload.drop:
		e.table.Kill(now, v, conntrack.EndReload)
	case v.Entry.Epoch < e.reload.rematch:
		e.retime(now, v.Entry)
	default:
		return false
	}
	return true
}

// retime gives an entry the timeouts of the rule that matches it now.
func (e *Engine) retime(now conntrack.Instant, ent *conntrack.Entry) {
	rule, flipped := e.match(ent)
	p := e.params(ent.Arm, rule, e.timers.ofRule(ent.Arm, rule))
	ent.Marks = ent.Marks&^markFlipped | uint8(flipped)
	e.table.Retime(now, ent, &p)
}

// reloadChunk settles the entries among the next limit places of the table.
func (e *Engine) reloadChunk(now conntrack.Instant, limit int) {
	r := &e.reload
	if !r.walking {
		return
	}
	r.found = r.found[:0]
	r.cursor = e.table.Walk(r.cursor, limit, func(ent *conntrack.Entry) bool {
		if ent.Epoch < max(r.drop, r.rematch) && (ent.Deadline > now || ent.FastSlot != 0) {
			r.found = append(r.found, ent.Tuple)
		}
		return true
	})
	for i := range r.found {
		var v conntrack.View
		e.table.Lookup(now, &r.found[i], &v)
		if ent := cmp.Or(v.Entry, v.Expired); ent != nil {
			e.table.TakeOver(ent)
			e.table.Lookup(now, &r.found[i], &v)
		}
		switch {
		case v.Entry == nil:
		case v.Entry.Epoch >= r.drop:
			e.retime(now, v.Entry)
		default:
			e.table.Kill(now, &v, conntrack.EndReload)
		}
	}
	if r.cursor < 0 {
		r.walking, r.found = false, nil
	}
}

// timerSets are the sets of timeouts that entries refer to by index: those of every policy so far, each once. A flow that
// survives a reload keeps its set.
type timerSets struct {
	sets  []conntrack.Timeouts
	index map[conntrack.Timeouts]uint16
	rules [][]uint16 // of the policies in force, by arm and rule+1
}

// maxTimerSets is what an entry's index can tell apart.
const maxTimerSets = 1 << 16

// set returns a set by its index.
func (t *timerSets) set(i uint16) *conntrack.Timeouts { return &t.sets[i] }

// ofRule returns the index of a rule's set under an arm's policy in force.
func (t *timerSets) ofRule(arm uint8, rule int32) uint16 {
	if int(arm) >= len(t.rules) {
		arm = 0
	}
	return t.rules[arm][rule+1]
}

// full reports whether n more sets might not fit.
func (t *timerSets) full(n int) bool { return len(t.sets)+n > maxTimerSets }

// of enters the sets of p and returns their indexes by rule+1.
func (t *timerSets) of(p *Policy) []uint16 {
	out := make([]uint16, 0, p.Rules()+1)
	for rule := int32(-1); rule < int32(p.Rules()); rule++ {
		out = append(out, t.intern(p.Timeouts(rule)))
	}
	return out
}

// intern returns the index of a set, which is entered if it is new. Where no index is left (a policy of tens of thousands
// of rules, each with timeouts of its own) it is the first one's.
func (t *timerSets) intern(set *conntrack.Timeouts) uint16 {
	if i, ok := t.index[*set]; ok {
		return i
	}
	if len(t.sets) == maxTimerSets {
		return 0
	}
	if t.index == nil {
		t.index = make(map[conntrack.Timeouts]uint16)
	}
	i := uint16(len(t.sets))
	t.sets = append(t.sets, *set)
	t.index[*set] = i
	return i
}

// compactTimers drops the sets that no entry refers to. It visits the whole table, once in tens of thousands of reloads.
func (e *Engine) compactTimers() {
	var kept timerSets
	e.table.Walk(0, 1<<31-1, func(ent *conntrack.Entry) bool {
		ent.Timers = kept.intern(&e.timers.sets[ent.Timers])
		return true
	})
	e.timers = kept
}
