package story

import (
	"net/netip"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/trouble"
)

// Story is the life of a connection.
type Story struct {
	FlowID      uint64           `json:"flow_id"`
	CommunityID string           `json:"community_id,omitempty"`
	Client      netip.AddrPort   `json:"client"`
	Server      netip.AddrPort   `json:"server"`
	From        decisionlog.Time `json:"from"` // first and last record
	To          decisionlog.Time `json:"to"`
	Headline    string           `json:"headline"`          // how it went, in one sentence
	Trouble     *trouble.Case    `json:"trouble,omitempty"` // what went wrong
	Measures    Measures         `json:"measures"`
	Policy      Policy           `json:"policy"`
	Before      *Relative        `json:"before,omitempty"` // the connection before it on the same ports
	After       *Relative        `json:"after,omitempty"`  // the one after it
	Steps       []Step           `json:"steps"`
	Omitted     int              `json:"omitted,omitempty"` // steps in its middle that are not told
}

// Measures are what its users feel. What is not known is nil or "".
type Measures struct {
	HandshakeS    *float64 `json:"handshake_s,omitempty"` // from the SYN to the handshake's last ACK
	ResponseS     *float64 `json:"response_s,omitempty"`  // from the client's first data to the server's first after it
	SYNs          int      `json:"syns"`                  // of the client, for this connection
	PktsToServer  uint64   `json:"pkts_toserver"`
	PktsToClient  uint64   `json:"pkts_toclient"`
	BytesToServer uint64   `json:"bytes_toserver"` // IP octets
	BytesToClient uint64   `json:"bytes_toclient"`
	AgainToServer uint64   `json:"retransmits_toserver"`
	AgainToClient uint64   `json:"retransmits_toclient"`
	OutsideServer uint64   `json:"out_of_window_toserver"`
	OutsideClient uint64   `json:"out_of_window_toclient"`
	StallS        float64  `json:"stall_s,omitempty"`
	Outcome       string   `json:"outcome,omitempty"`
	EndedBy       string   `json:"ended_by,omitempty"`
	EndReason     string   `json:"end_reason,omitempty"`
	History       string   `json:"history,omitempty"`
	Adopted       bool     `json:"adopted,omitempty"`
	Ended         bool     `json:"ended"`   // the log has the connection's end
	Counted       bool     `json:"counted"` // packets, bytes and what follows them are known
}

// Policy is what decided.
type Policy struct {
	Preset string   `json:"preset,omitempty"`
	Revs   []string `json:"policy_revs,omitempty"` // more than one after a reload
	Rule   string   `json:"rule,omitempty"`
	Arm    string   `json:"arm,omitempty"`
}

// Relative is a neighbour on the same ports.
type Relative struct {
	FlowID uint64           `json:"flow_id"`
	From   decisionlog.Time `json:"from,omitzero"` // zero where the log does not have it
	Ended  decisionlog.Time `json:"ended,omitzero"`
	Held   bool             `json:"held,omitempty"` // the gateway remembered it until this one took its place
	Text   string           `json:"text"`           // in words
}

// StepKind says what a step is.
type StepKind string

// Kinds of steps.
const (
	Segment  StepKind = "segment"  // an end sent it
	Injected StepKind = "injected" // the gateway made it
	Bundle   StepKind = "bundle"   // plain segments that are only counted
	Shadow   StepKind = "shadow"   // what a shadow policy would have done otherwise, for the first time on this connection
	Event    StepKind = "event"    // no segment: the table forgot the connection, a held segment was let go
)

// Step is something that happened.
type Step struct {
	Kind      StepKind         `json:"kind"`
	At        decisionlog.Time `json:"at"`
	SinceS    float64          `json:"since_s"` // seconds since the first step
	PauseS    float64          `json:"pause_s"` // seconds of silence before it
	FlowID    uint64           `json:"flow_id,omitempty"`
	ToServer  bool             `json:"to_server"`
	Label     string           `json:"label"`             // what it is, with relative numbers
	Verdict   string           `json:"verdict,omitempty"` // Segment: what became of it
	Reason    string           `json:"reason,omitempty"`
	Rule      string           `json:"rule,omitempty"`
	State     string           `json:"state,omitempty"` // that the connection goes to, where it changes
	Words     []string         `json:"words,omitempty"` // why, in sentences
	Decision  string           `json:"decision_id,omitempty"`
	Released  bool             `json:"released,omitempty"`   // Segment: it had been held, and goes on from the gateway
	Mark      string           `json:"mark,omitempty"`       // names what the gateway made because of it
	Cause     string           `json:"cause,omitempty"`      // Injected: the mark of the step that caused it
	Error     string           `json:"error,omitempty"`      // Injected: why the system did not send it
	Segments  uint64           `json:"segments,omitempty"`   // Bundle: how many
	Further   bool             `json:"further,omitempty"`    // Bundle: of them some in the partial ones that follow
	Partial   bool             `json:"partial,omitempty"`    // Bundle: an unknown part of those of the one before
	Remembers bool             `json:"remembers"`            // the gateway remembers the connection after it
	Remarks   bool             `json:"remarkable,omitempty"` // nothing that a healthy connection has
}

// since returns the seconds from a to b.
func since(a, b time.Time) float64 { return b.Sub(a).Seconds() }
