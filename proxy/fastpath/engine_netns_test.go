//go:build netns

package fastpath_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy"
	"halfopen/proxy/fastpath"
)

// bridge is the engine's view of the program: what the worker does, without the worker.
type bridge struct {
	*testing.T
	flows *fastpath.Flows
	last  map[uint32]fastpath.Snapshot
}

func (b *bridge) progress(e *conntrack.Entry, read func(uint32) (fastpath.Snapshot, error)) (p conntrack.Progress, ok bool) {
	s, err := read(e.FastSlot)
	if err != nil {
		b.Fatal(err)
	}
	was := b.last[e.FastSlot]
	p.Fast = s.Fast
	for dir := range p.Packets {
		p.Packets[dir], p.Bytes[dir] = s.Packets[dir]-was.Packets[dir], s.Bytes[dir]-was.Bytes[dir]
	}
	b.last[e.FastSlot] = s
	return p, p.Packets != [2]uint64{}
}

func (b *bridge) Peek(e *conntrack.Entry) (conntrack.Progress, bool) {
	return b.progress(e, b.flows.Read)
}

func (b *bridge) Freeze(e *conntrack.Entry) (conntrack.Progress, bool) {
	return b.progress(e, b.flows.Freeze)
}

func (b *bridge) Ended(e *conntrack.Entry) {
	delete(b.last, e.FastSlot)
	if err := b.flows.Remove(e.FastSlot); err != nil {
		b.Fatal(err)
	}
}

// twins are two engines of one policy: one steps every segment, the other those that the program does not let pass.
type twins struct {
	*testing.T
	*world
	name              string
	bench             *fastpath.Bench
	bridge            *bridge
	all, rest         *policy.Engine
	tuple             conntrack.Tuple
	slot              uint32
	passed, settled   int
	allTold, restTold []told
}

// told is what an engine tells of a flow's end.
type told struct {
	id             uint64
	why            conntrack.EndReason
	finding        conntrack.Finding
	kind           policy.TimeKind
	packets, bytes [2]uint64
}

func tell(to *[]told) func(*policy.TimeEvent) {
	return func(ev *policy.TimeEvent) {
		e := &ev.Flow.Entry
		*to = append(*to, told{e.ID, ev.Flow.Why, ev.Finding, ev.Kind, [2]uint64{e.Side[0].Packets, e.Side[1].Packets}, [2]uint64{e.Side[0].Bytes, e.Side[1].Bytes}})
	}
}

// TestEngine runs random connections past an engine that steps every segment, and past the program with an engine behind it, under every
// preset: what the program passes is in-window to the first, and after what it punts both engines have found, decided and remembered
// the same.
func TestEngine(t *testing.T) {
	n := segments(t, 1_000_000)
	bench, flows := newBench(t, 8, true, false)
	presets := policy.Presets()
	passed := 0
	for i, name := range presets {
		data, _ := policy.Preset(name)
		p, problems := policy.Load(name, data, nil)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		b := &bridge{T: t, flows: flows, last: map[uint32]fastpath.Snapshot{}}
		tw := &twins{T: t, name: name, bench: bench, bridge: b, world: &world{Rand: rand.New(rand.NewPCG(7, uint64(i))), dec: proxy.NewDecoder()}}
		tw.now = 1 << 40
		tw.all = policy.NewEngine(policy.EngineConfig{Policy: p, NoAdopt: true})
		tw.rest = policy.NewEngine(policy.EngineConfig{Policy: p, NoAdopt: true, Fast: b})
		for done := 0; done < n/len(presets); {
			done += tw.connection()
		}
		t.Logf("%-20s %d passed, %d settled steps", name, tw.passed, tw.settled)
		passed += tw.passed
	}
	if passed < n/6 {
		t.Errorf("%d of %d segments passed: the test does not reach what it is for", passed, n)
	}
}

// handshake opens a connection for both engines.
func (w *twins) handshake() {
	w.tuple = w.world.tuple()
	w.f.iopts, w.f.chain, w.f.more, w.f.length0, w.f.urgent, w.f.payload = nil, nil, false, false, 0, 0
	isn := [2]conntrack.Seq{w.seq(), w.seq()}
	stamps, sack, scale := w.chance(2), w.chance(2), w.chance(2)
	for i, flags := range []conntrack.Flags{conntrack.SYN, conntrack.SYN | conntrack.ACK, conntrack.ACK} {
		dir := i & 1
		w.f.tuple = w.tuple
		if dir == 1 {
			w.f.tuple = w.tuple.Reverse()
		}
		w.f.ttl, w.f.flags, w.f.window = 64, flags, uint16(1+w.IntN(65535))
		w.f.seq, w.f.ack = isn[dir], isn[1-dir].Add(1)
		w.f.options = w.f.options[:0]
		if i == 2 {
			w.f.seq = isn[0].Add(1)
		} else {
			w.f.options = append(w.f.options, 2, 4, 5, 0xb4)
			if sack {
				w.f.options = append(w.f.options, 1, 1, 4, 2)
			}
			if scale {
				w.f.options = append(w.f.options, 1, 3, 3, byte(w.IntN(9)))
			}
			if i == 0 {
				w.f.ack = 0
			}
		}
		if stamps {
			w.f.options = binary.BigEndian.AppendUint32(append(w.f.options, 1, 1, 8, 10), uint32(100+i))
			w.f.options = append(w.f.options, 0, 0, 0, 0)
		}
		w.now = w.now.Add(time.Millisecond)
		b := w.f.build()
		w.dec.Decode(b[14:], len(b)-14, proxy.PacketInfo{Partial: true}, &w.seg)
		w.both()
	}
}

// connection is one, from its handshake until it is killed; it returns how many segments it had.
func (w *twins) connection() int {
	w.slot = 0
	w.handshake()
	n := 1 + w.IntN(300)
	run := fastpath.Run{Ifindex: 1}
	for range n {
		before := w.now
		if st, r, _, why := w.all.ArmFast(w.now, &w.tuple); why == conntrack.FastReady {
			w.state, w.rules = st, r
		}
		w.dir = conntrack.Direction(w.IntN(2))
		tu := w.tuple
		if w.dir == conntrack.Reply {
			tu = tu.Reverse()
		}
		run.Frame = w.next(tu)
		if !w.chance(16) {
			run.Frame = w.plain(tu)
		}
		w.now = max(w.now, before)
		run.GSOSize, run.Now, run.Mark = w.gso, w.now, 0
		w.bridge.flows.Beat(w.now)
		if err := w.bench.Run(&run); err != nil {
			w.Fatal(err)
		}
		if w.slot != 0 && run.Reason == 0 && run.NewMark != 0 {
			w.passed++
			seg := w.seg
			if out := w.all.Step(w.now, &seg); out.Finding != conntrack.InWindow || !out.Counted {
				w.Fatalf("%s: the program passes what the engine calls %s (%v): %+v\nstate %+v\nrules %+v", w.name, out.Finding, out.Verdict, w.seg, w.state, w.rules)
			}
			continue
		}
		w.both()
		w.same()
		w.settle()
		if w.chance(20) {
			w.all.Advance(w.now, 100, tell(&w.allTold))
			w.rest.Advance(w.now, 100, tell(&w.restTold))
		}
	}
	any := func(*conntrack.Entry) bool { return true }
	w.all.Kill(w.now, 0, 1<<30, any, tell(&w.allTold))
	w.rest.Kill(w.now, 0, 1<<30, any, tell(&w.restTold))
	if d := cmp.Diff(w.allTold, w.restTold, cmp.AllowUnexported(told{})); d != "" {
		w.Fatalf("%s: ends differ (- the engine alone, + behind the program):\n%s", w.name, d)
	}
	w.allTold, w.restTold = w.allTold[:0], w.restTold[:0]
	if used := w.bridge.flows.Len(); used != 0 {
		w.Fatalf("%s: %d slots are in use after everything ended", w.name, used)
	}
	return n
}

// plain is what most segments are: new data or an acknowledgment, in order.
func (w *twins) plain(tu conntrack.Tuple) []byte {
	snd, rcv := &w.state.Side[w.dir], &w.state.Side[1-w.dir]
	f := &w.f
	f.tuple, f.ttl, f.flags, f.urgent, f.iopts, f.chain, f.more, f.length0 = tu, 64, conntrack.ACK, 0, nil, nil, false, false
	f.seq, f.ack, f.payload = snd.End, rcv.End, w.IntN(2)*w.IntN(1449)
	f.window = uint16(snd.Win >> snd.Scale)
	f.options = f.options[:0]
	w.gso, w.unread = 0, 0
	if snd.Flags&conntrack.SideTimestamp != 0 {
		f.options = binary.BigEndian.AppendUint32(append(f.options, 1, 1, 8, 10), snd.TSRecent+uint32(w.IntN(2)))
		f.options = append(f.options, 0, 0, 0, 0)
	}
	w.now = w.state.LastSeen.Add(time.Duration(w.Int64N(int64(time.Second))))
	b := f.build()
	w.dec.Decode(b[14:], len(b)-14, proxy.PacketInfo{Partial: true}, &w.seg)
	return b
}

// both steps the segment through both engines.
func (w *twins) both() {
	w.Helper()
	s1, s2 := w.seg, w.seg
	a := *w.all.Step(w.now, &s1)
	b := *w.rest.Step(w.now, &s2)
	type outcome struct {
		finding                conntrack.Finding
		expect                 conntrack.Expect
		verdict                policy.PacketAction
		effect                 conntrack.Effect
		flow                   uint64
		before, after          conntrack.State
		idle, remaining, age   time.Duration
		peer, reply, tombstone bool
	}
	of := func(o *policy.Outcome) outcome {
		return outcome{o.Finding, o.Expect, o.Verdict, o.Effect, o.Flow, o.Before, o.After, o.Idle, o.Remaining, o.Age, o.HasPeer, o.HasReply, o.HasTomb}
	}
	if x, y := of(&a), of(&b); x != y {
		w.Fatalf("%s: outcomes differ: the engine alone %+v, behind the program %+v; segment %+v", w.name, x, y, w.seg)
	}
	if b.Settled {
		w.settled++
		if w.slot == 0 {
			w.install()
		}
	}
}

func (w *twins) install() {
	w.tuple = w.rest.Find(w.now, &w.tuple).Tuple // a connection that was taken up may have it the other way round
	slot, err := w.bridge.flows.Install([2]fastpath.Key{{Tuple: w.tuple, Ifindex: 1}, {Tuple: w.tuple.Reverse(), Ifindex: 1}})
	if err != nil {
		w.Fatal(err)
	}
	w.slot = slot
	w.rest.SetSlot(&w.tuple, slot)
}

// settle arms the flow again, or finds that it is gone.
func (w *twins) settle() {
	if w.slot == 0 {
		return
	}
	st, rules, e, why := w.rest.ArmFast(w.now, &w.tuple)
	if e == nil || e.FastSlot != w.slot {
		w.slot = 0
		return
	}
	if why != conntrack.FastReady {
		return
	}
	s, err := w.bridge.flows.Read(w.slot)
	if err != nil {
		w.Fatal(err)
	}
	w.bridge.flows.Arm(w.slot, s.Punt, &st, &rules)
}

// same compares what the two engines remember.
func (w *twins) same() {
	w.Helper()
	f1, r1, _, why1 := w.all.ArmFast(w.now, &w.tuple)
	f2, r2, _, why2 := w.rest.ArmFast(w.now, &w.tuple)
	if f1 != f2 || r1 != r2 || why1 != why2 {
		w.Fatalf("%s: what a fast path is told differs: %+v %+v %v, behind the program %+v %+v %v", w.name, f1, r1, why1, f2, r2, why2)
	}
	if !w.chance(10) {
		return // what differs once goes on to differ, and comparing takes its time
	}
	var both [2]*conntrack.Entry
	for i, e := range []*policy.Engine{w.all, w.rest} {
		if found := e.Find(w.now, &w.tuple); found != nil {
			c := *found
			c.FastPackets, c.FastBytes, c.FastUntold, c.FastSlot, c.Counted = [2]uint64{}, [2]uint64{}, [2]int64{}, 0, 0
			c.FastLook, c.FastEvery = 0, 0 // when the table asks the fast path
			c.Flags &^= conntrack.EntryFastUntold
			both[i] = &c
		}
	}
	if d := cmp.Diff(both[0], both[1], cmpopts.IgnoreUnexported(conntrack.Entry{}, conntrack.Side{})); d != "" {
		w.Fatalf("%s: entries differ (- the engine alone, + behind the program):\n%s\nsegment %+v", w.name, d, w.seg)
	}
}
