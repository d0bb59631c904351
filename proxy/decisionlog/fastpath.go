package decisionlog

import "fmt"

// FastPathStats is what the kernel's fast path did, of the event type stats: segments that it let go on without the queue. Everything but
// Flows and Kept counts since the run began.
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
	Kept       []Count   // pairs of hosts whose flows stay on the queue because their marks are lost, by reason
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
	Kept          map[string]uint64 `json:"kept_pairs"`
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
	e.counts("kept_pairs", s.Kept)
	e.num("returned_pkts", s.Returned[0])
	e.numIf("returned_bytes", s.Returned[1])
	e.strIf("unproven", s.Unproven)
	e.numIf("redirected", s.Redirected)
	e.counts("fallbacks", s.Fallbacks)
	e.close()
}

// FastTotals are a flow's packets and bytes that passed by the fast path, in all.
type FastTotals struct{ Packets, Bytes int64 }

// FastMove is what a flow record says of the fast path, beside what is known of the flow from the records before it.
type FastMove struct {
	Flow        uint64
	Event       string     // new, update or end
	Before, Now FastTotals // in all
	Known       bool       // Before is known: the flow began in this run, or an earlier record of it told of some
	Told        FastTotals // as new
}

// Judge says what is wrong where the record does not tell how far the totals have moved, "" for nothing, and whether its totals are what the next
// record of the flow must go on from. Totals of an earlier run that no record has told of yet are believed.
func (m *FastMove) Judge() (wrong string, known bool) {
	before, ok := m.Before, m.Known
	if m.Event == "new" {
		before, ok = FastTotals{}, true
	}
	if ok && (m.Now.Packets-before.Packets != m.Told.Packets || m.Now.Bytes-before.Bytes != m.Told.Bytes) {
		wrong = fmt.Sprintf("flow %d had %d packets (%d bytes) by the fast path and now has %d (%d), but the record tells of %d (%d) more",
			m.Flow, before.Packets, before.Bytes, m.Now.Packets, m.Now.Bytes, m.Told.Packets, m.Told.Bytes)
	}
	return wrong, m.Event != "end" && (ok || m.Now != FastTotals{})
}
