package policy

import "halfopen/conntrack"

// mischief is what an operator, or a kernel that is short of room, does meanwhile.
func (x *fastTwins) mischief(policies []*Policy) {
	now, r := x.w.now, x.w.r
	x.time()
	each := func(do func(i int, e *Engine)) {
		do(0, x.fast)
		do(1, x.all)
	}
	switch r.IntN(12) {
	case 0:
		p, live := policies[r.IntN(len(policies))], Reload(r.IntN(2))
		if r.IntN(8) == 0 {
			live = ReloadDrop
		}
		x.path.epoch++
		each(func(_ int, e *Engine) { e.Swap(now, p, live) })
		x.unarmed(conntrack.FastReloaded)
	case 1:
		arms := Arms{Policies: []*Policy{policies[r.IntN(len(policies))], nil}, Assign: func(_ conntrack.Instant, tu *conntrack.Tuple) uint8 { return uint8(tu.SrcPort) % 3 }}
		x.path.epoch++
		each(func(_ int, e *Engine) { e.SetArms(now, arms) })
		x.unarmed(conntrack.FastReloaded)
	case 2:
		x.path.epoch++
		each(func(_ int, e *Engine) { e.Gap(now) })
		x.unarmed(conntrack.FastLiberal)
	case 3:
		port := 1000 + uint16(r.IntN(64))
		each(func(i int, e *Engine) {
			e.Kill(now, 0, 1<<30, func(e *conntrack.Entry) bool { return e.Tuple.SrcPort == port }, func(ev *TimeEvent) { x.timeEvent(i, ev) })
		})
	case 4, 5:
		each(func(i int, e *Engine) {
			e.RestartFlush()
			for e.FlushCounted(now, 7, func(ev *FlowEvent) { x.flow(i, ev) }) {
			}
		})
	case 6, 7: // a place is given up
		if n := len(x.path.slots) - 1; n > 0 {
			if slot := uint32(1 + r.IntN(n)); x.path.slots[slot] != (simFlow{}) {
				x.fast.SetSlot(&x.path.slots[slot].tuple, 0)
				x.path.remove(slot)
			}
		}
	case 8:
		if r.IntN(4) == 0 {
			x.restart(now)
		}
	case 9: // the owner was held up, and the program stands still
		x.path.stopped = true
	case 10:
		x.compareEntries()
	}
	x.compareEvents()
}

// unarmed looks whether no connection may be armed, for a reason or because it is gone.
func (x *fastTwins) unarmed(reason conntrack.FastWhy) {
	for key := range x.path.flows {
		_, _, _, why := x.fast.ArmFast(x.w.now, &key)
		if x.whys[why]++; why != reason && why != conntrack.FastGone && why != conntrack.FastReloaded {
			x.fatal("may be armed: %q", why)
		}
	}
}

// restart saves what both remember, and goes on with new engines.
func (x *fastTwins) restart(now conntrack.Instant) {
	for i, e := range []**Engine{&x.fast, &x.all} {
		(*e).RestartFlush()
		for (*e).FlushCounted(now, 100, func(ev *FlowEvent) { x.flow(i, ev) }) {
		}
		cfg := (*e).cfg
		cfg.Policy, cfg.Arms, cfg.FirstID = (*e).policy, (*e).arms, uint64(1+now)
		n := NewEngine(cfg)
		(*e).Save(now, 0, 1<<30, func(s *Saved) bool {
			if s.Entry.FastSlot != 0 || !n.Restore(now, 0, s) {
				x.fatal("%+v", s)
			}
			return true
		})
		n.plain.refused = (*e).plain.refused
		*e = n
	}
	clear(x.path.flows)
	x.path.slots = x.path.slots[:1]
}
