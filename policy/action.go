package policy

import (
	"time"

	"halfopen/conntrack"
)

// PacketAction is what becomes of the segment itself.
type PacketAction uint8

// Packet actions. Forward is the zero value: a policy that says nothing cuts nobody off.
const (
	Forward PacketAction = iota
	Drop
	Rewrite // let it go on without what [Action.Strip] names
	Hold    // keep it in the second queue until its fate is known
	numPacketActions
)

var packetWords = [numPacketActions]string{"forward", "drop", "rewrite", "hold"}

// String returns the action's word in policy files, and the verdict's word in logs.
func (a PacketAction) String() string { return packetWords[a] }

// ReplyAction is what the sender gets from the gateway in the other end's name.
type ReplyAction uint8

// Replies to the sender.
const (
	ReplyNone ReplyAction = iota
	// ReplyRST is the RST of a host without the connection (RFC 9293 section 3.5.2): with an ACK in the segment its seq is
	// the segment's ack; otherwise seq 0 and ACK of the segment's end.
	ReplyRST
	// ReplyRSTTracked is a RST with the numbers that the sender expects of the other end.
	ReplyRSTTracked
	// ReplyACKTracked is a bare ACK with the tracked numbers of the connection (pf_send_challenge_ack in OpenBSD's pf.c).
	ReplyACKTracked
	// ReplyICMPPort is ICMP destination unreachable: port unreachable (code 3; ICMPv6 type 1 code 4).
	ReplyICMPPort
	// ReplyICMPAdmin is ICMP destination unreachable: administratively prohibited (code 13; ICMPv6 type 1 code 1).
	ReplyICMPAdmin
	// ReplyRSTInitial is a RST with the number that followed the other end's SYN, as if nothing had been tracked since: what
	// FortiGates send for sessions that hardware carries (Fortinet's article FD47803). An end that has received data ignores it.
	ReplyRSTInitial
	numReplyActions
)

var replyWords = [numReplyActions]string{"none", "rst", "rst-tracked", "ack-tracked", "icmp-port", "icmp-admin", "rst-initial"}

// rst reports whether the reply is a RST.
func (a ReplyAction) rst() bool {
	return a == ReplyRST || a == ReplyRSTTracked || a == ReplyRSTInitial
}

// tracked reports whether the reply needs the numbers of a connection.
func (a ReplyAction) tracked() bool {
	return a == ReplyRSTTracked || a == ReplyACKTracked || a == ReplyRSTInitial
}

// String returns the reply's word in policy files and logs.
func (a ReplyAction) String() string { return replyWords[a] }

// PeerAction is what goes to the end that the segment was meant for.
type PeerAction uint8

// Actions toward the other end.
const (
	PeerNone PeerAction = iota
	// PeerRSTTracked is a RST with the numbers that the other end expects of the sender.
	PeerRSTTracked
	// PeerProbeACK is a keepalive in the sender's name (RFC 9293 section 3.8.4), which the other end answers: with an ACK if it
	// holds the connection, with a RST if it does not. The answers are findings of their own.
	PeerProbeACK
	// PeerProbeSYN is the SYN itself turned into an ACK of a number that the other end never sent: Check Point's smart connection
	// reuse (sk24960). The answers are those of PeerProbeACK.
	PeerProbeSYN
	// PeerRSTInitial is [ReplyRSTInitial] toward the other end.
	PeerRSTInitial
	numPeerActions
)

var peerWords = [numPeerActions]string{"none", "rst-tracked", "probe-ack", "probe-from-syn", "rst-initial"}

// rst reports whether the other end gets a RST.
func (a PeerAction) rst() bool { return a == PeerRSTTracked || a == PeerRSTInitial }

// probes reports whether the action asks the other end something.
func (a PeerAction) probes() bool { return a == PeerProbeACK || a == PeerProbeSYN }

// String returns the action's word in policy files and logs.
func (a PeerAction) String() string { return peerWords[a] }

// Action is what to do about a finding, in five independent parts.
type Action struct {
	Packet PacketAction
	Reply  ReplyAction
	Peer   PeerAction
	State  conntrack.Effect
	Timer  conntrack.Timer
	// Window is the window field of ReplyACKTracked: false sends 0 as pf does, true the tracked window.
	TrackedWindow bool
	// Strip and MSS belong to Rewrite: what the segment loses, and with [StripMSS] the largest segment size that a SYN may keep.
	Strip Strip
	MSS   uint16
	// HoldFor and HoldThen belong to Hold: how long, and what then (Forward or Drop).
	HoldFor  time.Duration
	HoldThen PacketAction
	// Await belongs to a peer action that probes: how long its answer is awaited before the finding is probe-unanswered.
	Await time.Duration
	// OnlyIf and Within, where they are not zero, must hold for all of the above to be done; otherwise Else and ElseReply are, and
	// nothing else. Within is the most time since the connection's timer was last set.
	OnlyIf    Conditions
	Within    time.Duration
	Else      PacketAction
	ElseReply ReplyAction
}

// Emit is a packet that the gateway must make: Segment is a whole segment (from Tuple.Src to Tuple.Dst, flags, numbers,
// window). For ICMP replies only the addresses matter and the proxy quotes the packet that caused it.
type Emit struct {
	Kind    string      // the policy word that caused it, for the log: rst, rst-tracked, ack-tracked, ...
	ICMP    ReplyAction // ReplyICMPPort or ReplyICMPAdmin, else ReplyNone
	Segment conntrack.Segment
	// Also, with Twice, is the sequence number of a second segment that is the same otherwise, to be sent right after: of a RST to
	// an end of which it is not known whether it has received what the other end sent last. One of the two is the exact number.
	Also  conntrack.Seq
	Twice bool
}

// Second returns the second of two segments.
func (e *Emit) Second() (Emit, bool) {
	s := *e
	s.Segment.Seq, s.Twice = e.Also, false
	return s, e.Twice
}
