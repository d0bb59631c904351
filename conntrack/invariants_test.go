package conntrack

import "testing"

// checkTable checks everything that must hold between a table's parts.
func checkTable(t testing.TB, tb *Table) {
	t.Helper()
	var counts [NumStates]int
	seen, queued := 0, 0
	tb.Walk(0, tb.places()+1, func(e *Entry) bool {
		seen++
		counts[e.State]++
		back := e.Tuple.Reverse()
		var there, again name
		tb.index.naming(&e.Tuple, &there)
		tb.index.naming(&back, &again)
		if i, j := tb.find(&e.Tuple, &there), tb.find(&back, &again); i != e.index || j != e.index {
			t.Errorf("flow %d at %d is found at %d and %d", e.ID, e.index, i, j)
		}
		if e.list != listOf(e) {
			t.Errorf("flow %d in %v is in list %d", e.ID, e.State, e.list)
		}
		timer := tb.link(e.index).timer
		if (timer == unqueued) != (e.Deadline == Never && e.Wake == Never) {
			t.Errorf("flow %d: timer %d, deadline %d", e.ID, timer, e.Deadline)
		}
		if timer != unqueued {
			queued++
			b := tb.wheel.blocks.at(timer >> 4)
			if begins := tb.wheel.begins(int(b.slot)); begins > max(tickOf(e.due()), tb.wheel.now) {
				t.Errorf("flow %d is queued for tick %d, later than its %d", e.ID, begins, tickOf(e.due()))
			}
			if b.place[timer&15] != e.index {
				t.Errorf("flow %d is not where its timer is", e.ID)
			}
		}
		e.Counted++ // a walk may do that, and it is kept
		return true
	})
	if counts != tb.counts || seen != tb.Len() || queued != tb.wheel.queued {
		t.Errorf("counts %v, walked %v; len %d, walked %d; queued %d, walked %d", tb.counts, counts, tb.Len(), seen, tb.wheel.queued, queued)
	}
	tb.Walk(0, tb.places()+1, func(e *Entry) bool {
		e.Counted--
		return true
	})
	listed := 0
	for l := range tb.lists {
		prev := int32(none)
		for i := tb.lists[l].first; i != none; i = tb.link(i).next {
			if e := tb.glance(i); int(listOf(e)) != l || tb.link(i).prev != prev {
				t.Fatalf("list %d is broken at flow %d", l, e.ID)
			}
			prev = i
			if listed++; listed > seen {
				t.Fatalf("list %d has a loop", l)
			}
		}
		if tb.lists[l].last != prev {
			t.Errorf("list %d ends at %d, not %d", l, tb.lists[l].last, prev)
		}
	}
	checkStores(t, tb)
	if n := inUse(&tb.tombs.stone); seen > tb.cfg.Max || tb.tombs.Len() > max(tb.cfg.Tombstones, 0) || n != tb.tombs.Len() {
		t.Errorf("%d entries, %d tombstones of %d: over the bound, or lost", seen, tb.tombs.Len(), n)
	}
}

// checkStores checks that each thing that is kept beside the records belongs to one, and each record has what it says.
func checkStores(t testing.TB, tb *Table) {
	t.Helper()
	extras, whole, timers := map[uint32]bool{}, map[uint32]bool{}, 0
	profiles := map[uint32]int32{}
	for i := range int32(tb.places()) {
		r := tb.record(i)
		if r.desk() != 0 && tb.desk.entries[r.desk()-1].index != i {
			t.Errorf("place %d does not lie on the desk where it says", i)
		}
		switch r.form() {
		case formExtras:
			extras[uint32(r.born)] = true
		case formWhole:
			whole[uint32(r.born)] = true
		}
		if n := r.profile & low20; n != 0 {
			profiles[n]++
		}
		if r.desk() == 0 && r.state() == StateNone && *r != (record{}) {
			t.Errorf("free place %d is not empty: %+v", i, r)
		}
	}
	if n := inUse(&tb.extras); n != len(extras) {
		t.Errorf("%d extras, %d records that have some", n, len(extras))
	}
	if n := inUse(&tb.whole); n != len(whole) {
		t.Errorf("%d whole entries, %d records of some", n, len(whole))
	}
	idle := 0
	for _, n := range tb.profiles.idle {
		if u := &tb.profiles.list[n]; n != 0 && !u.resting {
			t.Errorf("profile %d is idle and does not know it", n)
		} else if n != 0 && u.records == 0 {
			idle++
		}
	}
	if len(profiles)+idle != len(tb.profiles.number) {
		t.Errorf("%d profiles, %d in use and %d idle", len(tb.profiles.number), len(profiles), idle)
	}
	for n, records := range profiles {
		if u := &tb.profiles.list[n]; u.records != records || tb.profiles.number[u.profile] != n {
			t.Errorf("profile %d: %+v, used by %d", n, u, records)
		}
	}
	soonest := Never
	if _, begins, ok := tb.wheel.nextSlot(); ok {
		soonest = Instant(begins)
	}
	if next := tb.Next(); next != soonest {
		t.Errorf("the next entry is due at %d, the table says %d", soonest, next)
	}
	entries := 0
	for n := range tb.index.info {
		info, seen, over := &tb.index.info[n], 0, 0
		for _, b := range tb.index.segment(uint32(n)) {
			over += int(b.over)
			for slot := range b.place {
				if slot < 8 && b.tags>>(8*slot)&0xff != 0 || slot >= 8 && b.more>>(8*(slot-8))&0xff != 0 {
					seen++
				}
			}
		}
		if seen != int(info.entries) || over > seen*segmentBuckets {
			t.Errorf("segment %d: %d entries, counted %d, %d over", n, info.entries, seen, over)
		}
		entries += seen
	}
	for w, n := &tb.wheel, uint32(0); n < uint32(inUse(&w.blocks)); n++ {
		timers++
	}
	if entries != tb.Len() || timers*blockTimers < tb.wheel.queued {
		t.Errorf("%d in the index of %d; %d blocks for %d timers", entries, tb.Len(), timers, tb.wheel.queued)
	}
}

// inUse counts what is taken of a pool.
func inUse[T any](p *pool[T]) int {
	n := int(p.used)
	for i := p.free; i != 0; i = p.pieces[(i-1)>>poolBits].next[(i-1)&(poolSize-1)] {
		n--
	}
	return n
}
