package proxy

import (
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// deed is what a decision does to the traffic, as far as that is compared: what becomes of the packet, and which kinds of packets are
// made. Its numbers are not: where two tables differ in numbers, what follows shows it.
type deed struct {
	finding conntrack.Finding
	verdict policy.PacketAction
	strip   policy.Strip
	mss     uint16
	reply   string // kinds, "" for none
	peer    string
}

// doneBy returns the deed of a segment's decision.
func doneBy(out *policy.Outcome) (d deed) {
	d.finding, d.verdict, d.strip, d.mss = out.Finding, out.Verdict, out.Strip, out.MSS
	if out.HasReply {
		d.reply = out.Reply.Kind
	}
	if out.HasPeer {
		d.peer = out.Peer.Kind
	}
	return d
}

// sameDeed reports whether two decisions do the same, whatever each has found. It is what a shadow's agreement means, live and in a replay.
func sameDeed(a, b *deed) bool {
	return a.verdict == b.verdict && a.strip == b.strip && a.mss == b.mss && a.reply == b.reply && a.peer == b.peer
}

// liveDecision is what is kept of a decision of the policy in force until its shadows have been asked. It is taken before the verdict
// is carried out, which may come to another end.
type liveDecision struct {
	deed
	by              *policy.Policy
	arm             uint8
	rule            string
	flow            uint64
	dir             conntrack.Direction
	known           bool // the tuple had an entry
	hasTomb         bool
	begins          bool // a SYN that made a flow
	before, after   conntrack.State
	effect          conntrack.Effect
	action          policy.Action
	idle, rest, age time.Duration
	tombCreated     conntrack.Instant

	cause  decisionlog.ID // its own id
	record int            // its place among the pending records, -1 where it has none
}

// take fills the decision from an outcome, up to cause and record.
func (d *liveDecision) take(s *conntrack.Segment, out *policy.Outcome) {
	d.deed = doneBy(out)
	d.by, d.arm, d.rule, d.flow, d.dir = out.By, out.Arm, out.Rule, out.Flow, out.Dir
	d.known, d.hasTomb, d.tombCreated = out.Before != conntrack.StateNone, out.HasTomb, out.Tombstone.Created
	d.begins = len(out.Flows) > 0 && s.Kind() == conntrack.KindSYN && begins(out)
	d.before, d.after, d.effect = out.Before, out.After, out.Effect
	d.action = out.Action
	d.idle, d.rest, d.age = out.Idle, out.Remaining, out.Age
	d.cause, d.record = decisionlog.ID{}, -1
}
