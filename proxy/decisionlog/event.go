package decisionlog

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Event is a line of the log read back: Record's fields under the names that
// the line gives them. Parts that the line lacks are nil or zero, fields that
// Event does not know are ignored.
type Event struct {
	Timestamp   Time             `json:"timestamp"`
	EventType   string           `json:"event_type"`
	FlowID      uint64           `json:"flow_id"`
	CommunityID string           `json:"community_id"`
	SrcIP       string           `json:"src_ip"`
	SrcPort     uint16           `json:"src_port"`
	DestIP      string           `json:"dest_ip"`
	DestPort    uint16           `json:"dest_port"`
	Proto       string           `json:"proto"`
	Direction   string           `json:"direction"`
	PcapCnt     uint64           `json:"pcap_cnt"`
	InIface     string           `json:"in_iface"`
	OutIface    string           `json:"out_iface"`
	TCP         *TCPEvent        `json:"tcp"`
	Decision    *DecisionEvent   `json:"decision"`
	Flow        *FlowEvent       `json:"flow"`
	Inject      *InjectEvent     `json:"inject"`
	Reload      *ReloadEvent     `json:"reload"`
	Stats       *StatsEvent      `json:"stats"`
	Gap         *GapEvent        `json:"gap"`
	Experiment  *ExperimentEvent `json:"experiment"`
	Header      *HeaderEvent     `json:"header"`
	Trailer     *HeaderEvent     `json:"trailer"`
	Shadow      []ShadowEvent    `json:"shadow"`

	// Where the line stands; set by the Reader.
	File   string `json:"-"`
	Line   int    `json:"-"`
	Offset int64  `json:"-"`
	Run    string `json:"-"` // from the file's header
	Raw    []byte `json:"-"` // the line itself; valid until the next line is read
}

// Time is a timestamp of the log.
type Time struct{ time.Time }

// EVE's form of time: RFC 3339 but for the zone, which has no colon.
const eveTime = "2006-01-02T15:04:05.999999999-0700"

// UnmarshalJSON reads EVE's form and RFC 3339.
func (t *Time) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' {
		return fmt.Errorf("decision log: time %s is no string", b)
	}
	s := string(b[1 : len(b)-1])
	v, err := time.Parse(eveTime, s)
	if err != nil {
		if v, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return fmt.Errorf("decision log: %w", err)
		}
	}
	t.Time = v
	return nil
}

// Nanos is the time in Unix nanoseconds, the first or last such number for a time beyond (before 1678, after 2261), and 0 for the zero
// Time.
func (t Time) Nanos() int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(firstTime):
		return math.MinInt64
	case t.After(lastTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

var firstTime, lastTime = time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)

// MarshalJSON writes EVE's form.
func (t Time) MarshalJSON() ([]byte, error) {
	return append(AppendTime([]byte{'"'}, t.UnixNano()), '"'), nil
}

// TCPEvent is the object tcp.
type TCPEvent struct {
	Flags   string `json:"flags"`
	Seq     uint32 `json:"seq"`
	Ack     uint32 `json:"ack"`
	Win     uint32 `json:"win"`
	Len     uint32 `json:"len"`
	Options string `json:"options"`
	State   string `json:"state"`
	History string `json:"history"`
}

// ActionEvent is the object action.
type ActionEvent struct {
	Packet string `json:"packet"`
	Reply  string `json:"reply"`
	Peer   string `json:"peer"`
	State  string `json:"state"`
	Timer  string `json:"timer"`
}

// MadeEvent is the object reply or peer.
type MadeEvent struct {
	Kind  string `json:"kind"`
	Flags string `json:"flags"`
	Seq   uint32 `json:"seq"`
	Ack   uint32 `json:"ack"`
}

// ExpectedEvent is the object expected; what was not judged is nil.
type ExpectedEvent struct {
	Seq     *uint32 `json:"seq"`
	SeqLo   *uint32 `json:"seq_lo"`
	SeqHi   *uint32 `json:"seq_hi"`
	SeenEnd *uint32 `json:"seen_end"`
	Ack     *uint32 `json:"ack"`
	AckLo   *uint32 `json:"ack_lo"`
	AckHi   *uint32 `json:"ack_hi"`

	Edge     *uint32 `json:"edge"`
	SeenEdge *uint32 `json:"seen_edge"`
	TS       *uint32 `json:"ts"`
	SeenTS   *uint32 `json:"seen_ts"`
	Len      *uint32 `json:"len"`
}

// TombstoneEvent is the object tombstone.
type TombstoneEvent struct {
	Forgotten Time    `json:"forgotten"`
	Why       string  `json:"why"`
	State     string  `json:"state"`
	TimeoutS  float64 `json:"timeout_s"`
	IdleS     float64 `json:"idle_s"`
	AgeS      float64 `json:"age_s"`
	FlowID    uint64  `json:"flow_id"`
	ClientSeq uint32  `json:"client_seq"`
	ClientAck uint32  `json:"client_ack"`
	ServerSeq uint32  `json:"server_seq"`
	ServerAck uint32  `json:"server_ack"`
}

// DecisionEvent is the object decision.
type DecisionEvent struct {
	ID             string          `json:"id"`
	Settles        string          `json:"settles"`
	Trigger        string          `json:"trigger"`
	Verdict        string          `json:"verdict"`
	Reason         string          `json:"reason"`
	Rule           string          `json:"rule"`
	Preset         string          `json:"preset"`
	PolicyRev      string          `json:"policy_rev"`
	Arm            string          `json:"arm"`
	Queue          uint16          `json:"queue"`
	StateBefore    string          `json:"state_before"`
	StateAfter     string          `json:"state_after"`
	IdleS          *float64        `json:"idle_s"` // nil: the tuple had no entry
	RemainingS     *float64        `json:"remaining_s"`
	AgeS           *float64        `json:"age_s"`
	Action         *ActionEvent    `json:"action"`
	Effect         string          `json:"effect"`
	Reply          *MadeEvent      `json:"reply"`
	Peer           *MadeEvent      `json:"peer"`
	Stripped       []string        `json:"stripped"`
	RewriteOmitted string          `json:"rewrite_omitted"`
	ReplyOmitted   string          `json:"reply_omitted"`
	PeerOmitted    string          `json:"peer_omitted"`
	Unmet          string          `json:"unmet"`
	Defect         string          `json:"defect"`
	Checksum       string          `json:"checksum"`
	Expected       *ExpectedEvent  `json:"expected"`
	Tombstone      *TombstoneEvent `json:"tombstone"`
	Would          *WouldEvent     `json:"would"`
	LatencyNS      int64           `json:"latency_ns"`
}

// FlowEvent is the object flow.
type FlowEvent struct {
	Event             string  `json:"event"`
	PktsToServer      uint64  `json:"pkts_toserver"`
	PktsToClient      uint64  `json:"pkts_toclient"`
	BytesToServer     uint64  `json:"bytes_toserver"`
	BytesToClient     uint64  `json:"bytes_toclient"`
	FastToServer      uint64  `json:"fastpath_pkts_toserver"`
	FastToClient      uint64  `json:"fastpath_pkts_toclient"`
	FastBytesToServer uint64  `json:"fastpath_bytes_toserver"`
	FastBytesToClient uint64  `json:"fastpath_bytes_toclient"`
	Counted           uint64  `json:"counted"`
	FastCounted       int64   `json:"fastpath_counted"`
	FastCountedBytes  int64   `json:"fastpath_counted_bytes"`
	State             string  `json:"state"`
	ConnState         string  `json:"conn_state"`
	History           string  `json:"history"`
	Start             Time    `json:"start"`
	End               Time    `json:"end"`
	AgeS              float64 `json:"age_s"`
	Reason            string  `json:"reason"`
	Outcome           string  `json:"outcome"`
	Predecessor       uint64  `json:"predecessor"`
	Adopted           bool    `json:"adopted"`
	Probes            uint8   `json:"probes"`
	Answered          string  `json:"probes_answered"`
	Rule              string  `json:"rule"`
	Preset            string  `json:"preset"`
	PolicyRev         string  `json:"policy_rev"`
	Arm               string  `json:"arm"`

	HandshakeS          *float64 `json:"handshake_s"` // nil: not known
	ResponseS           *float64 `json:"response_s"`
	SYNRetransmits      uint64   `json:"syn_retransmits"`
	RetransmitsToServer uint64   `json:"retransmits_toserver"`
	RetransmitsToClient uint64   `json:"retransmits_toclient"`
	OutOfWindowToServer uint64   `json:"out_of_window_toserver"`
	OutOfWindowToClient uint64   `json:"out_of_window_toclient"`
	StallS              float64  `json:"stall_s"`
	Stalled             bool     `json:"stalled"`
	EndedBy             string   `json:"ended_by"`
	Interventions       uint64   `json:"interventions"`
	Resets              uint64   `json:"resets"`
}

// WireEvent is the object inject.wire.
type WireEvent struct {
	SrcIP    string `json:"src_ip"`
	SrcPort  uint16 `json:"src_port"`
	DestIP   string `json:"dest_ip"`
	DestPort uint16 `json:"dest_port"`
}

// InjectEvent is the object inject.
type InjectEvent struct {
	ID      string     `json:"id"`
	Cause   string     `json:"cause"`
	Trigger string     `json:"trigger"`
	Kind    string     `json:"kind"`
	To      string     `json:"to"`
	Wire    *WireEvent `json:"wire"`
	Error   string     `json:"error"`
}

// ReloadEvent is the object reload.
type ReloadEvent struct {
	OK           bool   `json:"ok"`
	Preset       string `json:"preset"`
	PolicyRev    string `json:"policy_rev"`
	PreviousRev  string `json:"previous_rev"`
	Flows        string `json:"flows"`
	FlowsTouched uint64 `json:"flows_touched"`
	Error        string `json:"error"`
}

// KernelEvent is the object kernel.
type KernelEvent struct {
	Base uint64 `json:"base"`
	Now  uint64 `json:"now"`
}

// StatsEvent is the object stats.
type StatsEvent struct {
	Run          string            `json:"run"`
	Final        bool              `json:"final"`
	UptimeS      float64           `json:"uptime_s"`
	Kernel       *KernelEvent      `json:"kernel"`
	Received     uint64            `json:"received"`
	Verdicts     map[string]uint64 `json:"verdicts"`
	Reasons      map[string]uint64 `json:"reasons"`
	Suppressed   map[string]uint64 `json:"suppressed"`
	RingDropped  uint64            `json:"ring_dropped"`
	PcapDropped  uint64            `json:"pcap_dropped"`
	QueueDropped uint64            `json:"queue_dropped"`
	UserDropped  uint64            `json:"queue_user_dropped"`
	FailOpen     uint64            `json:"fail_open"`
	Injected     uint64            `json:"injected"`
	InjectErrors uint64            `json:"inject_errors"`
	Omitted      uint64            `json:"omitted"`
	Flows        uint64            `json:"flows"`
	Tombstones   uint64            `json:"tombstones"`

	Shadows  []ShadowStatsEvent  `json:"shadows"`
	FastPath *FastPathStatsEvent `json:"fastpath"`
}

// GapEvent is the object gap.
type GapEvent struct {
	Where     string            `json:"where"`
	Count     uint64            `json:"count"`
	Bound     string            `json:"bound"`
	From      Time              `json:"from"`
	To        Time              `json:"to"`
	Run       string            `json:"run"`
	Kernel    *KernelEvent      `json:"kernel"`
	Known     uint64            `json:"known"`
	Records   map[string]uint64 `json:"records"`
	Reasons   map[string]uint64 `json:"reasons"`
	Fast      int64             `json:"fastpath_pkts"`
	FastBytes int64             `json:"fastpath_bytes"`
	Detail    string            `json:"detail"`
}

// ExperimentEvent is the object experiment.
type ExperimentEvent struct {
	Name   string `json:"name"`
	Event  string `json:"event"`
	Arm    string `json:"arm"`
	Unit   string `json:"unit"`
	Detail string `json:"detail"`
	Since  Time   `json:"since"`
	// Spec is the experiment's configuration; package experiment reads it.
	Spec json.RawMessage `json:"spec"`
}

// HeaderEvent is the object header or trailer.
type HeaderEvent struct {
	SchemaVersion int          `json:"schema_version"`
	Program       string       `json:"program"`
	Version       string       `json:"version"`
	Run           string       `json:"run"`
	BootID        string       `json:"boot_id"`
	FileSeq       uint64       `json:"file_seq"`
	Started       Time         `json:"started"`
	Kernel        *KernelEvent `json:"kernel"`
	Before        Tally        `json:"before"`
}

// Tally is what this line alone explains, for the run of its file.
func (e *Event) Tally() Tally {
	t := Tally{Records: 1}
	switch {
	case e.Header != nil || e.Trailer != nil:
		t.Records = 0
	case e.Decision != nil && e.Decision.Settles == "" && e.Decision.Trigger == "":
		t.Decisions = 1
	case e.Flow != nil:
		t.Counted = e.Flow.Counted
		t.Fast.Packets, t.Fast.Bytes = e.Flow.FastCounted, e.Flow.FastCountedBytes
	case e.Stats != nil:
		for _, n := range e.Stats.Suppressed {
			t.Suppressed += n
		}
	case e.Gap != nil && e.Gap.Run == "":
		if e.Gap.Bound == BoundExact {
			t.Gaps = e.Gap.Count
		} else {
			t.Upper = e.Gap.Count
		}
		t.Fast.Lost, t.Fast.LostBytes = e.Gap.Fast, e.Gap.FastBytes
	}
	return t
}
