package policy

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"time"

	"halfopen/conntrack"
)

// This file is a network of TCP ends, simple but true to life, whose segments pass a gateway: they lose, reorder and repeat segments, fill
// windows and close them, acknowledge selectively, rest for hours, and close or reset.

// network plays conversations. Its clock jumps from event to event.
type network struct {
	r      *rand.Rand
	now    conntrack.Instant
	events events
	gate   func(s conntrack.Segment, deliver func())
	live   int
}

type event struct {
	at conntrack.Instant
	n  int // of events at one instant, the first comes first
	do func()
}

type events struct {
	list []event
	n    int
}

func (e *events) Len() int { return len(e.list) }
func (e *events) Less(i, j int) bool {
	return e.list[i].at < e.list[j].at || e.list[i].at == e.list[j].at && e.list[i].n < e.list[j].n
}
func (e *events) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *events) Push(x any)    { e.list = append(e.list, x.(event)) }
func (e *events) Pop() any {
	x := e.list[len(e.list)-1]
	e.list = e.list[:len(e.list)-1]
	return x
}

func (w *network) after(d time.Duration, do func()) {
	w.events.n++
	heap.Push(&w.events, event{w.now.Add(max(d, 1)), w.events.n, do})
}

func (w *network) chance(percent int) bool { return w.r.IntN(100) < percent }

func (w *network) upTo(d time.Duration) time.Duration { return time.Duration(w.r.Int64N(int64(d))) }

// dialogue is a conversation.
type dialogue struct {
	w                         *network
	tu                        conntrack.Tuple
	end                       [2]*tcpEnd
	mss                       uint32
	ts, sack, gso, scaled     bool
	delay                     time.Duration
	loss, dup, jitter, ecn    int // percent
	clock                     uint32
	hostile                   bool
	before, late              bool // its first segments go past the gateway; a segment of long ago comes again
	segments, limit, silences int
	old                       []conntrack.Segment
}

// dial begins a conversation between ports that are few, so that tuples are used again.
func (w *network) dial(port uint16, limit int) {
	r := w.r
	a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(port >> 8), 1}), 1000+port)
	c := &dialogue{w: w, tu: conntrack.MakeTuple(a, netip.MustParseAddrPort("192.0.2.1:515")), mss: []uint32{1460, 1448, 536}[r.IntN(3)], ts: w.chance(60), sack: w.chance(70), scaled: w.chance(70),
		gso: w.chance(50), delay: time.Millisecond + w.upTo(40*time.Millisecond), clock: r.Uint32() | 1, before: w.chance(8), limit: limit, late: w.chance(30), hostile: w.chance(20)}
	if w.chance(50) {
		c.loss, c.dup, c.jitter = r.IntN(6), r.IntN(3), r.IntN(20)
	}
	for i := range c.end {
		iss := conntrack.Seq(r.Uint32())
		if w.chance(40) {
			iss = conntrack.Seq(-r.Uint32N(50000))
		}
		e := &tcpEnd{w: w, c: c, dir: conntrack.Direction(i), una: iss, nxt: iss, most: iss, reading: true, room: 2000 + r.IntN(60000), backoff: 200 * time.Millisecond}
		if c.scaled {
			e.scale = uint8(r.IntN(9))
			e.room <<= r.IntN(int(e.scale) + 1)
		}
		c.end[i] = e
	}
	w.live++
	c.end[0].syn()
	c.end[0].app()
	c.end[1].app()
}

// travel takes a segment to the gateway and on to the other end, or loses it on either way.
func (c *dialogue) travel(s conntrack.Segment) {
	w := c.w
	to := c.end[1]
	if s.Tuple != c.tu {
		to = c.end[0]
	}
	way := func() time.Duration {
		if w.chance(c.jitter) {
			return c.delay + w.upTo(20*time.Millisecond)
		}
		return c.delay
	}
	if w.chance(c.loss) {
		return
	}
	arrive := func() {
		if !w.chance(c.loss) {
			w.after(way(), func() { to.receive(s) })
		}
	}
	w.after(way(), func() {
		if c.segments++; c.before && c.segments < 40 {
			arrive()
			return
		}
		w.gate(s, arrive)
	})
}
