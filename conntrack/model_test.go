package conntrack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// model is the table as one would write it without caring for cost: a map and a linear scan.
type model struct {
	flows map[Tuple]*modelFlow
	max   int
	emb   int
}

type modelFlow struct {
	id       uint64
	state    State
	deadline Instant
	born     int // order of becoming embryonic
}

func (m *model) embryonic(now Instant) (n int) {
	for _, f := range m.flows {
		if f.state.Embryonic() && f.deadline > now {
			n++
		}
	}
	return n
}

func (m *model) alive(now Instant) (n int) {
	for _, f := range m.flows {
		if f.deadline > now {
			n++
		}
	}
	return n
}

func (m *model) sweep(now Instant) {
	for k, f := range m.flows {
		if f.deadline <= now {
			delete(m.flows, k)
		}
	}
}

// timeoutsOf mixes very short, zero and very long timers.
func timeoutsOf(r *rand.Rand) *Timeouts {
	choices := []time.Duration{0, 1, 999, time.Microsecond, time.Millisecond, 1<<20 - 1, 1 << 20, 67 * time.Millisecond, time.Second, 5 * time.Second,
		5 * time.Minute, time.Hour, 5 * 24 * time.Hour, 400 * 24 * time.Hour}
	var to Timeouts
	for i := range to {
		to[i] = choices[r.IntN(len(choices))]
	}
	return &to
}

func tupleN(n int) Tuple {
	a := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	b := netip.AddrFrom4([4]byte{10, 0, byte(n>>8) ^ 0x55, byte(n * 7)})
	return MakeTuple(netip.AddrPortFrom(a, uint16(n)), netip.AddrPortFrom(b, 515))
}

// TestModel plays random operations on a Table and on the model, and compares what each says.
func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playModel(t, rand.New(rand.NewPCG(seed, 7)), 4000) })
	}
}

func playModel(t *testing.T, r *rand.Rand, steps int) {
	rg := newRig(t, Config{Max: 40, MaxEmbryonic: 15, Tombstones: 9})
	tb := rg.table
	m := &model{flows: map[Tuple]*modelFlow{}, max: 40, emb: 15}
	sets := []*Timeouts{timeoutsOf(r), timeoutsOf(r), testTimeouts()}
	for step := range steps {
		jumps := []time.Duration{0, 1, time.Microsecond, time.Millisecond, 1 << 20, 100 * time.Millisecond, time.Second, time.Minute, time.Hour, 30 * time.Hour}
		if r.IntN(3) == 0 {
			rg.now = rg.now.Add(jumps[r.IntN(len(jumps))])
		}
		rg.p.Timeouts = sets[r.IntN(len(sets))]
		tu := tupleN(r.IntN(60))
		key, _ := tu.Canonical()
		if r.IntN(2) == 0 {
			tu = tu.Reverse()
		}
		switch op := r.IntN(20); {
		case op < 14:
			modelCommit(t, rg, m, r, tu)
		case op < 16:
			v := rg.look(tu)
			tb.Kill(rg.now, &v, EndKilled)
			if f := m.flows[key]; f != nil && f.deadline > rg.now {
				delete(m.flows, key)
			}
		case op < 18:
			tb.Advance(rg.now, 1+r.IntN(5))
		default:
			_, ok := tb.Room(rg.now)
			if want := m.alive(rg.now) < m.max && m.embryonic(rg.now) < m.emb; ok != want {
				t.Fatalf("step %d: room %v, model says %v", step, ok, want)
			}
			if !ok {
				i := tb.lists[listEmbryonic].first
				if i != none {
					old, _ := tb.glance(i).Tuple.Canonical()
					delete(m.flows, old)
				}
				if tb.Evict(rg.now, false) != (i != none) {
					t.Fatal("evict")
				}
			}
		}
		compareModel(t, rg, m, step)
		if step%97 == 0 {
			checkTable(t, tb)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	drain(t, rg)
}

// drain lets all time pass and checks that nothing is left.
func drain(t *testing.T, rg *rig) {
	for range 100000 {
		if rg.now = rg.table.Next(); rg.now == Never {
			break
		}
		rg.table.Advance(rg.now, 3)
	}
	if rg.table.Len() != 0 || len(rg.live) != 0 || rg.table.wheel.queued != 0 {
		t.Fatalf("%d entries, %d flows that never ended, %d timers", rg.table.Len(), len(rg.live), rg.table.wheel.queued)
	}
}

// modelCommit commits a random segment with a random effect and enters the result in the model. Which state a segment leads
// to is the machine's business, tested elsewhere; what the model checks is the book-keeping.
func modelCommit(t *testing.T, rg *rig, m *model, r *rand.Rand, tu Tuple) {
	key, _ := tu.Canonical()
	flags := []Flags{SYN, SYN | ACK, ACK, FIN | ACK, RST}[r.IntN(5)]
	s := &Segment{Tuple: tu, Flags: flags, Seq: Seq(r.Uint32N(4)), Ack: Seq(r.Uint32N(4)), Window: 100}
	var v View
	rg.table.Lookup(rg.now, &tu, &v)
	c := Classify(rg.now, &v, s, &Rules{})
	tm := Timer{Op: TimerOp(r.IntN(int(NumTimerOps))), D: time.Duration(r.IntN(2000)) * time.Millisecond}
	effect := Effect(r.IntN(int(NumEffects)))
	if r.IntN(2) == 0 {
		effect = c.Finding.Info().Effect
	}
	before := m.flows[key]
	if before != nil && before.deadline <= rg.now {
		before = nil
	}
	was := 0
	if v.Entry != nil {
		was = int(v.Entry.ID)
	}
	ch := rg.table.Commit(rg.now, &v, s, c.Finding, effect, tm, &rg.p)
	if (before != nil) != (was != 0) {
		t.Fatalf("the model and the table disagree about %v", key)
	}
	if ch.Entry == nil {
		if before != nil || v.Entry == nil && (effect == Create || effect == CreateLiberal) && v.Expired != nil && flags == SYN {
			delete(m.flows, key)
		}
		return
	}
	e := ch.Entry
	rg.live[e.ID] = true
	f := m.flows[key]
	if before == nil || f.id != e.ID {
		f = &modelFlow{id: e.ID}
		m.flows[key] = f
	}
	want := f.deadline
	switch {
	case before == nil || before.id != e.ID || tm.Op == TimerRefresh:
		want = rg.now.Add(rg.p.Timeouts[e.State])
		if tm.Op == TimerShorten {
			want = min(want, rg.now.Add(tm.D))
		}
	case tm.Op == TimerShorten:
		want = min(want, rg.now.Add(tm.D))
	}
	if e.Deadline != want {
		t.Fatalf("%v %v %v: deadline %d, want %d", c.Finding, effect, tm, e.Deadline, want)
	}
	f.state, f.deadline = e.State, e.Deadline
}

func compareModel(t *testing.T, rg *rig, m *model, step int) {
	t.Helper()
	next := Never
	for n := range 60 {
		tu := tupleN(n)
		key, _ := tu.Canonical()
		v := rg.look(tu)
		f := m.flows[key]
		if f != nil && f.deadline > rg.now {
			if v.Entry == nil || v.Entry.ID != f.id || v.Entry.State != f.state {
				t.Fatalf("step %d: tuple %d: table has %+v, model %+v", step, n, v.Entry, f)
			}
		} else if v.Entry != nil {
			t.Fatalf("step %d: tuple %d: the table holds flow %d, which the model does not", step, n, v.Entry.ID)
		}
		if v.Entry != nil {
			next = min(next, v.Entry.Deadline)
		}
		if v.Expired != nil {
			next = min(next, v.Expired.Deadline)
		}
	}
	if got := rg.table.Next(); got > next {
		t.Fatalf("step %d: next is %d, but an entry is due at %d", step, got, next)
	}
}
