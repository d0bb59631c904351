package explain

import (
	"fmt"
	"slices"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Scales are what relative numbers are relative to where the table does not know it: the sender's and the receiver's first
// number. Nil: such numbers are printed as on the wire only.
type Scales *[2]conntrack.Seq

// step is a trace being explained.
type step struct {
	t        *policy.Trace
	out      *policy.Outcome
	from, to scale // numbers of the segment's sender and of its receiver
}

// Step explains what the engine did with a segment.
func Step(t *policy.Trace, base Scales) *Explanation {
	s := &step{t: t, out: &t.Outcome}
	s.scales(base)
	note, ofRule := s.source()
	x := &Explanation{Policy: t.Policy.Name(), Rev: t.Policy.Rev(), Verdict: s.out.Verdict.String(), Reason: s.out.Finding.String(),
		Rule: s.out.Rule, Line: note.String()}
	x.Phases = []Phase{s.decode(), s.lookUp(), s.classify(), s.rules(), s.decision(note, ofRule), s.effect()}
	x.Sentence = s.sentence(note, ofRule)
	return x
}

// source returns where the action comes from.
func (s *step) source() (policy.Note, bool) {
	return s.t.Policy.ActionNote(s.t.Rule, s.t.RuleDir, s.out.Finding)
}

// scales finds the first numbers of both ends.
func (s *step) scales(base Scales) {
	if base != nil {
		s.from, s.to = scale{base[0], true}, scale{base[1], true}
		return
	}
	e, seg := s.remembered(), &s.t.Segment
	if e != nil {
		dir := conntrack.Original
		if e.Tuple != seg.Tuple {
			dir = conntrack.Reply
		}
		side := func(d conntrack.Direction) scale {
			return scale{e.Side[d].ISN, e.Side[d].Flags&conntrack.SideSYN != 0}
		}
		s.from, s.to = side(dir), side(dir.Other())
	}
	if !s.from.known && e == nil && seg.Flags.Has(conntrack.SYN) {
		s.from = scale{seg.Seq, true}
	}
}

// remembered returns what the table held of the tuple, alive or not.
func (s *step) remembered() *conntrack.Entry {
	if s.t.Entry != nil {
		return s.t.Entry
	}
	return s.t.Expired
}

func (s *step) decode() Phase {
	seg := &s.t.Segment
	p := Phase{Name: Decode, Result: "a TCP segment"}
	if seg.Defect != conntrack.DefectNone {
		p.Result = "defective: " + seg.Defect.String()
	}
	p.add("segment", "%s", segmentText(seg, s.from, s.to))
	if seg.Span() > 0 {
		p.add("numbers", "%s, which end before %s", s.from.text(seg.Seq), s.from.text(seg.End()))
	}
	p.add("options", "%s", optionText(&seg.Options, s.to))
	if seg.Flags.Has(conntrack.URG) {
		p.add("urgent", "%d", seg.Urgent)
	}
	p.add("checksum", "%s", checksumText(seg.Checksum))
	return p
}

func (s *step) lookUp() Phase {
	p := Phase{Name: LookUp}
	switch e, tomb := s.t.Entry, s.out.HasTomb; {
	case e != nil:
		p.Result = fmt.Sprintf("flow %d, %s", e.ID, e.State)
		s.entry(&p, e)
	case tomb:
		p.Result = fmt.Sprintf("a tombstone: flow %d was forgotten %s ago", s.out.Tombstone.ID, duration(s.t.Now.Sub(s.out.Tombstone.Forgotten)))
		s.tombstone(&p)
	case s.t.Expired != nil:
		p.Result = fmt.Sprintf("nothing: flow %d has just expired, and left no tombstone", s.t.Expired.ID)
	default:
		p.Result = "nothing is remembered of these ends"
	}
	return p
}

// entry tells what an entry remembers.
func (s *step) entry(p *Phase, e *conntrack.Entry) {
	t := s.t
	p.add("opened by", "%s, %s ago", e.Tuple.From(), duration(s.out.Age))
	p.add("direction", "%s: the segment is from %s", s.out.Dir, map[conntrack.Direction]string{conntrack.Original: "the end that opened it", conntrack.Reply: "the end that was called"}[s.out.Dir])
	p.add("last segment", "%s ago", duration(s.out.Idle))
	timer := fmt.Sprintf("%s, set %s ago, %s left", duration(e.Timeout), duration(t.Now.Sub(e.Refreshed)), duration(s.out.Remaining))
	if e.Deadline == conntrack.Never {
		timer = "none"
	}
	note, _ := t.Policy.KeyNote(t.Rule, "timeouts."+strings.ToLower(e.State.String()))
	p.add("timer", "%s%s", timer, behind(", by ", note.String()))
	snd, rcv := &e.Side[s.out.Dir], &e.Side[s.out.Dir.Other()]
	p.add("sender", "%s", sideText(snd, s.from))
	p.add("receiver", "%s", sideText(rcv, s.to))
	var marks []string
	for _, m := range []struct {
		flag conntrack.EntryFlags
		text string
	}{{conntrack.EntryAssured, "assured: traffic both ways"}, {conntrack.EntryPickedUp, "picked up without its handshake"},
		{conntrack.EntryCandidate, "a SYN was let through and awaits proof"}, {conntrack.EntryChallenge, "a SYN was answered with a bare ACK"},
		{conntrack.EntryRearmed, "the next SYN/ACK is taken fresh"}, {conntrack.EntrySimultaneous, "both ends sent a SYN"}} {
		if e.Flags&m.flag != 0 {
			marks = append(marks, m.text)
		}
	}
	if t.Relaxed || snd.Flags&conntrack.SideLiberal != 0 {
		marks = append(marks, "judged liberally: its numbers may be stale")
	}
	p.add("known", "%s", strings.Join(marks, "; "))
	p.add("history", "%s", e.History[:e.HistoryN])
	if e.Previous != 0 {
		p.add("before it", "flow %d on the same ends", e.Previous)
	}
}

// sideText tells what is remembered of one end.
func sideText(e *conntrack.Side, n scale) string {
	if e.Flags&conntrack.SideKnown == 0 {
		return "its numbers are not known yet"
	}
	text := fmt.Sprintf("next %s, may send up to %s, window %d (largest %d)", n.text(e.End), n.text(e.MaxEnd), e.Win, e.MaxWin)
	if e.Flags&conntrack.SideFIN != 0 {
		text += ", has sent its FIN"
	}
	return text
}

// tombstone tells what is left of a forgotten connection.
func (s *step) tombstone(p *Phase) {
	tomb := &s.out.Tombstone
	why := tomb.Reason.String()
	if tomb.Reason == conntrack.EndIdle {
		why = fmt.Sprintf("its idle timer of %s ran out", duration(tomb.Timeout))
	}
	p.add("forgotten", "in %s: %s", tomb.State, why)
	p.add("opened by", "%s, %s before", tomb.From.From(), duration(tomb.Forgotten.Sub(tomb.Created)))
	p.add("last segment", "%s ago, %s before it was forgotten", duration(s.t.Now.Sub(tomb.LastSeen)), duration(tomb.Forgotten.Sub(tomb.LastSeen)))
	p.add("last numbers", "next %d of %s, next %d of %s", uint32(tomb.Next[0]), tomb.From.From(), uint32(tomb.Next[1]), tomb.From.To())
	if s.t.Expired != nil {
		p.add("swept", "not yet: this segment is the first to find it expired")
	}
}

func (s *step) classify() Phase {
	t, seg := s.t, &s.t.Segment
	p := Phase{Name: Classify, Result: t.Class.Finding.String()}
	p.add("meaning", "%s", t.Class.Finding.Info().Meaning)
	if b := t.Class.Finding.Base(); b != t.Class.Finding {
		p.add("kind of", "%s", b)
	}
	s.expected(&p, seg)
	if t.Entry != nil {
		check, _ := t.Policy.KeyNote(t.Rule, "window.check")
		rst, _ := t.Policy.KeyNote(t.Rule, "window.rst")
		p.add("judged by", "window check %s%s, rst %s%s", policy.SeqCheckWord(t.Window.Check), behind(" ", check.String()), policy.RSTRuleWord(t.Window.RST), behind(" ", rst.String()))
	}
	if t.Adopted {
		p.Result = conntrack.Adopted.String()
		p.add("adopted", "the gateway is younger than %s: a connection older than it is taken up", duration(t.Policy.Adopt()))
	}
	return p
}

// expected tells the numbers expected against those seen.
func (s *step) expected(p *Phase, seg *conntrack.Segment) {
	x := &s.t.Class.Expect
	has := func(bit conntrack.ExpectSet) bool { return x.Has&bit != 0 }
	if has(conntrack.ExpectSeq) {
		p.add("seq", "expected %s, seen %s: %s", s.from.text(x.Seq), s.from.text(seg.Seq), off(seg.Seq, x.Seq))
	}
	if has(conntrack.ExpectSeqWindow) {
		p.add("seq window", "%s, seen %s: %s", s.from.span(x.SeqLo, x.SeqHi), s.from.text(seg.Seq), outside(seg.Seq, x.SeqLo, x.SeqHi))
	}
	if seg.Flags.Has(conntrack.ACK) && has(conntrack.ExpectAck) {
		p.add("ack", "expected %s, seen %s: %s", s.to.text(x.Ack), s.to.text(seg.Ack), off(seg.Ack, x.Ack))
	}
	if seg.Flags.Has(conntrack.ACK) && has(conntrack.ExpectAckWindow) {
		p.add("ack window", "%s, seen %s: %s", s.to.span(x.AckLo, x.AckHi), s.to.text(seg.Ack), outside(seg.Ack, x.AckLo, x.AckHi))
	}
	if has(conntrack.ExpectEdge) {
		p.add("edge", "the window that the sender advertised last ends at %s", s.to.text(x.Edge))
	}
	if has(conntrack.ExpectTS) {
		p.add("timestamp", "expected from %d on, seen %d", x.TS, seg.Options.TSVal)
	}
	if has(conntrack.ExpectLen) {
		p.add("length", "expected at most %d, seen %d", x.Len, seg.Len)
	}
}

func (s *step) rules() Phase {
	t := s.t
	p := Phase{Name: Rules, Result: "no rule: the policy's own words hold"}
	if t.Policy.Rules() == 0 {
		p.Result = "the policy has no rules: its own words hold"
	}
	if t.Rule >= 0 {
		p.Result = "rule " + t.Policy.RuleName(t.Rule)
	}
	if len(t.Tried) > 0 {
		p.add("tried on", "%s%s", t.Subject, map[bool]string{true: ", and on the reverse, as nothing says who opened the connection"}[t.Either])
	}
	for i := range t.Tried {
		p.add(t.Policy.RuleName(t.Tried[i].Rule), "%s%s", s.trial(&t.Tried[i]), behind("  ", t.Policy.RuleNote(t.Tried[i].Rule).String()))
	}
	if t.Rule >= 0 && !t.Policy.RuleMatch(t.Rule).Direction.Holds(t.RuleDir) {
		p.add("direction", "the rule's findings hold for segments of the %s direction, and this is of the other", t.Policy.RuleMatch(t.Rule).Direction)
	}
	return p
}

// trial tells how a rule was tried.
func (s *step) trial(r *policy.Trial) string {
	m := s.t.Policy.RuleMatch(r.Rule)
	if r.Matched {
		return "yes: " + m.Text()
	}
	failed := r.Failed
	if s.t.Either { // what fails both ways says most
		failed = slices.DeleteFunc(slices.Clone(failed), func(p policy.MatchPart) bool { return !slices.Contains(r.FailedReversed, p) })
		if len(failed) == 0 {
			failed = r.Failed
		}
	}
	var why []string
	for _, part := range failed {
		why = append(why, fmt.Sprintf("%s %s is not %s", part, partOf(part, &s.t.Subject), m.PartText(part)))
	}
	if len(why) == 0 {
		return "no"
	}
	return "no: " + strings.Join(why, "; ")
}

// partOf returns what a condition is about.
func partOf(part policy.MatchPart, tu *conntrack.Tuple) string {
	switch part {
	case policy.MatchDstPort:
		return fmt.Sprint(tu.DstPort)
	case policy.MatchSrcPort:
		return fmt.Sprint(tu.SrcPort)
	case policy.MatchSrc:
		return tu.From().Addr().String()
	}
	return tu.To().Addr().String()
}
