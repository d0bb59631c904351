package lab

import (
	"fmt"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/ladder"
)

// Decision is a kind of decision that an incident turned on, with what in the gateway's policy says so.
type Decision struct {
	Finding  string       `json:"finding,omitempty"` // "" where no segment but time alone decided
	Event    string       `json:"event,omitempty"`   // what time did, in words
	Verdict  string       `json:"verdict,omitempty"`
	Reply    string       `json:"reply,omitempty"` // what the gateway made for the segment's sender, as policies call it
	Peer     string       `json:"peer,omitempty"`  // and for the other end
	Rule     string       `json:"rule,omitempty"`
	Segment  string       `json:"segment,omitempty"`  // the first that was decided so, numbered as in the ladder
	Segments int          `json:"segments,omitempty"` // how many were
	Memory   string       `json:"memory,omitempty"`   // what the table knew of the connection when it came
	Numbers  []string     `json:"numbers,omitempty"`  // expected against seen
	Lines    []PolicyLine `json:"lines"`

	state string // of the entry or the tombstone
	dir   conntrack.Direction
}

// maxDecisions bounds the kinds of decisions of a cell; an incident has fewer.
const maxDecisions = 8

// decide collects what the incident turned on, in the order of time: what the gateway forgot or asked before it, and its decisions
// other than the plain ones, up to the SYN/ACK that reached the client. Where all were plain the first is named.
func (p *Phase) decide(log []entry, since, until time.Time) {
	numbers := newNumbers(p.trace)
	incident, over := p.incident.Add(-clockSlack), p.stood(until)
	var plain *Decision
	for i := range log {
		e := &log[i]
		if e.Timestamp.Before(since) || e.Timestamp.After(over) {
			continue
		}
		late := !e.Timestamp.Before(incident)
		if d := e.expiry(); d != nil && (p.expiry || late) {
			p.decisive = append(p.decisive, d)
			continue
		}
		f, ok := conntrack.FindingByWord(e.Decision.Reason)
		if e.EventType != "decision" || !ok {
			continue
		}
		probed := f == conntrack.AckForProbe || f == conntrack.RstForProbe
		switch d := &e.Decision; {
		case !late && (!probed || !p.expiry):
		case f.Info().Plain && d.Verdict == "forward" && d.Reply == nil && d.Peer == nil && !probed:
			if plain == nil {
				plain = e.decision(f, numbers)
			}
		default:
			p.addDecision(e.decision(f, numbers))
		}
	}
	if len(p.decisive) == 0 && plain != nil {
		p.decisive = append(p.decisive, plain)
	}
}

// stood is when the SYN/ACK of the new connection had reached the client, or until.
func (p *Phase) stood(until time.Time) time.Time {
	for _, s := range p.trace[p.mark:] {
		if !s.toServer && s.synACK() && s.droppedBy() < 0 {
			return s.end.Add(clockSlack)
		}
	}
	return until
}

// addDecision adds a decision, or counts it where the same was decided before.
func (p *Phase) addDecision(d *Decision) {
	for _, old := range p.decisive {
		if old.Finding == d.Finding && old.Verdict == d.Verdict && old.Rule == d.Rule && old.Reply == d.Reply && old.Peer == d.Peer {
			old.Segments++
			return
		}
	}
	if len(p.decisive) < maxDecisions {
		p.decisive = append(p.decisive, d)
	}
}

// expiry returns what time alone did to a connection, nil for any other record.
func (e *entry) expiry() *Decision {
	if e.EventType != "flow" || e.Flow.Event != "end" {
		return nil
	}
	words := map[string]string{"idle": "the idle timer ran out: the gateway forgot the connection", "dead": "an end did not answer the probes: the gateway forgot the connection"}
	if words[e.Flow.Reason] == "" {
		return nil
	}
	return &Decision{Event: words[e.Flow.Reason], state: e.Flow.State}
}

// decision returns what a record says.
func (e *entry) decision(f conntrack.Finding, n *ladder.Numbers) *Decision {
	d := &e.Decision
	toServer := e.toServer()
	out := &Decision{Finding: d.Reason, Verdict: d.Verdict, Rule: d.Rule, Segments: 1, Memory: e.memory(),
		Segment: n.Label(&ladder.Segment{ToServer: toServer, Flags: e.TCP.Flags, Seq: e.TCP.Seq, Ack: e.TCP.Ack, Len: e.TCP.Len})}
	if !toServer {
		out.dir = conntrack.Reply
		out.Segment += ", from the server"
	}
	if d.Reply != nil {
		out.Reply = d.Reply.Kind
	}
	if d.Peer != nil {
		out.Peer = d.Peer.Kind
	}
	switch {
	case d.StateBefore != "" && d.StateBefore != conntrack.StateNone.String():
		out.state = d.StateBefore
	case d.Tomb != nil && d.Tomb.Why == "idle":
		out.state = d.Tomb.State
	}
	if !f.Info().Plain {
		out.Numbers = e.numbers(n, toServer)
	}
	return out
}

// toServer is the direction of a record's segment, as far as it tells.
func (e *entry) toServer() bool {
	if t := e.Decision.Tomb; e.FlowID == 0 && t != nil {
		return e.TCP.Seq-t.ClientSeq < e.TCP.Seq-t.ServerSeq
	}
	if e.Direction == "" { // a SYN, or nothing tells but the ports: a client's is the higher, also of LPD's (RFC 1179, section 3.1)
		return flagBits(e.TCP.Flags)&(flagSYN|flagACK) == flagSYN || e.SrcPort > e.DestPort
	}
	return e.Direction != "to_client"
}

// memory says what the table knew.
func (e *entry) memory() string {
	d := &e.Decision
	if d.StateBefore != "" && d.StateBefore != conntrack.StateNone.String() {
		text := fmt.Sprintf("remembered in %s, last segment %s before", d.StateBefore, human.Seconds(d.IdleS))
		if d.RemainingS != nil {
			text += ", " + human.Seconds(*d.RemainingS) + " left on its timer"
		}
		return text
	}
	if t := d.Tomb; t != nil {
		why := map[string]string{"idle": "its idle timer of " + human.Seconds(t.TimeoutS) + " had run out"}[t.Why]
		if why == "" {
			why = t.Why
		}
		return fmt.Sprintf("forgotten %s before, in %s: %s", human.Duration(e.Timestamp.Sub(t.Forgotten.Time)), t.State, why)
	}
	return "nothing remembered"
}

// numbers lists what was expected of the segment's numbers, and what was seen.
func (e *entry) numbers(n *ladder.Numbers, toServer bool) (list []string) {
	x := e.Decision.Expected
	if x == nil {
		return nil
	}
	own, other := n.Client, n.Server
	if !toServer {
		own, other = other, own
	}
	add := func(name string, text func(uint32) string, seen uint32, exact, lo, hi *uint32) {
		var want string
		switch {
		case exact != nil && lo != nil && hi != nil:
			want = fmt.Sprintf("%s (%+d to %+d)", text(*exact), int32(*lo-*exact), int32(*hi-*exact))
		case exact != nil:
			want = text(*exact)
		case lo != nil && hi != nil:
			want = text(*lo) + " to " + text(*hi)
		default:
			return
		}
		list = append(list, fmt.Sprintf("%s: expected %s, seen %s", name, want, text(seen)))
	}
	add("seq", own, e.TCP.Seq, x.Seq, x.SeqLo, x.SeqHi)
	if strings.Contains(e.TCP.Flags, ".") {
		add("ack", other, e.TCP.Ack, x.Ack, x.AckLo, x.AckHi)
	}
	return list
}

// settings are the keys of a policy that had a say in a decision, beside the action on its finding: the timer by which the connection was
// still remembered, or no longer, and what the segment's numbers were judged by.
func (d *Decision) settings() (keys []string) {
	f, ok := conntrack.FindingByWord(d.Finding)
	if s := strings.ToLower(d.state); s != "" && (!ok || !f.Info().Plain || f == conntrack.AckForProbe || f == conntrack.RstForProbe) {
		keys = append(keys, "timeouts."+s)
	}
	if !ok {
		return append(keys, "probes.tries")
	}
	switch f.Base() {
	case conntrack.SynNewISN, conntrack.SynNewISNFar:
		keys = append(keys, "window.syn_band")
	case conntrack.AckForProbe, conntrack.RstForProbe:
		keys = append(keys, "probes.tries", "probes.when", "probes.every")
	case conntrack.HalfDead:
		keys = append(keys, "window.retransmits")
	case conntrack.SeqAbove, conntrack.SeqAboveNear:
		keys = append(keys, "window.check", "window.near")
	case conntrack.SeqBelow, conntrack.SeqBelowOld:
		keys = append(keys, "window.check", "window.old")
	case conntrack.AckAbove, conntrack.AckBelow, conntrack.HandshakeBadAck:
		keys = append(keys, "window.check", "window.ack")
	case conntrack.RstInexact, conntrack.RstOutOfWindow:
		keys = append(keys, "window.check", "window.rst")
	case conntrack.FinOutOfWindow, conntrack.SynEstablished, conntrack.DataAfterRst, conntrack.LateAfterExpiry:
		keys = append(keys, "window.check")
	}
	return keys
}

// source gives the decisions the lines of the policy that are responsible.
func (p *Phase) source(files *policyFiles) {
	for _, d := range p.decisive {
		rule := int32(-1)
		if d.Rule != "" {
			rule = files.played.RuleByName(d.Rule)
		}
		if f, ok := conntrack.FindingByWord(d.Finding); ok {
			note, _ := files.played.ActionNote(rule, d.dir, f)
			d.Lines = files.lines(d.Lines, rule, d.dir, "on."+d.Finding, note)
		}
		for _, key := range d.settings() {
			note, _ := files.played.KeyNote(rule, key)
			if own, _ := files.written.KeyNote(rule, key); own == (policy.Note{}) && !strings.HasPrefix(key, "timeouts.") {
				continue // no window and no probes are nothing that anybody chose
			}
			d.Lines = files.lines(d.Lines, rule, d.dir, key, note)
		}
	}
}
