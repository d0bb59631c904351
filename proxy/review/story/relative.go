package story

import (
	"fmt"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
)

// relative gathers what is told of a neighbour.
type relative struct {
	id              uint64
	from, to, ended time.Time
	end             *decisionlog.FlowEvent
	last            *decisionlog.FlowEvent
	connected       bool
}

func (r *relative) add(e *decisionlog.Event) {
	at := e.Timestamp.Time
	if r.from.IsZero() {
		r.from = at
	}
	r.to = at
	if e.Decision != nil && e.Decision.StateAfter == "ESTABLISHED" {
		r.connected = true
	}
	if e.Flow == nil {
		return
	}
	r.last = e.Flow
	if e.Flow.HandshakeS != nil {
		r.connected = true
	}
	if !e.Flow.Start.IsZero() {
		r.from = e.Flow.Start.Time
	}
	if e.Flow.Event == "end" {
		r.end, r.ended = e.Flow, at
	}
}

// text tells the neighbour's life in a line.
func (r *relative) text() string {
	if r.from.IsZero() {
		return fmt.Sprintf("flow %d, of which the log has nothing", r.id)
	}
	s := fmt.Sprintf("flow %d, begun %s", r.id, r.from.UTC().Format("2006-01-02 15:04:05.000"))
	switch {
	case r.connected:
		s += ", connected"
	case r.end != nil && r.end.Outcome != "":
		s += ", " + r.end.Outcome
	}
	if r.last != nil && r.last.PktsToServer+r.last.PktsToClient > 1 {
		s += ", " + human.Count(r.last.PktsToServer+r.last.PktsToClient, "segment")
	}
	if r.end == nil {
		return s
	}
	s += "; forgotten " + r.ended.UTC().Format("15:04:05.000") + " " + forgets(r.end.Reason)
	if !r.end.End.IsZero() && r.end.Reason == "idle" {
		s += " of " + human.Duration(r.ended.Sub(r.end.End.Time).Round(time.Millisecond))
	}
	return s
}

// held reports whether the gateway remembered it until the next one took its place.
func (r *relative) held() bool { return r.end != nil && r.end.Reason == "replaced" }

func (r *relative) story() *Relative {
	if r.id == 0 {
		return nil
	}
	return &Relative{FlowID: r.id, From: decisionlog.Time{Time: r.from}, Ended: decisionlog.Time{Time: r.ended}, Held: r.held(), Text: r.text()}
}
