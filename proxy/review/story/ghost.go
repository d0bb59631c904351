package story

import (
	"strings"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/ladder"
)

// ghosts tells what shadow policies would have done otherwise about the decision, for the first time on this connection. What they say behind
// that is not what would have happened, and is left out.
func (t *teller) ghosts(e *decisionlog.Event) {
	for i := range e.Shadow {
		s := &e.Shadow[i]
		if !s.Differs() {
			continue
		}
		step := Step{Kind: Shadow, FlowID: e.FlowID, Label: "shadow " + s.Policy + ": " + ghost(s), Verdict: s.Verdict, Reason: s.Reason, Rule: s.Rule,
			Decision: e.Decision.ID, Remembers: t.remembers, Remarks: true, Words: []string{t.ghostWords(e, s)}}
		if e.TCP != nil {
			step.ToServer = t.toServer(e)
		}
		t.step(step, e.Timestamp.Time)
	}
}

// ghost says in short what a shadow would have done.
func ghost(s *decisionlog.ShadowEvent) string {
	var parts []string
	if s.Verdict != "" {
		parts = append(parts, s.Verdict)
	}
	if s.Reply != nil {
		parts = append(parts, "reply "+s.Reply.Kind)
	}
	if s.Peer != nil {
		parts = append(parts, "peer "+s.Peer.Kind)
	}
	if len(parts) == 0 {
		return "nothing"
	}
	text := strings.Join(parts, ", ")
	if s.Reason != "" {
		text += " (" + s.Reason + ")"
	}
	return text
}

// ghostWords says about what.
func (t *teller) ghostWords(e *decisionlog.Event, s *decisionlog.ShadowEvent) string {
	switch {
	case s.Trigger == "release":
		return "It would have ended the hold otherwise."
	case s.Trigger != "" && s.Verdict == "" && s.Reply == nil && s.Peer == nil:
		return "Its time was not up: " + meaning(s.Trigger) + " is the policy's alone."
	case s.Trigger != "":
		return "By its timers, where the policy in force did nothing."
	case e.Decision.Trigger == decisionlog.TriggerShadow && e.TCP != nil:
		label := t.numbers.Label(&ladder.Segment{ToServer: t.toServer(e), Flags: e.TCP.Flags, Seq: e.TCP.Seq, Ack: e.TCP.Ack, Len: int(e.TCP.Len)})
		end := "client"
		if !t.toServer(e) {
			end = "server"
		}
		return "About the " + end + "'s " + label + ", which is told of by its count alone."
	}
	return "From here on it would have been another connection."
}
