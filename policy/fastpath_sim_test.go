package policy

import "halfopen/conntrack"

// simFlow is a connection on the simulated fast path: what the program in the kernel and its owner hold of it.
type simFlow struct {
	tuple conntrack.Tuple // of the entry
	// The program's.
	punt, loaded   uint64
	state          conntrack.Fast
	packets, bytes [2]uint64
	// The owner's.
	armed, generation uint64
	epoch             uint64
	start             conntrack.Fast
	rules             conntrack.FastRules
	told              [2][2]uint64 // packets and bytes that were taken over
	stepped           uint64       // newest punt that was decided
}

// simPath is a fast path in the order of things that the real one has: punt numbers, freezing, arming with the number of the last segment
// that was decided, an epoch that freezes all at once, and a heart that must beat.
type simPath struct {
	flows                 map[conntrack.Tuple]uint32 // by canonical tuple
	slots                 []simFlow                  // from 1
	epoch                 uint64
	stopped               bool // the owner's heart does not beat
	passed                uint64
	bytes                 uint64
	late                  func() // passes before the next Freeze
	punts                 [conntrack.NumFastPunts]int
	frozen                int
	peeks, freezes, ended int
}

// ingress is what the program does with a segment: it passes, or the queue gets it with the number of its punt, 0 for none.
func (p *simPath) ingress(now conntrack.Instant, s *conntrack.Segment) (passed bool, punt uint64) {
	key, _ := s.Tuple.Canonical()
	slot := p.flows[key]
	if slot == 0 {
		return false, 0
	}
	f := &p.slots[slot]
	dir := conntrack.Original
	if s.Tuple != f.tuple {
		dir = conntrack.Reply
	}
	if f.armed != f.punt || f.armed == 0 || f.epoch != p.epoch || p.stopped {
		p.frozen++
	} else {
		if f.loaded != f.generation {
			f.state, f.loaded = f.start, f.generation
		}
		why := f.state.Pass(&f.rules, now, dir, s)
		p.punts[why]++
		if why == conntrack.FastPassed {
			p.passed++
			p.bytes += uint64(s.Bytes)
			f.packets[dir]++
			f.bytes[dir] += uint64(s.Bytes)
			return true, 0
		}
	}
	f.punt++
	return false, f.punt
}

func (p *simPath) Peek(e *conntrack.Entry) (conntrack.Progress, bool) {
	p.peeks++
	f := &p.slots[e.FastSlot]
	pr := conntrack.Progress{Fast: f.state}
	for i := range 2 {
		pr.Packets[i], pr.Bytes[i] = f.packets[i]-f.told[0][i], f.bytes[i]-f.told[1][i]
	}
	f.told = [2][2]uint64{f.packets, f.bytes}
	return pr, true
}

func (p *simPath) Freeze(e *conntrack.Entry) (conntrack.Progress, bool) {
	p.freezes++
	if late := p.late; late != nil {
		p.late = nil
		late()
	}
	p.slots[e.FastSlot].armed = 0
	return p.Peek(e)
}

func (p *simPath) Ended(e *conntrack.Entry) {
	p.ended++
	p.remove(e.FastSlot)
}

func (p *simPath) remove(slot uint32) {
	key, _ := p.slots[slot].tuple.Canonical()
	delete(p.flows, key)
	p.slots[slot] = simFlow{}
}

// install gives a connection a place, frozen.
func (p *simPath) install(tu conntrack.Tuple) uint32 {
	slot := uint32(1)
	for ; int(slot) < len(p.slots) && p.slots[slot] != (simFlow{}); slot++ {
	}
	for int(slot) >= len(p.slots) {
		p.slots = append(p.slots, simFlow{})
	}
	p.slots[slot] = simFlow{tuple: tu}
	key, _ := tu.Canonical()
	p.flows[key] = slot
	return slot
}
