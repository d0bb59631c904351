package decisionlog

// FastPathStats is what the kernel's fast path did, of the event type stats: segments that it let go on without the queue. Everything but
// Flows counts since the run began.
type FastPathStats struct {
	State      string    // on, redirect or off; empty: there is none, and nothing is written
	Why        string    // with off: why
	Flows      uint64    // on it now
	Packets    uint64    // that it let pass: skbs, as the queue counts its messages
	Bytes      uint64    // of these, from the IP header on
	Installed  uint64    // flows that were given to it
	Punts      []Count   // segments of its flows that it left to the queue, by reason
	Full       uint64    // flows that found no room in it
	Evicted    uint64    // flows that made room for others
	Foreign    uint64    // segments that came with a mark of its own already on them
	Lost       uint64    // segments that it had let pass and that came by the queue without their mark
	Returned   [2]uint64 // of Packets and Bytes, those that came by the queue after all and are explained there
	Unproven   string    // why Packets and Bytes cannot be held against what flow records tell; empty: they can
	Redirected uint64    // of Packets, those that took the short way out
	Fallbacks  []Count   // segments that did not, with redirect, by reason
}

// FastPathStatsEvent is the object stats.fastpath.
type FastPathStatsEvent struct {
	State         string            `json:"state"`
	Why           string            `json:"why"`
	Flows         uint64            `json:"flows"`
	Packets       uint64            `json:"pkts"`
	Bytes         uint64            `json:"bytes"`
	Installed     uint64            `json:"installed"`
	Punts         map[string]uint64 `json:"punts"`
	Full          uint64            `json:"full"`
	Evicted       uint64            `json:"evicted"`
	Foreign       uint64            `json:"foreign_marks"`
	Lost          uint64            `json:"lost_marks"`
	Returned      *uint64           `json:"returned_pkts"` // nil: written before flow records told their part
	ReturnedBytes uint64            `json:"returned_bytes"`
	Unproven      string            `json:"unproven"`
	Redirected    uint64            `json:"redirected"`
	Fallbacks     map[string]uint64 `json:"fallbacks"`
}

func (s *FastPathStats) encode(e *enc) {
	if s.State == "" {
		return
	}
	e.open("fastpath")
	e.str("state", s.State)
	e.strIf("why", s.Why)
	e.num("flows", s.Flows)
	e.num("pkts", s.Packets)
	e.num("bytes", s.Bytes)
	e.num("installed", s.Installed)
	e.counts("punts", s.Punts)
	e.numIf("full", s.Full)
	e.numIf("evicted", s.Evicted)
	e.numIf("foreign_marks", s.Foreign)
	e.numIf("lost_marks", s.Lost)
	e.num("returned_pkts", s.Returned[0])
	e.numIf("returned_bytes", s.Returned[1])
	e.strIf("unproven", s.Unproven)
	e.numIf("redirected", s.Redirected)
	e.counts("fallbacks", s.Fallbacks)
	e.close()
}
