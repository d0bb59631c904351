package explain

import (
	"fmt"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
)

func (s *step) decision(note policy.Note, ofRule bool) Phase {
	t, out := s.t, s.out
	p := Phase{Name: Decision, Result: out.Verdict.String()}
	if t.Refused {
		l := t.Policy.Limits()
		p.Result += ", as the table is full"
		p.add("wanted", "%s on %s", t.Wanted.Text(), t.Class.Finding)
		p.add("bound", "%s: %s (limits: flows %d, embryonic %d; on_full %s%s)", out.Finding, out.Finding.Info().Meaning, l.Flows, l.Embryonic,
			t.Policy.OnFull(), behind(", ", t.Policy.Note("limits").String()))
	}
	p.add("line", "%s", lineText(note, ofRule, out))
	p.add("author", "%s", note.Text)
	if out.Unmet != "" {
		p.add("condition", "%s does not hold: what the policy says under else is done instead", out.Unmet)
	}
	packet := out.Action.Packet.String()
	if out.Action.Packet == policy.Hold {
		packet += fmt.Sprintf(" for at most %s, then %s", duration(out.Action.HoldFor), out.Action.HoldThen)
	}
	p.add("packet", "%s", packet)
	s.strip(&p)
	p.add("reply", "%s", s.made(out.Action.Reply.String(), out.HasReply, &out.Reply, out.ReplyOmitted))
	p.add("peer", "%s", s.made(out.Action.Peer.String(), out.HasPeer, &out.Peer, out.PeerOmitted))
	p.add("state", "%s", out.Action.State)
	p.add("timer", "%s", out.Action.TimerWord())
	return p
}

// strip tells what a rewritten segment was to lose, and what it does.
func (s *step) strip(p *Phase) {
	a, out := &s.out.Action, s.out
	lost := strings.Join(out.Strip.Words(), ", ")
	switch asked := strings.Join(a.Strip.Words(), ", "); {
	case out.Strip != 0 && out.Action.Packet != policy.Rewrite:
		lost += ", as the connection's first SYN did: otherwise it would depend on which of them arrives what the ends agree on"
	case out.Strip == 0 && a.Packet == policy.Rewrite:
		lost = "nothing: it has none of " + asked
	case out.Strip != 0:
		lost += " (of " + asked + ")"
	}
	p.add("loses", "%s", lost)
	if out.Strip&policy.StripMSS != 0 {
		p.add("mss", "%d, lowered to %d", s.t.Segment.Options.MSS, out.MSS)
	}
}

// lineText says which line is responsible.
func lineText(note policy.Note, ofRule bool, out *policy.Outcome) string {
	switch {
	case note.From == "":
		return "none: the policy says nothing of " + out.Finding.String() + ", and the finding's own default holds"
	case ofRule:
		return note.String() + ", in rule " + out.Rule
	}
	return note.String()
}

// made tells what a part of an action sends.
func (s *step) made(word string, has bool, e *policy.Emit, omitted string) string {
	switch {
	case has && e.ICMP != policy.ReplyNone:
		return word + " to " + e.Segment.Tuple.To().String()
	case has:
		from, to := s.from, s.to
		if e.Segment.Tuple != s.t.Segment.Tuple {
			from, to = to, from
		}
		text := word + ": " + segmentText(&e.Segment, from, to)
		if e.Twice {
			text += ", and once more with seq " + from.text(e.Also)
		}
		return text
	case omitted != "":
		return word + ", but none is made (" + omitted + "): " + omittedText(omitted)
	}
	return word
}

// omittedText says what an omission means.
func omittedText(word string) string {
	switch word {
	case policy.OmitDefect, policy.OmitChecksum:
		return "the packet cannot be trusted to say who sent it"
	case policy.OmitAddress:
		return "multicast and broadcast are not answered"
	case policy.OmitRST:
		return "no RST answers a RST"
	case policy.OmitNoState:
		return "tracked numbers need an entry"
	case policy.OmitNoNumbers:
		return "the numbers of that end are not known"
	}
	return "it cannot be made"
}

func (s *step) effect() Phase {
	t, out := s.t, s.out
	p := Phase{Name: Effect, Result: fmt.Sprintf("%s -> %s", out.Before, out.After)}
	if out.Before == conntrack.StateNone && out.After == conntrack.StateNone {
		p.Result = "nothing is remembered of it"
	}
	p.add("table", "%s%s", out.Effect, effectText(out))
	for i := range out.Flows {
		p.add(flowEvent(&out.Flows[i]))
	}
	if a := t.After; a != nil {
		deadline := fmt.Sprintf("%s left of %s", duration(a.Deadline.Sub(t.Now)), duration(a.Timeout))
		if a.Deadline == conntrack.Never {
			deadline = "never expires"
		}
		p.add("timer", "%s: %s", timerText(t, a), deadline)
	}
	if out.Hold != 0 {
		p.add("held", "until it is decided, %s at most", duration(out.HoldUntil.Sub(t.Now)))
	}
	if out.Counted {
		p.add("record", "none of its own: the flow's record counts it")
	}
	p.add("flows", "%d in the table", t.Flows)
	return p
}

// effectText says what an effect is.
func effectText(out *policy.Outcome) string {
	text := [conntrack.NumEffects]string{conntrack.Keep: "nothing but the time and the counts", conntrack.Track: "the numbers and the state follow the segment",
		conntrack.Annotate: "the SYN is noted, in case the other end proves it", conntrack.Resync: "the noted SYN is proven: the flow begins anew from it",
		conntrack.Replace: "the old flow ends and this SYN begins another", conntrack.Delete: "the flow is forgotten",
		conntrack.Create: "this SYN begins a flow", conntrack.CreateLiberal: "a flow is taken up mid-stream", conntrack.Rearm: "the next SYN/ACK is taken fresh",
		conntrack.Deny: "these ends' addresses and ports are denied for a while"}[out.Effect]
	if out.Effect == conntrack.Keep && out.After == conntrack.StateNone {
		text = "nothing"
	}
	if out.Effect != out.Action.State {
		text += " (the policy's word is " + out.Action.State.String() + ")"
	}
	return behind(": ", text)
}

func flowEvent(ev *policy.FlowEvent) (key, text string) {
	if ev.Kind == policy.FlowNew {
		return "begins", fmt.Sprintf("flow %d%s", ev.Entry.ID, behind(", rule ", ev.Rule))
	}
	return "ends", fmt.Sprintf("flow %d of %s, in %s: %s", ev.Entry.ID, ev.Entry.Tuple, ev.Entry.State, ev.Why)
}

// timerText says what became of the timer.
func timerText(t *policy.Trace, a *conntrack.Entry) string {
	switch {
	case t.Entry == nil || t.Entry.ID != a.ID:
		return "set"
	case a.Refreshed == t.Now && t.Timer.Op == conntrack.TimerShorten:
		return "shortened"
	case a.Refreshed == t.Now && t.Timer.Op == conntrack.TimerRefresh:
		return "set anew"
	case t.Timer.Op != t.Outcome.Action.Timer.Op:
		return "left (the policy's rules on refreshing withhold it)"
	}
	return "left"
}

// sentence tells the whole in one sentence.
func (s *step) sentence(note policy.Note, ofRule bool) string {
	seg, out := &s.t.Segment, s.out
	var b strings.Builder
	fmt.Fprintf(&b, "The gateway %s the %s of %s to %s", verbText(out.Verdict), kindText(seg), seg.Tuple.From(), seg.Tuple.To())
	if out.HasReply {
		fmt.Fprintf(&b, " and answers its sender with %s", emitText(&out.Reply))
	}
	if out.HasPeer {
		fmt.Fprintf(&b, " and sends the other end %s", emitText(&out.Peer))
	}
	fmt.Fprintf(&b, ", because it is %s", out.Finding.Info().Meaning)
	switch {
	case s.t.Entry != nil && !out.Finding.Info().Plain:
		fmt.Fprintf(&b, ", remembered in %s since its last segment %s ago", s.t.Entry.State, duration(out.Idle))
	case s.t.Entry == nil && out.HasTomb:
		fmt.Fprintf(&b, ", forgotten %s ago (%s)", duration(s.t.Now.Sub(out.Tombstone.Forgotten)), out.Tombstone.Reason)
	}
	return b.String() + sourceText(note, ofRule, out) + "."
}

// sourceText says whose word the verdict is.
func sourceText(note policy.Note, ofRule bool, out *policy.Outcome) string {
	who := note.String()
	switch {
	case note.From == "":
		return ", of which the policy says nothing"
	case out.Unmet != "":
		return fmt.Sprintf(", and the condition %s in %s does not hold", out.Unmet, who)
	case ofRule:
		return fmt.Sprintf(", and %s (rule %s) says so", who, out.Rule)
	}
	return ", and " + who + " says so"
}

func verbText(v policy.PacketAction) string {
	return map[policy.PacketAction]string{policy.Forward: "forwards", policy.Drop: "drops", policy.Rewrite: "rewrites", policy.Hold: "holds"}[v]
}

// emitText names a packet that the gateway makes.
func emitText(e *policy.Emit) string {
	switch e.Kind {
	case policy.ReplyRST.String():
		return "a RST"
	case policy.ReplyRSTTracked.String():
		return "a RST with the tracked numbers"
	case policy.ReplyRSTInitial.String():
		return "a RST with the handshake's numbers"
	case policy.ReplyACKTracked.String():
		return "an ACK with the connection's numbers"
	case policy.PeerProbeACK.String(), policy.PeerProbeSYN.String():
		return "a probe"
	}
	return "an " + e.Kind
}
