package conntrack

import "time"

// SideFlags are facts about one end of a connection.
type SideFlags uint16

// Facts about one end.
const (
	SideSeen      SideFlags = 1 << iota // at least one segment of this end was tracked
	SideSYN                             // its SYN was seen, ISN is valid
	SideFIN                             // its FIN was seen, FINEnd is valid
	SideFINAck                          // its FIN was acknowledged
	SideScale                           // it offered window scaling
	SideSACK                            // it permitted SACK
	SideMaxAck                          // MaxAck is valid
	SideLiberal                         // its window is not known well: judge liberally
	SideRST                             // its last segment was a RST
	SideProgress                        // tracked data or ACK progress since pick-up, restore or a gap
	SideKnown                           // End is valid: seen, or taken from what the other end acknowledged
	sideNear                            // near is valid
	sideCloseInit                       // its FIN was the first (netfilter's IP_CT_TCP_FLAG_CLOSE_INIT; SeqKernel only)
	SideTimestamp                       // it sends timestamps (RFC 7323), TSRecent is valid
	sideUnacked                         // IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED (SeqKernel only)
)

// Side is what is remembered of one end: the window bounds of netfilter's ip_ct_tcp_state, after Guido van Rooij, "Real
// Stateful TCP Packet Filtering in IP Filter".
type Side struct {
	ISN    Seq    // valid with SideSYN
	End    Seq    // highest sequence number + length sent (td_end): the next number expected of this end
	MaxEnd Seq    // highest number this end may send: the other end's ack + window (td_maxend)
	MaxAck Seq    // highest acknowledgment this end sent, valid with SideMaxAck (td_maxack)
	FINEnd Seq    // number after its FIN, valid with SideFIN
	MaxWin uint32 // largest window this end advertised, in bytes after scaling (td_maxwin)
	Win    uint32 // window last advertised, in bytes after scaling
	Flags  SideFlags
	Scale  uint8 // window shift, valid with SideScale on both sides
	// Retrans counts how often this end has repeated itself since the other was last heard, up to 255.
	Retrans uint8

	near Seq // what the other end may acknowledge beyond End: the end of a segment a little above the window, or that of the longest datagram whose first fragment was seen
	// TSRecent is the timestamp below which the other end takes this end's segments for old (RFC 7323 section 4.3).
	TSRecent uint32

	Packets, Bytes uint64 // queue messages and IP bytes from this end, forwarded or not
}

// EntryFlags are facts about a connection.
type EntryFlags uint16

// Facts about a connection.
const (
	EntryAssured      EntryFlags = 1 << iota // traffic in both directions after the handshake
	EntryReplied                             // the other end has answered
	EntryPickedUp                            // created mid-stream, without its SYN
	EntryCandidate                           // Candidate is valid
	EntryChallenge                           // Challenge is valid: a bare ACK answered the SYN
	EntryRearmed                             // the reply side takes the next SYN/ACK fresh (pf)
	EntrySimultaneous                        // both ends sent a SYN before either was answered
	EntryShortened                           // the timer was shortened and not refreshed since
	entryHeals                               // SideLiberal comes from a gap and goes with progress (SeqKernel: a picked-up entry keeps it)
	EntryOneSided                            // it was seen that one direction takes another way
	EntryAsked                               // Watch is when the originator's first data came
	EntryResponded                           // Response is valid
	EntryStalled                             // an end waits: nothing new has come through since it repeated data or probed a closed window
	EntryReplyClosed                         // the first FIN was the other end's, not the originator's
	EntryFastUntold                          // a fast path let segments pass that no flow record has told of; the engine's owner resets it
)

// Candidate is a SYN that was let through on a live entry, remembered in case the other end proves it (netfilter's
// last_seq/last_end/last_wscale/last_flags).
type Candidate struct {
	Since Instant // when it first came
	ISN   Seq
	End   Seq // number after the SYN and its data: what a SYN/ACK or RST for it acknowledges
	Win   uint16
	Scale uint8
	Flags SideFlags // SideScale, SideSACK
	Dir   Direction
}

// Probe is what the owner has asked the ends, in each other's name. Bit 1<<dir of Asked and Answered is the end of direction dir.
type Probe struct {
	Ack      [2]Seq  // by end: the acknowledgment that it was sent, which a RST of a host without the connection quotes
	Until    Instant // when a probe that a segment caused is given up; 0 for probes before expiry, which the deadline ends
	Asked    uint8   // ends
	Answered uint8   // ends, with an ACK
	Tries    uint8   // probes sent
}

// Entry is one remembered connection. It is free of pointers. Callers outside this package read it only. The table keeps it in a
// more compact form (record.go) while nobody works on it.
type Entry struct {
	Tuple     Tuple  // of the original direction
	Handshake Micros // from the SYN to the handshake's last ACK
	ID        uint64 // flow id, unique within a table's life
	Previous  uint64 // flow id of the connection that this one replaced or followed on the tuple, 0 for none
	Created   Instant
	LastSeen  Instant       // of the last segment of either direction, refreshed or not
	Refreshed Instant       // when the timer was last set
	Deadline  Instant       // the entry is absent from this instant on
	Timeout   time.Duration // what the timer was last set to
	Side      [2]Side
	Wake      Instant       // when the table's owner is asked about it before that ([Config.Woken]), [Never] for not at all
	Lead      time.Duration // how long before the deadline of an established connection that is, 0 for never
	Probe     Probe
	Counted   uint64 // plain forwards not yet reported in a flow record; the engine's owner resets it
	Epoch     uint32 // of the policy that last matched rules to it
	Rule      int32  // index of the rule that governs it under that policy, -1 for none
	Timers    uint16 // index of its timeouts in the owner's set of Timeouts
	Flags     EntryFlags
	Strip     uint16 // what SYNs of this handshake lose on their way, with MaxMSS; for the owner's use
	MaxMSS    uint16
	MSS       [2]uint16 // by end: the most data that it takes in a segment, as its SYN said, in bytes; 0 for unknown
	State     State
	LastDir   Direction
	LastKind  Kind
	Marks     uint8 // for the owner's use
	HistoryN  uint8
	History   [16]byte // Zeek's history letters, the first 16
	// SYNRetransmits counts the originator's further SYNs before the handshake was complete, up to 255.
	SYNRetransmits uint8
	Arm            uint8 // of an experiment, for the owner's use: it is its Params' and stays for the entry's life
	// Interventions counts what was done about it other than to let a segment go on, and Resets the RSTs of that, each up to 255; for
	// the owner's use.
	Interventions, Resets uint8

	list    int8    // which list, none for neither; while the entry lies open
	history uint16  // number of History, while the entry lies open
	gap     uint32  // the table's gap that was last applied
	index   int32   // its own place; none for an entry outside a table
	queued  Instant // while the entry lies open: the wheel looks at it no later than this
	last    kernelLast

	Stall    Micros // the time in which an end waited and nothing new came through
	Response Micros // from the originator's first data to the first of the other end after it, with EntryResponded
	// Retransmits and OutOfWindow count segments by their sender: those that begin below the number that it had reached, which it
	// repeats (or which were overtaken), and SYN/ACKs again; and those whose finding is [Finding.OutOfWindow].
	Retransmits, OutOfWindow [2]uint32
	Challenge                Seq     // the ack number of a bare ACK that answered the SYN
	Watch                    Instant // when what is being timed began: the SYN came, or with EntryAsked the originator's first data; 0 once there was a response
	Answered                 Instant // when its owner last answered for an end, 0 for never; for the owner's use
	Candidate                Candidate
	// FastPackets and FastBytes are how much of the sides' Packets and Bytes a fast path let pass. FastSlot is where it keeps the
	// connection, for the owner's use: 0 for nowhere, and the table asks the fast path about no entry without one.
	FastPackets, FastBytes [2]uint64
	// FastUntold is how many packets and bytes of these, of both directions together, no flow record has told of. It is below zero where
	// some that were told of are taken back. With EntryFastUntold, which says that it may be other than zero, the engine's owner resets it.
	FastUntold [2]int64
	FastSlot   uint32
	// FastLook is when the table asks the fast path at the latest, 0 for not before the deadline, and FastEvery how long after that again:
	// the least timeout that a segment may set there, so that no deadline passes unseen.
	FastLook  Instant
	FastEvery time.Duration
}

// EndReason is why an entry ended.
type EndReason uint8

// Reasons for an entry's end.
const (
	EndNone     EndReason = iota
	EndIdle               // its idle timer ran out
	EndFIN                // the timer of a state after both FINs ran out
	EndRST                // the timer after a RST ran out, or a RST deleted it
	EndReplaced           // a new connection took its tuple
	EndEvicted            // it made room
	EndKilled             // the operator
	EndReload             // a reload that drops flows
	EndDeleted            // policy
	EndShutdown           // the gateway stops
	EndAdaptive           // its idle timer, scaled down in a full table, ran out
	EndDead               // its idle timer ran out, and probes before that were not answered
	EndDenied             // the time of a denial ran out
	NumEndReasons
)

var endWords = [NumEndReasons]string{"", "idle", "fin", "rst", "replaced", "evicted", "killed", "reload", "deleted", "shutdown", "adaptive", "dead", "denied"}

// String returns the reason's word.
func (r EndReason) String() string { return endWords[r] }

// Tombstone is what is kept of a connection after it was forgotten.
type Tombstone struct {
	ID        uint64
	Forgotten Instant
	Created   Instant
	LastSeen  Instant
	Timeout   time.Duration // the timer that ran out, or would have
	Reason    EndReason
	State     State  // at the end
	Arm       uint8  // the entry's
	Next      [2]Seq // next number of the original end and of the other end (in the buried entry's directions)
	LastAck   [2]Seq
	From      Tuple // the buried entry's original direction
	// Established: it had been, so the other end may hold it still.
	Established bool
}

// View is what the table says of a segment's tuple at an instant. Lookup fills it and changes nothing.
type View struct {
	Entry *Entry // nil: nothing, or expired. Valid until the table's next Lookup, Commit, Advance or Kill
	Dir   Direction
	// Expired is an entry whose deadline has passed but which was not swept yet: Entry is nil then, and Tombstone says
	// what a swept one's would. Commit buries it.
	Expired   *Entry
	Tombstone Tombstone
	HasTomb   bool
	// Relaxed: segments were lost to the gateway since the entry was last tracked; judge it liberally.
	Relaxed bool
}

// Effect is what a decision tells the table to remember.
type Effect uint8

// Effects. Keep is the safe zero value.
const (
	Keep            Effect = iota // nothing but counters and LastSeen
	Track                         // advance window, state machine and history by this segment
	Annotate                      // remember this SYN as candidate; forget it unless the other end proves it
	Resync                        // the candidate is proven: restart the entry from it
	Replace                       // bury the entry and create one from this SYN
	ReplaceIfClosed               // Replace if both ends closed or one reset, else Keep
	Delete                        // bury the entry
	Create                        // create an entry from this SYN
	CreateLiberal                 // create an entry from a mid-stream segment; its window is judged liberally
	Rearm                         // Keep, and take the other end's next SYN/ACK fresh (pf, handshake mismatch)
	Deny                          // end what is remembered, and remember the tuple as denied; from any segment
	NumEffects
)

var effectWords = [NumEffects]string{"keep", "track", "annotate", "resync", "replace", "replace-if-closed", "delete",
	"create", "create-liberal", "rearm", "deny"}

// String returns the effect's word in policy files and logs.
func (e Effect) String() string { return effectWords[e] }

// TimerOp is what becomes of the entry's timer.
type TimerOp uint8

// Timer operations.
const (
	TimerLeave   TimerOp = iota // the deadline stays
	TimerRefresh                // the state's timeout, from now
	TimerShorten                // at most the given duration from now; never later than the present deadline
	NumTimerOps
)

var timerWords = [NumTimerOps]string{"leave", "refresh", "shorten"}

// String returns the operation's word.
func (o TimerOp) String() string { return timerWords[o] }

// Timer is a timer operation with its duration, which only TimerShorten uses.
type Timer struct {
	Op TimerOp
	D  time.Duration
}

// SeqCheck says how windows are judged.
type SeqCheck uint8

// Ways to judge windows.
const (
	SeqStrict  SeqCheck = iota // out of window is a finding
	SeqLiberal                 // only RSTs are judged (nf_conntrack_tcp_be_liberal)
	SeqOff                     // nothing is judged
	// SeqKernel: everything is judged, and tracked, as Linux's nf_conntrack does with its default settings; RST, Near and
	// SynBand play no part.
	SeqKernel
)

// RSTRule says which RST counts as exact, inexact or out of window.
type RSTRule uint8

// RST rules.
const (
	RSTLinux      RSTRule = iota // nf_conntrack: below the highest ack seen is out, equal is exact, above is inexact
	RSTPF                        // pf: the tracked number or one off it, or inside the window with the exact ack, is exact
	RSTRFC5961                   // RFC 5961 section 3.2: exact, inside the window, outside
	RSTWindow                    // RFC 793 section 3.4: anything inside the window is exact
	RSTLastOrNext                // Juniper's rst-sequence-check: the next number or the last one sent is exact
	RSTUnacked                   // FortiOS's check-reset-range: what lies between acknowledged and sent is exact
)

// ACKRule says which acknowledgments are acceptable.
type ACKRule uint8

// ACK rules.
const (
	// ACKLinux: as old as the sender's largest window or 66000, up to what was sent (MAXACKWINDOW in nf_conntrack_proto_tcp.c).
	ACKLinux ACKRule = iota
	// ACKPF: as old as 67035 shifted by the sender's window scale, up to 67035 beyond what was sent (MAXACKWINDOW and ackskew
	// in OpenBSD's pf_tcp_track_full).
	ACKPF
	// ACKRFC5961: as old as the sender's largest window below what it acknowledged before, up to what was sent (RFC 5961
	// section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT).
	ACKRFC5961
)

// Rules are the numbers that Classify judges by. The zero value is strict.
type Rules struct {
	Check   SeqCheck
	RST     RSTRule
	ACK     ACKRule
	Near    uint32 // bytes above the window that are SeqAboveNear; with 0 the receiver's largest window, as nf_conntrack
	SynBand uint32 // a SYN with another ISN further than this from the tracked one is SynNewISNFar; 0 = no band (pf: 67035)
	// Retransmits is how many repetitions without an answer make a segment HalfDead; 0 = 3 (nf_conntrack_tcp_max_retrans)
	Retransmits uint8
	// Old is how many bytes further below the window a segment is SeqBelowOld; 0 = the receiver's largest window, at least 66000
	Old      uint32
	TombLate time.Duration // how long after its end a connection's segments are LateAfterExpiry; 0 = as long as the tombstone lives
}
