package policy

import (
	"slices"
	"time"

	"halfopen/conntrack"
)

// tcpEnd is one end of a conversation.
type tcpEnd struct {
	w          *network
	c          *dialogue
	dir        conntrack.Direction
	open, dead bool // the handshake is complete; nothing is sent any more
	synced     bool // the other end's SYN came
	una, nxt   conntrack.Seq
	most       conntrack.Seq // highest number ever sent
	rcv        conntrack.Seq
	told       conntrack.Seq // last acknowledgment sent
	waiting    int           // bytes that the application wants to send
	fin        bool          // and that it then closes
	finSeq     conntrack.Seq // number of the FIN that was sent, with sentFIN
	sentFIN    bool
	gotFIN     bool
	holes      []conntrack.SACKBlock // received beyond rcv
	unread     int
	reading    bool
	room       int // of the receive buffer
	peerWin    int
	scale      uint8
	peerScale  uint8
	tsEcho     uint32
	dups       int
	timer      int // number of the timer that counts
	backoff    time.Duration
	tries      int
	mute       bool // sends nothing: its host is gone
}

func (e *tcpEnd) peer() *tcpEnd { return e.c.end[e.dir.Other()] }

// window returns what the end advertises now, as in the header.
func (e *tcpEnd) window() uint16 {
	free := max(e.room-e.unread, 0)
	if free < int(e.c.mss) && e.unread > 0 {
		free = 0
	}
	return uint16(min(free>>e.scale, 0xffff))
}

// emit sends a segment through the network to the gateway.
func (e *tcpEnd) emit(flags conntrack.Flags, seq conntrack.Seq, n uint32) {
	c, w := e.c, e.w
	if e.dead || e.mute {
		return
	}
	s := conntrack.Segment{Tuple: c.tu, Flags: flags, Seq: seq, Len: n, Window: e.window(), TTL: 63, GSO: n > c.mss}
	if e.dir == conntrack.Reply {
		s.Tuple = s.Tuple.Reverse()
	}
	if n > 0 {
		s.Flags |= conntrack.PSH
	}
	if flags&conntrack.ACK != 0 {
		s.Ack, e.told = e.rcv, e.rcv
	}
	o := &s.Options
	if flags&conntrack.SYN != 0 {
		s.Window = uint16(min(e.room, 0xffff))
		o.Has |= conntrack.OptMSS
		o.MSS = uint16(c.mss)
		if c.scaled {
			o.Has |= conntrack.OptWScale
			o.WScale = e.scale
		}
		if c.sack {
			o.Has |= conntrack.OptSACKPermitted
		}
	} else if c.sack && len(e.holes) > 0 && flags&conntrack.RST == 0 {
		o.Has |= conntrack.OptSACK
		o.NSACK = uint8(min(len(e.holes), 3))
		copy(o.SACK[:o.NSACK], e.holes)
	}
	if c.ts && flags&conntrack.RST == 0 {
		o.Has |= conntrack.OptTimestamp
		o.TSVal, o.TSEcr = max(c.clock+uint32(w.now/1e6), 1), e.tsEcho
		if c.hostile && w.chance(1) {
			o.TSVal = 0
		}
	}
	s.Bytes = 40 + n
	if c.late && len(c.old) < 40 && w.chance(20) {
		c.old = append(c.old, s)
	}
	c.travel(s)
	if w.chance(c.dup) {
		c.travel(s)
	}
}

func (e *tcpEnd) syn() {
	flags := conntrack.SYN
	if e.dir == conntrack.Reply {
		flags |= conntrack.ACK
	}
	e.emit(flags, e.una, 0)
	e.nxt, e.most = e.una+1, e.una+1
	e.restart()
}

// restart begins the retransmission timer anew.
func (e *tcpEnd) restart() {
	e.timer++
	n := e.timer
	e.w.after(e.backoff, func() {
		if n == e.timer && !e.dead {
			e.timeout()
		}
	})
}

func (e *tcpEnd) timeout() {
	if e.una == e.most && (e.peerWin > 0 || e.waiting == 0) {
		return
	}
	if e.tries++; e.tries > 7 {
		e.die()
		return
	}
	e.backoff = min(2*e.backoff, time.Minute)
	switch {
	case !e.open:
		e.emit(map[bool]conntrack.Flags{false: conntrack.SYN, true: conntrack.SYN | conntrack.ACK}[e.dir == conntrack.Reply], e.una, 0)
	case e.una == e.most && e.w.chance(50):
		e.emit(conntrack.ACK, e.una-1, 0) // Linux's probe of a closed window
	case e.una == e.most:
		e.emit(conntrack.ACK, e.una, 1)
	default:
		e.again()
	}
	e.restart()
}

// again repeats the first segment that is not acknowledged.
func (e *tcpEnd) again() {
	n := uint32(e.most - e.una)
	flags := conntrack.ACK
	if e.sentFIN && e.most == e.finSeq+1 {
		n--
		if n == 0 {
			flags |= conntrack.FIN
		}
	}
	e.emit(flags, e.una, min(n, e.c.mss))
}

// push sends what the window allows.
func (e *tcpEnd) push() {
	if !e.open || e.dead {
		return
	}
	sent := false
	for e.waiting > 0 && !e.sentFIN {
		room := e.peerWin - int(e.nxt-e.una)
		n := min(e.waiting, room)
		if e.c.gso && e.w.chance(60) {
			n = min(n, int(e.c.mss)*(1+e.w.r.IntN(20)))
		} else {
			n = min(n, int(e.c.mss))
		}
		if n <= 0 || n < int(e.c.mss) && n < e.waiting && e.nxt != e.una {
			break
		}
		e.emit(conntrack.ACK, e.nxt, uint32(n))
		e.nxt, e.waiting, sent = e.nxt.Add(uint32(n)), e.waiting-n, true
		e.most = e.nxt
	}
	if e.fin && e.waiting == 0 && !e.sentFIN {
		e.sentFIN, e.finSeq, sent = true, e.nxt, true
		e.emit(conntrack.FIN|conntrack.ACK, e.nxt, 0)
		e.nxt++
		e.most = e.nxt
	}
	if sent || e.waiting > 0 {
		e.restart()
	}
}

// app writes, reads, rests and closes.
func (e *tcpEnd) app() {
	w, c := e.w, e.c
	if e.dead {
		return
	}
	next := w.upTo(200 * time.Millisecond)
	switch n := w.r.IntN(200); {
	case n < 60:
		e.waiting += 1 + w.r.IntN(4000)
	case n < 75:
		e.waiting += w.r.IntN(200000)
	case n < 80:
		e.reading = !e.reading
	case n < 84: // rests
		next = w.upTo(10 * time.Minute)
	case n < 86:
		next = w.upTo(3 * time.Hour)
	case n < 88 && e.una == e.most:
		e.emit(conntrack.ACK, e.una-1, 0) // keepalive
	case n < 89 && c.segments > c.limit:
		e.mute = true
		w.after(time.Minute, func() { e.die() })
	case n < 90 && c.segments > c.limit && e.open:
		e.emit(conntrack.RST|conntrack.ACK, e.nxt, 0)
		e.die()
	case n < 92 && len(c.old) > 0:
		c.travel(c.old[w.r.IntN(len(c.old))])
	case n < 95 && c.hostile:
		e.stray()
	case c.segments > c.limit:
		e.fin = true
	}
	if c.segments > 4*c.limit {
		e.die()
	}
	if e.reading && e.unread > 0 {
		was := e.window()
		if e.unread = 0; was == 0 {
			e.emit(conntrack.ACK, e.nxt, 0)
		}
	}
	e.push()
	w.after(next, e.app)
}

// stray sends what this end never would.
func (e *tcpEnd) stray() {
	r := e.w.r
	flags := []conntrack.Flags{conntrack.SYN, conntrack.SYN | conntrack.ACK, conntrack.RST, conntrack.ACK, conntrack.ACK | conntrack.URG, conntrack.FIN | conntrack.ACK, 0}[r.IntN(7)]
	e.emit(flags, e.nxt.Add([]uint32{0, 1, 1000, 0xffffffff - 999, 1 << 20, 1 << 31}[r.IntN(6)]), uint32(r.IntN(2))*100)
}

func (e *tcpEnd) die() {
	if !e.dead {
		e.dead = true
		if e.peer().dead {
			e.w.live--
		}
	}
}

func (e *tcpEnd) receive(s conntrack.Segment) {
	if e.dead || e.mute {
		return
	}
	switch k := s.Kind(); {
	case k == conntrack.KindRST:
		if s.Seq == e.rcv || !e.open {
			e.die()
		}
		return
	case s.Flags&conntrack.SYN != 0:
		e.receiveSYN(&s)
		return
	case s.Flags&conntrack.ACK == 0 || !e.synced:
		return
	}
	if o := &s.Options; o.Has&conntrack.OptTimestamp != 0 && s.Seq.LessEq(e.rcv) {
		e.tsEcho = o.TSVal
	}
	if !e.open && s.Ack == e.una+1 {
		e.open, e.una = true, s.Ack
		e.calm()
	}
	e.acked(&s)
	e.take(&s)
	e.push()
	if e.gotFIN && e.sentFIN && e.una == e.most {
		e.w.after(time.Second, e.die)
	}
}

func (e *tcpEnd) receiveSYN(s *conntrack.Segment) {
	if e.open {
		e.emit(conntrack.ACK, e.nxt, 0) // RFC 5961 section 4.2
		return
	}
	e.rcv, e.told, e.synced = s.End(), s.End(), true
	if s.Options.Has&conntrack.OptWScale != 0 {
		e.peerScale = s.Options.WScale
	} else {
		e.scale = 0
	}
	e.peerWin = int(s.Window)
	switch {
	case s.Flags&conntrack.ACK == 0 && e.dir == conntrack.Reply:
		e.syn()
	case s.Flags&conntrack.ACK != 0 && s.Ack == e.una+1:
		e.open, e.una = true, s.Ack
		e.calm()
		e.emit(conntrack.ACK, e.nxt, 0)
		e.push()
	}
}

func (e *tcpEnd) calm() { e.backoff, e.tries, e.dups = 200*time.Millisecond, 0, 0 }

func (e *tcpEnd) acked(s *conntrack.Segment) {
	if s.Ack.Less(e.una) || e.most.Less(s.Ack) {
		return
	}
	e.peerWin = int(s.Window) << e.peerScale
	switch {
	case e.una.Less(s.Ack):
		e.una = s.Ack
		e.calm()
		e.restart()
	case s.Len == 0 && e.una != e.most:
		if e.dups++; e.dups == 3 {
			e.again()
		}
	}
	if e.nxt.Less(e.una) {
		e.nxt = e.una
	}
}

// take takes the data of a segment.
func (e *tcpEnd) take(s *conntrack.Segment) {
	if s.Span() == 0 {
		if s.Seq.Less(e.rcv) {
			e.emit(conntrack.ACK, e.nxt, 0) // a keepalive, or a probe
		}
		return
	}
	was := e.rcv
	switch {
	case e.window() == 0 || s.End().LessEq(e.rcv):
	case e.rcv.Less(s.Seq):
		e.holes = append(e.holes, conntrack.SACKBlock{Left: s.Seq, Right: s.End()})
		if len(e.holes) > 8 {
			e.holes = e.holes[1:]
		}
	default:
		e.rcv = s.End()
		for again := true; again; {
			again = false
			for _, h := range e.holes {
				if h.Left.LessEq(e.rcv) && e.rcv.Less(h.Right) {
					e.rcv, again = h.Right, true
				}
			}
		}
		e.holes = slices.DeleteFunc(e.holes, func(h conntrack.SACKBlock) bool { return h.Right.LessEq(e.rcv) })
		if s.Flags&conntrack.FIN != 0 {
			e.gotFIN, e.fin = true, true
		} else {
			e.unread += int(e.rcv - was)
		}
	}
	if e.reading {
		e.unread = 0
	}
	if e.rcv == was || len(e.holes) > 0 || s.Flags&conntrack.FIN != 0 || uint32(e.rcv-e.told) >= 2*e.c.mss || e.w.chance(30) {
		e.emit(conntrack.ACK, e.nxt, 0)
		return
	}
	e.w.after(40*time.Millisecond, func() {
		if e.told != e.rcv {
			e.emit(conntrack.ACK, e.nxt, 0)
		}
	})
}
