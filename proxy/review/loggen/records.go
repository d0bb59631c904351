package loggen

import (
	"halfopen/proxy/decisionlog"
)

// count books a decision.
func (g *generator) count(d *decisionlog.Decision) {
	g.w.Decisions++
	g.w.Reasons[d.Reason]++
	g.w.Verdicts[d.Verdict]++
}

// decide writes a decision about a segment of a connection.
func (g *generator) decide(f *flow, up bool, flags uint16, verdict, reason, after string) decisionlog.ID {
	r := decisionlog.Record{Event: decisionlog.EventDecision, FlowID: f.id, Src: f.client, Dst: f.server, Dir: decisionlog.ToServer,
		InIface: "eth1", OutIface: "eth2"}
	side, letter := 0, byte('A')
	if !up {
		side, letter = 1, 'a'
		r.Src, r.Dst, r.Dir, r.InIface, r.OutIface = f.server, f.client, decisionlog.ToClient, "eth2", "eth1"
	}
	size := uint32(0)
	if flags == decisionlog.FlagPSH|decisionlog.FlagACK {
		size = uint32(1 + g.rng.IntN(1460))
	}
	f.pkts[side]++
	f.bytes[side] += uint64(size) + 52
	if f.letters < 16 {
		f.history[f.letters] = letter
		f.letters++
	}
	r.TCP = decisionlog.TCP{Set: true, Flags: flags, Seq: f.isn + uint32(f.bytes[side]), Ack: g.rng.Uint32(), Win: 502, Len: size,
		Opts: decisionlog.OptTimestamp, TSVal: uint32(g.now / 1e6), TSEcr: uint32(g.now/1e6) - 7, History: f.history}
	if flags&decisionlog.FlagSYN != 0 {
		r.TCP.Opts |= decisionlog.OptMSS | decisionlog.OptSACKOK | decisionlog.OptWScale
		r.TCP.MSS, r.TCP.WScale = 1460, 7
	}
	d := &r.Decision
	d.ID, d.Verdict, d.Reason, d.Rule, d.Preset, d.PolicyRev, d.Arm = g.p.NextID(), verdict, reason, f.rule, presets[g.rev], revisions[g.rev], f.arm
	d.StateBefore, d.StateAfter, d.Known = f.state, after, f.state != "NONE"
	d.Queue = uint16(f.id & 1)
	d.Idle, d.Remaining, d.Age = g.now-f.lastSeen, 3600e9, g.now-f.started
	d.Action = decisionlog.Action{Packet: verdict, Reply: "none", Peer: "none", State: "track", Timer: "refresh"}
	d.Latency = int64(20000 + g.rng.IntN(50000))
	if verdict == "drop" {
		d.Action.State, d.Action.Timer = "keep", "leave"
		d.Expected = decisionlog.Expected{HasSeqWindow: true, SeqLo: r.TCP.Seq - 100000, SeqHi: r.TCP.Seq - 40000, SeenEnd: r.TCP.Seq + size}
	}
	if reason == "syn-established" {
		d.Action.Reply = "ack-tracked"
		d.Reply = decisionlog.Made{Kind: "ack-tracked", Flags: decisionlog.FlagACK, Seq: f.isn, Ack: f.isn + 1}
	}
	switch {
	case reason == "handshake":
		f.handshake = g.now - f.started
	case reason == "seq-below":
		f.repeats[side]++
	case flags == decisionlog.FlagSYN && f.handshake == 0:
		f.syns++
	}
	if size > 0 {
		f.lastData = g.now
	}
	f.state, f.lastSeen = after, g.now
	g.count(d)
	g.put(&r)
	return d.ID
}

// inject writes a segment that the gateway made.
func (g *generator) inject(f *flow, cause decisionlog.ID, kind, to string, flags uint16) {
	r := decisionlog.Record{Event: decisionlog.EventInject, FlowID: f.id, Src: f.server, Dst: f.client, Dir: decisionlog.ToClient,
		TCP: decisionlog.TCP{Set: true, Flags: flags, Seq: f.isn, Ack: f.isn + 1, Win: 502}}
	if to == "server" {
		r.Src, r.Dst, r.Dir = f.client, f.server, decisionlog.ToServer
	}
	r.Inject = decisionlog.Inject{ID: g.p.NextID(), Cause: cause, Kind: kind, To: to}
	if g.rng.IntN(50) == 0 {
		r.Inject.Error = "no route to host"
	}
	g.w.Injected++
	g.put(&r)
}

// end writes a connection's last record.
func (g *generator) end(f *flow, reason string) {
	outcome := "closed"
	switch {
	case reason == "shutdown" && f.state == "ESTABLISHED":
		outcome = "forgotten"
	case f.course == refused && f.rst:
		outcome = "refused"
	case f.rst:
		outcome = "reset"
	case f.state == "SYN_SENT":
		outcome = "unanswered"
	case f.state == "SYN_RECV":
		outcome = "never-established"
	case f.state == "ESTABLISHED":
		outcome = "forgotten"
	}
	g.w.Outcomes[outcome]++
	g.flowRecord(f, decisionlog.FlowEnd, reason, outcome)
}

func (g *generator) flowRecord(f *flow, kind decisionlog.FlowKind, reason, outcome string) {
	connState := "S1"
	switch {
	case f.rst:
		connState = "RSTO"
	case f.state == "SYN_SENT":
		connState = "S0"
	case f.state == "LAST_ACK":
		connState = "SF"
	}
	r := decisionlog.Record{Event: decisionlog.EventFlow, FlowID: f.id, Src: f.client, Dst: f.server}
	r.Flow = decisionlog.Flow{Kind: kind, Pkts: f.pkts, Bytes: f.bytes, Counted: f.counted, State: f.state, ConnState: connState,
		History: f.history, Start: f.started, Last: f.lastSeen, EndReason: reason, Outcome: outcome, Predecessor: f.pred,
		Rule: f.rule, Preset: presets[g.rev], PolicyRev: revisions[g.rev], Arm: f.arm}
	r.Flow.Handshake, r.Flow.Retransmits, r.Flow.SYNRetransmits = f.handshake, f.repeats, uint8(min(f.syns, 256)-min(f.syns, 1))
	if kind == decisionlog.FlowEnd {
		r.Flow.EndedBy = map[string]string{"fin": "client-fin", "rst": "client-rst", "idle": "idle", "shutdown": "shutdown"}[reason]
		if r.Flow.Stalled = f.course == incident && f.state == "ESTABLISHED"; r.Flow.Stalled {
			r.Flow.Stall = g.now - f.lastData
		}
	}
	f.counted = 0
	g.put(&r)
}
