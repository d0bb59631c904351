package policy

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"halfopen/conntrack"
)

// tcp is one end of a connection: as much of RFC 9293 as it takes to answer what a gateway lets through or makes.
type tcp struct {
	tuple    conntrack.Tuple // of what it sends
	listens  bool
	state    tcpState
	una, nxt conntrack.Seq // what was acknowledged, and the next number to send
	rcv      conntrack.Seq // the next number to come
	sent     []conntrack.Segment
	fin      bool // it has sent its FIN
	finished bool // it has had the other's
	clock    uint32
}

type tcpState uint8

const (
	tcpClosed tcpState = iota
	tcpSynSent
	tcpSynReceived
	tcpOpen
)

const tcpWindow = 4000

// segment makes what the end says now.
func (e *tcp) segment(f conntrack.Flags, seq conntrack.Seq, n uint32) conntrack.Segment {
	s := conntrack.Segment{Tuple: e.tuple, Flags: f, Seq: seq, Len: n, Window: tcpWindow, Bytes: 40 + n}
	if f&conntrack.ACK != 0 {
		s.Ack = e.rcv
	}
	if f&conntrack.RST == 0 {
		e.clock++
		s.Options = conntrack.Options{Has: conntrack.OptTimestamp, TSVal: e.clock}
	}
	return s
}

// send makes a segment that takes numbers, and keeps it until it is acknowledged.
func (e *tcp) send(f conntrack.Flags, n uint32) conntrack.Segment {
	s := e.segment(f, e.nxt, n)
	e.nxt = s.End()
	e.sent = append(e.sent, s)
	return s
}

// dial begins a connection with an initial number.
func (e *tcp) dial(isn conntrack.Seq) conntrack.Segment {
	*e = tcp{tuple: e.tuple, listens: e.listens, state: tcpSynSent, una: isn, nxt: isn, clock: e.clock}
	return e.send(conntrack.SYN, 0)
}

// vanish forgets everything without a word.
func (e *tcp) vanish() { *e = tcp{tuple: e.tuple, listens: e.listens, clock: e.clock} }

// again is the oldest segment that nobody has acknowledged.
func (e *tcp) again() []conntrack.Segment {
	if len(e.sent) == 0 || e.state == tcpClosed {
		return nil
	}
	s := e.sent[0]
	if s.Flags&conntrack.ACK != 0 {
		s.Ack = e.rcv
	}
	return []conntrack.Segment{s}
}

// hear is what a segment makes the end say.
func (e *tcp) hear(s *conntrack.Segment) []conntrack.Segment {
	rst := s.Flags&conntrack.RST != 0
	syn, ack := s.Flags&conntrack.SYN != 0, s.Flags&conntrack.ACK != 0
	switch {
	case e.state == tcpClosed && rst:
		return nil
	case e.state == tcpClosed && syn && !ack && e.listens:
		e.rcv, e.una, e.nxt, e.state = s.Seq.Add(1), s.Seq.Add(77777), s.Seq.Add(77777), tcpSynReceived
		return []conntrack.Segment{e.send(conntrack.SYN|conntrack.ACK, 0)}
	case e.state == tcpClosed:
		return []conntrack.Segment{e.refuse(s)}
	case e.state == tcpSynSent:
		return e.hearFirst(s, syn, ack, rst)
	}
	in := e.rcv.LessEq(s.Seq) && s.Seq.Less(e.rcv.Add(tcpWindow)) || s.Len == 0 && s.Seq == e.rcv
	switch {
	case rst && s.Seq == e.rcv:
		e.vanish()
		return nil
	case rst && !in:
		return nil
	case rst, syn: // RFC 5961: challenged
		return []conntrack.Segment{e.segment(conntrack.ACK, e.nxt, 0)}
	case ack && e.nxt.Less(s.Ack):
		if e.state == tcpSynReceived {
			return []conntrack.Segment{e.refuse(s)}
		}
		return []conntrack.Segment{e.segment(conntrack.ACK, e.nxt, 0)}
	case ack && e.una.Less(s.Ack):
		e.acknowledged(s.Ack)
		e.state = tcpOpen
	}
	return e.take(s)
}

// hearFirst is hear for an end that waits for the answer to its SYN.
func (e *tcp) hearFirst(s *conntrack.Segment, syn, ack, rst bool) []conntrack.Segment {
	switch {
	case ack && s.Ack != e.nxt:
		if rst {
			return nil
		}
		return []conntrack.Segment{e.refuse(s)}
	case rst && ack:
		e.vanish()
		return nil
	case syn && ack:
		e.rcv, e.state = s.Seq.Add(1), tcpOpen
		e.acknowledged(s.Ack)
		return []conntrack.Segment{e.segment(conntrack.ACK, e.nxt, 0)}
	}
	return nil
}

// refuse is the RST for a segment of no connection (RFC 9293 section 3.10.7.1).
func (e *tcp) refuse(s *conntrack.Segment) conntrack.Segment {
	if s.Flags&conntrack.ACK != 0 {
		return e.segment(conntrack.RST, s.Ack, 0)
	}
	r := e.segment(conntrack.RST|conntrack.ACK, 0, 0)
	r.Ack = s.End()
	return r
}

func (e *tcp) acknowledged(ack conntrack.Seq) {
	e.una = ack
	for len(e.sent) > 0 && e.sent[0].End().LessEq(ack) {
		e.sent = e.sent[1:]
	}
}

// take takes the data and the FIN that come next; anything else that takes numbers is answered with what is missing.
func (e *tcp) take(s *conntrack.Segment) []conntrack.Segment {
	if s.Len == 0 && s.Flags&conntrack.FIN == 0 && s.Seq == e.rcv {
		return nil
	}
	if s.Seq == e.rcv && !e.finished {
		e.rcv = s.End()
		e.finished = s.Flags&conntrack.FIN != 0
	}
	return []conntrack.Segment{e.segment(conntrack.ACK, e.nxt, 0)}
}

// lan is two ends with a gateway between them: what they have sent and the gateway has not seen yet, and what it has let through or
// made and they have not heard yet.
type lan struct {
	*ledger
	now      conntrack.Instant
	ends     [2]tcp
	toward   [2][]conntrack.Segment // of segments sent by end i
	arriving [2][]conntrack.Segment // at end i
	held     map[uint64]conntrack.Segment
	drops    int
	made     int
}

func newLAN(t testing.TB, p *Policy) *lan {
	l := &lan{ledger: newLedger(t, p), now: 1, held: map[uint64]conntrack.Segment{}}
	a, b := netip.MustParseAddrPort("10.0.0.1:1001"), netip.MustParseAddrPort("192.0.2.1:515")
	l.ends[0].tuple, l.ends[1].tuple, l.ends[1].listens = conntrack.MakeTuple(a, b), conntrack.MakeTuple(b, a), true
	return l
}

func (l *lan) says(i int, s ...conntrack.Segment) { l.toward[i] = append(l.toward[i], s...) }

// gateway decides the n-th segment that end i has sent.
func (l *lan) gateway(i, n int) {
	s := l.toward[i][n]
	l.toward[i] = append(l.toward[i][:n:n], l.toward[i][n+1:]...)
	l.advance()
	out := l.decide(l.now, &s)
	peer, reply, hasPeer, hasReply := out.Peer, out.Reply, out.HasPeer, out.HasReply
	l.send(hasPeer, &peer)
	switch out.Verdict {
	case Forward, Rewrite:
		l.arriving[1-i] = append(l.arriving[1-i], s)
	case Hold:
		l.held[out.Hold] = s
	case Drop:
		l.drops++
	}
	l.send(hasReply, &reply)
}

// send delivers what the gateway makes.
func (l *lan) send(has bool, e *Emit) {
	for ; has; *e, has = e.Second() {
		l.made++
		if e.ICMP != ReplyNone {
			continue
		}
		to := 1
		if e.Segment.Tuple.DstPort != 515 {
			to = 0
		}
		l.arriving[to] = append(l.arriving[to], e.Segment)
	}
}

// advance lets time have its way at the gateway.
func (l *lan) advance() {
	for l.e.Next() <= l.now {
		l.e.Advance(l.now, 100, func(ev *TimeEvent) {
			l.time(ev)
			for i, has := range ev.HasEmit {
				l.send(has, &ev.Emit[i])
			}
			if s, ok := l.held[ev.Hold]; ok && ev.Kind == TimeRelease && ev.Verdict == Forward {
				l.arriving[1-side(&s.Tuple)] = append(l.arriving[1-side(&s.Tuple)], s)
			}
		})
	}
}

// hear lets end i hear the first segment that arrives.
func (l *lan) hear(i int) {
	s := l.arriving[i][0]
	l.arriving[i] = l.arriving[i][1:]
	l.says(i, l.ends[i].hear(&s)...)
}

// settle lets everything that is under way arrive, and what it draws.
func (l *lan) settle() {
	for n := 0; n < 200; n++ {
		for i := range l.ends {
			for len(l.toward[i]) > 0 {
				l.gateway(i, 0)
			}
			for len(l.arriving[i]) > 0 {
				l.hear(i)
			}
		}
		l.now = l.now.Add(time.Millisecond)
	}
}

// act does something that an end, the links or time may do. With good, nothing is lost and nobody vanishes.
func (l *lan) act(next func() byte, good bool) {
	i := int(next() % 2)
	end := &l.ends[i]
	op := next() % 32
	if good {
		op %= 21
	}
	switch {
	case op < 2:
		if end.state == tcpClosed && i == 0 && !(good && l.steps > 0) {
			l.says(i, end.dial(conntrack.Seq(next())<<24+conntrack.Seq(next())))
		}
	case op < 6:
		if end.state == tcpOpen && !end.fin && end.nxt.Diff(end.una) < tcpWindow/2 {
			l.says(i, end.send(conntrack.ACK|conntrack.PSH, 1+uint32(next())))
		}
	case op < 7:
		if end.state == tcpOpen && !end.fin && (!good || l.steps > 40) {
			end.fin = true
			l.says(i, end.send(conntrack.FIN|conntrack.ACK, 0))
		}
	case op < 14:
		if len(l.toward[i]) > 0 {
			l.gateway(i, 0)
		}
	case op < 20:
		if len(l.arriving[i]) > 0 {
			l.hear(i)
		}
	case op < 21:
		l.now = l.now.Add(time.Duration(next()) * time.Millisecond)
	case op < 23: // a segment overtakes others
		if n := len(l.toward[i]); n > 1 {
			l.gateway(i, int(next())%n)
		}
	case op < 24:
		if n := len(l.toward[i]); n > 0 {
			l.toward[i] = l.toward[i][1:]
		}
	case op < 25:
		if n := len(l.arriving[i]); n > 0 {
			l.arriving[i] = l.arriving[i][1:]
		}
	case op < 26:
		if n := len(l.toward[i]); n > 0 {
			l.says(i, l.toward[i][int(next())%n])
		}
	case op < 29:
		l.says(i, end.again()...)
	case op < 30:
		end.vanish()
	case op < 31:
		if end.state == tcpOpen {
			l.says(i, end.segment(conntrack.RST|conntrack.ACK, end.nxt, 0))
			end.vanish()
		}
	default:
		l.now = l.now.Add(time.Duration(next()) * time.Duration(next()) * time.Second)
		l.advance()
	}
}

// Two good ends between which nothing is lost complete their connection under every preset, whatever the order in which their segments
// pass: none is dropped, none is made, and each end has had all that the other sent.
func TestGoodEnds(t *testing.T) {
	for _, name := range Presets() {
		t.Run(name, func(t *testing.T) {
			p := policyOf(t, "preset: "+name)
			carried, closed := 0, 0
			for seed := range uint64(60 / breadth) {
				rng := rand.New(rand.NewPCG(seed, 13))
				l := newLAN(t, p)
				for range 400 {
					l.act(func() byte { return byte(rng.Uint32()) }, true)
				}
				l.settle()
				a, b := &l.ends[0], &l.ends[1]
				if l.drops > 0 || l.made > 0 || a.state != tcpOpen || b.state != tcpOpen || a.rcv != b.nxt || b.rcv != a.nxt || a.una != a.nxt || b.una != b.nxt {
					t.Fatalf("seed %d: %d drops, %d made, client %+v, server %+v", seed, l.drops, l.made, a, b)
				}
				carried += l.steps
				if a.finished && b.finished {
					closed++
				}
				l.close(l.now)
			}
			if carried < 60/breadth*50 || closed < 20/breadth {
				t.Errorf("only %d segments, %d connections that both ends closed", carried, closed)
			}
		})
	}
}

// FuzzEnds drives two ends through a gateway of every preset: they dial, send, close, reset and vanish, over links that lose, repeat and
// reorder; and they answer what the gateway makes. No outcome is ever wrong in itself, each step is explained once, and under
// observe nothing is dropped or made.
func FuzzEnds(f *testing.F) {
	for i := range byte(8) {
		f.Add(append([]byte("\x00\x00\x07\x01\x00\x06\x01\x09\x01\x06\x00\x09\x00\x06"), "two ends, a gateway and a bad line: "[i:]...), i)
	}
	policies := []*Policy{policyOf(f, hostile), policyOf(f, hostile+"window: {check: kernel}\n"), policyOf(f, "preset: observe")}
	for _, name := range Presets() {
		policies = append(policies, policyOf(f, "preset: "+name))
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		p := policies[int(which)%len(policies)]
		l := newLAN(t, p)
		i := 0
		next := func() byte {
			if i++; i > len(data) {
				return byte(i)
			}
			return data[i-1]
		}
		for range min(len(data)+50, 3000) {
			l.act(next, false)
		}
		l.settle()
		if p.Preset() == "observe" && l.drops+l.made > 0 {
			t.Errorf("%d drops, %d made under observe", l.drops, l.made)
		}
		l.close(l.now)
	})
}
