package proxy

import (
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Flow is a flow as the admin socket tells of it, one JSON object a line. The names are those of the decision log's flow
// records. "Server" is the end that the connection was opened to.
type Flow struct {
	Event     string `json:"event,omitempty"`     // new, update or destroy; "" in a listing
	Timestamp string `json:"timestamp,omitempty"` // of the event, as in the decision log; "" in a listing
	FlowID    uint64 `json:"flow_id"`
	Previous  uint64 `json:"predecessor,omitempty"` // id of the flow that it replaced or followed on its tuple
	SrcIP     string `json:"src_ip"`
	SrcPort   uint16 `json:"src_port"`
	DestIP    string `json:"dest_ip"`
	DestPort  uint16 `json:"dest_port"`
	Proto     string `json:"proto"` // TCP
	State     string `json:"state"`
	Queue     *int   `json:"queue,omitempty"`    // whose worker holds it; absent for events and restored flows
	Restored  bool   `json:"restored,omitempty"` // loaded from the state file, and no segment of it was seen since
	Rule      string `json:"rule,omitempty"`
	Arm       string `json:"arm,omitempty"` // of an experiment

	RemainingS float64 `json:"remaining_s"` // until it is forgotten; -1: never
	TimeoutS   float64 `json:"timeout_s"`   // what its timer was last set to
	IdleS      float64 `json:"idle_s"`      // since its last segment
	AgeS       float64 `json:"age_s"`

	PktsToServer      uint64 `json:"pkts_toserver"`
	BytesToServer     uint64 `json:"bytes_toserver"` // IP octets
	PktsToClient      uint64 `json:"pkts_toclient"`
	BytesToClient     uint64 `json:"bytes_toclient"`
	FastPath          bool   `json:"fastpath,omitempty"`               // it is on the fast path
	FastPktsToServer  uint64 `json:"fastpath_pkts_toserver,omitempty"` // of these, what the fast path let pass
	FastBytesToServer uint64 `json:"fastpath_bytes_toserver,omitempty"`
	FastPktsToClient  uint64 `json:"fastpath_pkts_toclient,omitempty"`
	FastBytesToClient uint64 `json:"fastpath_bytes_toclient,omitempty"`
	ClientNext        uint32 `json:"client_next"` // next sequence number of each end, and the highest acknowledgment it sent
	ClientAck         uint32 `json:"client_ack"`
	ServerNext        uint32 `json:"server_next"`
	ServerAck         uint32 `json:"server_ack"`

	Assured   bool   `json:"assured"`
	Replied   bool   `json:"replied"`
	Adopted   bool   `json:"adopted,omitempty"` // picked up mid-stream
	History   string `json:"history,omitempty"` // Zeek's letters
	EndReason string `json:"end_reason,omitempty"`
	Dropped   uint64 `json:"dropped,omitempty"` // events that were lost just before this one, because the reader was too slow
}

// newFlow describes an entry at an instant.
func newFlow(e *conntrack.Entry, rule string, now conntrack.Instant) Flow {
	from, to := e.Tuple.From(), e.Tuple.To()
	orig, reply := &e.Side[conntrack.Original], &e.Side[conntrack.Reply]
	f := Flow{
		FlowID: e.ID, Previous: e.Previous, SrcIP: from.Addr().String(), SrcPort: from.Port(), DestIP: to.Addr().String(), DestPort: to.Port(),
		Proto: "TCP", State: e.State.String(), Rule: rule,
		RemainingS: -1, TimeoutS: e.Timeout.Seconds(), IdleS: max(now.Sub(e.LastSeen), 0).Seconds(), AgeS: max(now.Sub(e.Created), 0).Seconds(),
		PktsToServer: orig.Packets, BytesToServer: orig.Bytes, PktsToClient: reply.Packets, BytesToClient: reply.Bytes,
		FastPath: e.FastSlot != 0, FastPktsToServer: e.FastPackets[conntrack.Original], FastBytesToServer: e.FastBytes[conntrack.Original],
		FastPktsToClient: e.FastPackets[conntrack.Reply], FastBytesToClient: e.FastBytes[conntrack.Reply],
		ClientNext: uint32(orig.End), ClientAck: uint32(orig.MaxAck), ServerNext: uint32(reply.End), ServerAck: uint32(reply.MaxAck),
		Assured: e.Flags&conntrack.EntryAssured != 0, Replied: e.Flags&conntrack.EntryReplied != 0,
		Adopted: e.Flags&conntrack.EntryPickedUp != 0, History: string(e.History[:min(int(e.HistoryN), len(e.History))]),
	}
	if e.Deadline != conntrack.Never {
		f.RemainingS = max(e.Deadline.Sub(now), 0).Seconds()
	}
	return f
}

// eventTime is the layout of the decision log's timestamps.
const eventTime = "2006-01-02T15:04:05.000000000-0700"

var flowEventWords = [...]string{policy.FlowNew: "new", policy.FlowUpdate: "update", policy.FlowEnd: "destroy"}

// newFlowEvent describes an event; offset converts instants to Unix nanoseconds.
func newFlowEvent(l *FlowLine, offset int64) Flow {
	f := newFlow(&l.Entry, l.Rule, l.At)
	f.Event = flowEventWords[l.Kind]
	f.Timestamp = time.Unix(0, int64(l.At)+offset).UTC().Format(eventTime)
	f.Dropped = l.Dropped
	if l.Kind == policy.FlowEnd {
		f.EndReason = l.Why.String()
	}
	return f
}
