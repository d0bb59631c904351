package conntrack

// findings describes each finding. Its natural effect is that of the finding it refines, so that a policy which knows only
// the latter loses nothing by the finer word.
var findings = [NumFindings]FindingInfo{
	Malformed:     {"malformed", "hdr.short opt.bad", "the packet is cut, bogus or no TCP segment", Keep, TimerLeave, false, true},
	ChecksumWrong: {"checksum-bad", "cksum.bad", "the TCP checksum is wrong (judged only where the whole segment was seen)", Keep, TimerLeave, false, true},
	FlagsIllegal:  {"flags-illegal", "flags.illegal", "a combination of control bits that no TCP sends", Keep, TimerLeave, false, true},

	New:                     {"new", "syn.unsolicited.inbound", "a SYN, and nothing is remembered of its tuple", Create, TimerRefresh, true, true},
	SynData:                 {"syn-data", "syn.data", "a new SYN with data, without a Fast Open cookie", Create, TimerRefresh, false, true},
	SynFastOpen:             {"syn-fast-open", "syn.data", "a new SYN with data and the TCP Fast Open option", Create, TimerRefresh, true, true},
	SynRetransmit:           {"syn-retransmit", "", "the opening SYN again, with the same ISN", Track, TimerRefresh, true, true},
	SynRetransmitOptions:    {"syn-retransmit-options", "syn.synsent.newisn", "the opening SYN again, with other options than before", Track, TimerRefresh, false, true},
	SynNewISN:               {"syn-new-isn", "syn.synsent.newisn", "a SYN with another ISN before any answer", Track, TimerRefresh, false, true},
	SynNewISNLower:          {"syn-new-isn-lower", "syn.synsent.newisn", "the same, and the new ISN is lower than the old one", Track, TimerRefresh, false, true},
	SynNewISNFar:            {"syn-new-isn-far", "syn.synsent.newisn", "the same, further from the old number than the policy's band", Keep, TimerLeave, false, true},
	SynInHandshake:          {"syn-in-handshake", "syn.synrecv", "a SYN with another ISN after the SYN/ACK", Keep, TimerLeave, false, true},
	SimultaneousOpen:        {"simultaneous-open", "syn.simopen", "a SYN from the other end while the first awaits its answer", Track, TimerRefresh, false, true},
	SynAck:                  {"syn-ack", "", "the SYN/ACK that answers the SYN", Track, TimerRefresh, true, true},
	SynAckData:              {"synack-data", "synack.data", "a SYN/ACK that carries data", Track, TimerRefresh, false, true},
	SynDataIgnored:          {"syn-data-ignored", "tfo.data.ignored", "a SYN/ACK that takes none of the data that came with the SYN", Track, TimerRefresh, true, true},
	SynAckRetransmit:        {"synack-retransmit", "", "the same SYN/ACK again", Track, TimerRefresh, true, true},
	SynAckBadAck:            {"synack-bad-ack", "synack.badack", "a SYN/ACK that acknowledges more than the SYN", Keep, TimerLeave, false, true},
	SynAckBadAckLow:         {"synack-bad-ack-low", "synack.badack", "a SYN/ACK that acknowledges less than the SYN: an old one", Keep, TimerLeave, false, true},
	SynAckEstablished:       {"synack-established", "synack.est", "a SYN/ACK on an established connection with other numbers", Keep, TimerLeave, false, true},
	SynAckWrongDirection:    {"synack-wrong-direction", "synack.wrongdir", "a SYN/ACK from the end that opened the connection", Keep, TimerLeave, false, true},
	SynAckNoState:           {"synack-no-state", "synack.unsolicited mid.synack", "a SYN/ACK that no remembered SYN asked for", Keep, TimerLeave, false, true},
	SynAckResync:            {"synack-resync", "", "a SYN/ACK that proves an annotated SYN: the server took the new connection", Resync, TimerRefresh, true, true},
	Handshake:               {"handshake", "", "the ACK that completes the handshake", Track, TimerRefresh, true, true},
	HandshakeBadAck:         {"handshake-bad-ack", "ack.3whs.bad", "the handshake's last ACK has wrong numbers", Keep, TimerLeave, false, true},
	HandshakeBadAckLow:      {"handshake-bad-ack-low", "ack.3whs.bad", "the same, and its numbers are too low: an old one", Keep, TimerLeave, false, true},
	HandshakeOneSided:       {"handshake-one-sided", "asym", "the originator completes a handshake whose SYN/ACK never came by: the other direction takes another way", Keep, TimerLeave, false, true},
	DataBeforeHandshake:     {"data-before-handshake", "data.before.3whs", "data before the handshake is complete", Keep, TimerLeave, false, true},
	AckForSyn:               {"ack-for-syn", "ack.insteadof.synack", "a bare ACK answers a SYN: the sender holds another connection on this tuple", Keep, TimerLeave, false, true},
	RstAfterChallenge:       {"rst-after-challenge", "rst.after.challenge", "the RST that quotes the number of such an ACK", Track, TimerRefresh, true, true},
	RstForSyn:               {"rst-for-syn", "", "a RST that answers an annotated SYN: the server refuses, the old connection is gone", Delete, TimerLeave, true, true},
	AckForProbe:             {"ack-for-probe", "", "an ACK that answers a probe of the gateway's: its sender holds the connection", Track, TimerRefresh, true, true},
	RstForProbe:             {"rst-for-probe", "", "a RST that answers a probe of the gateway's: its sender has no such connection", Delete, TimerLeave, true, true},
	SynEstablished:          {"syn-established", "syn.est.fwd", "a SYN from the originator of a connection remembered as established, its number outside the window", Keep, TimerLeave, false, true},
	SynEstablishedDuplicate: {"syn-established-duplicate", "syn.est.fwd", "the opening SYN again, on a connection remembered as established", Keep, TimerLeave, false, true},
	SynEstablishedInWindow:  {"syn-established-in-window", "syn.est.fwd", "the same, and its number lies inside the old connection's window", Keep, TimerLeave, false, true},
	SynEstablishedReverse:   {"syn-established-reverse", "syn.est.rev", "a SYN from the other end of a connection remembered as established", Keep, TimerLeave, false, true},
	SynHalfClosed:           {"syn-half-closed", "syn.halfclosed", "a SYN after one end's FIN", Keep, TimerLeave, false, true},
	SynClosing:              {"syn-closing", "syn.closing", "a SYN after both FINs, the last ACK pending", Keep, TimerLeave, false, true},
	SynTimeWait:             {"syn-time-wait", "syn.timewait", "a SYN in TIME_WAIT", Replace, TimerRefresh, true, true},
	SynAfterRst:             {"syn-after-rst", "syn.afterrst", "a SYN after a RST", Replace, TimerRefresh, true, true},

	InWindow:          {"in-window", "", "a segment inside the window in both directions", Track, TimerRefresh, true, true},
	Keepalive:         {"keepalive", "keepalive", "a keepalive: the number before the next, at most one byte, all data acknowledged", Track, TimerRefresh, true, true},
	ZeroWindowProbe:   {"zero-window-probe", "zerowin.persist", "at most one byte sent at a window that is closed, to hear whether it has opened", Track, TimerRefresh, true, true},
	WindowShrunk:      {"window-shrunk", "window.shrink", "an ACK that takes back window which its sender had advertised", Track, TimerRefresh, false, true},
	PAWS:              {"paws", "paws.fail", "a timestamp older than the receiver has seen: an old duplicate (RFC 7323 section 5)", Track, TimerRefresh, false, true},
	TimestampMissing:  {"timestamp-missing", "ts.missing", "no timestamp, although both SYNs carried one (RFC 7323 section 3.2)", Track, TimerRefresh, false, true},
	TimestampNull:     {"timestamp-null", "ts.missing", "a timestamp option whose value is 0", Track, TimerRefresh, false, true},
	MSSExceeded:       {"mss-exceeded", "mss.exceeded", "more data than the receiver's maximum segment size (GSO super-packets are not judged)", Track, TimerRefresh, false, true},
	Urgent:            {"urgent", "urg", "a segment with the URG bit", Track, TimerRefresh, false, true},
	HalfDead:          {"half-dead", "half.dead", "the same data once more, and nothing at all has come from the other end for some repetitions", Track, TimerRefresh, false, true},
	OneSided:          {"one-sided", "asym", "an end acknowledges data of another end that never came by; said once of a connection", Track, TimerRefresh, false, true},
	SeqAboveNear:      {"seq-above-near", "seq.above", "data a little above the window, within the policy's tolerance", Keep, TimerLeave, false, true},
	SeqAbove:          {"seq-above", "seq.above", "data above the window", Keep, TimerLeave, false, true},
	SeqBelow:          {"seq-below", "seq.below", "data wholly below the window: an old retransmission", Keep, TimerLeave, false, true},
	SeqBelowOld:       {"seq-below-old", "seq.below.old", "data far below the window: not of anything recent", Keep, TimerLeave, false, true},
	AckAbove:          {"ack-above", "ack.above", "an ACK of what was never sent", Keep, TimerLeave, false, true},
	AckBelow:          {"ack-below", "ack.below", "an ACK that lags too far behind", Keep, TimerLeave, false, true},
	Fin:               {"fin", "", "a FIN inside the window", Track, TimerRefresh, true, true},
	FinRetransmit:     {"fin-retransmit", "fin.dup", "the same FIN again", Track, TimerRefresh, true, true},
	FinOutOfWindow:    {"fin-out-of-window", "fin.oow", "a FIN outside the window", Keep, TimerLeave, false, true},
	FinOutOfWindowLow: {"fin-out-of-window-low", "fin.oow", "a FIN below the window, or whose ACK lags too far behind", Keep, TimerLeave, false, true},
	Rst:               {"rst", "rst.exact", "a RST with the number that its receiver expects", Track, TimerRefresh, true, true},
	RstData:           {"rst-data", "rst.data", "a RST that carries data (RFC 9293 section 3.5.3)", Track, TimerRefresh, false, true},
	RstAckZero:        {"rst-ack-zero", "rst.ack0", "a RST whose ACK is 0, as broken stacks send it", Track, TimerRefresh, false, true},
	RstRepeated:       {"rst-repeated", "rst.storm", "another RST of an end that has reset the connection already", Track, TimerRefresh, false, true},
	RstTimeWait:       {"rst-time-wait", "", "a RST in TIME_WAIT, which RFC 1337 asks to ignore", Track, TimerRefresh, false, true},
	RstInexact:        {"rst-inexact", "rst.inexact", "a RST inside the window, but not the next number", Keep, TimerLeave, false, true},
	RstOutOfWindow:    {"rst-out-of-window", "rst.oow", "a RST outside the window", Keep, TimerLeave, false, true},
	DataAfterFin:      {"data-after-fin", "data.after.fin", "new data from an end that has sent its FIN", Keep, TimerLeave, false, true},
	DataAfterRst:      {"data-after-rst", "data.after.rst", "a segment after a RST", Keep, TimerLeave, false, true},
	FinAfterRst:       {"fin-after-rst", "fin.after.rst", "a FIN after a RST", Keep, TimerLeave, false, true},
	RstIgnored:        {"rst-ignored", "data.after.rst", "the end that a RST was for repeats itself or acknowledges more than before: it has not taken the RST, which may have been injected", Keep, TimerLeave, false, true},
	RstDisowned:       {"rst-disowned", "data.after.rst", "the end in whose name a RST came sends on inside the window: the RST was injected", Keep, TimerLeave, false, true},
	AckNoState:        {"ack-no-state", "mid.ack", "a bare ACK, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	DataNoState:       {"data-no-state", "mid.data", "data, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	FinNoState:        {"fin-no-state", "mid.fin", "a FIN, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	RstNoState:        {"rst-no-state", "mid.rst", "a RST, and nothing is remembered of its tuple", Keep, TimerLeave, false, true},
	LateAfterExpiry:   {"late-after-expiry", "late.packet mid.ack mid.data", "a segment other than a SYN, SYN/ACK, FIN or RST of a connection that the gateway forgot (the tombstone tells when and why)", Keep, TimerLeave, false, true},
	LateSynAck:        {"late-synack", "late.packet mid.synack", "the same, a SYN/ACK", Keep, TimerLeave, false, true},
	LateFin:           {"late-fin", "late.packet mid.fin", "the same, a FIN", Keep, TimerLeave, false, true},
	LateRst:           {"late-rst", "late.packet mid.rst", "the same, a RST", Keep, TimerLeave, false, true},
	Adopted:           {"adopted", "", "a mid-stream segment taken up because the gateway is younger than the connection", CreateLiberal, TimerRefresh, true, true},

	DeniedTuple: {"denied", "", "a segment on addresses and ports that the policy has denied for a while", Keep, TimerLeave, false, true},

	TableFull:       {"table-full", "table.full", "no room for a new entry", Keep, TimerLeave, false, true},
	EmbryonicLimit:  {"embryonic-limit", "halfopen.limit", "no room for a new embryonic entry", Keep, TimerLeave, false, true},
	SourceLimit:     {"source-limit", "src.limit", "no room for another connection of its source", Keep, TimerLeave, false, true},
	ProbeUnanswered: {"probe-unanswered", "", "nothing answered a probe that a segment had caused", Keep, TimerLeave, false, false},
	IdleExpired:     {"idle-expired", "idle.expire", "an entry's idle timer ran out", Delete, TimerLeave, true, false},
	IdleEmbryonic:   {"idle-embryonic", "idle.expire", "the same of a connection whose handshake was not complete", Delete, TimerLeave, true, false},
	IdleHalfClosed:  {"idle-half-closed", "idle.expire", "the same of a connection of which one end had closed", Delete, TimerLeave, true, false},
	DeadConnection:  {"dead-connection", "idle.expire half.dead", "an entry's idle timer ran out, and an end did not answer the probes before that", Delete, TimerLeave, false, false},
}

// refines names the finding that a finer one is a kind of, of those that are one.
var refines = [NumFindings]Finding{
	SynData: New, SynFastOpen: New,
	SynRetransmitOptions: SynRetransmit, SynNewISNLower: SynNewISN,
	SynAckData: SynAck, SynDataIgnored: SynAck, SynAckBadAckLow: SynAckBadAck,
	HandshakeBadAckLow: HandshakeBadAck, HandshakeOneSided: HandshakeBadAck,
	SynEstablishedDuplicate: SynEstablished, SynEstablishedInWindow: SynEstablished,
	Keepalive: InWindow, ZeroWindowProbe: InWindow, WindowShrunk: InWindow, PAWS: InWindow, TimestampMissing: InWindow,
	TimestampNull: InWindow, MSSExceeded: InWindow, Urgent: InWindow, HalfDead: InWindow, OneSided: InWindow,
	SeqBelowOld: SeqBelow, FinRetransmit: Fin, FinOutOfWindowLow: FinOutOfWindow,
	RstData: Rst, RstAckZero: Rst, RstRepeated: Rst, RstTimeWait: Rst,
	FinAfterRst: DataAfterRst, RstIgnored: DataAfterRst, RstDisowned: DataAfterRst,
	LateSynAck: LateAfterExpiry, LateFin: LateAfterExpiry, LateRst: LateAfterExpiry,
	SourceLimit: TableFull, IdleEmbryonic: IdleExpired, IdleHalfClosed: IdleExpired,
}

// Base returns the finding that f is a kind of, which is f itself for most. What holds for the base holds for its kinds
// where nothing is said of them: a policy's action on it, and what the table does.
func (f Finding) Base() Finding {
	if b := refines[f]; b != 0 { // nothing is a kind of the first finding
		return b
	}
	return f
}

// Counted reports whether a segment of this finding is so plain that a count in the flow's record is enough.
func (f Finding) Counted() bool { return f == InWindow || f == Keepalive || f == ZeroWindowProbe }
