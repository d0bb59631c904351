package review

import (
	"fmt"

	"halfopen/proxy/decisionlog"
)

// FastProof is the proof of what passed by the kernel's fast path, which is no queue message and not in the sum of those: the program's own
// counter is what flow records tell, and what came by the queue after all, and what gap records admit.
type FastProof struct {
	Packets       int64  `json:"pkts"` // counted by the program
	Bytes         int64  `json:"bytes"`
	Told          int64  `json:"told_pkts"` // by flow records
	ToldBytes     int64  `json:"told_bytes"`
	Returned      int64  `json:"returned_pkts"` // they lost their mark: the queue had them too, and explains them
	ReturnedBytes int64  `json:"returned_bytes"`
	Lost          int64  `json:"lost_pkts"` // admitted by gap records
	LostBytes     int64  `json:"lost_bytes"`
	Status        Status `json:"status"`        // balanced, open, unknown or mismatch
	Why           string `json:"why,omitempty"` // with unknown: why it cannot be proven
}

// InAll is how many packets the log tells of.
func (p *FastProof) InAll() int64 { return p.Told + p.Returned + p.Lost }

// InAllBytes is how many bytes they have.
func (p *FastProof) InAllBytes() int64 { return p.ToldBytes + p.ReturnedBytes + p.LostBytes }

// fastOf holds what a flow record tells of the fast path in all against what it tells of as new.
func (s *runState) fastOf(e *decisionlog.Event) {
	f := e.Flow
	m := decisionlog.FastMove{Flow: e.FlowID, Event: f.Event,
		Now:  decisionlog.FastTotals{Packets: int64(f.FastToServer + f.FastToClient), Bytes: int64(f.FastBytesToServer + f.FastBytesToClient)},
		Told: decisionlog.FastTotals{Packets: f.FastCounted, Bytes: f.FastCountedBytes}}
	if m.Before, m.Known = s.totals[e.FlowID]; !m.Known {
		_, m.Known = s.flows[e.FlowID] // it began in this run
	}
	wrong, known := m.Judge()
	if wrong != "" && len(s.parts) < maxPerRun {
		s.parts = append(s.parts, Problem{FastPath, e.File, e.Line, wrong})
	}
	switch _, had := s.totals[e.FlowID]; {
	case !known:
		delete(s.totals, e.FlowID)
	case had || m.Now != decisionlog.FastTotals{}: // else it is enough that it has begun
		s.totals[e.FlowID] = m.Now
	}
}

// proveFast draws the fast path's sum of a run. Problems that were found before mean that lines are missing or damaged: what they told
// cannot be known then.
func (s *runState) proveFast() *FastProof {
	r, k := s.run, s.fast
	told := r.Explained.Fast
	if k == nil || k.Packets == 0 && told == (decisionlog.FastTally{}) && k.Unproven == "" {
		return nil
	}
	p := &FastProof{Packets: int64(k.Packets), Bytes: int64(k.Bytes), Told: told.Packets, ToldBytes: told.Bytes, Lost: told.Lost, LostBytes: told.LostBytes,
		ReturnedBytes: int64(k.ReturnedBytes), Status: Unknown}
	if k.Returned != nil {
		p.Returned = int64(*k.Returned)
	}
	packets, bytes := p.Packets-p.InAll(), p.Bytes-p.InAllBytes()
	switch {
	case k.Returned == nil:
		p.Why = "the log is of a version whose flow records do not tell what is new in them"
	case r.End == "none":
		p.Status = Open
	case r.End != "final":
		p.Why = "the run died, and with it what the program had counted since the last stats record"
	case k.Unproven != "":
		p.Why = "a counter could not be read: " + k.Unproven
	case len(r.Problems) > 0 && (packets != 0 || bytes != 0):
		p.Why = "lines of the run are missing or damaged"
	case packets == 0 && bytes == 0:
		p.Status = Balanced
		if !s.lostFlows { // else records that would show where a flow's count comes from are lost
			for _, part := range s.parts {
				p.Status = Mismatch
				r.problem(part)
			}
		}
	default:
		p.Status = Mismatch
		r.problem(Problem{FastPath, "", 0, fmt.Sprintf("the fast path has counted %d packets (%d bytes), and the log tells of %s",
			p.Packets, p.Bytes, apart(packets, bytes))})
	}
	return p
}

// apart says how far the log's sum is off, where so much is missing in it.
func apart(packets, bytes int64) string {
	way := func(n int64, what string) string {
		switch {
		case n > 0:
			return fmt.Sprintf("%d %s less", n, what)
		case n < 0:
			return fmt.Sprintf("%d %s more", -n, what)
		}
		return "as many " + what
	}
	return way(packets, "packets") + " and " + way(bytes, "bytes")
}

// text prints the sum.
func (p *FastProof) text(line func(name string, n uint64, more string)) {
	if p == nil {
		return
	}
	row := func(name string, packets, bytes int64, more string) {
		line(name, uint64(max(packets, 0)), fmt.Sprintf("  (%d bytes)%s", bytes, more))
	}
	row("passed by the fast path", p.Packets, p.Bytes, "")
	row("told by flows", p.Told, p.ToldBytes, "")
	if p.Returned != 0 {
		row("queued after all", p.Returned, p.ReturnedBytes, "")
	}
	if p.Lost != 0 || p.LostBytes != 0 {
		row("gaps, fast path", p.Lost, p.LostBytes, "")
	}
	more := "  " + string(p.Status)
	if p.Why != "" {
		more = "  cannot be proven: " + p.Why
	}
	row("told in all", p.InAll(), p.InAllBytes(), more)
}
