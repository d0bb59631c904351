package conntrack

import "time"

// This file and its neighbours fast_*.go are what a fast path knows and does: a program in the kernel that lets the plain in-window
// segments of settled connections pass without a word of the engine. They are the model: the program is a transcription of
// [Fast.Pass], and [Table.Absorb] makes of an entry exactly what the engine would have made of it, had it stepped those segments.

// Fast is what a plain in-window segment moves of an established entry. It is also the layout of the program's copy (struct fast): 120
// bytes, fields in this order, no padding, the machine's byte order.
type Fast struct {
	LastSeen Instant       // when the last segment came, in nanoseconds; where one has passed, the timer was set then too
	Deadline Instant       // the connection is over from this instant on; [Never] for not at all
	Timeout  time.Duration // what the timer was last set to, in nanoseconds
	Side     [2]FastSide   // by Direction of the entry: 0 is the originator
	Last     FastLast
	LastDir  uint32 // Direction of the last segment, 0 or 1
	Stalled  uint32 // 1: an end waits, see EntryStalled
	// Stall and Retransmits are those of [Entry]: what its users feel, whoever lets the segments pass.
	Stall       Micros
	Retransmits [2]uint32
}

// FastSide is one end: the fields of [Side] of the same names. 28 bytes (struct fast_side).
type FastSide struct {
	End      Seq
	MaxEnd   Seq
	MaxAck   Seq       // valid with SideMaxAck
	MaxWin   uint32    // bytes, 1 to 1<<30
	Win      uint32    // bytes, after scaling
	TSRecent uint32    // valid with SideTimestamp
	Flags    SideFlags // 16 bits; SideSeen and SideKnown are set
	Scale    uint8     // window shift, 0 to 14; does not change
	Retrans  uint8     // up to 255
}

// FastLast is the kernel check's memory of the last segment, the last_* members of struct ip_ct_tcp; the other checks do not touch it.
// 20 bytes (struct fast_last).
type FastLast struct {
	Seq, Ack, End Seq
	Win           uint16    // as in the header, not scaled
	Dir           Direction // 8 bits
	Kind          uint8     // Kind plus one, 0 for none; 4, an ACK, once one has passed
	Retrans       uint32    // how often the same ACK came again, up to 255
}

// FastRules are what a connection's segments are judged by on a fast path. They do not change while it is armed. 40 bytes (struct
// fast_rules), fields in this order, no padding.
type FastRules struct {
	Timeout time.Duration // what a segment sets the timer to, in nanoseconds, before caps: timeouts.established
	// Retransmitted, Unacknowledged and ZeroWindow are caps of Timeout in nanoseconds, 0 for none; see [Caps].
	Retransmitted, Unacknowledged, ZeroWindow time.Duration

	Check       SeqCheck // 8 bits: SeqStrict 0, SeqLiberal 1, SeqOff 2, SeqKernel 3
	ACK         ACKRule  // 8 bits: ACKLinux 0, ACKPF 1, ACKRFC5961 2
	Retransmits uint8    // repetitions without an answer from which on segments are half-dead and Retransmitted holds, at least 1
	// First says which segments the engine has to see because they are the first of their kind; see the FastFirst bits.
	First uint8
	// MSS is the most data that a segment of each direction may carry, in bytes, 0 for any amount; a GSO segment is not held to it.
	MSS [2]uint16
}

// Bits of FastRules.First. Each is shifted by the direction.
const (
	FastFirstData uint8 = 1 << 0 // with data
	FastFirstACK  uint8 = 1 << 2 // without
)

// FastPunt is why a segment does not pass: the engine has to decide it. 0 is that it passes.
type FastPunt uint8

// Reasons to punt, in the order in which Pass looks for them.
const (
	FastPassed      FastPunt = iota
	FastMalformed            // no proper segment, or options that cannot be read
	FastFragment             // a datagram's first fragment
	FastSYN                  // SYN is set
	FastRST                  // RST is set, and not SYN
	FastFIN                  // FIN is set, and neither of these
	FastFlags                // none of these, and no ACK
	FastUrgent               // URG is set, or the urgent pointer is not 0
	FastExpired              // the timer has run out
	FastFirst                // the first of its kind: a letter of the history, or a time that is measured
	FastTSMissing            // no timestamp, although both SYNs carried one
	FastTSNull               // a timestamp of 0
	FastPAWS                 // a timestamp older than the last
	FastHalfDead             // its sender has repeated itself often without an answer
	FastMSSExceeded          // more data than the receiver's maximum segment size
	FastKeepalive            // no data or one byte, and the number before the next
	FastZeroProbe            // a byte of new data at a closed window
	FastWindow               // its number does not fit
	FastACK                  // its acknowledgment does not fit
	FastShrunk               // it takes back window
	NumFastPunts
)

var fastPuntWords = [NumFastPunts]string{"", "malformed", "fragment", "syn", "rst", "fin", "flags", "urgent", "expired", "first", "timestamp-missing",
	"timestamp-null", "paws", "half-dead", "mss-exceeded", "keepalive", "zero-window-probe", "window", "ack", "window-shrunk"}

// String returns the reason's word, "" for FastPassed.
func (p FastPunt) String() string { return fastPuntWords[p] }

// FastWhy is why a connection is not one for a fast path. 0 is that it is.
type FastWhy uint8

// Reasons.
const (
	FastReady      FastWhy = iota
	FastGone               // nothing is remembered of it, or it has expired
	FastState              // not established
	FastUnassured          // no traffic in both directions after the handshake
	FastOneSided           // an end was never seen
	FastCandidate          // a SYN was let through on it, or a bare ACK answered one
	FastClosing            // an end has sent a FIN or a RST
	FastLiberal            // segments went past the gateway, and not both ends have progressed since
	FastShortened          // its timer was shortened
	FastProbed             // its ends are asked before its timer ends it, or are being asked
	FastFragmented         // an end may acknowledge more than was seen
	FastReloaded           // the policy changed since its last segment
	FastPolicy             // the policy has an interest in its in-window segments
	FastHeld               // a segment of it is held
	NumFastWhys
)

var fastWhyWords = [NumFastWhys]string{"", "gone", "state", "unassured", "one-sided", "candidate", "closing", "liberal", "shortened", "probed",
	"fragmented", "reloaded", "policy", "held"}

// String returns the reason's word, "" for FastReady.
func (w FastWhy) String() string { return fastWhyWords[w] }

// Progress is what a fast path saw of a connection since it was last taken over.
type Progress struct {
	// Fast is as the last segment that passed left it. With LastSeen 0 it says nothing, and only the counts are taken over.
	Fast Fast
	// Packets and Bytes passed since the last take-over, by the entry's direction: queue messages as the engine would have got them
	// (a GSO super-packet is one) and IP bytes. They are added modulo 2^64, so that an owner can take a count back. Without any packets
	// there is no progress, whatever Fast says.
	Packets, Bytes [2]uint64
}
