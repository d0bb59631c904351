package policy

import (
	"fmt"
	"slices"
	"time"

	ct "halfopen/conntrack"
)

// maxHold bounds packet: hold. RFC 5382 REQ-4 holds a SYN for 6 s; a sender gives up on more than this.
const maxHold = 60 * time.Second

// contradiction is a part of an action that cannot be done about a finding.
type contradiction struct{ part, found, expected string }

// contradictions returns what in an action cannot be done about finding f.
func (p *actionParts) contradictions(f ct.Finding, a *Action) []contradiction {
	if p.bad {
		return nil
	}
	var out []contradiction
	say := func(part, found, expected string) { out = append(out, contradiction{part, found, expected}) }
	if !f.Info().Packet {
		expiry(p, f, a, say)
	} else {
		packetParts(p, f, a, say)
	}
	if allowed := effectsOn(f, a); !slices.Contains(allowed, a.State) {
		words := make([]string, len(allowed))
		for i, e := range allowed {
			words[i] = e.String()
		}
		how := ", which is forwarded"
		if dropped(a) {
			how = ", which is dropped"
		}
		if !f.Info().Packet {
			how = ""
		}
		say("state", fmt.Sprintf("state: %s on %s%s", a.State, f, how), list(words))
	}
	if p.has("window") && a.Reply != ReplyACKTracked && a.ElseReply != ReplyACKTracked {
		say("window", "window without reply: ack-tracked", "no window, or that reply")
	}
	return out
}

// dropped reports whether the segment does not reach the other end.
func dropped(a *Action) bool { return a.Packet == Drop || a.Packet == Hold && a.HoldThen == Drop }

func expiry(p *actionParts, f ct.Finding, a *Action, say func(part, found, expected string)) {
	if a.Packet != Forward {
		say("packet", fmt.Sprintf("packet: %s on %s, which is about no packet", a.Packet, f), "reply and peer only")
	}
	if a.Reply != ReplyNone && a.Reply != ReplyRSTTracked && a.Reply != ReplyRSTInitial {
		say("reply", fmt.Sprintf("reply: %s on %s", a.Reply, f), "none, rst-tracked or rst-initial")
	}
	if a.Peer.probes() {
		say("peer", fmt.Sprintf("peer: %s on %s", a.Peer, f), "none, rst-tracked or rst-initial; the key probes is for asking before the end")
	}
	conditionParts(p, f, a, false, say)
	if p.has("timer") {
		say("timer", fmt.Sprintf("timer on %s", f), "no timer")
	}
}

func packetParts(p *actionParts, f ct.Finding, a *Action, say func(part, found, expected string)) {
	if a.Packet == Hold {
		if !p.has("hold") || a.HoldFor <= 0 || a.HoldFor > maxHold {
			say("hold", "packet: hold for "+FormatDuration(a.HoldFor), "hold: a duration up to "+FormatDuration(maxHold))
		}
		if !p.has("then") {
			say("then", "packet: hold and nothing after it", "then: forward or then: drop")
		}
	} else {
		for _, part := range []string{"hold", "then"} {
			if p.has(part) {
				say(part, fmt.Sprintf("%s with packet: %s", part, a.Packet), "packet: hold beside it")
			}
		}
	}
	stripParts(p, f, a, say)
	conditionParts(p, f, a, onSYN(f), say)
	if unanswerable(f) && a.Reply != ReplyNone {
		say("reply", fmt.Sprintf("reply: %s on %s, whose sender is not known for sure", a.Reply, f), "none")
	} else if a.Reply.tracked() && !tracked(f) {
		say("reply", fmt.Sprintf("reply: %s on %s, where no numbers are tracked", a.Reply, f), "none, rst, icmp-port or icmp-admin")
	} else if a.Reply.rst() && isRST(f) {
		say("reply", fmt.Sprintf("reply: %s on %s: no RST answers a RST (RFC 9293 section 3.5.2)", a.Reply, f), "another reply or none")
	}
	switch {
	case a.Peer != PeerNone && !tracked(f):
		say("peer", fmt.Sprintf("peer: %s on %s, where no numbers are tracked", a.Peer, f), "none")
	case a.Peer == PeerProbeSYN && !onSYN(f):
		say("peer", fmt.Sprintf("peer: %s on %s, which is about no SYN", a.Peer, f), "none, rst-tracked, rst-initial or probe-ack")
	case a.Peer.probes() && p.has("state") && (a.State == ct.Delete || a.State == ct.Replace || a.State == ct.Resync || a.State == ct.Deny):
		say("state", fmt.Sprintf("state: %s with peer: %s, whose answer is about the connection as it is", a.State, a.Peer), "keep, annotate or track")
	}
	if p.has("await") && !a.Peer.probes() {
		say("await", "await without a probe", "no await, or peer: probe-ack or probe-from-syn")
	} else if a.Peer.probes() && (a.Await <= 0 || a.Await > maxAwait) {
		say("await", "await: "+FormatDuration(a.Await), "a duration up to "+FormatDuration(maxAwait))
	}
}

// unanswerable reports whether a finding's packet cannot be trusted to name its sender.
func unanswerable(f ct.Finding) bool { return f == ct.Malformed || f == ct.ChecksumWrong }

// onSYN reports whether a finding is about a SYN that meets a connection.
func onSYN(f ct.Finding) bool {
	return tracked(f) && slices.Contains(effectsOn(f, &Action{}), ct.Annotate)
}

// tracked reports whether a finding is about a connection that the table holds.
func tracked(f ct.Finding) bool {
	switch f.Base() {
	case ct.Malformed, ct.ChecksumWrong, ct.FlagsIllegal, ct.New, ct.SynAckNoState, ct.AckNoState, ct.DataNoState, ct.FinNoState,
		ct.RstNoState, ct.LateAfterExpiry, ct.Adopted, ct.DeniedTuple, ct.TableFull, ct.EmbryonicLimit:
		return false
	}
	return true
}

// isRST reports whether a finding is about a RST.
func isRST(f ct.Finding) bool {
	if f == ct.LateRst {
		return true
	}
	switch f.Base() {
	case ct.Rst, ct.RstInexact, ct.RstOutOfWindow, ct.RstAfterChallenge, ct.RstForSyn, ct.RstForProbe, ct.RstNoState:
		return true
	}
	return false
}

// effectsOn returns the effects that make sense for a finding: a segment that is dropped tells the table nothing but to
// forget, and an entry can only be made from what its making needs.
func effectsOn(f ct.Finding, a *Action) []ct.Effect {
	switch f.Base() {
	case ct.IdleExpired, ct.DeadConnection:
		return []ct.Effect{ct.Delete}
	case ct.ProbeUnanswered:
		return []ct.Effect{ct.Keep, ct.Delete}
	case ct.DeniedTuple:
		return []ct.Effect{ct.Keep, ct.Delete}
	}
	if !tracked(f) {
		switch {
		case dropped(a) && (f.Base() == ct.New || slices.Contains(midStream, f)):
			return []ct.Effect{ct.Keep, ct.Deny}
		case dropped(a):
		case f.Base() == ct.New:
			return []ct.Effect{ct.Create, ct.Keep}
		case f == ct.Adopted || slices.Contains(midStream, f):
			return []ct.Effect{ct.CreateLiberal, ct.Keep}
		}
		return []ct.Effect{ct.Keep}
	}
	if dropped(a) {
		return []ct.Effect{ct.Keep, ct.Delete, ct.Rearm, ct.Deny}
	}
	out := []ct.Effect{ct.Keep, ct.Track, ct.Delete, ct.Rearm}
	switch f.Base() {
	case ct.SynRetransmit, ct.SynNewISN, ct.SynNewISNFar, ct.SynInHandshake, ct.SimultaneousOpen, ct.SynEstablished,
		ct.SynEstablishedReverse, ct.SynHalfClosed, ct.SynClosing, ct.SynTimeWait, ct.SynAfterRst:
		out = append(out, ct.Annotate, ct.Replace, ct.ReplaceIfClosed)
	case ct.SynAckResync:
		out = append(out, ct.Resync)
	}
	return out
}
