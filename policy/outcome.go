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
	Action  Action           // as resolved from the policy; its else where Unmet
	Unmet   string           // the condition that did not hold, "" where there was none or all held
	Effect  conntrack.Effect // what the table really did (replace-if-closed resolved, keep where there was no entry)
	Verdict PacketAction     // what becomes of the packet
	By      *Policy          // who decided: the gateway's policy or an arm's
	Arm     uint8            // whose policy that is, 0 for the gateway's own
	Rule    string           // name of the rule that decided, "" for the policy's own table of findings

	Flow      uint64 // id of the entry after the step, or of the one before it where that ended; 0 for none
	Previous  uint64 // id of the flow's predecessor on this tuple, 0 for none
	Dir       conntrack.Direction
	Before    conntrack.State
	After     conntrack.State
	Idle      time.Duration // since the entry's last segment; 0 without an entry
	Remaining time.Duration // until the entry would have expired, before this segment
	Age       time.Duration // since the entry was created

	Relaxed bool // segments passed unseen since both of its directions had progressed ([Engine.Gap]): judged liberally

	Tombstone conntrack.Tombstone // valid with HasTomb: what was forgotten on this tuple
	HasTomb   bool

	Peer              Emit // to the end that the segment was meant for; to be sent before the segment gets its verdict
	Reply             Emit // to the segment's sender; to be sent after
	HasPeer, HasReply bool
	// What the action asked for and could not be made, and why (see the Omit words); "" where nothing was left out.
	PeerOmitted, ReplyOmitted string

	// With Verdict Rewrite: what the segment loses, and with [StripMSS] the segment size that it then announces. RewriteOmitted is
	// set by who carries the verdict out where that could not be done, and why; Verdict then says what became of the packet.
	Strip          Strip
	MSS            uint16
	RewriteOmitted string

	// With Verdict Hold: the name under which the segment is let go again ([TimeRelease]), and when at the latest.
	Hold      uint64
	HoldUntil conntrack.Instant

	// Counted: the segment is a plain in-window forward that the flow's next flow record accounts for. Otherwise the
	// segment needs a record (or a suppression count) of its own.
	Counted bool

	// Settled: the step was Counted, and the policy has no interest in the connection's further in-window segments: a fast path may let
	// them pass ([Engine.ArmFast]). Slot is the connection's place there after the step, 0 for none, and Packets how many segments of it
	// were seen so far, whoever let them pass; both only where the connection was there before the step.
	Settled bool
	Slot    uint32
	Packets uint64

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

// FlowEvent is something that happened to an entry. Entry is a copy; its Counted is what this event accounts for: the plain
// forwards since the flow's event before it.
type FlowEvent struct {
	Kind  FlowEventKind
	Why   conntrack.EndReason // with FlowEnd
	At    conntrack.Instant
	By    *Policy // that governs the entry: the gateway's or its arm's
	Rule  string
	Entry conntrack.Entry
}

// TimeKind says what a TimeEvent is.
type TimeKind uint8

// Time events.
const (
	TimeFlow       TimeKind = iota // Flow happened
	TimeExpired                    // finding idle-expired, a kind of it, or dead-connection on Flow.Entry, whose action makes Emit; its FlowEnd is told apart
	TimeRelease                    // the segment held as Hold gets Verdict, and its sender Emit[0]
	TimeProbe                      // the ends of Flow.Entry are asked by Emit whether they hold the connection
	TimeUnanswered                 // finding probe-unanswered on Flow.Entry, whose action makes Emit
)

// TimeEvent is something that no segment caused: time alone, or the operator. It is valid during the call that tells it.
type TimeEvent struct {
	Kind    TimeKind
	At      conntrack.Instant
	Flow    FlowEvent         // all but TimeRelease
	Finding conntrack.Finding // TimeExpired, TimeUnanswered
	Action  Action            // the same: as resolved from the policy
	Emit    [2]Emit           // to the originator and to the other end; valid with HasEmit
	HasEmit [2]bool
	Omitted [2]string    // what could not be made of Emit, and why
	Hold    uint64       // TimeRelease
	Verdict PacketAction // TimeRelease: Forward or Drop
	Rule    string       // TimeExpired: the rule that decided
}

// Trigger returns why the event makes packets, for the log: probe, or the finding.
func (ev *TimeEvent) Trigger() string {
	if ev.Kind == TimeProbe {
		return "probe"
	}
	return ev.Finding.String()
}
