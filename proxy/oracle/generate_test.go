package oracle

import (
	"math/rand/v2"

	"halfopen/conntrack"
)

// Short names of the control bits.
const (
	fin = conntrack.FIN
	syn = conntrack.SYN
	rst = conntrack.RST
	psh = conntrack.PSH
	ack = conntrack.ACK
	urg = conntrack.URG
)

// end is what the generator believes of one end: a TCP in a few words.
type end struct {
	nxt    uint32 // its next number
	rcv    uint32 // what it acknowledges
	win    uint16
	scale  int // the shift that it offers, below 0 for none
	sackOK bool
	stamp  bool
	bare   bool // it sends SYNs without options
	fin    bool
}

// profile is how far a flow strays from what two good ends would send: chances in percent, per segment.
type profile struct {
	name   string
	share  int // of all flows, in percent
	again  int // an earlier segment again, as it was
	lose   int // the next good segment is lost before the gateway
	unseen int // the segment is seen but lost behind the gateway: its sender goes on as if it had not been sent
	wrong  int // numbers slightly wrong
	wild   int // numbers far off, odd flags, damage
	attack int // a segment that somebody else would send: SYN, RST, SYN/ACK, FIN out of turn
	middle int // the flow starts in mid-stream
	both   int // both ends dial at once
	dice   bool
}

var profiles = []profile{
	{name: "dice", share: 12, dice: true},
	{name: "clean", share: 18, again: 5, lose: 2, unseen: 2, both: 3, middle: 5},
	{name: "lossy", share: 15, again: 15, lose: 12, unseen: 12, wrong: 2, both: 5, middle: 10},
	{name: "wrong", share: 25, again: 8, lose: 4, unseen: 4, wrong: 25, wild: 2, attack: 4, both: 6, middle: 12},
	{name: "attacked", share: 20, again: 6, lose: 3, unseen: 4, wrong: 6, wild: 4, attack: 25, both: 6, middle: 15},
	{name: "hostile", share: 10, again: 10, lose: 5, unseen: 5, wrong: 15, wild: 20, attack: 30, both: 10, middle: 30},
}

// generator makes one flow.
type generator struct {
	*rand.Rand
	profile *profile
	ends    [2]end
	segs    []seg
	phase   int // how far the conversation is; see good
	dialer  int // who sent the SYN that is being answered
	both    bool
}

// newFlow returns flow number n of a seed. The same seed and number give the same flow.
func newFlow(seed, n uint64) *flow {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, n))}
	share := g.IntN(100)
	for i := range profiles {
		if g.profile = &profiles[i]; share < g.profile.share {
			break
		}
		share -= g.profile.share
	}
	g.begin()
	if g.profile.dice {
		g.dice()
		return &flow{v6: n%8 == 7, segs: g.segs}
	}
	g.both = g.chance(g.profile.both)
	if g.chance(g.profile.middle) {
		g.phase = 3
		g.ends[0].rcv, g.ends[1].rcv = g.ends[1].nxt, g.ends[0].nxt
		g.dialer = g.IntN(2)
	}
	for want := 5 + g.IntN(14); len(g.segs) < want; {
		g.one()
	}
	return &flow{v6: n%8 == 7, segs: g.segs}
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// pick returns one of the values.
func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// begin gives both ends new numbers. Many lie just below the wrap of the sequence space.
func (g *generator) begin() {
	offers := g.chance(60)
	for i := range g.ends {
		e := &g.ends[i]
		*e = end{nxt: g.Uint32(), scale: -1, sackOK: g.chance(70), stamp: g.chance(30), win: g.window()}
		if g.chance(30) {
			e.nxt = -uint32(g.IntN(3000))
		}
		if offers && g.chance(90) {
			e.scale = pick(g, 0, 1, 2, 7, 8, 14, g.IntN(15))
		}
		if e.bare = g.chance(8); e.bare {
			e.scale, e.sackOK = -1, false
		}
	}
	g.phase = 0
}

func (g *generator) window() uint16 {
	return pick(g, 65535, 65535, 64240, 29200, 8192, 1460, 512, 1, 0, uint16(g.Uint32()))
}

// one adds the next segment or segments.
func (g *generator) one() {
	p := g.profile
	switch {
	case len(g.segs) > 0 && g.chance(p.again):
		g.emit(g.segs[g.IntN(len(g.segs))], "again")
	case g.chance(p.attack):
		g.attack()
	case g.chance(p.lose):
		g.good(false) // its sender believes that it was sent
	case g.chance(p.unseen):
		before := g.ends
		phase := g.phase
		g.good(true)
		g.ends, g.phase = before, phase
	case g.chance(p.wrong):
		n := len(g.segs)
		before := g.ends
		g.good(true)
		if g.chance(70) {
			g.ends = before
		}
		if len(g.segs) > n {
			g.misplace(&g.segs[len(g.segs)-1])
		}
	case g.chance(p.wild):
		n := len(g.segs)
		g.good(true)
		if len(g.segs) > n {
			g.distort(&g.segs[len(g.segs)-1])
		}
	default:
		g.good(true)
	}
}

func (g *generator) emit(s seg, note string) {
	s.note = note
	g.segs = append(g.segs, s)
}

// from returns a segment of side i with its right numbers.
func (g *generator) from(i int, flags conntrack.Flags, length int) seg {
	e := &g.ends[i]
	s := seg{from: i, seq: e.nxt, flags: flags, win: e.win, length: length, wscale: -1, stamp: e.stamp}
	if flags.Has(ack) {
		s.ack = e.rcv
	}
	if flags.Has(syn) {
		s.wscale, s.sackOK = e.scale, e.sackOK
		s.bare = e.bare
	}
	return s
}

// send emits a segment of side i and moves its sender on; the receiver takes it where it fits.
func (g *generator) send(s seg, visible bool) {
	e, o := &g.ends[s.from], &g.ends[1-s.from]
	length := uint32(s.length)
	if s.flags&(syn|fin) != 0 {
		length++
	}
	e.nxt = s.seq + length
	if visible {
		g.emit(s, "good")
		if s.flags.Has(syn) || o.rcv == s.seq {
			o.rcv = e.nxt
		}
	} else if g.chance(50) { // lost before the gateway, or on another way to its receiver
		o.rcv = e.nxt
	}
	if s.flags.Has(fin) {
		e.fin = true
	}
}

// good sends what comes next in a conversation between good ends.
func (g *generator) good(visible bool) {
	c, s := g.dialer, 1-g.dialer
	switch g.phase {
	case 0:
		length := 0
		if g.chance(4) {
			length = g.IntN(600)
		}
		g.send(g.from(c, syn, length), visible)
		if g.both {
			g.send(g.from(s, syn, 0), visible)
			g.phase = 5
			return
		}
		g.phase = 1
	case 1:
		g.send(g.from(s, syn|ack, 0), visible)
		g.phase = 2
	case 2:
		g.send(g.from(c, ack, pick(g, 0, 0, 0, 300)), visible)
		g.phase = 3
	case 3:
		g.talk(visible)
	case 4:
		g.afterwards(visible)
	case 5: // simultaneous open: each end answers with a SYN/ACK that repeats its SYN's number, then ACKs
		i := g.IntN(2)
		e := &g.ends[i]
		e.nxt--
		g.send(g.from(i, syn|ack, 0), visible)
		if g.chance(60) {
			g.phase = 3
		}
	}
}

// talk is data, ACKs and closing, in either direction.
func (g *generator) talk(visible bool) {
	i := g.IntN(2)
	e := &g.ends[i]
	if g.chance(10) {
		e.win = g.window()
	}
	flags := ack
	if g.chance(30) {
		flags |= psh
	}
	switch k := g.IntN(100); {
	case e.fin:
		g.send(g.from(i, ack, 0), visible)
	case k < 45:
		g.send(g.from(i, flags, pick(g, 1, 10, 100, 512, 1400, 1+g.IntN(1400))), visible)
	case k < 65:
		s := g.from(i, ack, 0)
		if g.chance(25) {
			s.sack = g.blocks(i, 1+g.IntN(3))
		}
		g.send(s, visible)
	case k < 68: // keepalive
		s := g.from(i, ack, g.IntN(2))
		s.seq--
		if visible {
			g.emit(s, "keepalive")
		}
	case k < 92:
		g.send(g.from(i, flags|fin, pick(g, 0, 0, 0, 200)), visible)
	default:
		g.send(g.from(i, pick(g, rst, rst|ack, rst|ack), 0), visible)
		g.phase = 4
	}
	if g.ends[0].fin && g.ends[1].fin && g.chance(50) {
		g.phase = 4
	}
}

// blocks returns n SACK blocks a little above what side i acknowledges.
func (g *generator) blocks(i, n int) [][2]uint32 {
	var out [][2]uint32
	at := g.ends[i].rcv
	for range n {
		at += uint32(1 + g.IntN(1500))
		out = append(out, [2]uint32{at, at + uint32(1+g.IntN(1500))})
		at = out[len(out)-1][1]
	}
	return out
}

// afterwards is what follows the end of a conversation: late segments, and the same ports again.
func (g *generator) afterwards(visible bool) {
	if g.chance(50) {
		i := g.IntN(2)
		g.send(g.from(i, pick(g, ack, ack, fin|ack, rst), pick(g, 0, 0, 20)), visible)
		return
	}
	old := g.ends
	g.begin()
	for i := range g.ends {
		g.ends[i].nxt = pick(g, g.ends[i].nxt, old[i].nxt, old[i].nxt+1+uint32(g.IntN(100000)), old[i].nxt-uint32(g.IntN(100000)))
	}
	if g.chance(15) {
		g.dialer = 1 - g.dialer
	}
	g.both = g.chance(5)
	g.good(visible)
}
