package decisionlog

// FlowKind says which of a connection's moments a flow record tells.
type FlowKind uint8

// Moments of a connection.
const (
	FlowNew FlowKind = iota
	FlowUpdate
	FlowEnd
)

// Flow is the event type flow. Index 0 of the arrays is to the server, 1 to the
// client.
type Flow struct {
	Kind        FlowKind
	Pkts        [2]uint64 // since the flow began
	Bytes       [2]uint64 // IP octets, since the flow began
	Fast        [2]uint64 // of Pkts, those that the fast path forwarded and the queue never saw
	FastBytes   [2]uint64 // of Bytes, those of these packets
	Counted     uint64    // queue messages explained by this record alone: since the flow's last record
	FastCounted [2]int64  // packets and bytes of Fast and FastBytes that this record alone tells of; below zero where some are taken back
	State       string
	ConnState   string // Zeek's conn_state, for example S0, SF, RSTO
	History     History
	Start, Last int64  // unix nanoseconds of the first and the last segment
	EndReason   string // why the table forgot it
	Outcome     string // how it went for the ends
	Predecessor uint64 // flow id of the entry that it replaced
	Rule        string
	Preset      string
	PolicyRev   string
	Arm         string
	Adopted     bool   // picked up mid-stream
	Probes      uint8  // probes sent since its timer was last set, where it is being probed or ended by that
	Answered    string // ends that have answered them: client, server, both; empty: none

	// What its users feel of it; 0 is not known, or none.
	Handshake      int64     // nanoseconds from the SYN to the handshake's last ACK
	Response       int64     // nanoseconds from the originator's first data to the first that comes back after it
	SYNRetransmits uint8     // the originator's further SYNs before the handshake was complete
	Retransmits    [2]uint32 // messages that begin below what their sender had reached
	OutOfWindow    [2]uint32 // messages outside the window
	Stall          int64     // nanoseconds in which an end waited and nothing new came through
	Stalled        bool      // an end waits still
	EndedBy        string    // who ended it, for example client-fin; with FlowEnd

	Interventions uint8 // decisions about it other than to let a segment go on, up to 255
	Resets        uint8 // RSTs that the gateway sent to its ends, up to 255
}
