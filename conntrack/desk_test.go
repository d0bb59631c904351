package conntrack

import (
	"net/netip"
	"testing"
	"time"
)

// TestDeskKeepsWhatWasTaken: an entry that a look-up took can be written, whatever else is taken, walked over or swept meanwhile.
func TestDeskKeepsWhatWasTaken(t *testing.T) {
	rg := newRig(t, Config{Max: 1000})
	rg.table.desk.init(0)
	const flows = 5 * minDesk
	fill(t, rg, 0, flows, time.Hour)
	fill(t, rg, flows, 100, time.Minute)
	for round := range uint64(3) {
		for n := range flows {
			e := rg.look(tupleN(n)).Entry
			if e.Tuple != tupleN(n) || e.Counted != round {
				t.Fatalf("round %d, flow %d: %s, counted %d", round, n, e.Tuple, e.Counted)
			}
			for other := range deskKept - 1 {
				rg.look(tupleN((n*7 + other) % flows))
			}
			if round == 1 {
				rg.table.Walk(n, 40, func(*Entry) bool { return true })
			}
			if n == flows/2 && round == 2 {
				rg.now = rg.now.Add(2 * time.Minute)
				if rg.table.Advance(rg.now, 1000) == 0 {
					t.Fatal("nothing was swept")
				}
			}
			if e.Tuple != tupleN(n) {
				t.Fatalf("round %d: flow %d was filed while it was worked on", round, n)
			}
			e.Counted++
		}
	}
	checkTable(t, rg.table)
}

// TestWalkMayCount: what a walk writes of an entry stays, also where another walk or a look-up follows at once.
func TestWalkMayCount(t *testing.T) {
	rg := newRig(t, Config{Max: 1000})
	rg.table.desk.init(0)
	const flows = 3 * minDesk
	fill(t, rg, 0, flows, time.Hour)
	for stop := range flows {
		rg.table.Walk(stop, 1, func(e *Entry) bool { e.Counted += 5; return false }) // its entry is left open
		rg.table.Walk(stop, 1, func(e *Entry) bool { return true })                  // and looked at again
		n := 0
		rg.table.Walk(stop, 1, func(e *Entry) bool { n = int(e.Tuple.SrcPort); return true })
		e := rg.look(tupleN(n)).Entry
		rg.table.Walk(0, flows, func(e *Entry) bool { return true })
		if e.Tuple != tupleN(n) || e.Counted != 5 {
			t.Fatalf("place %d: %s, counted %d", stop, e.Tuple, e.Counted)
		}
	}
}

// TestFamiliesAreApart: addresses that end alike are not alike.
func TestFamiliesAreApart(t *testing.T) {
	tb := NewTable(Config{Max: 100})
	p := &Params{Timeouts: testTimeouts()}
	var tuples []Tuple
	for _, a := range []string{"10.0.0.1", "2001:db8::a00:1", "2001:db9::a00:1", "::ffff:0:a00:1"} {
		for _, b := range []string{"10.0.0.2", "2001:db8::a00:2", "::a00:2"} {
			tuples = append(tuples, MakeTuple(netip.AddrPortFrom(netip.MustParseAddr(a), 7), netip.AddrPortFrom(netip.MustParseAddr(b), 9)))
		}
	}
	v := View{}
	for i, tu := range tuples {
		tb.index.key = [4]uint64{} // every hash is the same
		if tb.Lookup(0, &tu, &v); v.Entry != nil {
			t.Fatalf("%s is found before it was made", tu)
		}
		tb.Commit(0, &v, &Segment{Tuple: tu, Flags: SYN, Window: uint16(i)}, New, Create, Timer{}, p)
	}
	for i, tu := range tuples {
		for _, tu := range []Tuple{tu, tu.Reverse()} {
			if tb.Lookup(0, &tu, &v); v.Entry == nil || v.Entry.Side[0].Win != uint32(i) || (v.Dir == Original) != (tu == tuples[i]) {
				t.Errorf("%s: %+v", tu, v.Entry)
			}
		}
	}
	checkTable(t, tb)
	for _, tu := range tuples {
		tb.Lookup(0, &tu, &v)
		tb.Kill(0, &v, EndKilled)
	}
	checkTable(t, tb)
}

// TestProfilesDiffer: entries that differ in one thing that many share do not share it.
func TestProfilesDiffer(t *testing.T) {
	tb := NewTable(Config{Max: 100})
	change := []func(e *Entry){func(e *Entry) {}, func(e *Entry) { e.Timeout++; e.Deadline++ }, func(e *Entry) { e.Lead++; e.Wake = e.Deadline - 1 },
		func(e *Entry) { e.Rule++ }, func(e *Entry) { e.Epoch++ }, func(e *Entry) { e.gap++ }, func(e *Entry) { e.MSS[0]++ }, func(e *Entry) { e.MSS[1]++ },
		func(e *Entry) { e.Timers++ }, func(e *Entry) { e.Strip++ }, func(e *Entry) { e.MaxMSS++ }, func(e *Entry) { e.Side[0].Scale++ },
		func(e *Entry) { e.Side[1].Scale++ }, func(e *Entry) { e.Arm++ }}
	e := put(tb, &Entry{Tuple: tupleN(1), ID: 1, State: Established, Wake: Never, Deadline: Instant(time.Hour), Timeout: time.Hour})
	for i, fn := range change {
		fn(e)
		want := bare(*e)
		got, f := again(tb, e)
		if got != want || f != formPlain {
			t.Errorf("%d: form %d\n got %+v\nwant %+v", i, f, got, want)
		}
		checkStores(t, tb)
		e = tb.take(want.index)
	}
}

// TestEntryOfAnotherTable: a saved entry brings nothing along that another table has numbered.
func TestEntryOfAnotherTable(t *testing.T) {
	from, to := NewTable(Config{Max: 10}), NewTable(Config{Max: 10})
	for n, h := range []string{"SR", "Sr", "Sh", "ShA"} {
		e := Entry{Tuple: tupleN(n), ID: uint64(n + 1), State: Established, Deadline: Instant(time.Hour), Timeout: time.Hour, Wake: Never}
		e.HistoryN = uint8(copy(e.History[:], h))
		p := put(from, &e)
		i := p.index
		again(from, p)
		saved := *from.take(i)
		if !to.Restore(0, &saved, nil) {
			t.Fatal("refused")
		}
		var v View
		tu := tupleN(n)
		to.Lookup(0, &tu, &v)
		if got, _ := again(to, v.Entry); string(got.History[:got.HistoryN]) != h {
			t.Errorf("%q, want %q", got.History, h)
		}
	}
}

// TestReleaseGivesBack: an entry that ends leaves nothing behind of what lay beside its record.
func TestReleaseGivesBack(t *testing.T) {
	tb := NewTable(Config{Max: 100})
	for n := range 3 {
		e := Entry{Tuple: tupleN(n), ID: 1, State: Established, Deadline: Instant(time.Hour), Timeout: time.Hour, Wake: Never}
		switch n {
		case 1:
			e.Previous = 7
		case 2:
			e.Candidate.Win = 1
		}
		p := put(tb, &e)
		again(tb, p)
		var v View
		tb.Lookup(0, &e.Tuple, &v)
		tb.Kill(0, &v, EndKilled)
		checkStores(t, tb)
	}
	if a, b, c := inUse(&tb.extras), inUse(&tb.whole), inUse(&tb.wheel.blocks); a != 0 || b != 0 || c != 0 {
		t.Errorf("%d extras, %d whole, %d blocks are left", a, b, c)
	}
}
