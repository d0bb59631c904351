package oracle

import "halfopen/conntrack"

// edge returns a distance at which some rule of the kernel changes its mind, or one next to it.
func (g *generator) edge(i int) uint32 {
	e, o := &g.ends[i], &g.ends[1-i]
	d := pick(g, 0, 0, 1, uint32(e.win), uint32(o.win), uint32(e.win)<<max(e.scale, 0), uint32(o.win)<<max(o.scale, 0), 66000,
		uint32(g.IntN(2000)), uint32(g.IntN(100000)))
	d += uint32(g.IntN(3)) - 1
	if g.chance(60) {
		return -d
	}
	return d
}

// misplace moves a segment's numbers slightly.
func (g *generator) misplace(s *seg) {
	switch g.IntN(5) {
	case 0, 1:
		s.seq += g.edge(s.from)
	case 2, 3:
		s.ack += g.edge(s.from)
	default:
		s.seq += g.edge(s.from)
		s.ack += g.edge(s.from)
	}
	if g.chance(10) {
		s.win = g.window()
	}
	s.note = "wrong"
}

// distort makes a segment that no good end sends.
func (g *generator) distort(s *seg) {
	s.note = "wild"
	switch g.IntN(9) {
	case 0:
		s.seq = g.Uint32()
	case 1:
		s.ack = g.Uint32()
	case 2:
		s.seq += pick[uint32](g, 1<<31, 1<<31-1, 1<<31+1, 1<<30, -1<<30&0xffffffff)
	case 3:
		s.ack += pick[uint32](g, 1<<31, 1<<31-1, 1<<31+1, 1<<30, -1<<30&0xffffffff)
	case 4:
		s.flags = conntrack.Flags(g.Uint32() & 0x1ff)
	case 5:
		s.flags ^= pick(g, urg, psh, conntrack.ECE, conntrack.CWR, conntrack.AE, fin, syn, rst, ack)
	case 6:
		s.damage = damage(1 + g.IntN(int(numDamages)-1))
		s.length = 0
	case 7:
		s.from = 1 - s.from // its numbers from the wrong end
	case 8:
		s.sack = [][2]uint32{{g.Uint32(), g.Uint32()}}
		if s.flags.Has(syn) {
			s.sackOK = !s.sackOK
			s.wscale = pick(g, -1, 0, 14, 15, 255)
		}
	}
}

// attack sends what comes from a host without the connection, from one that lost it, or from somebody who guesses.
func (g *generator) attack() {
	i := g.IntN(2)
	if g.chance(60) {
		i = g.dialer
	}
	switch g.IntN(8) {
	case 0, 1:
		g.redial(i)
	case 2, 3:
		g.reset(i)
	case 4: // a SYN/ACK out of turn
		s := g.from(i, syn|ack, 0)
		s.seq += g.edge(i)
		if g.chance(50) {
			s.ack += g.edge(i)
		}
		s.wscale = g.ends[i].scale
		g.emit(s, "syn/ack out of turn")
	case 5: // a FIN out of turn, or of the wrong number
		s := g.from(i, fin|ack, 0)
		s.seq += g.edge(i)
		g.emit(s, "fin out of turn")
	case 6: // a bare ACK of something else
		s := g.from(i, ack, 0)
		s.ack = pick(g, g.Uint32(), s.ack+g.edge(i))
		s.seq = pick(g, g.Uint32(), s.seq+g.edge(i))
		g.emit(s, "stray ack")
		if g.chance(50) { // the RST of an end that does not know it
			r := g.from(1-i, rst, 0)
			r.seq = s.ack
			g.emit(r, "rst for stray ack")
		}
	case 7:
		s := g.from(i, ack|psh, 1+g.IntN(1000))
		s.seq += g.edge(i)
		g.emit(s, "data out of turn")
	}
}

// reset sends a RST whose number is near an edge.
func (g *generator) reset(i int) {
	s := g.from(i, pick(g, rst, rst|ack), 0)
	switch g.IntN(5) {
	case 0:
		s.seq = 0
	case 1:
		s.seq = g.ends[1-i].rcv
	case 2:
		s.seq = g.Uint32()
	default:
		s.seq += g.edge(i)
	}
	switch {
	case g.chance(15):
		s.ack = 0
	case g.chance(20) && len(g.segs) > 0:
		last := &g.segs[len(g.segs)-1]
		s.ack = last.seq + uint32(last.length) + 1
	}
	g.emit(s, "rst near an edge")
}

// redial sends a SYN on the connection's ports, and perhaps an answer of one of the kinds that a server gives.
func (g *generator) redial(i int) {
	s := g.from(i, syn, 0)
	s.seq = pick(g, g.Uint32(), s.seq, s.seq+g.edge(i), s.seq-1)
	s.wscale = pick(g, g.ends[i].scale, -1, 7)
	g.emit(s, "redial")
	o := 1 - i
	switch g.IntN(6) {
	case 0, 1: // it takes the new connection
		a := g.from(o, syn|ack, 0)
		a.seq, a.ack = g.Uint32(), s.seq+1
		if g.chance(10) {
			a.ack += uint32(g.IntN(3)) - 1
		}
		g.emit(a, "answer to redial")
		if a.ack == s.seq+1 && g.chance(80) {
			g.ends[i].nxt, g.ends[i].rcv, g.ends[i].fin = s.seq+1, a.seq+1, false
			g.ends[o].nxt, g.ends[o].rcv, g.ends[o].fin = a.seq+1, s.seq+1, false
			g.phase, g.dialer, g.both = 2, i, false
		}
	case 2: // it refuses
		r := g.from(o, rst|ack, 0)
		r.seq, r.ack = pick(g, 0, r.seq), s.seq+1
		g.emit(r, "refusal of redial")
	case 3, 4: // it holds the old connection: a challenge ACK, and the RST that follows from it
		c := g.from(o, ack, 0)
		g.emit(c, "challenge ack")
		if g.chance(70) {
			r := g.from(i, rst, 0)
			r.seq = c.ack
			g.emit(r, "rst for challenge")
			if g.chance(60) {
				g.emit(s, "redial again")
			}
		}
	}
}

// dice makes a flow of segments that follow no conversation: any kind from any end, with numbers that the flow has seen before, or
// next to them. So the rules that compare a number with one of an earlier segment are hit more often than any conversation does it.
func (g *generator) dice() {
	known := []uint32{0, g.ends[0].nxt, g.ends[1].nxt}
	number := func() uint32 {
		n := known[g.IntN(len(known))]
		switch g.IntN(6) {
		case 0:
			n += uint32(g.IntN(5)) - 2
		case 1:
			n += pick[uint32](g, 66000, -66000&0xffffffff, 65535, -65535&0xffffffff) + uint32(g.IntN(3)) - 1
		}
		return n
	}
	handshake := g.chance(60)
	for i := range 6 + g.IntN(14) {
		s := g.from(g.IntN(2), pick(g, syn, syn, syn|ack, syn|ack, ack, ack, ack, ack|psh, fin|ack, fin|ack, rst, rst|ack), 0)
		s.seq, s.ack, s.win = number(), number(), g.window()
		switch {
		case handshake && i == 0:
			s = g.from(0, syn, 0)
		case handshake && i == 1 && g.chance(80):
			s = g.from(1, syn|ack, 0)
			s.ack = known[1] + 1
		case handshake && i == 2 && g.chance(60):
			s = g.from(0, ack, 0)
			s.seq, s.ack = known[1]+1, known[2]+1
		}
		if s.flags&(syn|rst) == 0 && g.chance(40) {
			s.length = pick(g, 1, 2, 100, 1400)
		}
		if s.flags.Has(syn) && g.chance(20) {
			s.wscale = pick(g, -1, 0, 3, 14)
		}
		known = append(known, s.seq, s.seq+uint32(s.length), s.ack)
		if s.flags&(syn|fin) != 0 {
			known = append(known, s.seq+uint32(s.length)+1)
		}
		g.emit(s, "dice")
	}
}
