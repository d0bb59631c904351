package policy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"halfopen/conntrack"
)

// strangers plays segments of other connections.
func strangers(e *Engine, now conntrack.Instant) {
	for i := range 7 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i)}), 7000)
		s := conntrack.Segment{Tuple: conntrack.MakeTuple(from, netip.MustParseAddrPort("192.0.2.7:80")),
			Flags: []conntrack.Flags{conntrack.SYN, conntrack.ACK, conntrack.RST | conntrack.ACK}[int(uint64(now)/7+uint64(i))%3], Seq: conntrack.Seq(now), Window: 100}
		e.Step(now, &s)
	}
}

// hostile uses every part of an action, wherever the language lets it.
const hostile = `
limits: {flows: 12, embryonic: 5, tombstones: 6, per_source: 8}
on_full: evict-any
evict_above: 90
adaptive: {start: 50, end: 150}
caps: {retransmitted: 3s, unacknowledged: 5s, zero_window: 2s, one_way: 1s}
adopt: 20s
timeouts: {syn_sent: 3s, syn_recv: 3s, established: 40s, fin_wait: 5s, close_wait: 5s, last_ack: 2s, time_wait: 4s, close: 1s}
probes: {tries: 2, every: 1s, alive: all}
on:
  idle-expired: {reply: rst-tracked, peer: rst-tracked}
  dead-connection: {reply: rst-tracked, peer: rst-tracked}
  probe-unanswered: {state: delete, peer: rst-tracked}
  syn-established: {packet: forward, state: replace, peer: rst-tracked}
  syn-established-reverse: {packet: drop, reply: ack-tracked, window: tracked}
  syn-half-closed: {packet: forward, state: annotate}
  syn-closing: {packet: forward, state: replace-if-closed}
  syn-time-wait: {packet: forward, state: replace, peer: rst-tracked, only_if: newer, within: 3s, else: {packet: drop, reply: ack-tracked}}
  seq-above: {packet: drop, reply: ack-tracked}
  ack-above: {packet: forward, timer: 1s, state: keep}
  seq-below: {packet: drop, reply: rst-tracked}
  ack-for-syn: {packet: drop, reply: rst, state: rearm}
  rst-inexact: {packet: drop, reply: ack-tracked}
  rst: {packet: forward, state: delete}
  data-no-state: {packet: forward, state: create-liberal}
  late-after-expiry: {packet: drop, reply: icmp-admin}
  handshake-bad-ack: {packet: hold, hold: 2s, then: drop, reply: rst-tracked}
  simultaneous-open: {packet: hold, hold: 1s, then: forward, state: track}
  new: {packet: rewrite, strip: [data, wscale, fastopen], mss: 50}
  urgent: {packet: rewrite, strip: [urgent, push, timestamps]}
rules:
  - name: odd
    match: {src_port: 1001}
    on: {in-window: {packet: forward, state: track, peer: rst-tracked}}
  - name: refused
    match: {src_port: 1008-1010}
    timeouts: {denied: 3s}
    on:
      new: {packet: drop, reply: rst, state: deny}
      ack-no-state: {packet: drop, state: deny, timer: 1s}
      syn-closing: {packet: drop, state: deny}
      denied: {packet: drop, reply: icmp-port, timer: refresh}
  - name: asked
    match: {src_port: 1004-1007}
    refresh: both-progress
    on:
      syn-established: {packet: drop, peer: probe-from-syn, await: 5s}
      syn-half-closed: {packet: drop, peer: probe-from-syn}
      seq-below: {packet: forward, peer: probe-ack}
`

// traffic makes segments of few connections with numbers near each other, from any source of bytes.
type traffic struct {
	next func() byte
	now  conntrack.Instant
	ends [16][2]conntrack.Seq // by connection and end: the number after the last segment
}

func (g *traffic) segment() conntrack.Segment {
	port := g.next() % 16
	a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 1000+uint16(port))
	b := netip.MustParseAddrPort("192.0.2.1:515")
	s := conntrack.Segment{Tuple: conntrack.MakeTuple(a, b), Len: uint32(g.next()%3) * 50, Window: uint16(g.next()) << 3}
	base := [2]conntrack.Seq{1000, 5000}
	from := g.next() % 2
	if from == 1 {
		s.Tuple = s.Tuple.Reverse()
	}
	s.Flags = []conntrack.Flags{conntrack.SYN, conntrack.SYN | conntrack.ACK, conntrack.ACK, conntrack.ACK, conntrack.ACK | conntrack.PSH,
		conntrack.FIN | conntrack.ACK, conntrack.RST, conntrack.RST | conntrack.ACK, conntrack.Flags(g.next())}[g.next()%9]
	offset := func() conntrack.Seq {
		n := conntrack.Seq(g.next() % 4)
		if g.next()%16 == 0 {
			if n <<= 18; g.next()%2 == 0 {
				n = -n
			}
		}
		return n
	}
	s.Seq, s.Ack = base[from]+offset(), base[1-from]+offset()
	if ends := &g.ends[port]; g.next()%4 > 0 { // as a TCP would go on
		if s.Flags&conntrack.SYN == 0 && ends[from] != 0 {
			s.Seq = ends[from]
			if g.next()%16 == 0 { // about as far as the window goes
				s.Seq = s.Seq.Add(uint32(g.next()) << 4)
			}
		}
		if ends[1-from] != 0 {
			s.Ack = ends[1-from]
		}
		ends[from] = s.End()
	}
	g.options(&s)
	if g.next()%64 == 0 {
		s.Defect = conntrack.DefectOptions
	}
	if g.next()%64 == 0 {
		s.Checksum = conntrack.ChecksumBad
	}
	s.Bytes = 40 + s.Len
	return s
}

// options gives a segment some: mostly those that a TCP would send.
func (g *traffic) options(s *conntrack.Segment) {
	o := &s.Options
	if b := g.next(); b%4 > 0 {
		o.Has |= conntrack.OptTimestamp
		o.TSVal = uint32(g.now>>24) + uint32(b>>5)*3
		if b == 255 {
			o.TSVal = 0
		}
	}
	if s.Flags&conntrack.SYN != 0 {
		b := g.next()
		o.Has |= conntrack.OptionSet(b) & (conntrack.OptFastOpen | conntrack.OptWScale)
		o.WScale = b & 1
		if b&64 != 0 {
			o.Has |= conntrack.OptMSS
			o.MSS = 60
		}
	}
	switch b := g.next(); {
	case b < 40:
		s.Window = 0
		s.Seq -= conntrack.Seq(b & 1) // a probe
	case b < 80 && s.Flags&conntrack.RST != 0:
		s.Ack = 0
	}
}

// ledger adds up what an engine accounts for.
type ledger struct {
	t                 testing.TB
	e                 *Engine
	steps, individual int
	told              uint64 // in flow events
	news, ends        int
	live              map[uint64]bool
	holds             map[uint64]bool
	found             [conntrack.NumFindings]int
	probe             conntrack.Segment // made by the last step, where it has a tuple
}

func (l *ledger) flow(ev *FlowEvent) {
	l.told += ev.Entry.Counted
	id := ev.Entry.ID
	switch ev.Kind {
	case FlowNew:
		if l.live[id] || ev.Entry.Counted != 0 {
			l.t.Fatalf("flow %d begins twice or with a count", id)
		}
		l.live[id] = true
	case FlowEnd:
		if !l.live[id] || ev.Why == conntrack.EndNone {
			l.t.Fatalf("flow %d ends without having begun, or without a reason", id)
		}
		delete(l.live, id)
	}
}

func (l *ledger) time(ev *TimeEvent) {
	switch ev.Kind {
	case TimeFlow:
		l.flow(&ev.Flow)
	case TimeRelease:
		if !l.holds[ev.Hold] {
			l.t.Fatalf("hold %d is let go twice", ev.Hold)
		}
		delete(l.holds, ev.Hold)
	}
}

func (l *ledger) step(now conntrack.Instant, s *conntrack.Segment) { l.decide(now, s) }

// decide is step for whoever needs the outcome.
func (l *ledger) decide(now conntrack.Instant, s *conntrack.Segment) *Outcome {
	out := l.e.Step(now, s)
	l.steps++
	l.found[out.Finding]++
	if !out.Counted {
		l.individual++
	}
	l.probe = conntrack.Segment{}
	if out.HasPeer && out.Action.Peer.probes() {
		l.probe = out.Peer.Segment
	}
	for i := range out.Flows {
		l.flow(&out.Flows[i])
	}
	if out.Hold != 0 {
		l.holds[out.Hold] = true
	}
	if err := wrong(s, out); err != "" {
		l.t.Fatalf("%s: %s %s %s: %s", err, out.Verdict, out.Finding, out.Effect, s.Flags)
	}
	limits := l.e.Policy().Limits()
	begun := out.Effect == conntrack.Create || out.Effect == conntrack.Replace && !out.Before.Embryonic()
	if l.e.Len() > limits.Flows && begun || l.e.Len() != len(l.live) || l.e.Embryonic() > limits.Embryonic && begun {
		l.t.Fatalf("%d flows, %d told of, %d embryonic, limits %+v, at %s %s from %s", l.e.Len(), len(l.live), l.e.Embryonic(), limits, out.Finding, out.Effect, out.Before)
	}
	return out
}

// wrong returns what is never right about an outcome.
func wrong(s *conntrack.Segment, out *Outcome) string {
	rst := func(e *Emit) bool { return e.ICMP == ReplyNone && e.Segment.Flags&conntrack.RST != 0 }
	begins := slices.ContainsFunc(out.Flows, func(ev FlowEvent) bool { return ev.Kind == FlowNew })
	switch {
	case out.Finding >= conntrack.NumFindings || !out.Finding.Info().Packet:
		return "no finding of a segment"
	case out.Verdict == Drop && begins && out.Effect != conntrack.Deny:
		return "a dropped segment began a flow"
	case out.Before == conntrack.Denied != (out.Finding == conntrack.DeniedTuple) && s.Defect == conntrack.DefectNone && s.Checksum != conntrack.ChecksumBad:
		return "denied, or not"
	case (out.Verdict == Rewrite) != (out.Strip != 0):
		return "rewritten without a loss, or lost without being rewritten"
	case out.Strip != 0 && out.Strip.Of(s, out.MSS) != out.Strip:
		return "it lost what it had not"
	case out.Counted && (!out.Finding.Counted() || out.Verdict != Forward || out.HasReply || out.HasPeer || out.Flow == 0):
		return "counted"
	case out.HasReply && rst(&out.Reply) && s.Flags&conntrack.RST != 0:
		return "a RST answers a RST"
	case out.HasReply && out.Reply.Segment.Tuple != s.Tuple.Reverse():
		return "the reply goes elsewhere"
	case out.HasPeer && out.Peer.Segment.Tuple != s.Tuple:
		return "what goes to the peer does not"
	case (out.HasReply || out.HasPeer) && (s.Defect != conntrack.DefectNone || s.Checksum == conntrack.ChecksumBad):
		return "answered"
	case out.After != conntrack.StateNone && out.Flow == 0:
		return "a state without a flow"
	case out.Idle < 0 || out.Age < 0 || out.Remaining < 0:
		return "a time below zero"
	}
	return ""
}

// close tells the rest and checks the sum: each step is explained once.
func (l *ledger) close(now conntrack.Instant) {
	open := uint64(0)
	l.e.Walk(0, 1<<30, func(e *conntrack.Entry) bool { open += e.Counted; return true })
	if got := uint64(l.individual) + l.told + open; got != uint64(l.steps) {
		l.t.Fatalf("%d steps, but %d individual, %d told and %d open", l.steps, l.individual, l.told, open)
	}
	l.e.RestartFlush()
	for l.e.FlushCounted(now, 5, l.flow) {
	}
	if got := uint64(l.individual) + l.told; got != uint64(l.steps) {
		l.t.Fatalf("after the flush: %d steps, but %d", l.steps, got)
	}
	l.e.ReleaseHolds(now, Forward, l.time)
	if len(l.holds) > 0 {
		l.t.Fatalf("%d holds never let go", len(l.holds))
	}
}

// play runs n random operations.
func (l *ledger) play(g *traffic, n int, policies []*Policy) {
	for range n {
		switch op := g.next(); {
		case op < 250-30:
			s := g.segment()
			l.step(g.now, &s)
			if p := &l.probe; p.Flags != 0 && g.next()%2 == 0 {
				l.answer(g, p)
			}
			g.now = g.now.Add(time.Duration(g.next()) * time.Millisecond)
		case op < 230:
			g.now = g.now.Add(time.Duration(g.next()) * 100 * time.Millisecond)
		case op < 240:
			l.e.Advance(g.now, int(g.next()%4)+1, l.time)
		case op < 244:
			l.e.FlushCounted(g.now, int(g.next()), l.flow)
		case op < 247:
			port := uint16(1000 + int(g.next())%16)
			l.e.Kill(g.now, 0, 100, func(e *conntrack.Entry) bool { return e.Tuple.SrcPort == port }, l.time)
		case op < 250:
			l.e.Gap(g.now)
		case len(policies) > 0:
			l.e.Swap(g.now, policies[int(g.next())%len(policies)], Reload(g.next()%3))
		}
	}
	l.close(g.now)
}

// answer plays what an end says to a probe: a RST where it has no such connection, or an ACK.
func (l *ledger) answer(g *traffic, p *conntrack.Segment) {
	s := conntrack.Segment{Tuple: p.Tuple.Reverse(), Flags: conntrack.RST, Seq: p.Ack, Bytes: 40}
	if g.next()%2 == 0 {
		from := conntrack.Original
		if s.Tuple.SrcPort == 515 {
			from = conntrack.Reply
		}
		ends := &g.ends[(s.Tuple.SrcPort|s.Tuple.DstPort)%16]
		s.Flags, s.Seq, s.Ack, s.Window = conntrack.ACK, ends[from], ends[from.Other()], 100
		if e := l.e.Find(g.now, &s.Tuple); e != nil {
			dir := conntrack.Original
			if e.Tuple != s.Tuple {
				dir = conntrack.Reply
			}
			s.Seq, s.Ack = e.Side[dir].End, e.Side[dir.Other()].End
		}
	}
	l.step(g.now, &s)
}

func newLedger(t testing.TB, p *Policy) *ledger {
	return &ledger{t: t, e: NewEngine(EngineConfig{Policy: p, MaxHolds: 3}), live: map[uint64]bool{}, holds: map[uint64]bool{}}
}

// Over random traffic, reloads, kills and time, each step is explained exactly once, and no outcome is ever wrong in itself.
func TestConservation(t *testing.T) {
	small := "\nlimits: {flows: 12, embryonic: 5, tombstones: 6}"
	policies := []*Policy{policyOf(t, hostile), policyOf(t, hostile+"window: {check: kernel}\n")}
	for _, name := range Presets() {
		policies = append(policies, policyOf(t, "preset: "+name+small))
	}
	var found [conntrack.NumFindings]int
	for i := range policies {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		l := newLedger(t, policies[i])
		l.play(&traffic{next: func() byte { return byte(rng.Uint32()) }, now: 1}, 30000/breadth, policies)
		if l.told == 0 || l.individual == l.steps {
			t.Errorf("%s: nothing was counted", policies[i].Name())
		}
		for f, n := range l.found {
			found[f] += n
		}
	}
	for f, n := range found {
		if f := conntrack.Finding(f); n == 0 && f.Info().Packet && (breadth == 1 || f != conntrack.SourceLimit) { // a source is rarely that busy
			t.Errorf("no segment was %s", f)
		}
	}
}
