package story

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"halfopen/conntrack"
	"halfopen/policy/explain"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/trouble"
)

// meaning says what a finding is, in the manual's words; one that this version does not know means itself.
func meaning(reason string) string {
	if f, ok := conntrack.FindingByWord(reason); ok {
		return f.Info().Meaning
	}
	return reason
}

// upper makes a sentence of a phrase.
func upper(phrase string) string {
	r, n := utf8.DecodeRuneInString(phrase)
	if phrase == "" || strings.HasSuffix(phrase, ".") {
		return phrase
	}
	return string(unicode.ToUpper(r)) + phrase[n:] + "."
}

// words says why the gateway did what it did with a segment. What has been said of an earlier step in the same words is left out.
func (t *teller) words(e *decisionlog.Event) (words []string) {
	d := e.Decision
	say := func(s string) {
		if s != "" && !t.said[s] {
			t.said[s] = true
			words = append(words, s)
		}
	}
	if d.Settles != "" {
		words = append(words, released(d))
	} else {
		say(upper(meaning(d.Reason)))
	}
	if s := held(d); s != "" && !t.said["held"] {
		t.said["held"] = true
		say(s)
	}
	for _, s := range t.against(e) {
		say(s)
	}
	say(t.tomb(e))
	if o := d.Tombstone; o != nil && e.TCP != nil && e.Direction == "to_client" && e.TCP.Seq == o.ServerSeq && e.TCP.Ack == o.ClientSeq && strings.Contains(e.TCP.Flags, ".") {
		say("These are exactly the numbers that the forgotten connection stood at.")
	}
	if d.Defect != "" {
		say("It is unfit to be a segment: " + d.Defect + ".")
	}
	if d.Unmet != "" {
		say("The condition " + d.Unmet + " of the policy's action does not hold: its else is done.")
	}
	for _, s := range made(d) {
		say(s)
	}
	if d.Rule != "" {
		say("Rule " + d.Rule + ".")
	}
	if w := d.Would; w != nil {
		say(would(w))
	}
	return words
}

// released says what became of a held segment.
func released(d *decisionlog.DecisionEvent) string {
	if d.Verdict == decisionlog.VerdictDrop {
		return "It had been held, and is dropped now."
	}
	return "It had been held, and goes on now."
}

// held says for how long the remembered connection had been silent, where that is the point.
func held(d *decisionlog.DecisionEvent) string {
	f, ok := conntrack.FindingByWord(d.Reason)
	if !ok || d.IdleS == nil {
		return ""
	}
	switch f.Base() {
	case conntrack.SynEstablished, conntrack.SynEstablishedReverse, conntrack.SynHalfClosed, conntrack.SynClosing:
		return fmt.Sprintf("The gateway remembers the old connection in %s, silent for %s.", d.StateBefore, human.Seconds(*d.IdleS))
	}
	return ""
}

// numbersOf says which numbers a finding is about: that of the segment, and its acknowledgment.
func numbersOf(f conntrack.Finding) (seq, ack bool) {
	switch f.Base() {
	case conntrack.SynNewISN, conntrack.SynNewISNFar, conntrack.SynInHandshake, conntrack.SynEstablished, conntrack.SynHalfClosed, conntrack.SynClosing,
		conntrack.SeqAboveNear, conntrack.SeqAbove, conntrack.SeqBelow, conntrack.RstInexact, conntrack.RstOutOfWindow, conntrack.DataAfterFin:
		return true, false
	case conntrack.AckForSyn, conntrack.LateAfterExpiry, conntrack.HandshakeBadAck, conntrack.FinOutOfWindow, conntrack.DataAfterRst:
		return true, true
	case conntrack.SynAckBadAck, conntrack.SynAckEstablished, conntrack.AckAbove, conntrack.AckBelow:
		return false, true
	}
	switch f {
	case conntrack.RstAckZero, conntrack.SynDataIgnored, conntrack.OneSided:
		return false, true
	case conntrack.HalfDead:
		return true, false
	}
	return false, false
}

// against holds the numbers that were seen against those that were expected.
func (t *teller) against(e *decisionlog.Event) (words []string) {
	x := e.Decision.Expected
	f, ok := conntrack.FindingByWord(e.Decision.Reason)
	if x == nil || !ok || e.TCP == nil {
		return nil
	}
	own, other := t.numbers.Client, t.numbers.Server
	if !t.toServer(e) {
		own, other = other, own
	}
	seq, ack := numbersOf(f)
	if seq && x.Seq != nil {
		words = append(words, compare("Number", own, e.TCP.Seq, *x.Seq, x.SeqLo, x.SeqHi))
	}
	if ack && x.Ack != nil && strings.Contains(e.TCP.Flags, ".") {
		words = append(words, compare("Acknowledges", other, e.TCP.Ack, *x.Ack, x.AckLo, x.AckHi))
	}
	if x.Edge != nil && x.SeenEdge != nil {
		words = append(words, fmt.Sprintf("Its window ends at %s; it had reached up to %s.", other(*x.SeenEdge), other(*x.Edge)))
	}
	if x.TS != nil && x.SeenTS != nil {
		words = append(words, fmt.Sprintf("Timestamp %d, expected from %d on.", *x.SeenTS, *x.TS))
	}
	if x.Len != nil {
		words = append(words, fmt.Sprintf("%s, expected at most %d.", human.Bytes(uint64(e.TCP.Len)), *x.Len))
	}
	return words
}

// compare writes a number seen beside the one expected, and how far it is out of its range; between connections that says nothing.
func compare(what string, text func(uint32) string, seen, expected uint32, lo, hi *uint32) string {
	s := fmt.Sprintf("%s %s, expected %s", what, text(seen), text(expected))
	if lo == nil || hi == nil || letter(text(seen)) != letter(text(expected)) {
		return s + "."
	}
	if out := explain.Outside(conntrack.Seq(seen), conntrack.Seq(*lo), conntrack.Seq(*hi)); out != "inside" {
		return fmt.Sprintf("%s (%s to %s): %s.", s, text(*lo), text(*hi), out)
	}
	if seen == expected {
		return s + "."
	}
	return s + ": " + explain.Off(conntrack.Seq(seen), conntrack.Seq(expected)) + "."
}

// letter returns the letter of the connection that a number belongs to.
func letter(number string) string { return strings.TrimRight(number, "0123456789-") }

// tomb tells of the connection that the gateway had forgotten.
func (t *teller) tomb(e *decisionlog.Event) string {
	o := e.Decision.Tombstone
	if o == nil || o.Why == "replaced" && o.FlowID == t.before.id || t.said[fmt.Sprint("tomb", o.FlowID)] {
		return ""
	}
	t.said[fmt.Sprint("tomb", o.FlowID)] = true
	what := fmt.Sprintf("The connection before it on these ports (flow %d)", o.FlowID)
	if o.FlowID == t.FlowID {
		what = "The connection"
	}
	ago := ""
	if !o.Forgotten.IsZero() {
		ago = " " + human.Duration(e.Timestamp.Sub(o.Forgotten.Time)) + " ago"
	}
	return fmt.Sprintf("%s was forgotten%s %s, after %s.", what, ago, trouble.ForgottenBy(o.Why, o.TimeoutS), human.Seconds(o.AgeS))
}

// made says what a segment lost, and what was not made because of it.
func made(d *decisionlog.DecisionEvent) (words []string) {
	if len(d.Stripped) > 0 {
		words = append(words, "What it lost: "+strings.Join(d.Stripped, ", ")+".")
	}
	if d.RewriteOmitted != "" {
		words = append(words, "The policy asks for it to be rewritten; that was not done: "+d.RewriteOmitted+".")
	}
	if d.ReplyOmitted != "" {
		words = append(words, "The policy asks for an answer to its sender; none is made: "+d.ReplyOmitted+".")
	}
	if d.PeerOmitted != "" {
		words = append(words, "The policy asks for a segment to the other end; none is made: "+d.PeerOmitted+".")
	}
	return words
}

// would says what the policy under trial would have done.
func would(w *decisionlog.WouldEvent) string {
	s := fmt.Sprintf("The policy under trial would have done %s/%s", w.Verdict, w.Reason)
	if w.Reply != nil {
		s += " and answered with " + w.Reply.Kind
	}
	if w.Peer != nil {
		s += " and sent the other end " + w.Peer.Kind
	}
	return s + "."
}

// kinds are the packets that a gateway makes, in words.
var kinds = map[string]string{
	"ack-tracked":    "the old connection's ACK, in the other end's name",
	"rst-tracked":    "a RST with the connection's numbers, in the other end's name",
	"rst":            "a RST, as from a host without the connection",
	"probe-ack":      "a probe: does this end still hold the connection?",
	"probe-from-syn": "the SYN turned into a probe: does this end hold an old connection?",
	"icmp-port":      "ICMP: port unreachable",
	"icmp-admin":     "ICMP: administratively prohibited",
}

// injectWords says what a segment is that the gateway made. The mark says why.
func (t *teller) injectWords(i *decisionlog.InjectEvent) (words []string) {
	text := kinds[i.Kind]
	if text == "" {
		text = i.Kind
	}
	if i.Trigger != "" {
		text += "; time was the cause: " + meaning(i.Trigger)
	}
	if !t.said[text] {
		t.said[text] = true
		words = append(words, upper(text))
	}
	if i.Error != "" {
		words = append(words, "It was not sent: "+i.Error)
	}
	return words
}
