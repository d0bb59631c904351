package scenario

import (
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// facts are what came of a line: its head, and every fact in canonical form.
type facts struct {
	head  string
	of    map[string]string
	lead  []string // keys worth telling where the script names none, in order
	emits []policy.Emit
}

func (f *facts) set(key, value string) { f.of[key] = value }

// worth sets a fact and, where tell, has it told by an update of a line that names no facts.
func (f *facts) worth(key, value string, tell bool) {
	f.of[key] = value
	if tell {
		f.lead = append(f.lead, key)
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// list returns words with commas between, each once.
func list(words []string) string {
	var once []string
	for _, w := range words {
		if !slices.Contains(once, w) {
			once = append(once, w)
		}
	}
	return orNone(strings.Join(once, ","))
}

// stepFacts returns what a step gave, with what time caused before it.
func (r *run) stepFacts(p *player, out *policy.Outcome, w *segment) *facts {
	t := &p.told
	f := &facts{head: out.Verdict.String() + "/" + out.Finding.String(), of: map[string]string{}, emits: t.emits}
	reply, peer := slices.Clone(t.reply), slices.Clone(t.peer)
	if out.HasPeer {
		peer = append(peer, out.Peer.Kind)
		f.emits = appendEmit(f.emits, &out.Peer)
	}
	if out.HasReply {
		reply = append(reply, out.Reply.Kind)
		f.emits = appendEmit(f.emits, &out.Reply)
	}
	for i := range out.Flows {
		t.flow(&out.Flows[i])
	}
	f.worth("reply", list(reply), len(reply) > 0)
	f.worth("peer", list(peer), len(peer) > 0)
	f.worth("stripped", orNone(strings.Join(out.Strip.Words(), ",")), out.Strip != 0)
	f.worth("reply-omitted", orNone(out.ReplyOmitted), out.ReplyOmitted != "")
	f.worth("peer-omitted", orNone(out.PeerOmitted), out.PeerOmitted != "")
	f.worth("state", out.After.String(), out.Before != out.After)
	f.worth("unmet", orNone(out.Unmet), out.Unmet != "")
	f.set("before", out.Before.String())
	f.worth("effect", out.Effect.String(), out.Effect != out.Finding.Info().Effect && out.Effect != conntrack.Keep && out.Effect != conntrack.Track)
	rule := "none"
	if out.Rule != "" {
		rule = nameText(out.Rule)
	}
	f.worth("rule", rule, out.Rule != "")
	f.set("dir", out.Dir.String())
	f.times(r.now, out)
	f.expected(&out.Expect, r.base(w.from), r.base(w.to))
	f.set("counted", map[bool]string{true: "yes", false: "no"}[out.Counted])
	f.set("flow", itoa(int64(out.Flow)))
	f.set("previous", itoa(int64(out.Previous)))
	f.worth("ended", list(t.ended), len(t.ended) > 0 && out.Finding != conntrack.LateAfterExpiry)
	f.worth("released", list(t.released), len(t.released) > 0)
	f.table(p.engine)
	return f
}

// appendEmit appends what is made, the second segment of two included.
func appendEmit(list []policy.Emit, em *policy.Emit) []policy.Emit {
	list = append(list, *em)
	if second, ok := em.Second(); ok {
		list = append(list, second)
	}
	return list
}

// times sets the facts about time.
func (f *facts) times(now conntrack.Instant, out *policy.Outcome) {
	known := out.Before != conntrack.StateNone
	at := func(d time.Duration, ok bool) string {
		if !ok {
			return "none"
		}
		return durationText(d)
	}
	f.set("idle", at(out.Idle, known))
	f.set("remaining", at(out.Remaining, known))
	f.set("age", at(out.Age, known))
	f.set("hold", at(out.HoldUntil.Sub(now), out.Hold != 0))
	tomb := "none"
	if out.HasTomb {
		tomb = out.Tombstone.Reason.String()
	}
	f.worth("tombstone", tomb, out.HasTomb && !known)
	f.set("forgotten", at(now.Sub(out.Tombstone.Forgotten), out.HasTomb))
}

// expected sets the numbers that the segment was judged by, relative to its sender's and its receiver's.
func (f *facts) expected(x *conntrack.Expect, from, to conntrack.Seq) {
	n := func(s, base conntrack.Seq) string { return relText(uint32(s - base)) }
	put := func(bit conntrack.ExpectSet, key, value string) {
		if x.Has&bit == 0 {
			value = "none"
		}
		f.set(key, value)
	}
	put(conntrack.ExpectSeq, "seq", n(x.Seq, from))
	put(conntrack.ExpectAck, "ack", n(x.Ack, to))
	put(conntrack.ExpectSeqWindow, "seq-window", n(x.SeqLo, from)+":"+n(x.SeqHi, from))
	put(conntrack.ExpectAckWindow, "ack-window", n(x.AckLo, to)+":"+n(x.AckHi, to))
}

func (f *facts) table(e *policy.Engine) {
	f.set("flows", countWord(e.Len()))
	f.set("embryonic", countWord(e.Embryonic()))
}

// sweepFacts returns what time alone gave.
func (r *run) sweepFacts() *facts {
	t := &r.main.told
	f := &facts{of: map[string]string{}, emits: t.emits}
	switch {
	case len(t.findings) > 0:
		f.head = strings.Join(t.findings, ",")
	case len(t.ended)+len(t.released)+len(t.emits) == 0:
		f.head = headNothing
	}
	f.worth("reply", list(t.reply), len(t.reply) > 0)
	f.worth("peer", list(t.peer), len(t.peer) > 0)
	rule := "none"
	if t.rule != "" {
		rule = nameText(t.rule)
	}
	f.worth("rule", rule, t.rule != "")
	f.worth("ended", list(t.ended), len(t.ended) > 1 || len(t.ended) == 1 && len(t.findings) == 0)
	f.worth("released", list(t.released), len(t.released) > 0)
	f.table(r.main.engine)
	return f
}

// text prints what came of a line with the facts that a decision names; with nil those worth telling.
func (f *facts) text(want *decision) string {
	d := decision{head: f.head}
	keys := f.lead
	if want != nil {
		keys = nil
		for _, w := range want.facts {
			keys = append(keys, w.key)
		}
		if want.head == "" && len(keys) > 0 {
			d.head = ""
		}
	}
	for _, k := range keys {
		d.facts = append(d.facts, fact{key: k, value: f.of[k]})
	}
	if d.head == "" && len(d.facts) == 0 {
		d.facts = []fact{{key: "ended", value: f.of["ended"]}}
	}
	return d.text()
}
