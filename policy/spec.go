package policy

import (
	"time"

	"halfopen/conntrack"
)

// Spec is what one policy file says: plain data, before the preset that it inherits from is applied. A nil or absent
// part says nothing and leaves the preset's.
type Spec struct {
	Name        string // the file's or preset's name, for messages
	Preset      string // what it inherits from: an embedded preset's name, or a file relative to this one; "" for nothing
	Description string
	Options     []OptionSpec // in order of definition
	Choices     []Choice     // of options that it inherits
	Block
	Rules     []Rule
	Flows     *int // entries, 1 to MaxFlows
	Embryonic *int // entries, at most Flows
	Tombs     *int // entries, 0 to MaxFlows
	PerSource *int // entries, 0 to MaxFlows
	OnFull    *OnFull
	Pressure  PressureSpec
	Inject    InjectSpec
	Adopt     *time.Duration
	Detail    *LogDetail
	Rate      map[conntrack.Finding]int32 // records per second, or Unlimited
	Reload    *Reload

	src      *source // nil for a spec made by hand
	presetAt position
	patches  map[string]rulePatch // of an override, by rule name

	reference bool // it is no file but a reference to a preset with choices
}

// Block is the part of a policy that a rule can have of its own.
type Block struct {
	Timeouts map[conntrack.State]time.Duration // zero and more
	Window   Window
	Upkeep   UpkeepSpec
	On       map[conntrack.Finding]Action // complete actions: an entry replaces what was inherited as a whole

	notes map[string]Note // by path within the block: comments and lines; From is not set
}

// note notes where a key of the block stands.
func (b *Block) note(key string, src *source, at position) {
	if b.notes == nil {
		b.notes = map[string]Note{}
	}
	b.notes[key] = Note{Text: src.comment(at.line), Line: at.line}
}

// Window is how segments are judged; see [conntrack.Rules].
type Window struct {
	Check   *conntrack.SeqCheck
	RST     *conntrack.RSTRule
	Near    *uint32 // bytes
	SynBand *uint32 // bytes
	ACK     *conntrack.ACKRule
	Old     *uint32 // bytes
	// Retransmits is 1 to 255.
	Retransmits *uint8
	Late        *time.Duration // 0 = as long as the tombstone lives
}

// Rule is a block for some of the flows. The first rule that matches a flow governs it.
type Rule struct {
	Name  string
	Match Match
	Block
}

// NaturalAction is the action on a finding for which a policy names only what becomes of the packet. A forwarded
// segment does to the table what its finding says ([conntrack.FindingInfo]); a segment that is not forwarded does
// nothing to it. Nothing is sent to anyone.
func NaturalAction(f conntrack.Finding, packet PacketAction) Action {
	a := Action{Packet: packet}
	if packet != Drop {
		a.State = f.Info().Effect
		a.Timer.Op = f.Info().Timer
	}
	return a
}

// DefaultAction is the action on a finding of which a policy says nothing: forwarding is natural, but for what the same policy has
// denied.
func DefaultAction(f conntrack.Finding) Action {
	if f == conntrack.DeniedTuple {
		return NaturalAction(f, Drop)
	}
	return NaturalAction(f, Forward)
}

// Defaults where neither the file nor what it inherits from says anything.
const (
	MaxFlows           = 1 << 24 // the most that limits.flows and limits.tombstones may ask for, entries
	DefaultFlows       = 1 << 18 // entries
	DefaultTombstones  = 1 << 16 // entries
	DefaultAdopt       = 10 * time.Minute
	DefaultLate        = 10 * time.Minute
	DefaultRetransmits = 3    // nf_conntrack_tcp_max_retrans
	DefaultRate        = 1000 // records per second and worker
)

// defaultTimeouts are Linux's (Documentation/networking/nf_conntrack-sysctl.rst; SYN_SENT2 from nf_conntrack_proto_tcp.c).
var defaultTimeouts = conntrack.Timeouts{
	conntrack.SynSent:     120 * time.Second,
	conntrack.SynRecv:     60 * time.Second,
	conntrack.Established: 432000 * time.Second,
	conntrack.FinWait:     120 * time.Second,
	conntrack.CloseWait:   60 * time.Second,
	conntrack.LastAck:     30 * time.Second,
	conntrack.TimeWait:    120 * time.Second,
	conntrack.Close:       10 * time.Second,
	conntrack.SynSent2:    120 * time.Second,
	conntrack.Denied:      60 * time.Second, // not a state of Linux's: a sender's SYNs at 0, 1, 3, 7, 15 and 31 s meet one denial
}
