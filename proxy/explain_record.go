package proxy

import (
	"fmt"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/explain"
	"halfopen/proxy/decisionlog"
)

// recorded is a decision of a log, and what belongs to it.
type recorded struct {
	ev   decisionlog.Event // its Decision is set
	sent []string          // what it had injected
	bad  int               // lines that could not be read
	seg  conntrack.Segment // as far as the record tells
	pol  *policy.Policy    // that decided it, nil where it is not at hand
	find conntrack.Finding
	know bool // find is a finding of this version
}

// ExplainRecord explains the decision of an id in a decision log. With a policy (a preset's name or a file, set applied to it)
// other than the one that decided, that one decides again as far as the record suffices.
func ExplainRecord(log, id, ref string, set []string) (*explain.Explanation, error) {
	r, err := findRecord(log, id)
	if err != nil {
		return nil, err
	}
	var other *policy.Policy
	if ref != "" {
		if other, err = LoadPolicy(ref, set); err != nil {
			return nil, err
		}
		if other.Rev() == r.ev.Decision.PolicyRev {
			r.pol, other = other, nil
		}
	}
	if _, _, preset := policy.CutReference(r.ev.Decision.Preset); r.pol == nil && preset {
		if p, err := LoadPolicy(r.ev.Decision.Preset, nil); err == nil && p.Rev() == r.ev.Decision.PolicyRev {
			r.pol = p
		}
	}
	if other != nil {
		return r.again(other, log), nil
	}
	return r.explain(log), nil
}

// explain tells what the record says.
func (r *recorded) explain(log string) *explain.Explanation {
	d := r.ev.Decision
	x := &explain.Explanation{Input: "record " + d.ID + " of " + log, Policy: "of the record, built on " + d.Preset, Rev: d.PolicyRev,
		Verdict: d.Verdict, Reason: d.Reason, Rule: d.Rule, Line: r.line().String()}
	if d.Preset == "" {
		x.Policy = "of the record"
	}
	x.Phases = []explain.Phase{r.decode(), r.lookUp(), r.classify(), r.rules(), r.decision(), r.effect()}
	x.Sentence = r.sentence()
	x.Notes = r.unknown()
	return x
}

// direction is the segment's, as far as the record tells.
func (r *recorded) direction() conntrack.Direction {
	if t := r.ev.Decision.Tombstone; r.ev.FlowID == 0 && t != nil {
		if x := r.ev.Decision.Expected; x != nil && x.Seq != nil && *x.Seq == t.ServerSeq && *x.Seq != t.ClientSeq {
			return conntrack.Reply
		}
	}
	if r.ev.Direction == "to_client" {
		return conntrack.Reply
	}
	return conntrack.Original
}

// line returns the line of the policy that is responsible, where the policy is at hand.
func (r *recorded) line() policy.Note {
	if r.pol == nil || !r.know {
		return policy.Note{}
	}
	rule := int32(-1)
	if r.ev.Decision.Rule != "" {
		rule = r.pol.RuleByName(r.ev.Decision.Rule)
	}
	note, _ := r.pol.ActionNote(rule, r.direction(), r.find)
	return note
}

func fact(p *explain.Phase, key, value string) {
	if value != "" {
		p.Facts = append(p.Facts, explain.Fact{Key: key, Value: value})
	}
}

func (r *recorded) decode() explain.Phase {
	e, d := &r.ev, r.ev.Decision
	p := explain.Phase{Name: explain.Decode, Result: "a TCP segment"}
	if d.Defect != "" {
		p.Result = "defective: " + d.Defect
	}
	fact(&p, "time", e.Timestamp.UTC().Format(time.RFC3339Nano))
	fact(&p, "interface", strings.Trim(e.InIface+" to "+e.OutIface, " to"))
	fact(&p, "arm", d.Arm)
	if e.PcapCnt != 0 {
		fact(&p, "frame", fmt.Sprint(e.PcapCnt))
	}
	text := r.seg.Tuple.String()
	if t := e.TCP; t != nil {
		text += fmt.Sprintf(" %s seq %d", t.Flags, t.Seq)
		if strings.Contains(t.Flags, ".") {
			text += fmt.Sprintf(" ack %d", t.Ack)
		}
		text += fmt.Sprintf(" len %d win %d", t.Len, t.Win)
		fact(&p, "segment", text)
		fact(&p, "options", t.Options)
	} else {
		fact(&p, "segment", text)
	}
	checksum := d.Checksum
	if checksum == "" {
		checksum = "good"
	}
	fact(&p, "checksum", checksum)
	return p
}

// secs prints seconds of a record.
func secs(s float64) string {
	return policy.FormatDuration(time.Duration(s * 1e9).Round(time.Microsecond))
}

func (r *recorded) lookUp() explain.Phase {
	e, d := &r.ev, r.ev.Decision
	p := explain.Phase{Name: explain.LookUp, Result: "nothing is remembered of these ends"}
	switch t := d.Tombstone; {
	case r.entry():
		p.Result = fmt.Sprintf("flow %d, %s", e.FlowID, d.StateBefore)
		if r.begins() {
			p.Result = "a flow in " + d.StateBefore
		}
		fact(&p, "direction", e.Direction)
		if d.AgeS != nil {
			fact(&p, "age", secs(*d.AgeS))
		}
		if d.IdleS != nil {
			fact(&p, "last segment", secs(*d.IdleS)+" ago")
		}
		if d.RemainingS != nil {
			fact(&p, "timer", secs(*d.RemainingS)+" left")
		}
		if e.TCP != nil {
			fact(&p, "history", e.TCP.History)
		}
	case t != nil:
		p.Result = fmt.Sprintf("a tombstone: flow %d was forgotten %s ago", t.FlowID, secs(e.Timestamp.Sub(t.Forgotten.Time).Seconds()))
		fact(&p, "forgotten", fmt.Sprintf("in %s: %s, timer %s", t.State, t.Why, secs(t.TimeoutS)))
		fact(&p, "last segment", secs(t.IdleS)+" before it was forgotten")
		fact(&p, "age", secs(t.AgeS)+" then")
		fact(&p, "last numbers", fmt.Sprintf("client next %d acked %d, server next %d acked %d", t.ClientSeq, t.ClientAck, t.ServerSeq, t.ServerAck))
	}
	return p
}

// begins reports whether the decision began another flow, whose id the record then carries.
func (r *recorded) begins() bool {
	word := r.ev.Decision.Effect
	if word == "" && r.ev.Decision.Action != nil {
		word = r.ev.Decision.Action.State
	}
	switch word {
	case conntrack.Replace.String(), conntrack.Resync.String(), conntrack.Create.String(), conntrack.CreateLiberal.String(), conntrack.Deny.String():
		return true
	}
	return false
}

// entry reports whether the tuple had an entry.
func (r *recorded) entry() bool {
	return r.ev.Decision.StateBefore != "" && r.ev.Decision.StateBefore != conntrack.StateNone.String()
}

func (r *recorded) classify() explain.Phase {
	d := r.ev.Decision
	p := explain.Phase{Name: explain.Classify, Result: d.Reason}
	if r.know {
		fact(&p, "meaning", r.find.Info().Meaning)
		if b := r.find.Base(); b != r.find {
			fact(&p, "kind of", b.String())
		}
	} else {
		fact(&p, "meaning", "a finding that this version does not know")
	}
	x := d.Expected
	if x == nil {
		return p
	}
	number := func(key string, want *uint32, seen conntrack.Seq) {
		if want != nil {
			fact(&p, key, fmt.Sprintf("expected %d, seen %d: %s", *want, uint32(seen), explain.Off(seen, conntrack.Seq(*want))))
		}
	}
	window := func(key string, lo, hi *uint32, seen conntrack.Seq) {
		if lo != nil && hi != nil {
			fact(&p, key, fmt.Sprintf("%d to %d, seen %d: %s", *lo, *hi, uint32(seen), explain.Outside(seen, conntrack.Seq(*lo), conntrack.Seq(*hi))))
		}
	}
	number("seq", x.Seq, r.seg.Seq)
	window("seq window", x.SeqLo, x.SeqHi, r.seg.Seq)
	if r.seg.Flags.Has(conntrack.ACK) {
		number("ack", x.Ack, r.seg.Ack)
		window("ack window", x.AckLo, x.AckHi, r.seg.Ack)
	}
	return p
}

func (r *recorded) rules() explain.Phase {
	p := explain.Phase{Name: explain.Rules, Result: "no rule: the policy's own words held"}
	if rule := r.ev.Decision.Rule; rule != "" {
		p.Result = "rule " + rule
		if r.pol != nil {
			if n := r.pol.RuleByName(rule); n >= 0 {
				fact(&p, rule, "yes: "+r.pol.RuleMatch(n).Text()+"  "+r.pol.RuleNote(n).String())
			}
		}
	}
	return p
}

func (r *recorded) decision() explain.Phase {
	d := r.ev.Decision
	p := explain.Phase{Name: explain.Decision, Result: d.Verdict}
	switch n := r.line(); {
	case r.pol == nil:
		fact(&p, "line", "not known: the policy of this revision is not at hand")
	case n.From == "":
		fact(&p, "line", "none: the policy says nothing of "+d.Reason+", and the finding's own default holds")
	default:
		fact(&p, "line", n.String())
		fact(&p, "author", n.Text)
	}
	if d.Unmet != "" {
		fact(&p, "condition", d.Unmet+" does not hold: what the policy says under else is done instead")
	}
	if a := d.Action; a != nil {
		fact(&p, "packet", a.Packet)
		fact(&p, "lost", strings.Join(d.Stripped, ", "))
		if d.RewriteOmitted != "" {
			fact(&p, "not rewritten", d.RewriteOmitted)
		}
		fact(&p, "reply", madeText(a.Reply, d.Reply, d.ReplyOmitted))
		fact(&p, "peer", madeText(a.Peer, d.Peer, d.PeerOmitted))
		fact(&p, "state", a.State)
		fact(&p, "timer", a.Timer)
	}
	for _, s := range r.sent {
		fact(&p, "sent", s)
	}
	if d.Settles != "" {
		fact(&p, "settles", "the hold of "+d.Settles)
	}
	if w := d.Would; w != nil {
		fact(&p, "would", fmt.Sprintf("the policy on trial: %s (%s)", w.Verdict, w.Reason))
	}
	return p
}

// madeText tells what a part of an action sent.
func madeText(word string, m *decisionlog.MadeEvent, omitted string) string {
	switch {
	case m != nil && m.Flags != "":
		return fmt.Sprintf("%s: %s seq %d ack %d", word, m.Flags, m.Seq, m.Ack)
	case omitted != "":
		return word + ", but none is made (" + omitted + ")"
	}
	return word
}

func (r *recorded) effect() explain.Phase {
	d := r.ev.Decision
	p := explain.Phase{Name: explain.Effect, Result: d.StateBefore + " -> " + d.StateAfter}
	if !r.entry() && (d.StateAfter == "" || d.StateAfter == conntrack.StateNone.String()) {
		p.Result = "nothing is remembered of it"
	}
	effect := d.Effect
	if effect == "" && d.Action != nil {
		effect = d.Action.State
	}
	fact(&p, "table", effect)
	if r.begins() && r.ev.FlowID != 0 {
		fact(&p, "begins", fmt.Sprintf("flow %d", r.ev.FlowID))
	}
	return p
}

// sentence tells the whole in one sentence.
func (r *recorded) sentence() string {
	d := r.ev.Decision
	verb := map[string]string{decisionlog.VerdictForward: "forwarded", decisionlog.VerdictDrop: "dropped", decisionlog.VerdictRewrite: "rewrote", decisionlog.VerdictHold: "held"}[d.Verdict]
	text := fmt.Sprintf("The gateway %s the %s of %s to %s", verb, explain.Kind(&r.seg), r.seg.Tuple.From(), r.seg.Tuple.To())
	if d.Reply != nil {
		text += " and answered its sender with " + d.Reply.Kind
	}
	if d.Peer != nil {
		text += " and sent the other end " + d.Peer.Kind
	}
	if r.know {
		text += ", because it was " + r.find.Info().Meaning
	} else {
		text += ", because of " + d.Reason
	}
	if r.entry() && d.IdleS != nil && (!r.know || !r.find.Info().Plain) {
		text += ", remembered in " + d.StateBefore + " since its last segment " + secs(*d.IdleS) + " before"
	}
	if d.Rule != "" {
		text += ", by rule " + d.Rule
	}
	if n := r.line(); n.From != "" {
		text += ", and " + n.String() + " says so"
	}
	return text + "."
}

// unknown says what the record does not tell.
func (r *recorded) unknown() []string {
	notes := []string{"a record does not tell which rules were tried before, nor the windows of both ends beyond the numbers above"}
	if r.pol == nil {
		notes = append(notes, fmt.Sprintf("the policy of revision %s is not at hand: give it with --policy FILE to have its lines named", r.ev.Decision.PolicyRev))
	}
	if r.entry() && r.ev.Decision.Expected == nil {
		notes = append(notes, "the record carries no expected numbers: those of the connection are not known")
	}
	return notes
}
