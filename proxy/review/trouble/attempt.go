package trouble

import (
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
)

// Attempt is a client's attempt to connect: SYNs from one port, and what came of them. Times are Unix nanoseconds.
type Attempt struct {
	ISN         uint32 `json:"isn"` // of the latest SYN
	First       int64  `json:"first"`
	Last        int64  `json:"last"`
	SYNs        int    `json:"syns"`
	Ports       int    `json:"ports,omitempty"`        // further attempts, from other ports or with other numbers, that this one took the place of
	Met         bool   `json:"met,omitempty"`          // the gateway remembered an old connection that stood
	Dropped     int    `json:"dropped,omitempty"`      // SYNs that the gateway dropped
	GatewayACK  int    `json:"gateway_ack,omitempty"`  // SYNs that it answered with an old connection's numbers
	GatewayRST  int    `json:"gateway_rst,omitempty"`  // SYNs that it refused, with a RST or ICMP
	ServerACK   int    `json:"server_ack,omitempty"`   // bare ACKs that came back instead of a SYN/ACK
	ServerRST   int    `json:"server_rst,omitempty"`   // RSTs of the other end that passed
	SYNACK      int    `json:"syn_ack,omitempty"`      // SYN/ACKs that passed
	AnswerDrops int    `json:"answer_drops,omitempty"` // segments of the handshake, other than its SYNs, that the gateway dropped
	Idle        int64  `json:"idle,omitempty"`         // nanoseconds that the old connection had been silent for, at the first SYN
	Blame       Blame  `json:"blame"`                  // the decision that says most about why it did not connect
	Old         *Old   `json:"old,omitempty"`
}

// Blame is a decision, as far as people ask for it.
type Blame struct {
	Verdict string `json:"verdict,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Rule    string `json:"rule,omitempty"`
}

// Old is a connection that the gateway had forgotten.
type Old struct {
	FlowID    uint64  `json:"flow_id"`
	Forgotten int64   `json:"forgotten"` // 0: not known
	Why       string  `json:"why"`
	TimeoutS  float64 `json:"timeout_s"`
	AgeS      float64 `json:"age_s"`
}

func oldOf(t *decisionlog.TombstoneEvent) *Old {
	if t == nil {
		return nil
	}
	return &Old{FlowID: t.FlowID, Forgotten: t.Forgotten.Nanos(), Why: t.Why, TimeoutS: t.TimeoutS, AgeS: t.AgeS}
}

func blameOf(d *decisionlog.DecisionEvent) Blame {
	return Blame{Verdict: d.Verdict, Reason: d.Reason, Rule: d.Rule}
}

func blamed(d *decisionlog.DecisionEvent) *Blame {
	b := blameOf(d)
	return &b
}

// syn takes down a SYN and what the gateway did with it.
func (a *Attempt) syn(e *decisionlog.Event) {
	d, at := e.Decision, e.Timestamp.Nanos()
	switch {
	case d.Settles != "": // the SYN was held, and counted then
	case a.SYNs == 0:
		a.First, a.ISN = at, e.TCP.Seq
		if d.IdleS != nil {
			a.Idle = int64(human.FromSeconds(*d.IdleS))
		}
		a.SYNs = 1
	default:
		if f, ok := conntrack.FindingByWord(d.Reason); a.ISN != e.TCP.Seq && !(ok && f.Base() == conntrack.SynRetransmit) {
			a.ISN = e.TCP.Seq
			a.Ports++
		}
		a.SYNs++
	}
	a.Last = at
	if d.Verdict == decisionlog.VerdictDrop {
		a.Dropped++
		a.Blame = blameOf(d)
	}
	switch kind := kindOf(d.Reply); {
	case kind == "ack-tracked":
		a.GatewayACK++
		a.Blame = blameOf(d)
	case refuses(kind):
		a.GatewayRST++
		a.Blame = blameOf(d)
	}
}

// answer takes down what came back while the attempt was under way, or of the client's part in the handshake.
func (a *Attempt) answer(e *decisionlog.Event, f conntrack.Finding) {
	d := e.Decision
	dropped := d.Verdict == decisionlog.VerdictDrop
	syn, rst := strings.Contains(e.TCP.Flags, "S"), strings.Contains(e.TCP.Flags, "R")
	switch toClient := e.Direction == "to_client"; {
	case f == conntrack.AckForSyn && toClient:
		a.ServerACK++
		a.Blame = blameOf(d)
		if old := oldOf(d.Tombstone); old != nil {
			a.Old = old
		}
	case dropped && !(rst && !toClient): // a client's RST that is dropped keeps nobody from connecting
		a.AnswerDrops++
		a.Blame = blameOf(d)
	case rst && toClient:
		a.ServerRST++
		a.Blame = blameOf(d)
	case syn && toClient:
		a.SYNACK++
	}
}

// failing reports whether something speaks against the attempt, and not only that it has not connected yet.
func (a *Attempt) failing() bool {
	return a.SYNs > 1 || a.Dropped+a.GatewayACK+a.GatewayRST+a.ServerACK+a.ServerRST+a.AnswerDrops > 0
}

// old reports whether an old connection was in its way.
func (a *Attempt) old() bool { return a.Met || a.GatewayACK+a.ServerACK > 0 }

// absorb takes over an earlier attempt of the same client, which this one goes on from.
func (a *Attempt) absorb(earlier *Attempt) {
	if earlier.ISN != a.ISN {
		a.Ports += 1 + earlier.Ports
	} else {
		a.Ports += earlier.Ports
	}
	a.First, a.Last = min(a.First, earlier.First), max(a.Last, earlier.Last)
	a.SYNs += earlier.SYNs
	a.Dropped += earlier.Dropped
	a.GatewayACK += earlier.GatewayACK
	a.GatewayRST += earlier.GatewayRST
	a.ServerACK += earlier.ServerACK
	a.ServerRST += earlier.ServerRST
	a.AnswerDrops += earlier.AnswerDrops
	a.Met = a.Met || earlier.Met
	a.Idle = max(a.Idle, earlier.Idle)
	if a.Blame == (Blame{}) || earlier.old() && !a.old() {
		a.Blame = earlier.Blame
	}
	if a.Old == nil {
		a.Old = earlier.Old
	}
}

// span is the time between its first and its last SYN.
func (a *Attempt) span() time.Duration { return time.Duration(a.Last - a.First) }

func kindOf(m *decisionlog.MadeEvent) string {
	if m == nil {
		return ""
	}
	return m.Kind
}

// refuses reports whether a packet of that kind tells its receiver that there is no connection.
func refuses(kind string) bool {
	return strings.HasPrefix(kind, "rst") || strings.HasPrefix(kind, "icmp")
}
