package decisionlog

import (
	"net/netip"
	"strconv"
)

// AppendJSON appends the record as one JSON object, without a line feed. It
// allocates nothing if dst has room (about 1.5 KB for a full decision).
func (r *Record) AppendJSON(dst []byte) []byte {
	e := enc{b: append(dst, '{')}
	e.key("timestamp")
	e.b = append(AppendTime(append(e.b, '"'), r.Time), '"')
	e.str("event_type", r.Event.String())
	r.common(&e)
	switch r.Event {
	case EventHeader, EventTrailer:
		r.header.encode(&e, r.Event.String())
	case EventDecision:
		r.TCP.encode(&e, r.Decision.StateBefore)
		r.Decision.encode(&e)
		e.shadows(r.Shadow)
	case EventFlow:
		r.Flow.encode(&e)
	case EventInject:
		r.TCP.encode(&e, "")
		r.Inject.encode(&e)
	case EventReload:
		r.Reload.encode(&e)
	case EventStats:
		r.Stats.encode(&e)
	case EventGap:
		r.Gap.encode(&e)
	case EventExperiment:
		r.Experiment.encode(&e)
	}
	e.close()
	return e.b
}

// common is EVE's part that all events with a connection share.
func (r *Record) common(e *enc) {
	e.flowID("flow_id", r.FlowID)
	if r.Src.IsValid() && r.Dst.IsValid() {
		e.key("community_id")
		e.b = append(AppendCommunityID(append(e.b, '"'), r.Src, r.Dst), '"')
		e.addrs(r.Src, r.Dst)
		e.str("proto", "TCP")
	}
	switch r.Dir {
	case ToServer:
		e.str("direction", "to_server")
	case ToClient:
		e.str("direction", "to_client")
	}
	e.numIf("pcap_cnt", r.PcapCnt)
	e.strIf("in_iface", r.InIface)
	e.strIf("out_iface", r.OutIface)
}

func (e *enc) addrs(src, dst netip.AddrPort) {
	e.addr("src_ip", src.Addr())
	e.num("src_port", uint64(src.Port()))
	e.addr("dest_ip", dst.Addr())
	e.num("dest_port", uint64(dst.Port()))
}

// addr writes an address. A zone could hold any byte, and says nothing that
// in_iface does not: it is left out.
func (e *enc) addr(k string, a netip.Addr) {
	e.key(k)
	e.b = append(a.Unmap().WithZone("").AppendTo(append(e.b, '"')), '"')
}

func (t *TCP) encode(e *enc, state string) {
	if !t.Set {
		return
	}
	e.open("tcp")
	e.flags("flags", t.Flags)
	e.num("seq", uint64(t.Seq))
	e.num("ack", uint64(t.Ack))
	e.num("win", uint64(t.Win))
	e.num("len", uint64(t.Len))
	if t.Opts != 0 {
		e.options(t)
	}
	e.strIf("state", state)
	e.history(&t.History)
	e.close()
}

// flagLetters are tcpdump's, in the order of conntrack.Flags and of scenarios.
var flagLetters = [...]struct {
	bit    uint16
	letter byte
}{{FlagFIN, 'F'}, {FlagSYN, 'S'}, {FlagRST, 'R'}, {FlagPSH, 'P'}, {FlagURG, 'U'}, {FlagECE, 'E'},
	{FlagCWR, 'W'}, {FlagAE, 'e'}, {FlagACK, '.'}}

func (e *enc) flags(k string, flags uint16) {
	e.key(k)
	e.b = append(e.b, '"')
	start := len(e.b)
	for i := range flagLetters {
		if flags&flagLetters[i].bit != 0 {
			e.b = append(e.b, flagLetters[i].letter)
		}
	}
	if len(e.b) == start {
		e.b = append(e.b, "none"...)
	}
	e.b = append(e.b, '"')
}

// options writes the options as scenarios do: "mss 1460,sackOK,ts 1:0,wscale 7".
func (e *enc) options(t *TCP) {
	e.key("options")
	e.b = append(e.b, '"')
	start := len(e.b)
	word := func(bit uint16, name string) bool {
		if t.Opts&bit == 0 {
			return false
		}
		if len(e.b) > start {
			e.b = append(e.b, ',')
		}
		e.b = append(e.b, name...)
		return true
	}
	if word(OptMSS, "mss ") {
		e.b = strconv.AppendUint(e.b, uint64(t.MSS), 10)
	}
	word(OptSACKOK, "sackOK")
	if word(OptSACK, "sack ") {
		e.b = strconv.AppendUint(e.b, uint64(t.SACKBlocks), 10)
	}
	if word(OptTimestamp, "ts ") {
		e.b = strconv.AppendUint(e.b, uint64(t.TSVal), 10)
		e.b = strconv.AppendUint(append(e.b, ':'), uint64(t.TSEcr), 10)
	}
	if word(OptWScale, "wscale ") {
		e.b = strconv.AppendUint(e.b, uint64(t.WScale), 10)
	}
	word(OptMD5, "md5")
	word(OptAO, "ao")
	word(OptFastOpen, "tfo")
	word(OptMPTCP, "mptcp")
	word(OptOther, "other")
	e.b = append(e.b, '"')
}

// history writes Zeek's letters; anything else in the array is left out.
func (e *enc) history(h *History) {
	if h[0] == 0 {
		return
	}
	e.key("history")
	e.b = append(e.b, '"')
	for _, c := range h {
		if c == 0 {
			break
		}
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '^' {
			e.b = append(e.b, c)
		}
	}
	e.b = append(e.b, '"')
}

func (a *Action) encode(e *enc) {
	if *a == (Action{}) {
		return
	}
	e.open("action")
	e.strIf("packet", a.Packet)
	e.strIf("reply", a.Reply)
	e.strIf("peer", a.Peer)
	e.strIf("state", a.State)
	e.strIf("timer", a.Timer)
	e.close()
}

func (m *Made) encode(e *enc, k string) {
	if m.Kind == "" {
		return
	}
	e.open(k)
	e.str("kind", m.Kind)
	if m.Flags != 0 {
		e.flags("flags", m.Flags)
		e.num("seq", uint64(m.Seq))
		e.num("ack", uint64(m.Ack))
	}
	e.close()
}
