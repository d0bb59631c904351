package trouble

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
)

// Kind is what went wrong, from a user's point of view.
type Kind string

// Kinds, the most telling first: the order in which they are reported.
const (
	OldConnection  Kind = "old-connection"  // the SYN was answered with an old connection's numbers
	NeverConnected Kind = "never-connected" // the attempt failed for another reason
	LateSegments   Kind = "late"            // the gateway had forgotten a connection whose users were still there
	Stalled        Kind = "stalled"         // data was repeated in vain until the end
	GatewayReset   Kind = "gateway-reset"   // the gateway broke the connection off
	Retries        Kind = "retries"         // connected, but not at once
	EndReset       Kind = "end-reset"       // an end broke the connection off
)

// Case is what went wrong with one connection, or with one attempt to connect.
type Case struct {
	Kind     Kind             `json:"kind"`
	Variant  string           `json:"variant"`
	FlowID   uint64           `json:"flow_id,omitempty"` // the connection to look at; 0: the gateway made no entry
	Client   netip.AddrPort   `json:"client"`
	Server   netip.AddrPort   `json:"server"`
	At       decisionlog.Time `json:"at"`    // when it began to go wrong
	Until    decisionlog.Time `json:"until"` // its last sign
	Verdict  string           `json:"verdict,omitempty"`
	Reason   string           `json:"reason,omitempty"` // of the decision that says most about it
	Rule     string           `json:"rule,omitempty"`
	Arm      string           `json:"arm,omitempty"`
	SYNs     int              `json:"syns,omitempty"`
	ConnectS float64          `json:"connect_s,omitempty"` // retries: seconds from the first SYN to the handshake's end
	What     string           `json:"what"`                // what happened, in words
}

// patience is how long an attempt with a single SYN may be unanswered before that is trouble, where nothing tells its end.
const patience = 3 * time.Second

// Trouble says what went wrong; ok is false where nothing did. Now is the latest time in the log: of a connection that has no end yet
// only what is certain is said. Where several things did, the first of the kinds counts. It changes nothing.
func (f *Facts) Trouble(now time.Time) (c Case, ok bool) {
	if c, ok = f.look(now.UnixNano(), (*Facts).failedDial); ok {
		return c, true
	}
	return f.ownTrouble(now.UnixNano())
}

// ownTrouble is Trouble without that of a client that dialled from the connection's ports.
func (f *Facts) ownTrouble(now int64) (Case, bool) {
	return f.look(now, (*Facts).failed, (*Facts).lateSegments, (*Facts).stalled, (*Facts).resetByGateway, (*Facts).retried, (*Facts).resetByEnd)
}

// look returns the first case that is one.
func (f *Facts) look(now int64, ways ...func(*Facts, *Case, int64) bool) (c Case, ok bool) {
	for _, way := range ways {
		c = Case{FlowID: f.FlowID, Client: f.Client, Server: f.Server, Arm: f.Arm}
		if way(f, &c, now) {
			return c, true
		}
	}
	return Case{}, false
}

func (c *Case) when(from, to int64) {
	c.At.Time, c.Until.Time = time.Unix(0, from).UTC(), time.Unix(0, to).UTC()
}

func (c *Case) blame(b *Blame) {
	if b != nil {
		c.Verdict, c.Reason, c.Rule = b.Verdict, b.Reason, b.Rule
	}
}

// failedDial: somebody dialled from the ports of a connection that stood, and did not get through.
func (f *Facts) failedDial(c *Case, now int64) bool {
	a := f.Dial
	if a == nil || a.SYNACK > 0 || !a.failing() && now-a.Last < int64(patience) {
		return false
	}
	a.failure(c)
	return true
}

// failed: the connection's own handshake came to nothing.
func (f *Facts) failed(c *Case, now int64) bool {
	a := f.Own
	if a == nil || f.stands() || f.Moved || f.End == nil && !a.failing() && now-a.Last < int64(patience) {
		return false
	}
	if f.FlowID == 0 && a.Dropped+a.GatewayRST+a.AnswerDrops == 0 {
		return false // nobody knows what became of it
	}
	a.failure(c)
	return true
}

// failure says why an attempt failed.
func (a *Attempt) failure(c *Case) {
	c.when(a.First, a.Last)
	c.blame(&a.Blame)
	c.SYNs = a.SYNs
	c.Kind = NeverConnected
	syns := human.Count(a.SYNs, "SYN")
	if a.SYNs > 1 && a.span() > 0 {
		syns += " in " + human.Duration(a.span())
	}
	switch {
	case a.GatewayACK > 0:
		c.Kind, c.Variant = OldConnection, "gateway"
		c.What = syns + a.held()
	case a.ServerACK > 0:
		c.Kind, c.Variant = OldConnection, "server"
		c.What = fmt.Sprintf("%s, %s back%s", syns, human.Count(a.ServerACK, "bare ACK"), a.Old.text(a.First))
	case a.GatewayRST > 0:
		c.Variant, c.What = "gateway-refused", syns+", refused by the gateway"
	case a.Dropped == a.SYNs:
		c.Variant, c.What = "dropped", syns+", dropped by the gateway"
	case a.AnswerDrops > 0:
		c.Variant = "handshake-dropped"
		c.What = fmt.Sprintf("%s; the gateway dropped %s of the handshake", syns, human.Count(a.AnswerDrops, "segment"))
	case a.ServerRST > 0:
		c.Variant, c.What = "refused", syns+", refused by the server"
	case a.SYNACK > 0:
		c.Variant, c.What = "unfinished", syns+", answered; the client did not complete the handshake"
	case a.Met:
		c.Kind, c.Variant, c.What = OldConnection, "forwarded", syns+", forwarded, and no SYN/ACK came back"+a.silence()
	default:
		c.Variant, c.What = "unanswered", syns+", no answer"
	}
}

// held tells what the gateway answered SYNs with, and for how long it had held that.
func (a *Attempt) held() string {
	text := fmt.Sprintf(", %d of them answered by the gateway with the old connection's ACK", a.GatewayACK)
	if a.GatewayACK == a.SYNs {
		text = ", answered by the gateway with the old connection's ACK"
		if a.SYNs > 1 {
			text = ", each answered by the gateway with the old connection's ACK"
		}
	}
	if a.Idle > 0 {
		text += ", which had been silent for " + human.Duration(time.Duration(a.Idle))
	}
	return text
}

// silence tells for how long the old connection had been silent.
func (a *Attempt) silence() string {
	if a.Idle == 0 {
		return ""
	}
	return "; the old connection had been silent for " + human.Duration(time.Duration(a.Idle))
}

// text tells how the gateway had forgotten a connection, as of a later time.
func (o *Old) text(at int64) string {
	if o == nil {
		return ""
	}
	if o.Why == "replaced" {
		return "; the gateway had let the old connection go for the new one"
	}
	ago := ""
	if o.Forgotten != 0 {
		ago = " " + human.Duration(time.Duration(at-o.Forgotten)) + " before"
	}
	return fmt.Sprintf("; the gateway had forgotten the old connection%s, %s", ago, ForgottenBy(o.Why, o.TimeoutS))
}

// ForgottenBy says how the table came to forget a connection, from the word of a flow's reason or a tombstone's why, and the timer that
// ran out or would have, in seconds.
func ForgottenBy(why string, timeoutS float64) string {
	switch why {
	case "idle":
		return "by its idle timer of " + human.Seconds(timeoutS)
	case "adaptive":
		return "by its idle timer, cut to " + human.Seconds(timeoutS) + " in a full table"
	case "dead":
		return "when an end did not answer probes"
	case "fin":
		return "after both ends had closed it"
	case "rst":
		return "after a RST"
	case "replaced":
		return "for a new one on its ports"
	case "evicted":
		return "to make room"
	case "killed":
		return "by the operator"
	case "reload":
		return "in a reload"
	case "deleted":
		return "by a decision"
	case "shutdown":
		return "when the gateway stopped"
	case "denied":
		return "when its denial was over"
	}
	return "(" + why + ")"
}

// cut reports whether a connection was forgotten while nothing said that it was over.
func (o *Old) cut() bool { return o.Why != "fin" && o.Why != "rst" && o.Why != "replaced" }

// strays is how many segments of an unknown connection are more than what closing connections leave behind.
const strays = 3

// lateSegments: the gateway did not know the connection any more, and kept from it what came.
func (f *Facts) lateSegments(c *Case, _ int64) bool {
	l := f.Late
	if l == nil || l.Dropped+l.Refused == 0 || l.Old != nil && !l.Old.cut() || l.Old == nil && l.Data == 0 && l.Segments < strays {
		return false
	}
	c.Kind, c.Variant = LateSegments, "dropped"
	c.when(l.First, l.Last)
	c.blame(&l.Blame)
	verb := "dropped"
	if l.Refused > 0 {
		c.Variant, verb = "refused", "refused with a RST"
	}
	if l.Denied {
		c.Variant = "denied"
		c.What = fmt.Sprintf("%s, %s; the policy had denied these ends", human.Count(l.Segments, "segment"), verb)
		return true
	}
	if l.Old == nil {
		c.Variant = "unknown"
		c.What = fmt.Sprintf("%s of a connection that the gateway never knew, %s", human.Count(l.Segments, "segment"), verb)
		return true
	}
	c.FlowID = l.Old.FlowID
	c.What = fmt.Sprintf("%s, %s%s", human.Count(l.Segments, "segment"), verb, strings.Replace(l.Old.text(l.First), "the old connection", "it", 1))
	return true
}

// stalled: an end repeated itself until the connection was over, and nothing came of it.
func (f *Facts) stalled(c *Case, _ int64) bool {
	e := f.End
	if e == nil || !f.stands() || !e.Stalled && e.Outcome != "dead" {
		return false
	}
	c.Kind, c.Variant = Stalled, "no-answer"
	c.when(e.At-int64(human.FromSeconds(e.StallS)), e.At)
	c.What = "nothing new came through for " + human.Seconds(e.StallS)
	switch {
	case f.Drops > 0:
		c.Variant = "gateway-dropped"
		c.blame(f.Drop)
		c.What += fmt.Sprintf("; the gateway dropped %s of it", human.Count(f.Drops, "segment"))
	case e.Outcome == "dead":
		c.Variant, c.What = "dead", "an end no longer answered the gateway's probes"
	}
	c.What += endText(e)
	return true
}

// endText tells how a connection that was in trouble ended.
func endText(e *End) string {
	return map[string]string{"client-rst": "; then the client reset it", "server-rst": "; then the server reset it", "gateway-rst": "; then the gateway reset it",
		"idle": "; then the gateway forgot it", "replaced": "; then the client dialled again"}[e.By]
}

// resetByGateway: the gateway broke it off. That it made room for a client that dialled again is no trouble of the old connection's.
func (f *Facts) resetByGateway(c *Case, _ int64) bool {
	e := f.End
	if e == nil || !f.stands() || e.By != "gateway-rst" || e.Reason == "replaced" || f.Disowned {
		return false
	}
	c.Kind, c.Variant = GatewayReset, "decision"
	c.when(e.At, e.At)
	c.blame(f.Reset)
	c.What = "reset by the gateway"
	switch {
	case strings.HasPrefix(c.Reason, "idle-"): // idle-expired and its kinds
		c.Variant = "idle"
		c.What += " when its idle timer ran out"
	case c.Reason != "":
		c.What += " on " + c.Reason
	}
	return true
}

// retried: it stands, but needed more than one SYN.
func (f *Facts) retried(c *Case, _ int64) bool {
	a := f.Own
	if a == nil || f.Connected == 0 {
		return false
	}
	c.Kind, c.SYNs = Retries, a.SYNs
	c.when(a.First, f.Connected)
	c.ConnectS = c.Until.Sub(c.At.Time).Seconds()
	took := fmt.Sprintf("%s in %s", human.Count(a.SYNs, "SYN"), human.Duration(c.Until.Sub(c.At.Time)))
	switch {
	case a.old():
		c.Variant = "old-connection"
		c.blame(&a.Blame)
		c.What = took + "; an old connection was in the way"
	case a.Ports > 0:
		c.Variant = "dialled-again"
		c.blame(&a.Blame)
		c.What = fmt.Sprintf("%s, %d attempts", took, a.Ports+1)
	default:
		c.Variant, c.What = "syn-again", took
		if a.Dropped > 0 {
			c.blame(&a.Blame)
			c.What += fmt.Sprintf(", %d dropped by the gateway", a.Dropped)
		}
	}
	return true
}

// resetByEnd: an end broke it off though neither had closed. A client that dials again resets what it no longer knows: no trouble.
func (f *Facts) resetByEnd(c *Case, _ int64) bool {
	e := f.End
	if e == nil || !f.stands() || f.FIN || f.Disowned || f.Dial != nil || e.By != "client-rst" && e.By != "server-rst" {
		return false
	}
	c.Kind, c.Variant = EndReset, strings.TrimSuffix(e.By, "-rst")
	c.when(e.At, e.At)
	c.blame(f.RST)
	c.What = "reset by the " + c.Variant
	return true
}
