package story

import (
	"fmt"
	"strings"

	"halfopen/proxy/review/human"
)

// close writes what can be said once all has been told.
func (t *teller) close() {
	t.Before, t.After = t.before.story(), t.after.story()
	t.measure()
	now := t.To.Time
	if t.now.After(now) {
		now = t.now
	}
	if c, ok := t.facts.Trouble(now); ok {
		t.Trouble = &c
	}
	t.headline()
	if !t.ended && len(t.Steps) > 0 {
		last := &t.Steps[len(t.Steps)-1]
		t.Steps = append(t.Steps, Step{Kind: Event, At: last.At, SinceS: last.SinceS, FlowID: t.FlowID, Label: "The log has no more of it.", Remembers: t.remembers})
	}
}

// measure fills the measures: from the latest flow record, and where there is none from the decisions.
func (t *teller) measure() {
	m := &t.Measures
	m.Ended = t.ended
	if a := t.facts.Own; a != nil {
		m.SYNs = a.SYNs
	} else if t.facts.Connected != 0 {
		m.SYNs = 1
	}
	if l := t.last; l != nil {
		m.Counted = l.Event != "new"
		m.HandshakeS, m.ResponseS, m.StallS = l.HandshakeS, l.ResponseS, l.StallS
		m.PktsToServer, m.PktsToClient, m.BytesToServer, m.BytesToClient = l.PktsToServer, l.PktsToClient, l.BytesToServer, l.BytesToClient
		m.AgainToServer, m.AgainToClient = l.RetransmitsToServer, l.RetransmitsToClient
		m.OutsideServer, m.OutsideClient = l.OutOfWindowToServer, l.OutOfWindowToClient
		m.Outcome, m.EndedBy, m.EndReason, m.History, m.Adopted = l.Outcome, l.EndedBy, l.Reason, l.History, l.Adopted
		m.SYNs = max(m.SYNs, 1+int(l.SYNRetransmits))
		if l.Adopted {
			m.SYNs = 0
		}
	}
	if m.HandshakeS == nil && t.facts.Connected != 0 && t.facts.Connected > t.facts.First {
		s := float64(t.facts.Connected-t.facts.First) / 1e9
		m.HandshakeS = &s
	}
}

// endings are the words of ended_by.
var endings = map[string]string{
	"client-fin": "closed, by the client first", "server-fin": "closed, by the server first", "client-rst": "reset by the client",
	"server-rst": "reset by the server", "gateway-rst": "reset by the gateway", "idle": "forgotten by its idle timer",
}

// headline says in a sentence how it went.
func (t *teller) headline() {
	var parts []string
	m := &t.Measures
	switch {
	case m.HandshakeS != nil:
		parts = append(parts, "Connected in "+human.Seconds(*m.HandshakeS))
	case m.Adopted:
		parts = append(parts, "Taken up in its middle")
	case t.facts.Own != nil && t.ended:
		parts = append(parts, "Never connected")
	case t.facts.Own != nil:
		parts = append(parts, "Not connected")
	default:
		parts = append(parts, "Older than the log")
	}
	if t.ended {
		end := endings[m.EndedBy]
		if end == "" {
			end = "forgotten " + forgets(m.EndReason)
		}
		parts = append(parts, end)
	} else if t.state != "" {
		parts = append(parts, "the log leaves it in "+t.state)
	}
	t.Headline = strings.Join(parts, "; ")
	if d := t.To.Sub(t.From.Time); d > 0 {
		t.Headline += ", after " + human.Duration(d)
	}
	t.Headline += "."
}

// Facts returns the measures in words, as pairs of a name and a value.
func (m *Measures) Facts() (facts [][2]string) {
	add := func(k, format string, args ...any) { facts = append(facts, [2]string{k, fmt.Sprintf(format, args...)}) }
	if m.HandshakeS != nil {
		add("handshake", "%s, %s", human.Seconds(*m.HandshakeS), human.Count(m.SYNs, "SYN"))
	} else if m.SYNs > 0 {
		add("handshake", "not complete, %s", human.Count(m.SYNs, "SYN"))
	}
	if m.ResponseS != nil {
		add("server response", "%s", human.Seconds(*m.ResponseS))
	}
	if m.Counted {
		add("to the server", "%s", oneWay(m.PktsToServer, m.BytesToServer, m.AgainToServer, m.OutsideServer))
		add("to the client", "%s", oneWay(m.PktsToClient, m.BytesToClient, m.AgainToClient, m.OutsideClient))
	}
	if m.StallS > 0 {
		add("stalled", "%s in all", human.Seconds(m.StallS))
	}
	if m.Outcome != "" {
		end := m.Outcome
		if words := endings[m.EndedBy]; words != "" && !strings.HasPrefix(words, m.Outcome) {
			end += ", " + words
		} else if words != "" {
			end = words
		}
		add("outcome", "%s", end)
	}
	return facts
}

func oneWay(pkts, bytes, again, outside uint64) string {
	s := human.Count(pkts, "segment") + ", " + human.Bytes(bytes)
	if again > 0 {
		s += fmt.Sprintf(", %d repeated", again)
	}
	if outside > 0 {
		s += fmt.Sprintf(", %d out of window", outside)
	}
	return s
}
