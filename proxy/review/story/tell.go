package story

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/ladder"
	"halfopen/proxy/review/trouble"
)

// teller is a story being told.
type teller struct {
	*Story
	numbers ladder.Numbers
	facts   trouble.Facts
	last    *decisionlog.FlowEvent // the connection's latest flow record
	before  relative
	after   relative

	began     bool      // the connection's own first record was met
	replaced  time.Time // its last segment before the one that another connection began with; zero for none
	state     string
	remembers bool
	ended     bool
	now       time.Time                       // of the latest segment that is known of
	made      map[string][]*decisionlog.Event // by the decision that caused them
	marks     int
	said      map[string]bool // sentences that need not be said again
	count     counter
}

// Tell tells the story of a connection.
func Tell(r Records) *Story {
	t := &teller{Story: &Story{FlowID: r.Flow, Omitted: r.Omitted}, made: map[string][]*decisionlog.Event{}, said: map[string]bool{}}
	for _, e := range r.Events {
		t.look(e)
	}
	t.letter(r.Events)
	for _, e := range r.Events {
		t.tell(e)
	}
	t.close()
	return t.Story
}

// look takes down what must be known before the first step is told.
func (t *teller) look(e *decisionlog.Event) {
	if e.Inject != nil && e.Inject.Cause != "" {
		t.made[e.Inject.Cause] = append(t.made[e.Inject.Cause], e)
	}
	if d := e.Decision; e.FlowID != t.FlowID && e.FlowID != 0 && t.last != nil && t.replaced.IsZero() && d != nil && d.IdleS != nil && d.StateBefore != "NONE" {
		t.replaced = e.Timestamp.Add(-human.FromSeconds(*d.IdleS)) // of the segment that replaced this one
	}
	switch {
	case e.FlowID != t.FlowID:
		return
	case !t.Client.IsValid() && (e.Flow != nil || e.Direction != ""):
		t.Client, t.Server = addrPort(e.SrcIP, e.SrcPort), addrPort(e.DestIP, e.DestPort)
		if e.Direction == "to_client" {
			t.Client, t.Server = t.Server, t.Client
		}
	}
	t.CommunityID = e.CommunityID
	if e.Flow != nil {
		if e.Flow.Predecessor != 0 {
			t.before.id = e.Flow.Predecessor
		}
		t.last = e.Flow
	}
}

func addrPort(ip string, port uint16) netip.AddrPort {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.WithZone(""), port)
}

// toServer reports whether a segment goes to the server.
func (t *teller) toServer(e *decisionlog.Event) bool {
	if e.Direction != "" {
		return e.Direction == "to_server"
	}
	return addrPort(e.SrcIP, e.SrcPort) == t.Client
}

// letter finds what numbers count from. The neighbours' numbers count only where the connection's own segments carry them.
func (t *teller) letter(events []*decisionlog.Event) {
	note := func(e *decisionlog.Event) {
		if e.TCP == nil || !strings.Contains(e.TCP.Flags, "S") {
			return
		}
		switch to := t.toServer(e); {
		case to && !strings.Contains(e.TCP.Flags, "."):
			t.numbers.SYN(e.TCP.Seq)
		case !to && strings.Contains(e.TCP.Flags, "."):
			t.numbers.SYNACK(e.TCP.Seq, e.TCP.Ack)
		}
	}
	of := func(pick func(*decisionlog.Event) bool) {
		t.numbers = ladder.Numbers{}
		for _, e := range events {
			if pick(e) {
				note(e)
			}
		}
	}
	own := func(e *decisionlog.Event) bool { return e.FlowID == t.FlowID || e.FlowID == 0 }
	old := func(e *decisionlog.Event) bool { return e.FlowID == t.before.id && e.FlowID != 0 }
	of(old)
	before := t.numbers
	of(own)
	for _, e := range events {
		if own(e) && e.TCP != nil && t.carries(e, &before) {
			of(func(e *decisionlog.Event) bool { return own(e) || old(e) })
			break
		}
	}
	for _, e := range events { // of an end whose SYN is nowhere the first number; a RST's may be made up
		if own(e) && e.TCP != nil && !strings.Contains(e.TCP.Flags, "R") {
			to := t.toServer(e)
			t.numbers.Anchor(to, e.TCP.Seq)
			if strings.Contains(e.TCP.Flags, ".") {
				t.numbers.Anchor(!to, e.TCP.Ack)
			}
		}
	}
}

// carries reports whether a segment has a number of the connection before and not of this one.
func (t *teller) carries(e *decisionlog.Event, before *ladder.Numbers) bool {
	to := t.toServer(e)
	foreign := func(client bool, v uint32) bool { return !t.numbers.Knows(client, v) && before.Knows(client, v) }
	return foreign(to, e.TCP.Seq) || strings.Contains(e.TCP.Flags, ".") && foreign(!to, e.TCP.Ack)
}

// tell takes the next record.
func (t *teller) tell(e *decisionlog.Event) {
	switch {
	case e.FlowID == t.before.id && e.FlowID != 0:
		t.before.add(e)
		t.remembers = t.remembers || !t.began && t.before.held()
		return
	case e.FlowID != t.FlowID && e.FlowID != 0:
		t.after.id = e.FlowID
		t.after.add(e)
		return
	}
	if e.FlowID == t.FlowID {
		t.own(e)
	} else if d := e.Decision; d != nil && d.Tombstone != nil && d.Tombstone.FlowID == t.FlowID && e.TCP != nil && !strings.Contains(e.TCP.Flags, "S") {
		t.facts.Add(e) // late
	}
	switch {
	case e.Flow != nil:
		t.flow(e)
	case e.Decision != nil:
		t.decision(e)
	case e.Inject != nil && e.Inject.Cause == "":
		t.inject(e, "")
	}
}

// own takes down what a record says of the connection as a whole.
func (t *teller) own(e *decisionlog.Event) {
	if !t.began {
		t.began, t.From = true, e.Timestamp
	}
	t.To = e.Timestamp
	t.facts.Add(e)
	preset, rev, rule, arm := "", "", "", ""
	switch {
	case e.Flow != nil:
		t.state = e.Flow.State
		preset, rev, rule, arm = e.Flow.Preset, e.Flow.PolicyRev, e.Flow.Rule, e.Flow.Arm
	case e.Decision != nil:
		t.state = e.Decision.StateAfter
		preset, rev, rule, arm = e.Decision.Preset, e.Decision.PolicyRev, e.Decision.Rule, e.Decision.Arm
	default:
		return
	}
	p := &t.Policy
	p.Rule, p.Arm = rule, arm
	if preset != "" {
		p.Preset = preset
	}
	if rev != "" && (len(p.Revs) == 0 || p.Revs[len(p.Revs)-1] != rev) {
		p.Revs = append(p.Revs, rev)
	}
}

// step appends a step; the silence before it is reckoned from the latest segment that is known of.
func (t *teller) step(s Step, at time.Time) *Step {
	s.At.Time = at
	if len(t.Steps) > 0 {
		s.SinceS = since(t.Steps[0].At.Time, at)
		s.PauseS = max(since(t.now, at), 0)
	}
	if at.After(t.now) {
		t.now = at
	}
	t.Steps = append(t.Steps, s)
	return &t.Steps[len(t.Steps)-1]
}

// decision tells a segment, and what the gateway made because of it: what goes to the other end leaves before the segment does, what
// goes to its sender after.
func (t *teller) decision(e *decisionlog.Event) {
	d := e.Decision
	defer t.ghosts(e)
	switch d.Trigger {
	case "":
	case decisionlog.TriggerShadow:
		if e.TCP == nil && e.FlowID == t.FlowID {
			t.count.segment(t, e)
		}
		return
	default:
		t.untimely(e)
		return
	}
	if e.FlowID == t.FlowID {
		t.count.segment(t, e)
	}
	if e.TCP == nil {
		t.step(Step{Kind: Event, Label: "a packet that is no TCP segment: " + d.Verdict, Verdict: d.Verdict, Reason: d.Reason, Rule: d.Rule,
			Words: t.words(e), Decision: d.ID, Remembers: t.remembers, Remarks: true}, e.Timestamp.Time)
		return
	}
	to := t.toServer(e)
	s := Step{Kind: Segment, FlowID: e.FlowID, ToServer: to, Label: t.numbers.Label(&ladder.Segment{ToServer: to, Flags: e.TCP.Flags,
		Seq: e.TCP.Seq, Ack: e.TCP.Ack, Len: int(e.TCP.Len)}), Verdict: d.Verdict, Reason: d.Reason, Rule: d.Rule, Decision: d.ID,
		Released: d.Settles != "", Remembers: t.remembers}
	if d.StateAfter != d.StateBefore {
		s.State = d.StateAfter
	}
	if f, ok := conntrack.FindingByWord(d.Reason); !ok || !f.Info().Plain || d.Verdict != decisionlog.VerdictForward || d.Reply != nil || d.Peer != nil {
		s.Remarks = true
	}
	if made := t.made[d.ID]; len(made) > 0 {
		t.marks++
		s.Mark = fmt.Sprint(t.marks)
	}
	s.Words = t.words(e)
	passes := d.Verdict != decisionlog.VerdictDrop
	if passes {
		t.injected(e, s.Mark, to)
	}
	t.step(s, e.Timestamp.Time)
	if passes {
		t.injected(e, s.Mark, !to)
		return
	}
	t.injected(e, s.Mark, to)
	t.injected(e, s.Mark, !to)
}

// injected tells what a decision made for one side.
func (t *teller) injected(e *decisionlog.Event, mark string, toServer bool) {
	for _, i := range t.made[e.Decision.ID] {
		if (i.Inject.To == "server") == toServer {
			t.inject(i, mark)
		}
	}
}

// inject tells a segment that the gateway made.
func (t *teller) inject(e *decisionlog.Event, mark string) {
	i := e.Inject
	to := i.To == "server"
	s := Step{Kind: Injected, FlowID: e.FlowID, ToServer: to, Cause: mark, Remembers: t.remembers, Remarks: true, Reason: i.Kind, Error: i.Error}
	if e.TCP != nil {
		s.Label = t.numbers.Label(&ladder.Segment{ToServer: to, Flags: e.TCP.Flags, Seq: e.TCP.Seq, Ack: e.TCP.Ack, Len: int(e.TCP.Len)})
	}
	if strings.HasPrefix(i.Kind, "icmp") {
		s.Label = "ICMP unreachable"
	}
	s.Words = t.injectWords(i)
	t.step(s, e.Timestamp.Time)
}

// untimely tells a decision that time caused and no segment.
func (t *teller) untimely(e *decisionlog.Event) {
	d := e.Decision
	s := Step{Kind: Event, FlowID: e.FlowID, Label: upper(meaning(d.Reason)), Reason: d.Reason, Rule: d.Rule, Decision: d.ID,
		Remembers: t.remembers, Remarks: true}
	if len(t.made[d.ID]) > 0 {
		t.marks++
		s.Mark = fmt.Sprint(t.marks)
	}
	t.step(s, e.Timestamp.Time)
	t.injected(e, s.Mark, true)
	t.injected(e, s.Mark, false)
}

// flow tells that the connection began or ended, and counts.
func (t *teller) flow(e *decisionlog.Event) {
	l := e.Flow
	t.count.flow(t, e)
	switch l.Event {
	case "new":
		t.remembers = true
	case "end":
		t.remembers, t.ended = false, true
		idle := ""
		if !l.End.IsZero() && (l.Reason == "idle" || l.Reason == "adaptive" || l.Reason == "dead") {
			idle = ", " + human.Duration(e.Timestamp.Sub(l.End.Time)) + " after its last segment"
		}
		t.step(Step{Kind: Event, FlowID: e.FlowID, Label: "The gateway forgets the connection " + forgets(l.Reason) + idle + ".", Reason: l.Reason,
			Remarks: l.Reason != "fin" && l.Reason != "rst"}, e.Timestamp.Time)
	}
}

// forgets says why the table forgets a connection.
func forgets(why string) string {
	if why == "idle" {
		return "by its idle timer"
	}
	return trouble.ForgottenBy(why, 0)
}
