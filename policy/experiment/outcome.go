package experiment

import (
	"net/netip"
	"time"
)

// Outcome is how one connection went for its users, joined with the decisions made on it and with what came after it. docs/experiments.md
// says exactly how each field comes about.
type Outcome struct {
	Flow     uint64 // 0: an attempt to connect that the gateway made no entry for, because it met an old connection or was dropped
	Met      uint64 // of such an attempt: the flow id of the old connection that was in its way, 0 for none
	Gateway  string // which log it comes from
	Run      string // which life of that gateway
	Start    time.Time
	End      time.Time // of the last segment
	Client   netip.AddrPort
	Server   netip.AddrPort
	Unit     string // canonical text of the unit, as [Spec.UnitOf] makes it
	Arm      string // "" for none
	Rev      string // revision of the policy that decided it
	Finished bool   // its end was seen; else it is as far as the log goes
	Adopted  bool   // it is older than the gateway, or no connection (a denial in mid-life): its beginning is unknown
	// Continued: its SYN went on as another flow on the same ports (as where the client's RST removes an old connection and the same
	// SYN comes again), whose outcome tells of the attempt; it counts as no connection of its own.
	Continued bool

	Connected      bool    // the handshake completed
	ConnectS       float64 // from the first SYN to the handshake's last ACK, failed connections that it retries included; NaN where not known
	ResponseS      float64 // from the client's first data to the server's first after it; NaN where not known
	SYNRetransmits int
	Retries        int  // further connections that the same client tried to the same server because this one failed
	GaveUp         bool // neither it nor a retry connected, and the time for another retry is over

	BytesToServer, BytesToClient             uint64
	PktsToServer, PktsToClient               uint64
	FastToServer, FastToClient               uint64 // of those packets, ones that the fast path saw
	FastBytesToServer, FastBytesToClient     uint64 // and of those bytes, theirs
	RetransmitsToServer, RetransmitsToClient int
	OutOfWindowToServer, OutOfWindowToClient int
	StallS                                   float64
	EndedBy                                  EndedBy

	// Interventions are decisions on it other than a plain forward: drops, holds, replies to a segment's sender, RSTs to the other end.
	Interventions int
	Dropped       int // segments
	Resets        int // RSTs that the gateway sent to either end
	// Recovered: after an intervention the client's purpose was reached all the same (this connection or a retry of it got data
	// through). RecoveryS is how long that took from the first intervention; NaN where it did not, or there was none.
	Recovered bool
	RecoveryS float64
	// StillThere: after the entry's end by a timer a segment of the connection with data came: its user had not gone. StillThereBy is
	// who sent it: client, server or both; StillThereS how long after the entry's end the first came, NaN for none. HeldOpen: what
	// came were keepalives or bare ACKs only, so that an end held the connection and nobody used it. A lone FIN or RST is neither.
	StillThere   bool
	StillThereBy string
	StillThereS  float64
	HeldOpen     bool
	// Challenged: a SYN was answered with an ACK (by us or by the other end) to find out who lives. ChallengeRST: the RST that says
	// "not I" came. ChallengeS is from the challenge until the new connection stood; NaN where none did.
	Challenged, ChallengeRST bool
	ChallengeS               float64
}

// EndedBy is who ended a connection.
type EndedBy string

// Enders. Others are the words of [conntrack.EndReason].
const (
	EndedClientFIN  EndedBy = "client-fin"
	EndedServerFIN  EndedBy = "server-fin"
	EndedClientRST  EndedBy = "client-rst"
	EndedServerRST  EndedBy = "server-rst"
	EndedGatewayRST EndedBy = "gateway-rst"
	EndedIdle       EndedBy = "idle"
)
