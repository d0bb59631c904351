package loggen

import (
	"net/netip"

	"halfopen/proxy/decisionlog"
)

var (
	revisions = []string{"sha256:9f2c1b7ad0e5", "sha256:77ab03c4e1f2", "sha256:77ab9d20c6b8"}
	presets   = []string{"openbsd-pf", "transparent-resync", "openbsd-pf"}
	arms      = []string{"A", "B"}
	rules     = []string{"", "print-servers", "web", "database", "guests \"<i>\"", "voip", "backup"}
	servers   = []uint16{515, 9100, 443, 5432, 80, 22, 5060}
)

// ends is a tuple from client to server.
type ends struct{ client, server netip.AddrPort }

// course is what a connection is going through.
type course uint8

const (
	normal     course = iota
	refused           // a RST answers the SYN
	unanswered        // nothing does
	retried           // the SYN is repeated, then all is well
	incident          // silence, and a SYN from the same port
	reset             // an end resets it
)

// flow is a connection.
type flow struct {
	ends
	id       uint64
	at       int64 // of its next step
	course   course
	step     int
	started  int64
	pkts     [2]uint64
	bytes    [2]uint64
	counted  uint64
	pred     uint64
	state    string
	rule     string
	arm      string
	history  decisionlog.History
	letters  int
	isn      uint32
	rst      bool
	lastSeen int64

	handshake int64 // nanoseconds
	lastData  int64
	repeats   [2]uint32
	syns      int
}

func (g *generator) client() netip.Addr {
	n := g.rng.IntN(1 << 14)
	if n%16 == 0 { // some speak IPv6
		var a [16]byte
		copy(a[:], []byte{0x20, 0x01, 0x0d, 0xb8, 0, 7})
		a[14], a[15] = byte(n>>8), byte(n)
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte{10, byte(n >> 12), byte(n >> 6 & 63), byte(n & 63)})
}

// open begins a connection.
func (g *generator) open() *flow {
	g.flowID++
	g.flows++
	f := &flow{id: g.flowID, at: g.now, started: g.now, state: "NONE", isn: g.rng.Uint32()}
	c, kind := g.client(), g.rng.IntN(len(servers))
	s := netip.AddrFrom4([4]byte{192, 0, 2, byte(g.rng.IntN(40))})
	if c.Is6() {
		s = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 9, 15: byte(g.rng.IntN(40))})
	}
	port := uint16(1024 + g.rng.IntN(60000))
	if servers[kind] == 515 {
		port = uint16(721 + g.rng.IntN(11))
	}
	f.ends = ends{netip.AddrPortFrom(c, port), netip.AddrPortFrom(s, servers[kind])}
	f.pred = g.last[f.ends]
	if len(g.last) > 1<<16 {
		clear(g.last)
	}
	g.last[f.ends] = f.id
	f.rule = rules[kind%len(rules)]
	f.arm = arms[(uint32(c.As16()[15])+uint32(c.As16()[14]))&1]
	switch n := g.rng.IntN(100); {
	case n < 4:
		f.course = refused
	case n < 10:
		f.course = unanswered
	case n < 20:
		f.course = retried
	case n < 23 || servers[kind] == 515 && n < 50:
		f.course = incident
		g.w.Incidents = append(g.w.Incidents, f.id)
	case n < 30:
		f.course = reset
	}
	g.w.Flows++
	return f
}

// act takes the next step of a connection, which has about so many decisions wanted; false: it has ended.
func (g *generator) act(f *flow, wanted int) bool {
	f.step++
	ms := func(n int) { f.at = g.now + int64(1+g.rng.IntN(n))*1e6 }
	switch {
	case f.step == 1:
		g.decide(f, true, decisionlog.FlagSYN, "forward", "new", "SYN_SENT")
		g.flowRecord(f, decisionlog.FlowNew, "", "")
		ms(30)
	case f.course == unanswered || f.course == retried && f.step < 4:
		if f.step > 4 {
			g.end(f, "idle")
			return false
		}
		g.decide(f, true, decisionlog.FlagSYN, "forward", "syn-retransmit", "SYN_SENT")
		f.at = g.now + int64(f.step)*1e9
	case f.course == refused:
		f.rst = true
		g.decide(f, false, decisionlog.FlagRST|decisionlog.FlagACK, "forward", "rst", "CLOSE")
		g.end(f, "rst")
		return false
	case f.state == "SYN_SENT":
		g.decide(f, false, decisionlog.FlagSYN|decisionlog.FlagACK, "forward", "syn-ack", "SYN_RECV")
		ms(30)
	case f.state == "SYN_RECV":
		g.decide(f, true, decisionlog.FlagACK, "forward", "handshake", "ESTABLISHED")
		ms(2000)
	case f.course == incident && f.step == 6:
		f.at = g.now + 25e9 // silence
	case f.course == incident && f.step > 6:
		return g.incident(f)
	case f.step > 4+max(wanted, 2) && g.rng.IntN(3) > 0 || f.step > 60+4*wanted:
		return g.closing(f)
	default:
		g.middle(f)
		ms(4000)
	}
	return true
}

// middle is a step of an established connection.
func (g *generator) middle(f *flow) {
	up := g.rng.IntN(2) == 0
	plain := uint64(g.rng.IntN(30))
	f.counted += plain
	f.pkts[0] += plain
	f.bytes[0] += plain * 700
	verdict, reason := "forward", "in-window"
	switch n := g.rng.IntN(100); {
	case n < 3:
		verdict, reason = "drop", "seq-above"
	case n < 6:
		reason = "seq-below"
	case n < 8:
		reason = "window-shrunk"
	case n < 9:
		verdict, reason = "rewrite", "mss-exceeded"
	case n < 10:
		verdict, reason = "drop", "ack-above"
	case n < 14:
		reason = "keepalive"
	}
	g.decide(f, up, decisionlog.FlagPSH|decisionlog.FlagACK, verdict, reason, "ESTABLISHED")
	if f.step%16 == 0 {
		g.flowRecord(f, decisionlog.FlowUpdate, "", "")
	}
}

// incident is what halfopen exists for: the client redials, the gateway answers for the old connection.
func (g *generator) incident(f *flow) bool {
	switch {
	case f.step <= 10:
		id := g.decide(f, true, decisionlog.FlagSYN, "drop", "syn-established", "ESTABLISHED")
		g.inject(f, id, "ack-tracked", "client", decisionlog.FlagACK)
		f.at = g.now + 3e9
		return true
	case f.step == 11: // the old entry is forgotten, and the server still holds the connection
		g.end(f, "idle")
		g.stray(f)
		return false
	}
	return false
}

// closing ends a connection by FINs or a RST.
func (g *generator) closing(f *flow) bool {
	if f.course == reset {
		f.rst = true
		id := g.decide(f, g.rng.IntN(2) == 0, decisionlog.FlagRST, "forward", "rst", "CLOSE")
		if g.rng.IntN(4) == 0 {
			g.inject(f, id, "rst-tracked", "server", decisionlog.FlagRST)
		}
		g.end(f, "rst")
		return false
	}
	switch f.state {
	case "ESTABLISHED":
		g.decide(f, true, decisionlog.FlagFIN|decisionlog.FlagACK, "forward", "fin", "FIN_WAIT")
		f.at = g.now + 5e6
		return true
	case "FIN_WAIT":
		g.decide(f, false, decisionlog.FlagFIN|decisionlog.FlagACK, "forward", "fin", "LAST_ACK")
		f.at = g.now + 5e6
		return true
	}
	g.end(f, "fin")
	return false
}

// stray is a segment of no connection; of one that was forgotten where old is not nil.
func (g *generator) stray(old *flow) {
	r := decisionlog.Record{Event: decisionlog.EventDecision}
	d := &r.Decision
	r.TCP = decisionlog.TCP{Set: true, Flags: decisionlog.FlagACK, Seq: g.rng.Uint32(), Ack: g.rng.Uint32(), Win: 512}
	d.ID, d.Verdict, d.Reason = g.p.NextID(), "drop", "ack-no-state"
	d.Preset, d.PolicyRev, d.StateBefore, d.StateAfter = presets[g.rev], revisions[g.rev], "NONE", "NONE"
	d.Action = decisionlog.Action{Packet: "drop", Reply: "none", Peer: "none", State: "keep", Timer: "leave"}
	if old != nil {
		d.Verdict, d.Reason, d.Action.Packet = "forward", "late-after-expiry", "forward"
		r.Src, r.Dst = old.server, old.client
		if old.id%2 == 0 {
			r.TCP.Flags, r.TCP.Len = decisionlog.FlagPSH|decisionlog.FlagACK, 100
		}
		d.Tombstone = decisionlog.Tombstone{Set: true, At: g.now - 4e9, Why: "idle", State: "ESTABLISHED", Timeout: 3600e9, Idle: 3600e9,
			Age: g.now - old.started, FlowID: old.id, ClientSeq: old.isn}
	} else {
		r.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(g.rng.IntN(256))}), uint16(g.rng.IntN(65536)))
		r.Dst = netip.AddrPortFrom(g.client(), 443)
		if r.Dst.Addr().Is6() {
			r.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 443)
		}
		g.now += int64(g.step) + 1
	}
	g.count(d)
	g.put(&r)
}
