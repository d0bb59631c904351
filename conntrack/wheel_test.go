package conntrack

import (
	"math/rand/v2"
	"testing"
	"time"
)

// fill puts n established entries with the given timeout into the table.
func fill(t testing.TB, rg *rig, from, n int, timeout time.Duration) {
	to := *testTimeouts()
	to[Established] = timeout
	rg.p.Timeouts = &to
	for i := from; i < from+n; i++ {
		s := &Segment{Tuple: tupleN(i), Flags: ACK, Seq: 1, Ack: 1, Window: 100}
		if _, c, _ := rg.step(s, &Rules{}, CreateLiberal); c.Entry == nil {
			t.Fatalf("entry %d was not made", i)
		}
	}
}

// TestExpiryIsExact checks every power of two and its neighbours as a timeout: absent at the deadline, present one nanosecond
// before, and swept at once when Next says so.
func TestExpiryIsExact(t *testing.T) {
	for _, start := range []Instant{0, 1, 1<<20 - 1, 1 << 26, Instant(time.Hour), 1_700_000_000_000_000_000} {
		for bit := 0; bit < 55; bit++ {
			for _, d := range []time.Duration{1<<bit - 1, 1 << bit, 1<<bit + 1} {
				rg := newRig(t, Config{Max: 4, Tombstones: 4})
				rg.now = start
				fill(t, rg, 0, 1, d)
				deadline := start.Add(d)
				for rg.table.Next() < deadline {
					if rg.now = rg.table.Next(); rg.table.Advance(rg.now, 10) != 0 {
						t.Fatalf("start %d, timeout %d: buried at %d", start, d, rg.now)
					}
				}
				if rg.table.Next() != deadline && d > 0 && rg.table.Next() > deadline {
					t.Fatalf("start %d, timeout %d: next is %d", start, d, rg.table.Next())
				}
				if rg.now = deadline - 1; d > 0 && rg.look(tupleN(0)).Entry == nil {
					t.Fatalf("start %d, timeout %d: absent too early", start, d)
				}
				rg.now = deadline
				v := rg.look(tupleN(0))
				if v.Entry != nil || v.Expired == nil || !v.HasTomb || v.Tombstone.Forgotten != deadline {
					t.Fatalf("start %d, timeout %d: %+v", start, d, v)
				}
				if n := rg.table.Advance(deadline, 10); n != 1 {
					t.Fatalf("start %d, timeout %d: %d buried at the deadline", start, d, n)
				}
				if w := rg.look(tupleN(0)); w.Tombstone != v.Tombstone || w.HasTomb != v.HasTomb || w.Expired != nil {
					t.Fatalf("the view changed by sweeping:\n%+v\n%+v", v, w)
				}
			}
		}
	}
}

// TestRefreshIsLazy: a refresh touches the entry alone, however often; the wheel finds it when the old tick comes.
func TestRefreshIsLazy(t *testing.T) {
	rg := newRig(t, Config{Max: 4})
	fill(t, rg, 0, 1, time.Minute)
	v := rg.look(tupleN(0))
	slot, first := rg.table.link(v.Entry.index).timer, rg.now
	for range 1000 {
		rg.now = rg.now.Add(50 * time.Millisecond)
		rg.step(&Segment{Tuple: tupleN(0), Flags: ACK, Seq: 1, Ack: 1, Window: 100}, &Rules{}, NumEffects)
	}
	if e := rg.look(tupleN(0)).Entry; rg.table.link(e.index).timer != slot || e.Deadline != rg.now.Add(time.Minute) {
		t.Fatalf("slot %d, was %d", rg.table.link(e.index).timer, slot)
	}
	rg.now = first.Add(61 * time.Second)
	for rg.table.Next() <= rg.now {
		if rg.table.Advance(rg.now, 10) != 0 {
			t.Fatal("buried a refreshed entry")
		}
	}
	checkTable(t, rg.table)
}

// TestAdvanceIsBounded: neither many due entries nor many that only move make one call long.
func TestAdvanceIsBounded(t *testing.T) {
	rg := newRig(t, Config{Max: 5000})
	fill(t, rg, 0, 2000, time.Hour)
	fill(t, rg, 2000, 2000, 2*time.Hour)
	rg.now = rg.now.Add(time.Hour)
	calls, buried := 0, 0
	for ; rg.table.Next() <= rg.now; calls++ {
		n := rg.table.Advance(rg.now, 10)
		if n > 10 {
			t.Fatalf("%d buried, limit 10", n)
		}
		buried += n
	}
	if buried != 2000 || rg.table.Len() != 2000 || calls < 200 {
		t.Fatalf("%d buried in %d calls, %d left", buried, calls, rg.table.Len())
	}
	checkTable(t, rg.table)
}

// TestAmortisedCost counts how often entries move between slots: at most once a level.
func TestAmortisedCost(t *testing.T) {
	rg := newRig(t, Config{Max: 3000})
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		fill(t, rg, i, 1, time.Duration(r.Int64N(int64(5*24*time.Hour))))
	}
	calls := 0
	for rg.table.Len() > 0 {
		rg.now = rg.table.Next()
		rg.table.Advance(rg.now, 1)
		if calls++; calls > 3000*wheelLevels {
			t.Fatalf("%d steps for 3000 entries", calls)
		}
	}
}

// TestDeadlinesThatMove: shortened, retimed both ways, and never.
func TestDeadlinesThatMove(t *testing.T) {
	rg := newRig(t, Config{Max: 10})
	fill(t, rg, 0, 1, 5*24*time.Hour)
	tu := tupleN(0)
	v := rg.look(tu)
	s := &Segment{Tuple: tu, Flags: ACK, Seq: 1, Ack: 1}
	rg.table.Commit(rg.now, &v, s, RstInexact, Keep, Timer{TimerShorten, 10 * time.Second}, &rg.p)
	if rg.table.Next() > rg.now.Add(10*time.Second) || v.Entry.Flags&EntryShortened == 0 {
		t.Fatalf("next %d", rg.table.Next())
	}
	rg.table.Commit(rg.now, &v, s, RstInexact, Keep, Timer{TimerShorten, time.Hour}, &rg.p)
	if v.Entry.Deadline != rg.now.Add(10*time.Second) {
		t.Fatal("shorten made it longer")
	}
	rg.table.Retime(rg.now, v.Entry, &rg.p)
	if v.Entry.Deadline != rg.now.Add(10*time.Second) {
		t.Fatal("a reload made a shortened timer longer")
	}
	rg.table.Commit(rg.now, &v, s, InWindow, Track, Timer{Op: TimerRefresh}, &rg.p)
	never := *rg.p.Timeouts
	never[Established] = time.Duration(Never)
	rg.table.Retime(rg.now, v.Entry, &Params{Timeouts: &never})
	if rg.table.Next() != Never || v.Entry.Deadline != Never {
		t.Fatalf("next %d for an entry that never expires", rg.table.Next())
	}
	short := never
	short[Established] = time.Second
	rg.table.Retime(rg.now, v.Entry, &Params{Timeouts: &short})
	if rg.table.Next() > rg.now.Add(time.Second) {
		t.Fatal("retimed to a second, but not queued")
	}
	checkTable(t, rg.table)
	rg.now = rg.now.Add(time.Second)
	if rg.table.Advance(rg.now, 5) != 1 {
		t.Fatal("not buried")
	}
}

// TestClockBackwards: an Instant before the last is harmless.
func TestClockBackwards(t *testing.T) {
	rg := newRig(t, Config{Max: 10})
	fill(t, rg, 0, 2, time.Second)
	rg.table.Advance(rg.now.Add(500*time.Millisecond), 5)
	rg.now -= Instant(30 * time.Minute)
	fill(t, rg, 2, 2, time.Second)
	rg.table.Advance(rg.now, 5)
	checkTable(t, rg.table)
	rg.now = -5
	fill(t, rg, 4, 1, 3)
	rg.now = -3
	if v := rg.look(tupleN(4)); v.Entry == nil {
		t.Error("expired too early")
	}
	rg.now = -2
	if v := rg.look(tupleN(4)); v.Entry != nil {
		t.Error("not expired")
	}
	drain(t, rg)
}

// TestExpired: the finding of an end by time is by the state that it came in, and other ends have none.
func TestExpired(t *testing.T) {
	want := [NumStates]Finding{SynSent: IdleEmbryonic, SynRecv: IdleEmbryonic, SynSent2: IdleEmbryonic, Established: IdleExpired,
		FinWait: IdleHalfClosed, CloseWait: IdleHalfClosed, LastAck: IdleExpired, TimeWait: IdleExpired, Close: IdleExpired}
	for s := SynSent; s < NumStates; s++ {
		e := Entry{State: s}
		for why := EndNone; why < NumEndReasons; why++ {
			f, ok := e.Expired(why)
			switch why {
			case EndDead:
				if f != DeadConnection || !ok {
					t.Errorf("%v dead: %v", s, f)
				}
			case EndIdle, EndAdaptive:
				if f != want[s] || ok != (s != Denied) {
					t.Errorf("%v %v: %v", s, why, f)
				}
			default:
				if ok {
					t.Errorf("%v %v: %v", s, why, f)
				}
			}
		}
	}
}
