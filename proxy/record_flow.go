package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// fillMeasures writes what the flow's users feel of it.
func fillMeasures(f *decisionlog.Flow, e *conntrack.Entry) {
	f.Handshake, f.Stall = int64(e.Handshake.Duration()), int64(e.Stall.Duration())
	if e.Flags&conntrack.EntryResponded != 0 {
		f.Response = int64(e.Response.Duration())
	}
	f.SYNRetransmits, f.Retransmits, f.OutOfWindow = e.SYNRetransmits, e.Retransmits, e.OutOfWindow
	f.Interventions, f.Resets = e.Interventions, e.Resets
	f.Stalled = e.Flags&conntrack.EntryStalled != 0
}

// endedBy tells who ended the connection: the end that closed first, where both have; else who reset it; else why the table forgot it.
func endedBy(e *conntrack.Entry, why conntrack.EndReason) string {
	byReply := e.Flags&conntrack.EntryReplyClosed != 0
	switch reset := firstRST(e); {
	case e.State == conntrack.Denied: // its history is that of who was denied
	case e.Side[0].Flags&e.Side[1].Flags&conntrack.SideFIN != 0 && byReply:
		return "server-fin"
	case e.Side[0].Flags&e.Side[1].Flags&conntrack.SideFIN != 0:
		return "client-fin"
	case reset == 'R':
		return "client-rst"
	case reset == 'r':
		return "server-rst"
	case policy.Reset(e):
		return "gateway-rst"
	}
	return why.String()
}

// firstRST returns the history letter of the first RST that was tracked, 0 for none.
func firstRST(e *conntrack.Entry) byte {
	for _, c := range e.History[:e.HistoryN] {
		if c == 'R' || c == 'r' {
			return c
		}
	}
	return 0
}

// outcomeWord tells how the connection went for its ends.
func outcomeWord(e *conntrack.Entry, why conntrack.EndReason) string {
	fin := conntrack.SideFIN
	switch {
	case e.State == conntrack.Denied:
		return "denied" // it was no connection
	case why == conntrack.EndDead:
		return "dead" // an end no longer answers
	case e.Flags&conntrack.EntryPickedUp != 0 && e.State == conntrack.Established:
		return "picked-up"
	case e.State == conntrack.Close || why == conntrack.EndRST:
		if e.Flags&conntrack.EntryAssured == 0 {
			return "refused"
		}
		return "reset"
	case e.State.Embryonic():
		if e.Flags&conntrack.EntryReplied == 0 {
			return "unanswered"
		}
		return "never-established"
	case e.Side[0].Flags&fin != 0 && e.Side[1].Flags&fin != 0:
		return "closed"
	case e.Side[0].Flags&fin != 0 || e.Side[1].Flags&fin != 0:
		return "half-closed"
	}
	return "forgotten"
}
