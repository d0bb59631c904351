package decisionlog

import "net/netip"

// SchemaVersion is the version of the record's shape, written in the header line
// of each file. It grows when a field changes its meaning or goes away; new
// fields do not change it, and a reader ignores fields that it does not know.
const SchemaVersion = 1

// EventType says which part of a Record is meant.
type EventType uint8

// The event types, in the order in which documentation lists them.
const (
	EventNone       EventType = iota
	EventHeader               // first line of each file; written by the Writer alone
	EventDecision             // one segment and what became of it
	EventFlow                 // a connection began, went on or ended; counters
	EventInject               // a segment that halfopen made
	EventReload               // a policy was loaded, or refused
	EventStats                // counters of the process, at intervals and at the end
	EventGap                  // queue messages that nothing else explains
	EventExperiment           // an experiment started, stopped or assigned a unit
	EventTrailer              // last line of a run that closed its log; written by the Writer alone
	numEvents
)

// eventNames are the words of event_type, indexed by EventType.
var eventNames = [numEvents]string{"none", "header", "decision", "flow", "inject", "reload", "stats", "gap", "experiment", "trailer"}

// String is the word that event_type carries.
func (e EventType) String() string {
	if e < numEvents {
		return eventNames[e]
	}
	return eventNames[EventNone]
}

// Direction of a segment relative to the connection's first SYN.
type Direction uint8

// Directions carry EVE's words to_server and to_client.
const (
	DirUnknown Direction = iota
	ToServer
	ToClient
)

// Words of Decision.Verdict: what became of the packet.
const (
	VerdictForward = "forward"
	VerdictDrop    = "drop"
	VerdictRewrite = "rewrite"
	VerdictHold    = "hold"
)

// StrippedWords are the words of Decision.Stripped and Would.Stripped, from the lowest bit; policy's words.
var StrippedWords = [...]string{"urgent", "reserved", "ecn", "push", "data", "fastopen", "timestamps", "sack", "wscale", "mptcp", "md5",
	"unknown", "mss"}

// Record is one line of the log, before it is a line: a union of all event
// types, filled without allocating. Strings in it must be words that outlive the
// record (constants, or words interned with a policy, such as rule names and
// interface names). The pointers are for the rare event types; what they point
// to must not change once the record was handed to a Writer.
//
// The zero value of a field means "not known" and is left out of the line, unless
// the field says otherwise.
type Record struct {
	Time  int64 // unix nanoseconds, wall clock, of the packet or event
	Event EventType
	Dir   Direction

	FlowID   uint64         // only the low 51 bits are written, as Suricata does; 0: no flow
	Src, Dst netip.AddrPort // of the segment; of a flow record: originator, responder
	PcapCnt  uint64         // packet number in the capture, replay only

	InIface, OutIface string

	TCP      TCP      // decision, inject: the segment
	Decision Decision // decision
	Flow     Flow     // flow
	Inject   Inject   // inject

	// Shadow, of a decision: what shadow policies would have done, where one of them disagrees. Put copies it.
	Shadow []Shadow

	Reload     *Reload
	Stats      *Stats
	Gap        *Gap
	Experiment *Experiment
	header     *Header
}

// TCP flag bits as in the header's byte 13 and (for AE) the low bit of byte 12
// (RFC 9293 section 3.1, RFC 3168, RFC 9768).
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
	FlagECE
	FlagCWR
	FlagAE
)

// Bits of TCP.Opts: which options the segment carries.
const (
	OptMSS = 1 << iota
	OptWScale
	OptSACKOK
	OptSACK
	OptTimestamp
	OptMD5
	OptAO
	OptFastOpen
	OptOther
	OptMPTCP
)

// TCP is the segment as it was seen (or made).
type TCP struct {
	Set        bool // false: no tcp object in the line
	Flags      uint16
	Seq, Ack   uint32
	Win        uint32 // as on the wire, not scaled
	Len        uint32 // payload octets
	Opts       uint16
	MSS        uint16
	WScale     uint8
	SACKBlocks uint8
	TSVal      uint32
	TSEcr      uint32
	History    History // Zeek's letters, up to and with this segment
}

// History holds a connection's history in Zeek's letters (upper case:
// originator), ended by a zero byte or the array's end.
type History [24]byte

// Action is the five parts of what policy decided; words of package policy.
type Action struct {
	Packet, Reply, Peer, State, Timer string
}

// Made is a packet that a decision made, in short.
type Made struct {
	Kind     string // for example ack-tracked; empty: none
	Flags    uint16 // 0: no TCP segment but ICMP, and without numbers
	Seq, Ack uint32
}

// Expected holds the numbers that the finding was judged by. A number or pair is
// written only where its Has is set. All are raw sequence numbers (mod 2^32).
type Expected struct {
	HasSeq, HasAck             bool
	HasSeqWindow, HasAckWindow bool
	Seq, Ack                   uint32 // next number, and acknowledgment, expected of the sender
	SeqLo, SeqHi               uint32 // lowest acceptable start, highest acceptable end
	AckLo, AckHi               uint32 // lowest and highest acceptable acknowledgment
	SeenEnd                    uint32 // sequence number after the seen segment
	// The right edge of the window that the sender advertised before, and now.
	HasEdge        bool
	Edge, SeenEdge uint32
	// The lowest timestamp that the receiver takes, and the segment's.
	HasTS      bool
	TS, SeenTS uint32
	HasLen     bool
	Len        uint32 // the most data that the receiver takes in a segment, in bytes
}

// Tombstone is what is left of a connection forgotten earlier on this tuple.
type Tombstone struct {
	Set       bool
	At        int64  // unix nanoseconds: when it was forgotten
	Why       string // for example idle, fin, rst, evicted, killed
	State     string // the state in which it was forgotten
	Timeout   int64  // nanoseconds: the timer that ran out, or would have
	Idle, Age int64  // nanoseconds, when it was forgotten
	FlowID    uint64
	// The last numbers of both sides, raw.
	ClientSeq, ClientAck, ServerSeq, ServerAck uint32
}

// Decision is the event type decision.
type Decision struct {
	ID      ID
	Settles ID // the hold that this record ends; such a record explains no further message
	// Trigger: where time was the cause and no segment, for example probe-unanswered; [TriggerShadow] where the record is there for its
	// shadows alone. Such a record explains no message.
	Trigger   string
	Verdict   string
	Reason    string
	Rule      string
	Preset    string
	PolicyRev string
	Arm       string
	Queue     uint16

	Known       bool // the tuple had an entry: idle, remaining and age are written
	StateBefore string
	StateAfter  string
	Idle        int64 // nanoseconds since the last segment that refreshed the entry
	Remaining   int64 // nanoseconds until its timer ends; negative: it ended that long ago
	Age         int64 // nanoseconds since the entry was made

	Action Action // as policy resolved it
	Effect string // what the table did in the end, where that is not Action.State
	Reply  Made   // to the sender
	Peer   Made   // to the other end
	// Stripped is what the packet lost, by bits in the order of StrippedWords; RewriteOmitted is why it could not be rewritten.
	Stripped       uint16
	RewriteOmitted string
	// Why nothing was made that the action asked for; empty: it was made, or none was asked for.
	ReplyOmitted, PeerOmitted string
	Unmet                     string // the condition of the action that did not hold, so that its else was done
	Defect                    string // what made the packet unfit to be a segment
	Checksum                  string // unverified or bad; empty: good
	Expected                  Expected
	Tombstone                 Tombstone
	Would                     Would
	Latency                   int64 // nanoseconds from receipt to verdict
}

// Inject is the event type inject: a segment that halfopen made. Record.Src and
// Record.Dst are its addresses as the gateway's table knows them, Record.TCP its
// numbers. When a rate limit holds back the record of the decision that caused
// it, its own is held back too (Stats.Injected counts both), so that a cause in
// the log can always be looked up there.
type Inject struct {
	ID               ID
	Cause            ID     // the decision that caused it
	Trigger          string // where time caused it and no decision: for example expiry, probe
	Kind             string // for example rst-tracked
	To               string // client or server
	WireSrc, WireDst netip.AddrPort
	Error            string // the system's words if it was not sent
}

// Explains is how many queue messages the record stands for (see the package's
// conservation rule).
func (r *Record) Explains() uint64 {
	switch r.Event {
	case EventDecision:
		if r.Decision.Settles.IsZero() && r.Decision.Trigger == "" {
			return 1
		}
	case EventFlow:
		return r.Flow.Counted
	case EventStats:
		if r.Stats != nil {
			return sumCounts(r.Stats.Suppressed)
		}
	case EventGap:
		if r.Gap != nil && r.Gap.Run == "" {
			return r.Gap.Count
		}
	}
	return 0
}

func sumCounts(cs []Count) (n uint64) {
	for _, c := range cs {
		n += c.N
	}
	return n
}
