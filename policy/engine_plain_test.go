package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
)

// talk makes the segments of a few connections that live as connections do: mostly plain, with something odd now and then.
type talk struct {
	rng   *rand.Rand
	now   conntrack.Instant
	pairs [10]couple
}

// couple is both ends of a connection, 0 the client.
type couple struct {
	phase  int // segments of the handshake so far; 3 is established, above that it has closed
	stamps bool
	scale  [2]uint8
	next   [2]conntrack.Seq // the number that the end sends next
	acked  [2]conntrack.Seq // and the one that it acknowledged last
	window [2]uint16
}

func (k *talk) segment() conntrack.Segment {
	i := k.rng.IntN(len(k.pairs))
	p := &k.pairs[i]
	tu := conntrack.MakeTuple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1000+uint16(i)), netip.MustParseAddrPort("192.0.2.1:515"))
	if i%3 == 2 {
		tu = conntrack.MakeTuple(netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::%x]:%d", i, 1000+i)), netip.MustParseAddrPort("[2001:db8:1::9]:515"))
	}
	s := conntrack.Segment{Tuple: tu, Flags: conntrack.ACK, Window: 1000}
	from := 0
	switch {
	case p.phase == 0 && k.rng.IntN(8) == 0: // taken up in its middle
		p.phase, p.next, p.window = 3, [2]conntrack.Seq{k.number(), k.number()}, [2]uint16{1000, 1000}
		p.acked = [2]conntrack.Seq{p.next[1], p.next[0]}
		return k.more(p, tu)
	case p.phase == 0:
		*p = couple{stamps: k.rng.IntN(2) == 0, scale: [2]uint8{uint8(k.rng.IntN(9)), uint8(k.rng.IntN(9))}, next: [2]conntrack.Seq{k.number(), k.number()}}
		s.Flags, s.Seq = conntrack.SYN, p.next[0]
		p.next[0]++
	case p.phase == 1:
		from = 1
		s.Tuple, s.Flags, s.Seq, s.Ack = tu.Reverse(), conntrack.SYN|conntrack.ACK, p.next[1], p.next[0]
		p.next[1]++
		p.acked[1] = p.next[0]
	case p.phase == 2:
		s.Seq, s.Ack = p.next[0], p.next[1]
		p.acked[0] = p.next[1]
		p.window = [2]uint16{1000, 1000}
	default:
		return k.more(p, tu)
	}
	p.phase++
	if s.Flags&conntrack.SYN != 0 {
		s.Options = conntrack.Options{Has: conntrack.OptMSS | conntrack.OptSACKPermitted | conntrack.OptWScale, MSS: 1400, WScale: p.scale[from]}
	}
	return k.finish(p, s)
}

// number is often close to where numbers wrap.
func (k *talk) number() conntrack.Seq {
	return conntrack.Seq(k.rng.Uint32()>>(k.rng.IntN(2)*20)) - 3000
}

// more is what one of the ends of an established connection says next.
func (k *talk) more(p *couple, tu conntrack.Tuple) conntrack.Segment {
	from := k.rng.IntN(2)
	s := conntrack.Segment{Tuple: tu, Flags: conntrack.ACK, Seq: p.next[from], Window: p.window[from]}
	if from == 1 {
		s.Tuple = tu.Reverse()
	}
	if k.rng.IntN(3) > 0 {
		p.acked[from] = p.next[1-from]
	}
	s.Ack = p.acked[from]
	if k.rng.IntN(2) == 0 {
		s.Len, s.Flags = uint32(1+k.rng.IntN(1400)), s.Flags|conntrack.PSH
	}
	switch k.rng.IntN(100) {
	case 0:
		s.Seq -= conntrack.Seq(k.rng.IntN(3000))
	case 1:
		s.Seq += conntrack.Seq(k.rng.IntN(3000) << k.rng.IntN(9))
	case 2:
		s.Ack += conntrack.Seq(k.rng.IntN(3000))
	case 3:
		s.Ack -= conntrack.Seq(k.rng.IntN(3000) << k.rng.IntN(9))
	case 4, 11, 12:
		s.Seq, s.Len = s.Seq-1, uint32(k.rng.IntN(2))
	case 5:
		p.window[from] = uint16(k.rng.IntN(3)) * 1000
	case 6:
		s.Flags |= []conntrack.Flags{conntrack.URG, conntrack.FIN, conntrack.RST, conntrack.SYN, conntrack.ECE, conntrack.CWR}[k.rng.IntN(6)]
		if s.Flags&(conntrack.FIN|conntrack.RST) != 0 {
			p.phase++
		}
	case 7:
		s.Fragment, s.GSO = k.rng.IntN(2) == 0, k.rng.IntN(2) == 0
	case 8:
		s.Len *= 9
		s.GSO = k.rng.IntN(2) == 0
	case 9:
		s.Options = conntrack.Options{Has: conntrack.OptSACK, NSACK: 1, SACK: [4]conntrack.SACKBlock{{Left: s.Ack + 100, Right: s.Ack + 100 + conntrack.Seq(k.rng.IntN(2000))}}}
	case 10:
		s.Checksum = conntrack.ChecksumBad
	}
	if p.phase > 3 && k.rng.IntN(6) == 0 {
		p.phase = 0
	}
	if s.Seq == p.next[from] {
		p.next[from] = s.End()
	}
	return k.finish(p, s)
}

// finish gives a segment its timestamp and its length.
func (k *talk) finish(p *couple, s conntrack.Segment) conntrack.Segment {
	if p.stamps && k.rng.IntN(60) > 0 {
		s.Options.Has |= conntrack.OptTimestamp
		s.Options.TSVal = uint32(k.now/1e6) + 1
		if k.rng.IntN(60) == 0 {
			s.Options.TSVal = uint32(k.rng.IntN(2)) * (s.Options.TSVal - 50)
		}
	}
	s.Bytes = 40 + s.Len
	return s
}

// hidden are the words of an entry that say where it lies, and not what it is.
var hidden = regexp.MustCompile(` (list|history|index|queued):-?\d+`)

func remembered(e *conntrack.Entry) string {
	return hidden.ReplaceAllString(fmt.Sprintf("%+v", *e), "")
}

// twins are two engines with the same life, one of which takes the short way of plain segments and one of which does not.
type twins struct {
	t     testing.TB
	e     [2]*Engine
	log   [2]strings.Builder // of events since they were compared last
	plain int
}

func newTwins(t testing.TB, p *Policy) *twins {
	w := &twins{t: t}
	for i := range w.e {
		w.e[i] = NewEngine(EngineConfig{Policy: p, MaxHolds: 3, Start: 1})
	}
	w.e[1].plain.refused = true
	return w
}

func (w *twins) told(i int) func(*TimeEvent) {
	return func(ev *TimeEvent) {
		fmt.Fprintf(&w.log[i], "%v %v %v %v: %s\n", ev.Kind, ev.At, ev.Finding, ev.HasEmit, w.flow(&ev.Flow))
	}
}

func (w *twins) flow(ev *FlowEvent) string {
	return fmt.Sprint(ev.Kind, " ", ev.Why, " ", ev.At, " ", ev.Rule, " ", remembered(&ev.Entry))
}

// step steps both, and compares what they say.
func (w *twins) step(now conntrack.Instant, s *conntrack.Segment, uncount bool) {
	a, b := w.e[0].Step(now, s), w.e[1].Step(now, s)
	if w.e[0].plain.last != nil {
		w.plain++
	}
	if len(a.Flows)+len(b.Flows) > 0 {
		w.same("flow events", fmt.Sprint(len(a.Flows)), fmt.Sprint(len(b.Flows)))
		for i := range a.Flows {
			w.same("a flow event", w.flow(&a.Flows[i]), w.flow(&b.Flows[i]))
		}
	}
	x, y := *a, *b
	x.Flows, y.Flows = nil, nil
	if !reflect.DeepEqual(&x, &y) {
		w.t.Fatalf("%s > %s at %d: the short way says\n%+v\nthe long way\n%+v", s.Tuple.From(), s.Flags, now, x, y)
	}
	if uncount {
		w.e[0].Uncount()
		w.e[1].Uncount()
	}
}

func (w *twins) same(what, a, b string) {
	w.t.Helper()
	if a != b {
		w.t.Fatalf("%s: the short way says\n%s\nthe long way\n%s", what, a, b)
	}
}

// compare compares what both remember, and what they have told.
func (w *twins) compare() {
	w.same("what was told", w.log[0].String(), w.log[1].String())
	var all [2][]string
	for i, e := range w.e {
		w.log[i].Reset()
		e.Walk(0, 1<<20, func(ent *conntrack.Entry) bool {
			all[i] = append(all[i], remembered(ent))
			return true
		})
	}
	w.same("number of entries", fmt.Sprint(len(all[0])), fmt.Sprint(len(all[1])))
	for i := range all[0] {
		w.same("an entry", all[0][i], all[1][i])
	}
	w.same("next", fmt.Sprint(w.e[0].Next()), fmt.Sprint(w.e[1].Next()))
}

// live lets both live through n random operations.
func (w *twins) live(k *talk, n int, policies []*Policy) {
	for range n {
		switch op := k.rng.IntN(1000); {
		case op < 20:
			k.now = k.now.Add(time.Duration(k.rng.IntN(40)) * time.Second)
		case op < 22:
			k.now = k.now.Add(time.Duration(k.rng.IntN(20)) * time.Hour)
		case op < 40:
			limit := 1 + k.rng.IntN(4)
			for i, e := range w.e {
				e.Advance(k.now, limit, w.told(i))
			}
		case op < 43:
			for i, e := range w.e {
				e.FlushCounted(k.now, 1<<20, func(ev *FlowEvent) { w.log[i].WriteString(w.flow(ev)) })
			}
		case op < 45:
			for _, e := range w.e {
				e.Gap(k.now)
			}
		case op < 47:
			p, live := policies[k.rng.IntN(len(policies))], Reload(k.rng.IntN(3))
			for _, e := range w.e {
				e.Swap(k.now, p, live)
			}
		case op < 60:
			w.compare()
		default:
			s := k.segment()
			w.step(k.now, &s, k.rng.IntN(20) == 0)
			k.now = k.now.Add(time.Duration(k.rng.IntN(300)) * time.Millisecond)
		}
	}
	w.compare()
}

// The short way of a plain segment is the long way: every outcome, event and entry is the same, under every preset, through reloads,
// gaps, and time.
func TestPlainStep(t *testing.T) {
	every := everyPolicy()
	for i, name := range slices.Sorted(maps.Keys(every)) {
		seed, text := uint64(i), every[name]
		if seed%breadth != 0 && !strings.HasPrefix(name, "hostile") && name != "linux-default" && name != "openbsd-pf" && name != "observe" {
			continue
		}
		p := policyOf(t, text)
		policies := []*Policy{p, p, p, policyOf(t, "preset: linux-default"), policyOf(t, hostile), policyOf(t, text)}
		plain := 0
		for part := range uint64(2) {
			w := newTwins(t, p)
			w.live(&talk{rng: rand.New(rand.NewPCG(seed, part)), now: 1}, 6000/breadth, policies)
			plain += w.plain
		}
		if p.settles[0] && plain < 100/breadth {
			t.Errorf("%s: %d segments took the short way", name, plain)
		}
	}
}

// settle brings a connection over the far side of its handshake, with data both ways, and makes the engine file it.
func settle(t *testing.T, e *Engine, now conntrack.Instant) (data, ack conntrack.Segment) {
	t.Helper()
	tu := conntrack.MakeTuple(netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("192.0.2.1:443"))
	up := conntrack.Segment{Tuple: tu, Flags: conntrack.ACK, Seq: 101, Ack: 901, Window: 1000, Bytes: 40}
	down := conntrack.Segment{Tuple: tu.Reverse(), Flags: conntrack.ACK, Seq: 901, Ack: 101, Window: 1000, Bytes: 40}
	syn, answer, ask, reply := up, down, up, down
	syn.Flags, syn.Seq, syn.Ack = conntrack.SYN, 100, 0
	answer.Flags, answer.Seq = conntrack.SYN|conntrack.ACK, 900
	ask.Len, reply.Len, reply.Ack = 10, 10, 111
	last := up
	last.Seq, last.Ack = 111, 911
	more := down
	more.Seq, more.Ack = 911, 111
	for i, s := range []conntrack.Segment{syn, answer, up, ask, reply, last, more} {
		if out := e.Step(now, &s); out.Verdict != Forward {
			t.Fatalf("segment %d: %s", i, out.Finding)
		}
	}
	data, ack = last, more
	data.Len, ack.Ack = 10, 121
	return data, ack
}

// Under the kernel's check a connection whose data is not acknowledged has five minutes instead of five days, also where the wheel had not
// meant to look at it for days.
func TestPlainStepShortensTheTimer(t *testing.T) {
	e := NewEngine(EngineConfig{Policy: policyOf(t, "preset: linux-default")})
	var ended []conntrack.Instant
	emit := func(ev *TimeEvent) {
		if ev.Kind == TimeFlow && ev.Flow.Kind == FlowEnd {
			ended = append(ended, ev.At)
		}
	}
	now := conntrack.Instant(time.Hour)
	data, ack := settle(t, e, now)
	now = now.Add(time.Hour)
	for e.Advance(now, 100, emit) {
	}
	for _, s := range []*conntrack.Segment{&ack, &data} { // an ACK of nothing new, and data
		if s == &ack {
			s.Ack = 111
		}
		if out := e.Step(now, s); !out.Counted || e.plain.last == nil {
			t.Fatalf("%s, the short way: %v", out.Finding, e.plain.last != nil)
		}
	}
	if next := e.Next(); next > now.Add(300*time.Second) {
		t.Errorf("the wheel looks at it in %v", next.Sub(now))
	}
	for at := now; at <= now.Add(310*time.Second); at = at.Add(time.Second) {
		for e.Advance(at, 100, emit) {
		}
	}
	if len(ended) != 1 || ended[0] != now.Add(300*time.Second) {
		t.Errorf("ended at %v, the data came at %v", ended, now)
	}
}

// frozen is a fast path that counts how often it was told to stop.
type frozen struct{ n int }

func (f *frozen) Peek(*conntrack.Entry) (conntrack.Progress, bool) {
	return conntrack.Progress{}, false
}
func (f *frozen) Freeze(*conntrack.Entry) (conntrack.Progress, bool) {
	f.n++
	return conntrack.Progress{}, false
}
func (f *frozen) Ended(*conntrack.Entry) {}

// What a fast path has may have moved there: it is stopped before the next segment is judged.
func TestPlainStepLeavesTheFastPathAlone(t *testing.T) {
	path := &frozen{}
	e := NewEngine(EngineConfig{Policy: policyOf(t, "preset: observe"), Fast: path})
	data, ack := settle(t, e, 1)
	if e.Step(2, &data); e.plain.last == nil {
		t.Fatal("it does not take the short way as it is")
	}
	if !e.SetSlot(&data.Tuple, 5) {
		t.Fatal("no connection")
	}
	for i, want := range []int{1, 2} {
		if out := e.Step(3, &ack); out.Slot != 5 || path.n != want {
			t.Errorf("segment %d: slot %d, stopped %d times", i, out.Slot, path.n)
		}
	}
}
