package conntrack

// Finding is what a segment is against what the table remembers: the closed set of words that serves as the log's reason,
// the metric's label, the scenario's expectation and the manual's heading.
type Finding uint8

// Findings. Their definitions are in [FindingInfo].
const (
	// Packets that are no proper segment.
	Malformed Finding = iota
	ChecksumWrong
	FlagsIllegal
	// Handshake.
	New
	SynData
	SynFastOpen
	SynRetransmit
	SynRetransmitOptions
	SynNewISN
	SynNewISNLower
	SynNewISNFar
	SynInHandshake
	SimultaneousOpen
	SynAck
	SynAckData
	SynDataIgnored
	SynAckRetransmit
	SynAckBadAck
	SynAckBadAckLow
	SynAckEstablished
	SynAckWrongDirection
	SynAckNoState
	SynAckResync
	Handshake
	HandshakeBadAck
	HandshakeBadAckLow
	HandshakeOneSided
	DataBeforeHandshake
	AckForSyn
	RstAfterChallenge
	RstForSyn
	AckForProbe
	RstForProbe
	SynEstablished
	SynEstablishedDuplicate
	SynEstablishedInWindow
	SynEstablishedReverse
	SynHalfClosed
	SynClosing
	SynTimeWait
	SynAfterRst
	// Mid-life.
	InWindow
	Keepalive
	ZeroWindowProbe
	WindowShrunk
	PAWS
	TimestampMissing
	TimestampNull
	MSSExceeded
	Urgent
	HalfDead
	OneSided
	SeqAboveNear
	SeqAbove
	SeqBelow
	SeqBelowOld
	AckAbove
	AckBelow
	Fin
	FinRetransmit
	FinOutOfWindow
	FinOutOfWindowLow
	Rst
	RstData
	RstAckZero
	RstRepeated
	RstTimeWait
	RstInexact
	RstOutOfWindow
	DataAfterFin
	DataAfterRst
	FinAfterRst
	RstIgnored
	RstDisowned
	AckNoState
	DataNoState
	FinNoState
	RstNoState
	LateAfterExpiry
	LateSynAck
	LateFin
	LateRst
	Adopted
	DeniedTuple
	// Table.
	TableFull
	EmbryonicLimit
	SourceLimit
	ProbeUnanswered
	IdleExpired
	IdleEmbryonic
	IdleHalfClosed
	DeadConnection
	NumFindings // not a finding
)

// FindingInfo describes a finding.
type FindingInfo struct {
	Word    string // kebab-case, the contract
	Dotted  string // the matching ids of the behaviours catalogue, "" for none
	Meaning string // one line
	Effect  Effect // what a forwarded segment does to the table where the policy does not say
	Timer   TimerOp
	Plain   bool // expected of a healthy connection
	Packet  bool // said of a segment (false: said of an entry when time passes)
}

// Info returns the finding's description.
func (f Finding) Info() *FindingInfo { return &findings[f] }

// String returns the finding's word.
func (f Finding) String() string { return findings[f].Word }

// FindingByWord returns the finding of that word.
func FindingByWord(w string) (Finding, bool) {
	for f := range findings {
		if findings[f].Word == w {
			return Finding(f), true
		}
	}
	return 0, false
}

// Expect holds the numbers that a finding about numbers was judged by. A pair is valid where its bit is set in Has;
// what was seen instead is the segment's own.
type Expect struct {
	Has          ExpectSet
	Seq          Seq    // the next number expected of the sender
	Ack          Seq    // the acknowledgment expected
	SeqLo, SeqHi Seq    // the sender's window: lowest acceptable start, highest acceptable end
	AckLo, AckHi Seq    // the lowest and highest acceptable acknowledgment
	Edge         Seq    // the right edge of the window that the sender advertised last
	SeenEdge     Seq    // with Edge: the one that the segment advertises
	TS           uint32 // the lowest timestamp that the receiver takes (TS.Recent of RFC 7323 section 4.3)
	Len          uint32 // the most data that the receiver takes in a segment, in bytes
}

// ExpectSet says which numbers of an Expect are valid.
type ExpectSet uint8

// Members of an ExpectSet.
const (
	ExpectSeq ExpectSet = 1 << iota
	ExpectAck
	ExpectSeqWindow
	ExpectAckWindow
	ExpectEdge
	ExpectTS
	ExpectLen
)

// Class is a classified segment.
type Class struct {
	Finding Finding
	Expect  Expect
}
