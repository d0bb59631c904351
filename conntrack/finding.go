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
	SynRetransmit
	SynNewISN
	SynNewISNFar
	SynInHandshake
	SimultaneousOpen
	SynAck
	SynAckRetransmit
	SynAckBadAck
	SynAckEstablished
	SynAckWrongDirection
	SynAckNoState
	SynAckResync
	Handshake
	HandshakeBadAck
	DataBeforeHandshake
	AckForSyn
	RstAfterChallenge
	RstForSyn
	AckForProbe
	RstForProbe
	SynEstablished
	SynEstablishedReverse
	SynHalfClosed
	SynClosing
	SynTimeWait
	SynAfterRst
	// Mid-life.
	InWindow
	SeqAboveNear
	SeqAbove
	SeqBelow
	AckAbove
	AckBelow
	Fin
	FinOutOfWindow
	Rst
	RstInexact
	RstOutOfWindow
	DataAfterFin
	DataAfterRst
	AckNoState
	DataNoState
	FinNoState
	RstNoState
	LateAfterExpiry
	Adopted
	// Table.
	TableFull
	EmbryonicLimit
	ProbeUnanswered
	IdleExpired
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

var findings = [NumFindings]FindingInfo{
	Malformed:     {"malformed", "hdr.short opt.bad", "the packet is cut, bogus or no TCP segment", Keep, TimerLeave, false, true},
	ChecksumWrong: {"checksum-bad", "cksum.bad", "the TCP checksum is wrong (judged only where the whole segment was seen)", Keep, TimerLeave, false, true},
	FlagsIllegal:  {"flags-illegal", "flags.illegal", "a combination of control bits that no TCP sends", Keep, TimerLeave, false, true},

	New:                   {"new", "", "a SYN, and nothing is remembered of its tuple", Create, TimerRefresh, true, true},
	SynRetransmit:         {"syn-retransmit", "", "the opening SYN again, with the same ISN", Track, TimerRefresh, true, true},
	SynNewISN:             {"syn-new-isn", "syn.synsent.newisn", "a SYN with another ISN before any answer", Track, TimerRefresh, false, true},
	SynNewISNFar:          {"syn-new-isn-far", "syn.synsent.newisn", "the same, further from the old number than the policy's band", Keep, TimerLeave, false, true},
	SynInHandshake:        {"syn-in-handshake", "syn.synrecv", "a SYN with another ISN after the SYN/ACK", Keep, TimerLeave, false, true},
	SimultaneousOpen:      {"simultaneous-open", "syn.simopen", "a SYN from the other end while the first awaits its answer", Track, TimerRefresh, false, true},
	SynAck:                {"syn-ack", "", "the SYN/ACK that answers the SYN", Track, TimerRefresh, true, true},
	SynAckRetransmit:      {"synack-retransmit", "", "the same SYN/ACK again", Track, TimerRefresh, true, true},
	SynAckBadAck:          {"synack-bad-ack", "synack.badack", "a SYN/ACK that does not acknowledge the SYN", Keep, TimerLeave, false, true},
	SynAckEstablished:     {"synack-established", "synack.est", "a SYN/ACK on an established connection with other numbers", Keep, TimerLeave, false, true},
	SynAckWrongDirection:  {"synack-wrong-direction", "synack.wrongdir", "a SYN/ACK from the end that opened the connection", Keep, TimerLeave, false, true},
	SynAckNoState:         {"synack-no-state", "synack.unsolicited mid.synack", "a SYN/ACK that no remembered SYN asked for", Keep, TimerLeave, false, true},
	SynAckResync:          {"synack-resync", "", "a SYN/ACK that proves an annotated SYN: the server took the new connection", Resync, TimerRefresh, true, true},
	Handshake:             {"handshake", "", "the ACK that completes the handshake", Track, TimerRefresh, true, true},
	HandshakeBadAck:       {"handshake-bad-ack", "ack.3whs.bad", "the handshake's last ACK has wrong numbers", Keep, TimerLeave, false, true},
	DataBeforeHandshake:   {"data-before-handshake", "data.before.3whs", "data before the handshake is complete", Keep, TimerLeave, false, true},
	AckForSyn:             {"ack-for-syn", "ack.insteadof.synack", "a bare ACK answers a SYN: the sender holds another connection on this tuple", Keep, TimerLeave, false, true},
	RstAfterChallenge:     {"rst-after-challenge", "rst.after.challenge", "the RST that quotes the number of such an ACK", Track, TimerRefresh, true, true},
	RstForSyn:             {"rst-for-syn", "", "a RST that answers an annotated SYN: the server refuses, the old connection is gone", Delete, TimerLeave, true, true},
	AckForProbe:           {"ack-for-probe", "", "an ACK that answers a probe of the gateway's: its sender holds the connection", Track, TimerRefresh, true, true},
	RstForProbe:           {"rst-for-probe", "", "a RST that answers a probe of the gateway's: its sender has no such connection", Delete, TimerLeave, true, true},
	SynEstablished:        {"syn-established", "syn.est.fwd", "a SYN from the originator of a connection remembered as established", Keep, TimerLeave, false, true},
	SynEstablishedReverse: {"syn-established-reverse", "syn.est.rev", "a SYN from the other end of a connection remembered as established", Keep, TimerLeave, false, true},
	SynHalfClosed:         {"syn-half-closed", "syn.halfclosed", "a SYN after one end's FIN", Keep, TimerLeave, false, true},
	SynClosing:            {"syn-closing", "syn.closing", "a SYN after both FINs, the last ACK pending", Keep, TimerLeave, false, true},
	SynTimeWait:           {"syn-time-wait", "syn.timewait", "a SYN in TIME_WAIT", Replace, TimerRefresh, true, true},
	SynAfterRst:           {"syn-after-rst", "syn.afterrst", "a SYN after a RST", Replace, TimerRefresh, true, true},

	InWindow:        {"in-window", "", "a segment inside the window in both directions", Track, TimerRefresh, true, true},
	SeqAboveNear:    {"seq-above-near", "seq.above", "data a little above the window, within the policy's tolerance", Keep, TimerLeave, false, true},
	SeqAbove:        {"seq-above", "seq.above", "data above the window", Keep, TimerLeave, false, true},
	SeqBelow:        {"seq-below", "seq.below seq.below.old", "data wholly below the window: an old retransmission", Keep, TimerLeave, false, true},
	AckAbove:        {"ack-above", "ack.above", "an ACK of what was never sent", Keep, TimerLeave, false, true},
	AckBelow:        {"ack-below", "ack.below", "an ACK that lags too far behind", Keep, TimerLeave, false, true},
	Fin:             {"fin", "", "a FIN inside the window", Track, TimerRefresh, true, true},
	FinOutOfWindow:  {"fin-out-of-window", "fin.oow", "a FIN outside the window", Keep, TimerLeave, false, true},
	Rst:             {"rst", "rst.exact", "a RST with the number that its receiver expects", Track, TimerRefresh, true, true},
	RstInexact:      {"rst-inexact", "rst.inexact", "a RST inside the window, but not the next number", Keep, TimerLeave, false, true},
	RstOutOfWindow:  {"rst-out-of-window", "rst.oow", "a RST outside the window", Keep, TimerLeave, false, true},
	DataAfterFin:    {"data-after-fin", "data.after.fin", "new data from an end that has sent its FIN", Keep, TimerLeave, false, true},
	DataAfterRst:    {"data-after-rst", "data.after.rst", "a segment after a RST", Keep, TimerLeave, false, true},
	AckNoState:      {"ack-no-state", "mid.ack", "a bare ACK, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	DataNoState:     {"data-no-state", "mid.data", "data, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	FinNoState:      {"fin-no-state", "mid.fin", "a FIN, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	RstNoState:      {"rst-no-state", "mid.rst", "a RST, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	LateAfterExpiry: {"late-after-expiry", "late.packet", "a segment other than a SYN of a connection that the gateway forgot (the tombstone tells when and why)", Keep, TimerLeave, false, true},
	Adopted:         {"adopted", "", "a mid-stream segment taken up because the gateway is younger than the connection", CreateLiberal, TimerRefresh, true, true},

	TableFull:       {"table-full", "table.full", "no room for a new entry", Keep, TimerLeave, false, true},
	EmbryonicLimit:  {"embryonic-limit", "halfopen.limit", "no room for a new embryonic entry", Keep, TimerLeave, false, true},
	ProbeUnanswered: {"probe-unanswered", "", "nothing answered a probe that a segment had caused", Keep, TimerLeave, false, false},
	IdleExpired:     {"idle-expired", "idle.expire", "an entry's idle timer ran out", Delete, TimerLeave, true, false},
	DeadConnection:  {"dead-connection", "idle.expire half.dead", "an entry's idle timer ran out, and an end did not answer the probes before that", Delete, TimerLeave, false, false},
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
	Seq          Seq // the next number expected of the sender
	Ack          Seq // the acknowledgment expected
	SeqLo, SeqHi Seq // the sender's window: lowest acceptable start, highest acceptable end
	AckLo, AckHi Seq // the lowest and highest acceptable acknowledgment
}

// ExpectSet says which numbers of an Expect are valid.
type ExpectSet uint8

// Members of an ExpectSet.
const (
	ExpectSeq ExpectSet = 1 << iota
	ExpectAck
	ExpectSeqWindow
	ExpectAckWindow
)

// Class is a classified segment.
type Class struct {
	Finding Finding
	Expect  Expect
}
