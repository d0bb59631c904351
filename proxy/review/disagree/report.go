package disagree

import (
	"strings"

	"halfopen/proxy/decisionlog"
)

// Report is how the shadows of a log or a capture stand to the policy in force.
type Report struct {
	Shadows []*Policy `json:"shadows"`
	// Records that the log has lost, as its gap records say: any may have told of a disagreement. The counts do not depend on them.
	LostRecords uint64 `json:"lost_records"`
	// Segments that no policy was shown, as gap records say.
	Unseen uint64 `json:"unseen"`
	Bad    int    `json:"bad_lines"` // lines that are no records
}

// Policy is one shadow policy beside one revision of the policy in force. Per connection it counts up to the first disagreement:
// Segments is the sum of Agreed, Disagreed, Diverged and Relaxed.
type Policy struct {
	Policy    string `json:"policy"`
	Preset    string `json:"preset,omitempty"`
	PolicyRev string `json:"policy_rev"`
	LiveRev   string `json:"live_rev"` // of the policy in force
	Trial     bool   `json:"trial,omitempty"`
	Runs      int    `json:"runs"`

	Segments     uint64 `json:"segments"`
	Agreed       uint64 `json:"agreed"`
	Disagreed    uint64 `json:"disagreed"`         // connections, each by the segment of its first disagreement
	Timed        uint64 `json:"disagreed_by_time"` // connections whose first disagreement time alone has caused
	Diverged     uint64 `json:"diverged"`          // segments behind a first disagreement
	Relaxed      uint64 `json:"relaxed"`           // segments on which it disagrees without being in a position to
	TimedRelaxed uint64 `json:"relaxed_by_time"`
	Shed         uint64 `json:"shed"` // segments that it was not shown
	Sheds        uint64 `json:"sheds"`
	ShedSpans    []Span `json:"shed_spans,omitempty"` // a run each
	Forgotten    uint64 `json:"forgotten"`
	Tracked      uint64 `json:"tracked"`
	Injected     uint64 `json:"injected"`

	Verdicts map[string]uint64 `json:"verdicts"` // of all its decisions
	Findings map[string]uint64 `json:"findings"`
	Ended    map[string]uint64 `json:"ended"`
	Matrix   []Cell            `json:"matrix"` // up to the first disagreement of each connection; most first
	Kinds    []*Kind           `json:"kinds"`  // first disagreements with a record, by both decisions; most first
	Recorded uint64            `json:"recorded"`
	First    []First           `json:"first"` // the same one by one, the first [MaxFirst]
}

// Disagrees reports whether a shadow would have done something else.
func (r *Report) Disagrees() bool {
	for _, p := range r.Shadows {
		if p.Disagreed+p.Timed > 0 || p.Recorded > 0 {
			return true
		}
	}
	return false
}

// Span is when segments were left out.
type Span struct {
	From decisionlog.Time `json:"from"`
	To   decisionlog.Time `json:"to"`
}

// Nothing stands for the finding of who did nothing while time made the other side act.
const Nothing = "nothing"

// Cell counts a pair of findings.
type Cell struct {
	Live      string `json:"live"`
	Shadow    string `json:"shadow"`
	Agreed    uint64 `json:"agreed"`    // segments
	Disagreed uint64 `json:"disagreed"` // connections
}

// Kind is a pair of decisions.
type Kind struct {
	Live     Deed      `json:"live"`
	Shadow   Deed      `json:"shadow"`
	Flows    uint64    `json:"flows"`
	Examples []Example `json:"examples"` // the first [MaxExamples]
}

// Bounds on what is listed.
const (
	MaxExamples = 3
	MaxFirst    = 1000
	maxKinds    = 1000 // beyond it what is new is counted in Recorded only
)

// Deed is what a decision does, and why.
type Deed struct {
	Verdict  string `json:"verdict,omitempty"` // "" where time was the cause
	Reason   string `json:"reason"`            // [Nothing] where time made the other side act and this one did nothing
	Rule     string `json:"rule,omitempty"`
	Reply    string `json:"reply,omitempty"`
	Peer     string `json:"peer,omitempty"`
	Stripped string `json:"stripped,omitempty"` // with commas between
}

// String returns verdict/reason, what is sent and what is stripped, and the rule.
func (d Deed) String() string {
	s := strings.TrimPrefix(d.Verdict+"/"+d.Reason, "/")
	for _, f := range [...][2]string{{"reply", d.Reply}, {"peer", d.Peer}, {"stripped", d.Stripped}, {"rule", d.Rule}} {
		if f[1] != "" {
			s += " " + f[0] + "=" + f[1]
		}
	}
	return s
}

// Example is a connection on which a shadow first would have done something else.
type Example struct {
	At   decisionlog.Time `json:"at"`
	Run  string           `json:"run,omitempty"`
	Flow uint64           `json:"flow,omitempty"` // 0 where the table of the policy in force remembers nothing
	Src  string           `json:"src"`            // of the segment; where time was the cause the originator
	Dst  string           `json:"dst"`
	ID   string           `json:"id,omitempty"`    // of the record
	N    uint64           `json:"frame,omitempty"` // of a capture
}

// First is a first disagreement.
type First struct {
	Example
	Live   Deed `json:"live"`
	Shadow Deed `json:"shadow"`
}
