package decisionlog

func (d *Decision) encode(e *enc) {
	e.open("decision")
	e.id("id", d.ID)
	e.id("settles", d.Settles)
	e.strIf("trigger", d.Trigger)
	e.strIf("verdict", d.Verdict)
	e.str("reason", d.Reason)
	e.strIf("rule", d.Rule)
	e.strIf("preset", d.Preset)
	e.strIf("policy_rev", d.PolicyRev)
	e.strIf("arm", d.Arm)
	e.num("queue", uint64(d.Queue))
	e.strIf("state_before", d.StateBefore)
	e.strIf("state_after", d.StateAfter)
	if d.Known {
		e.secs("idle_s", d.Idle)
		e.secs("remaining_s", d.Remaining)
		e.secs("age_s", d.Age)
	}
	d.Action.encode(e)
	e.strIf("effect", d.Effect)
	d.Reply.encode(e, "reply")
	d.Peer.encode(e, "peer")
	e.stripped(d.Stripped)
	e.strIf("rewrite_omitted", d.RewriteOmitted)
	e.strIf("reply_omitted", d.ReplyOmitted)
	e.strIf("peer_omitted", d.PeerOmitted)
	e.strIf("unmet", d.Unmet)
	e.strIf("defect", d.Defect)
	e.strIf("checksum", d.Checksum)
	d.Expected.encode(e)
	d.Tombstone.encode(e)
	d.Would.encode(e)
	if d.Latency > 0 {
		e.num("latency_ns", uint64(d.Latency))
	}
	e.close()
}

// stripped writes what a packet lost as an array of words.
func (e *enc) stripped(bits uint16) {
	if bits == 0 {
		return
	}
	e.key("stripped")
	sep := byte('[')
	for i, w := range StrippedWords {
		if bits&(1<<i) != 0 {
			e.b = append(append(append(append(e.b, sep), '"'), w...), '"')
			sep = ','
		}
	}
	e.b = append(e.b, ']')
}

func (x *Expected) encode(e *enc) {
	if !x.HasSeq && !x.HasAck && !x.HasSeqWindow && !x.HasAckWindow && !x.HasEdge && !x.HasTS && !x.HasLen {
		return
	}
	e.open("expected")
	if x.HasSeq {
		e.num("seq", uint64(x.Seq))
	}
	if x.HasSeqWindow {
		e.num("seq_lo", uint64(x.SeqLo))
		e.num("seq_hi", uint64(x.SeqHi))
	}
	if x.HasSeq || x.HasSeqWindow {
		e.num("seen_end", uint64(x.SeenEnd))
	}
	if x.HasAck {
		e.num("ack", uint64(x.Ack))
	}
	if x.HasAckWindow {
		e.num("ack_lo", uint64(x.AckLo))
		e.num("ack_hi", uint64(x.AckHi))
	}
	if x.HasEdge {
		e.num("edge", uint64(x.Edge))
		e.num("seen_edge", uint64(x.SeenEdge))
	}
	if x.HasTS {
		e.num("ts", uint64(x.TS))
		e.num("seen_ts", uint64(x.SeenTS))
	}
	if x.HasLen {
		e.num("len", uint64(x.Len))
	}
	e.close()
}

func (t *Tombstone) encode(e *enc) {
	if !t.Set {
		return
	}
	e.open("tombstone")
	e.when("forgotten", t.At)
	e.strIf("why", t.Why)
	e.strIf("state", t.State)
	e.secs("timeout_s", t.Timeout)
	e.secs("idle_s", t.Idle)
	e.secs("age_s", t.Age)
	e.flowID("flow_id", t.FlowID)
	e.num("client_seq", uint64(t.ClientSeq))
	e.num("client_ack", uint64(t.ClientAck))
	e.num("server_seq", uint64(t.ServerSeq))
	e.num("server_ack", uint64(t.ServerAck))
	e.close()
}

// flowKinds are the words of flow.event, indexed by FlowKind.
var flowKinds = [...]string{FlowNew: "new", FlowUpdate: "update", FlowEnd: "end"}

func (f *Flow) encode(e *enc) {
	e.open("flow")
	e.str("event", flowKinds[min(f.Kind, FlowEnd)])
	e.num("pkts_toserver", f.Pkts[0])
	e.num("pkts_toclient", f.Pkts[1])
	e.num("bytes_toserver", f.Bytes[0])
	e.num("bytes_toclient", f.Bytes[1])
	e.numIf("fastpath_pkts_toserver", f.Fast[0])
	e.numIf("fastpath_pkts_toclient", f.Fast[1])
	e.numIf("fastpath_bytes_toserver", f.FastBytes[0])
	e.numIf("fastpath_bytes_toclient", f.FastBytes[1])
	e.num("counted", f.Counted)
	e.intIf("fastpath_counted", f.FastCounted[0])
	e.intIf("fastpath_counted_bytes", f.FastCounted[1])
	e.strIf("state", f.State)
	e.strIf("conn_state", f.ConnState)
	e.history(&f.History)
	e.when("start", f.Start)
	if f.Kind != FlowNew {
		e.when("end", f.Last)
		e.secs("age_s", max(f.Last-f.Start, 0))
	}
	e.strIf("reason", f.EndReason)
	e.strIf("outcome", f.Outcome)
	e.strIf("ended_by", f.EndedBy)
	f.measures(e)
	e.flowID("predecessor", f.Predecessor)
	e.boolIf("adopted", f.Adopted)
	e.numIf("probes", uint64(f.Probes))
	e.strIf("probes_answered", f.Answered)
	e.strIf("rule", f.Rule)
	e.strIf("preset", f.Preset)
	e.strIf("policy_rev", f.PolicyRev)
	e.strIf("arm", f.Arm)
	e.close()
}

// measures writes what the flow's users feel of it.
func (f *Flow) measures(e *enc) {
	e.secsIf("handshake_s", f.Handshake)
	e.secsIf("response_s", f.Response)
	e.numIf("syn_retransmits", uint64(f.SYNRetransmits))
	e.numIf("retransmits_toserver", uint64(f.Retransmits[0]))
	e.numIf("retransmits_toclient", uint64(f.Retransmits[1]))
	e.numIf("out_of_window_toserver", uint64(f.OutOfWindow[0]))
	e.numIf("out_of_window_toclient", uint64(f.OutOfWindow[1]))
	e.secsIf("stall_s", f.Stall)
	e.boolIf("stalled", f.Stalled)
	e.numIf("interventions", uint64(f.Interventions))
	e.numIf("resets", uint64(f.Resets))
}

func (i *Inject) encode(e *enc) {
	e.open("inject")
	e.id("id", i.ID)
	e.id("cause", i.Cause)
	e.strIf("trigger", i.Trigger)
	e.str("kind", i.Kind)
	e.strIf("to", i.To)
	if i.WireSrc.IsValid() && i.WireDst.IsValid() {
		e.open("wire")
		e.addrs(i.WireSrc, i.WireDst)
		e.close()
	}
	e.strIf("error", i.Error)
	e.close()
}

func (r *Reload) encode(e *enc) {
	e.open("reload")
	if r != nil {
		e.bool("ok", r.OK)
		e.strIf("preset", r.Preset)
		e.strIf("policy_rev", r.PolicyRev)
		e.strIf("previous_rev", r.PreviousRev)
		e.strIf("flows", r.Flows)
		e.numIf("flows_touched", r.FlowsTouched)
		e.strIf("error", r.Error)
	}
	e.close()
}

func (k *Kernel) encode(e *enc) {
	if !k.Set {
		return
	}
	e.open("kernel")
	e.num("base", k.Base)
	e.num("now", k.Now)
	e.close()
}

func (s *Stats) encode(e *enc) {
	e.open("stats")
	if s != nil {
		e.strIf("run", s.Run)
		e.bool("final", s.Final)
		e.secs("uptime_s", s.Uptime)
		s.Kernel.encode(e)
		e.num("received", s.Received)
		e.counts("verdicts", s.Verdicts)
		e.counts("reasons", s.Reasons)
		e.counts("suppressed", s.Suppressed)
		e.num("ring_dropped", s.RingDropped)
		e.numIf("pcap_dropped", s.PcapDropped)
		e.num("queue_dropped", s.QueueDropped)
		e.num("queue_user_dropped", s.UserDropped)
		e.num("fail_open", s.FailOpen)
		e.num("injected", s.Injected)
		e.num("inject_errors", s.InjectErrors)
		e.numIf("omitted", s.Omitted)
		e.num("flows", s.Flows)
		e.num("tombstones", s.Tombstones)
		e.shadowStats(s.Shadows)
		s.FastPath.encode(e)
	}
	e.close()
}

func (g *Gap) encode(e *enc) {
	e.open("gap")
	if g != nil {
		e.str("where", g.Where)
		e.num("count", g.Count)
		e.str("bound", g.Bound)
		e.when("from", g.From)
		e.when("to", g.To)
		e.strIf("run", g.Run)
		g.Kernel.encode(e)
		if g.Kernel.Set {
			e.num("known", g.Known)
		}
		e.counts("records", g.Records)
		e.counts("reasons", g.Reasons)
		e.intIf("fastpath_pkts", g.Fast[0])
		e.intIf("fastpath_bytes", g.Fast[1])
		e.strIf("detail", g.Detail)
	}
	e.close()
}

func (x *Experiment) encode(e *enc) {
	e.open("experiment")
	if x != nil {
		e.str("name", x.Name)
		e.strIf("event", x.Kind)
		e.strIf("arm", x.Arm)
		e.strIf("unit", x.Unit)
		e.strIf("detail", x.Detail)
		if x.Since != 0 {
			e.when("since", x.Since)
		}
		if len(x.Spec) > 0 {
			e.key("spec")
			e.b = append(e.b, x.Spec...)
		}
	}
	e.close()
}

func (h *Header) encode(e *enc, k string) {
	e.open(k)
	if h != nil {
		e.num("schema_version", uint64(h.Schema))
		e.str("program", "halfopen")
		e.strIf("version", h.Version)
		e.str("run", h.Run)
		e.strIf("boot_id", h.BootID)
		e.num("file_seq", h.FileSeq)
		e.when("started", h.Started)
		h.Kernel.encode(e)
		h.Before.encode(e, "before")
	}
	e.close()
}
