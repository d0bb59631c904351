package trouble

import (
	"net/netip"
	"strings"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
)

// Facts are what a log says of one connection, as far as trouble is concerned. Their zero value knows nothing; [Facts.Add] takes
// the connection's records in the order of the log. They can be kept as JSON between two passes. Times are Unix nanoseconds.
type Facts struct {
	FlowID      uint64         `json:"flow_id,omitempty"` // 0: the gateway has made no entry of it
	Client      netip.AddrPort `json:"client"`
	Server      netip.AddrPort `json:"server"`
	Predecessor uint64         `json:"predecessor,omitempty"`
	Arm         string         `json:"arm,omitempty"`
	First       int64          `json:"first"`
	Last        int64          `json:"last"`
	Adopted     bool           `json:"adopted,omitempty"`   // older than the gateway, or taken up in its middle
	Connected   int64          `json:"connected,omitempty"` // when the handshake was complete
	Own         *Attempt       `json:"own,omitempty"`       // the SYNs that began it. Nil once it stands and one SYN was enough
	Dial        *Attempt       `json:"dial,omitempty"`      // SYNs that met it when it stood already
	FIN         bool           `json:"fin,omitempty"`       // one has passed
	Disowned    bool           `json:"disowned,omitempty"`  // its client has said, by a RST or by dialling again, that it holds no such connection
	Drops       int            `json:"drops,omitempty"`     // segments other than SYNs and RSTs that the gateway dropped while it stood
	Drop        *Blame         `json:"drop,omitempty"`      // the last of them
	Reset       *Blame         `json:"reset,omitempty"`     // the decision, or what time caused (reason only), by which the gateway reset it
	RST         *Blame         `json:"rst,omitempty"`       // the decision that let an end's RST pass
	End         *End           `json:"end,omitempty"`
	Late        *Late          `json:"late,omitempty"`
	Moved       bool           `json:"moved,omitempty"` // its attempt to connect went on in another connection, which tells of it
}

// End is how the table forgot a connection.
type End struct {
	At      int64   `json:"at"`
	Reason  string  `json:"reason"`
	Outcome string  `json:"outcome"`
	By      string  `json:"by"`
	Stalled bool    `json:"stalled,omitempty"`
	StallS  float64 `json:"stall_s,omitempty"`
}

// Late are segments of a connection that the gateway did not know any more, or never knew, or had denied.
type Late struct {
	First    int64 `json:"first"`
	Last     int64 `json:"last"`
	Segments int   `json:"segments"`
	Data     int   `json:"data,omitempty"`    // of them with data
	Dropped  int   `json:"dropped,omitempty"` // of them dropped
	Refused  int   `json:"refused,omitempty"` // of them answered with a RST or ICMP
	Denied   bool  `json:"denied,omitempty"`  // the policy had denied these ends for a while
	Blame    Blame `json:"blame"`             // the decision about the last that was dropped or refused
	Old      *Old  `json:"old,omitempty"`     // what the gateway had forgotten; nil: it never knew it
}

// Add takes down one of the connection's records: decision, flow or inject. It reads the record's time and ends, its direction, the
// segment's flags, number and length, and of the decision the verdict, reason, rule, arm, states, replies, tombstone, trigger and
// settles; it keeps nothing of the record but strings.
func (f *Facts) Add(e *decisionlog.Event) {
	at := e.Timestamp.Nanos()
	if f.First == 0 {
		f.First = at
	}
	f.Last = max(f.Last, at)
	if e.FlowID != 0 {
		f.FlowID = e.FlowID
	}
	switch {
	case e.Flow != nil:
		f.flow(e)
	case e.Inject != nil:
		f.inject(e.Inject)
	case e.Decision != nil && e.TCP != nil && e.Decision.Trigger == "":
		f.decision(e)
	}
}

// ends takes down who talks to whom, once.
func (f *Facts) ends(e *decisionlog.Event) {
	if f.Client.IsValid() {
		return
	}
	f.Client, f.Server = endsOf(e)
}

// endsOf returns the client and the server of a record: by its direction; where that is not known, the server is who has the lower port.
func endsOf(e *decisionlog.Event) (client, server netip.AddrPort) {
	src, dst := addrPort(e.SrcIP, e.SrcPort), addrPort(e.DestIP, e.DestPort)
	if e.Direction == "to_client" || e.Direction == "" && e.Flow == nil && src.Port() < dst.Port() {
		return dst, src
	}
	return src, dst
}

func addrPort(ip string, port uint16) netip.AddrPort {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.WithZone(""), port)
}

func (f *Facts) flow(e *decisionlog.Event) {
	f.ends(e)
	l := e.Flow
	f.Predecessor, f.Arm, f.Adopted = l.Predecessor, l.Arm, f.Adopted || l.Adopted
	if start := l.Start.Nanos(); !l.Start.IsZero() {
		f.First = min(f.First, start)
	}
	if l.HandshakeS != nil && f.Connected == 0 {
		f.connect(f.First + int64(human.FromSeconds(*l.HandshakeS)))
	}
	if f.Own != nil && f.Connected == 0 {
		f.Own.SYNs = max(f.Own.SYNs, 1+int(l.SYNRetransmits)) // a rate limit may have held back their records
	}
	if l.Event != "end" {
		return
	}
	f.FIN = f.FIN || strings.ContainsAny(l.History, "Ff")
	f.End = &End{At: e.Timestamp.Nanos(), Reason: l.Reason, Outcome: l.Outcome, By: l.EndedBy, Stalled: l.Stalled, StallS: l.StallS}
	switch l.Outcome {
	case "closed", "half-closed", "reset", "dead", "forgotten":
		f.connect(f.First)
	case "picked-up":
		f.Adopted = true
	}
	if f.Own == nil && f.Connected == 0 && !f.Adopted && f.Late == nil {
		f.Own = &Attempt{First: f.First, Last: f.First, SYNs: 1 + int(l.SYNRetransmits)}
		if !l.End.IsZero() {
			f.Own.Last = max(f.First, l.End.Nanos())
		}
	}
}

// connect notes that the handshake is complete. Of an attempt that needed one SYN nothing is kept.
func (f *Facts) connect(at int64) {
	if f.Connected != 0 || f.Adopted {
		return
	}
	f.Connected = at
	if f.Own != nil && !f.Own.failing() {
		f.Own = nil
	}
}

func (f *Facts) inject(i *decisionlog.InjectEvent) {
	if i.Trigger != "" && i.Error == "" && refuses(i.Kind) {
		f.Reset = &Blame{Reason: i.Trigger}
	}
}

// plain reports whether nothing is remarkable about a connection that stands: facts that begin anew with its next record would come to
// the same.
func (f *Facts) plain() bool {
	return f.stands() && f.Own == nil && f.Dial == nil && f.Drops == 0 && f.Reset == nil && f.RST == nil && f.Late == nil && f.End == nil &&
		!f.Disowned && !f.Moved
}

// stands reports whether the connection is past its handshake, so that a SYN is none of its own.
func (f *Facts) stands() bool { return f.Connected != 0 || f.Adopted }

func (f *Facts) decision(e *decisionlog.Event) {
	f.ends(e)
	d := e.Decision
	if d.Arm != "" {
		f.Arm = d.Arm
	}
	finding, known := conntrack.FindingByWord(d.Reason)
	if known {
		finding = finding.Base()
	}
	denied := d.StateBefore == conntrack.Denied.String() || d.StateAfter == conntrack.Denied.String()
	flags := e.TCP.Flags
	syn, ack, rst := strings.Contains(flags, "S"), strings.Contains(flags, "."), strings.Contains(flags, "R")
	if !f.stands() && f.Own == nil && standing(d.StateBefore) && !embryonic(d.StateAfter) {
		f.Adopted = true // older than the log
	}
	switch {
	case (e.FlowID == 0 || denied) && !syn && !rst:
		f.late(e)
		f.Late.Denied = f.Late.Denied || denied
	case syn && !ack && e.Direction != "to_client":
		f.syn(e)
	case f.Dial != nil && f.answersDial(e, finding, syn, rst):
		f.Dial.answer(e, finding)
	case !f.stands():
		f.handshake(e, finding)
	default:
		f.life(e, finding)
	}
}

// embryonic reports whether a state is before the end of the handshake.
func embryonic(state string) bool {
	for s := conntrack.StateNone; s < conntrack.NumStates; s++ {
		if s.Embryonic() && s.String() == state {
			return true
		}
	}
	return false
}

// standing reports whether a state is after the end of the handshake.
func standing(state string) bool {
	return state != "" && state != conntrack.StateNone.String() && !embryonic(state) && state != conntrack.Close.String()
}

// syn takes down a SYN: the connection's own, or of another that it is in the way of.
func (f *Facts) syn(e *decisionlog.Event) {
	if f.stands() {
		f.Disowned = true
		if f.Dial == nil {
			f.Dial = &Attempt{Met: true}
		}
		f.Dial.syn(e)
		return
	}
	if f.Own == nil {
		f.Own = &Attempt{}
	}
	f.Own.syn(e)
}

// answersDial reports whether a segment belongs to the attempt that the connection is in the way of.
func (f *Facts) answersDial(e *decisionlog.Event, finding conntrack.Finding, syn, rst bool) bool {
	if finding == conntrack.RstAfterChallenge && e.Decision.Verdict != decisionlog.VerdictDrop {
		f.Disowned = true
	}
	return finding == conntrack.AckForSyn || finding == conntrack.RstForSyn || syn && e.Direction == "to_client"
}

// handshake takes down what follows the connection's own SYN.
func (f *Facts) handshake(e *decisionlog.Event, finding conntrack.Finding) {
	d := e.Decision
	passed := d.Verdict != decisionlog.VerdictDrop
	if passed && d.StateAfter != "" && d.StateAfter != d.StateBefore && (finding == conntrack.Handshake || d.StateAfter == conntrack.Established.String()) {
		f.connect(e.Timestamp.Nanos())
		return
	}
	if finding == conntrack.Adopted || d.Effect == conntrack.CreateLiberal.String() {
		f.Adopted = true
		return
	}
	if f.Own == nil { // its SYN's record was held back, or it went another way
		f.Own = &Attempt{First: f.First, Last: f.First, SYNs: 1}
	}
	f.Own.answer(e, finding)
}

// life takes down what happens to a connection that stands.
func (f *Facts) life(e *decisionlog.Event, finding conntrack.Finding) {
	d := e.Decision
	rst := strings.Contains(e.TCP.Flags, "R")
	if d.Verdict == decisionlog.VerdictDrop {
		if !rst {
			f.Drops++
			f.Drop = blamed(d)
		}
	} else {
		f.FIN = f.FIN || strings.Contains(e.TCP.Flags, "F")
		if rst && f.RST == nil {
			f.RST = blamed(d)
		}
		f.Disowned = f.Disowned || rst && (finding == conntrack.RstAfterChallenge || finding == conntrack.RstForProbe)
	}
	if kindOf(d.Peer) == "rst-tracked" || refuses(kindOf(d.Reply)) {
		f.Reset = blamed(d)
	}
}

// late takes down a segment of a connection that the gateway does not know.
func (f *Facts) late(e *decisionlog.Event) {
	d, at := e.Decision, e.Timestamp.Nanos()
	if f.Late == nil {
		f.Late = &Late{First: at}
	}
	l := f.Late
	l.Last = at
	l.Segments++
	if e.TCP.Len > 0 {
		l.Data++
	}
	if d.Tombstone != nil {
		l.Old = oldOf(d.Tombstone)
		f.FlowID = l.Old.FlowID
	}
	refused := refuses(kindOf(d.Reply))
	if d.Verdict == decisionlog.VerdictDrop {
		l.Dropped++
	}
	if refused {
		l.Refused++
	}
	if refused || d.Verdict == decisionlog.VerdictDrop {
		l.Blame = blameOf(d)
	}
}
