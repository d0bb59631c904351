package policy

import (
	"time"

	"halfopen/conntrack"
)

// Outcome is what Step found, decided and did about one segment. It belongs to the engine and is valid until the
// engine's next call.
type Outcome struct {
	Finding conntrack.Finding
	Expect  conntrack.Expect // the numbers that the finding was judged by
	Action  Action           // as resolved from the policy
	Effect  conntrack.Effect // what the table really did (replace-if-closed resolved, keep where there was no entry)
	Verdict PacketAction     // what becomes of the packet
	Rule    string           // name of the rule that decided, "" for the policy's own table of findings

	Flow      uint64 // id of the entry after the step, or of the one before it where that ended; 0 for none
	Previous  uint64 // id of the flow's predecessor on this tuple, 0 for none
	Dir       conntrack.Direction
	Before    conntrack.State
	After     conntrack.State
	Idle      time.Duration // since the entry's last segment; 0 without an entry
	Remaining time.Duration // until the entry would have expired, before this segment
	Age       time.Duration // since the entry was created

	Tombstone conntrack.Tombstone // valid with HasTomb: what was forgotten on this tuple
	HasTomb   bool

	Peer              Emit // to the end that the segment was meant for; to be sent before the segment gets its verdict
	Reply             Emit // to the segment's sender; to be sent after
	HasPeer, HasReply bool

	// Counted: the segment is a plain in-window forward that the flow's next flow record accounts for. Otherwise the
	// segment needs a record (or a suppression count) of its own.
	Counted bool

	// Flows are what happened to entries in this step, in order. The slice is reused by the next call.
	Flows []FlowEvent
}

// FlowEventKind says what happened to a flow.
type FlowEventKind uint8

// Flow events.
const (
	FlowNew FlowEventKind = iota
	FlowUpdate
	FlowEnd
)

// FlowEvent is something that happened to an entry. Entry is a copy.
type FlowEvent struct {
	Kind  FlowEventKind
	Why   conntrack.EndReason // with FlowEnd
	At    conntrack.Instant
	Rule  string
	Entry conntrack.Entry
}
