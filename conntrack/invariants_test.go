package conntrack

import "testing"

// checkTable checks everything that must hold between a table's parts.
func checkTable(t testing.TB, tb *Table) {
	t.Helper()
	var counts [NumStates]int
	seen, queued := 0, 0
	tb.Walk(0, int(tb.used)+1, func(e *Entry) bool {
		seen++
		counts[e.State]++
		key, _ := e.Tuple.Canonical()
		if i, ok := tb.lookup[key]; !ok || i != e.index || tb.at(i) != e {
			t.Errorf("flow %d is not in the map", e.ID)
		}
		if e.list != listOf(e) {
			t.Errorf("flow %d in %v is in list %d", e.ID, e.State, e.list)
		}
		if (e.timerSlot == none) != (e.Deadline == Never) {
			t.Errorf("flow %d: slot %d, deadline %d", e.ID, e.timerSlot, e.Deadline)
		}
		if e.timerSlot != none {
			queued++
			if e.timerTick > max(tickOf(e.Deadline), tb.wheel.now) {
				t.Errorf("flow %d is queued for tick %d, later than its deadline's %d", e.ID, e.timerTick, tickOf(e.Deadline))
			}
		}
		return true
	})
	if counts != tb.counts || seen != tb.Len() || queued != tb.wheel.queued {
		t.Errorf("counts %v, walked %v; len %d, walked %d; queued %d, walked %d", tb.counts, counts, tb.Len(), seen, tb.wheel.queued, queued)
	}
	listed := 0
	for l := range tb.lists {
		prev := int32(none)
		for i := tb.lists[l].first; i != none; i = tb.at(i).listNext {
			if e := tb.at(i); int(e.list) != l || e.listPrev != prev {
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
	if seen > tb.cfg.Max || tb.tombs != nil && tb.tombs.Len() > tb.cfg.Tombstones {
		t.Errorf("%d entries, %d tombstones: over the bound", seen, tb.tombs.Len())
	}
}
