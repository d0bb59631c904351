package conntrack

import "time"

// State is a connection's state, by netfilter's names (nf_conntrack_proto_tcp.c).
type State uint8

// States. StateNone is "no entry".
const (
	StateNone State = iota
	SynSent
	SynRecv
	Established
	FinWait
	CloseWait
	LastAck
	TimeWait
	Close
	SynSent2
	Denied // no connection: the owner's word that the tuple has none; netfilter has no such state
	NumStates
)

var stateWords = [NumStates]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK",
	"TIME_WAIT", "CLOSE", "SYN_SENT2", "DENIED"}

// String returns netfilter's name.
func (s State) String() string { return stateWords[s] }

// Embryonic reports whether the handshake is not complete, or will not be. Embryonic entries have a bound of their own, so that a
// SYN flood cannot evict an established flow.
func (s State) Embryonic() bool { return s == SynSent || s == SynRecv || s == SynSent2 || s == Denied }

// Closing reports whether an end has closed or reset the connection.
func (s State) Closing() bool { return s >= FinWait && s <= Close }

// Direction is a segment's direction relative to the entry's originator.
type Direction uint8

// Directions.
const (
	Original Direction = iota // from the end that opened the connection
	Reply
)

// Other returns the opposite direction.
func (d Direction) Other() Direction { return d ^ 1 }

// String returns "original" or "reply".
func (d Direction) String() string {
	if d == Original {
		return "original"
	}
	return "reply"
}

// Timeouts holds the idle timeout of each state, indexed by State. Zero means that an entry in that state is forgotten at
// once. The entry for StateNone is not used.
type Timeouts [NumStates]time.Duration
