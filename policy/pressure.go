package policy

import (
	"fmt"
	"strconv"
	"time"

	"halfopen/conntrack"
)

// Pressure is what a full table does to the connections in it, before there is no room for another. Shares are in percent of
// [Limits.Flows].
type Pressure struct {
	// Start and End scale timers: with n connections an idle one ends after (End-n)/(End-Start) of its timeout, where n is more
	// than Start (adaptive.start and adaptive.end of pf). End 0 is no scaling.
	Start, End int
	// EvictAbove makes connections that are closing end, the oldest first, while there are more than this share; 0 for never.
	EvictAbove int
}

// victims are the kinds of connections that make room, in order.
var victims = [numOnFull][]conntrack.Victim{
	Refuse:            nil,
	EvictEmbryonic:    {conntrack.VictimEmbryonic},
	EvictClosing:      {conntrack.VictimEmbryonic, conntrack.VictimClosing},
	EvictClosingFirst: {conntrack.VictimClosing, conntrack.VictimEmbryonic},
	EvictUnassured:    {conntrack.VictimEmbryonic, conntrack.VictimUnassured},
	EvictAny:          {conntrack.VictimEmbryonic, conntrack.VictimUnassured, conntrack.VictimClosing},
}

// evict makes room against a bound, and reports whether it could.
func (e *Engine) evict(now conntrack.Instant, bound conntrack.Finding) bool {
	for _, who := range victims[e.policy.OnFull()] {
		if (bound == conntrack.TableFull || who == conntrack.VictimEmbryonic) && e.table.EvictOne(now, who) {
			return true
		}
	}
	return false
}

// purgeEvery is how often timers are scaled: pf's default interval.
const purgeEvery = 10 * time.Second

// purge is a walk through the table that ends what the scaled timers end.
type purge struct {
	cursor int
	next   conntrack.Instant // when the walk begins or goes on
	found  []conntrack.Tuple // reused by each chunk
}

// loaded reports whether timers are scaled now.
func (e *Engine) loaded() bool {
	p := e.policy.Pressure()
	return p.End > 0 && e.table.Len()*100 > e.policy.Limits().Flows*p.Start
}

// crowded reports whether a closing connection must make room now.
func (e *Engine) crowded() bool {
	above := e.policy.Pressure().EvictAbove
	return above > 0 && e.table.Len()*100 > e.policy.Limits().Flows*above && e.table.Victims(conntrack.VictimClosing)
}

// relievePressure scales timers and evicts, looking at no more than limit places.
func (e *Engine) relievePressure(now conntrack.Instant, limit int) {
	for n := 0; n < limit && e.crowded(); n++ {
		e.table.EvictOne(now, conntrack.VictimClosing)
	}
	w := &e.purge
	if !e.loaded() {
		w.cursor = 0
		return
	}
	if w.next > now {
		return
	}
	w.found = w.found[:0]
	w.cursor = e.table.Walk(w.cursor, limit, func(ent *conntrack.Entry) bool {
		if e.overdue(now, ent) {
			w.found = append(w.found, ent.Tuple)
		}
		return true
	})
	for i := range w.found {
		var v conntrack.View
		if e.table.Lookup(now, &w.found[i], &v); v.Entry == nil {
			continue
		}
		if e.table.Peek(v.Entry); e.overdue(now, v.Entry) {
			e.table.Kill(now, &v, conntrack.EndAdaptive)
		}
	}
	if w.cursor < 0 {
		w.cursor, w.next = 0, now.Add(purgeEvery)
	}
}

// overdue reports whether a live entry's scaled timer has run out. Each that ends makes the others' run longer.
func (e *Engine) overdue(now conntrack.Instant, ent *conntrack.Entry) bool {
	p, flows := e.policy.Pressure(), e.policy.Limits().Flows
	if !e.loaded() || ent.Deadline <= now {
		return false
	}
	left := max(flows*p.End-e.table.Len()*100, 0)
	share := float64(left) / float64(flows*(p.End-p.Start))
	return ent.Refreshed.Add(time.Duration(float64(ent.Timeout)*share)) <= now
}

// nextPressure returns when relievePressure has something to do.
func (e *Engine) nextPressure() conntrack.Instant {
	switch {
	case e.crowded():
		return e.now
	case e.loaded():
		return e.purge.next
	}
	return conntrack.Never
}

// Injection bounds and marks what the gateway sends.
type Injection struct {
	// ACKs and RSTs are how many ACKs, and RSTs and ICMP errors, segments may cause per second and worker; [Unlimited] or 0 and
	// more (RFC 5961 section 7). What time causes is not bounded.
	ACKs, RSTs int32
	FlowGap    time.Duration // the least time between two ACKs that one connection's segments cause; 0 for none
	TTL        uint8         // TTL or hop limit of TCP segments that the gateway makes; 0 for its own default
}

// budget counts what was sent in the present second.
type budget struct {
	since conntrack.Instant
	spent int32
}

// spend reports whether one more may be sent.
func (b *budget) spend(now conntrack.Instant, rate int32) bool {
	if rate == Unlimited {
		return true
	}
	if b.since == 0 || now.Sub(b.since) >= time.Second || now < b.since {
		b.since, b.spent = now, 0
	}
	if b.spent >= rate {
		return false
	}
	b.spent++
	return true
}

// afford takes back what a step has made and may not send, and says why.
func (e *Engine) afford(now conntrack.Instant, v *conntrack.View) {
	out, in := &e.out, e.by.Injection()
	if out.HasPeer {
		out.PeerOmitted = e.mayInject(now, v, &out.Peer)
		out.HasPeer = out.PeerOmitted == ""
		out.Peer.Segment.TTL = in.TTL
	}
	if out.HasReply {
		out.ReplyOmitted = e.mayInject(now, v, &out.Reply)
		out.HasReply = out.ReplyOmitted == ""
		out.Reply.Segment.TTL = in.TTL
	}
}

// budgets are what one arm's policy may still send in the present second, so that arms do not starve each other.
type budgets struct{ acks, rsts budget }

// budget returns the budgets of the step at hand.
func (e *Engine) budget() *budgets {
	if arm := int(e.out.Arm); arm < len(e.budgets) {
		return &e.budgets[arm]
	}
	return &e.budgets[0]
}

// mayInject returns why a packet may not be sent, "" where it may.
func (e *Engine) mayInject(now conntrack.Instant, v *conntrack.View, em *Emit) string {
	in, b := e.by.Injection(), e.budget()
	if em.ICMP != ReplyNone || em.Segment.Flags&conntrack.RST != 0 {
		if !b.rsts.spend(now, in.RSTs) {
			return OmitRate
		}
		return ""
	}
	if ent := v.Entry; ent != nil && in.FlowGap > 0 {
		if ent.Answered != 0 && now.Sub(ent.Answered) < in.FlowGap {
			return OmitFlowGap
		}
		ent.Answered = now
	}
	if !b.acks.spend(now, in.ACKs) {
		return OmitRate
	}
	return ""
}

// fileFacts returns the values of a policy's own that no rule has, by their paths.
func (p *Policy) fileFacts() []fact {
	in := &p.injection
	return []fact{
		{key: "adaptive.start", value: strconv.Itoa(p.pressure.Start)},
		{key: "adaptive.end", value: strconv.Itoa(p.pressure.End)},
		{key: "evict_above", value: strconv.Itoa(p.pressure.EvictAbove)},
		{key: "inject.acks", value: rateText(in.ACKs)},
		{key: "inject.rsts", value: rateText(in.RSTs)},
		{key: "inject.flow_gap", value: FormatDuration(in.FlowGap)},
		{key: "inject.ttl", value: strconv.Itoa(int(in.TTL))},
	}
}

// PressureSpec and InjectSpec are what a file says of [Pressure] and [Injection]; nil is nothing.
type PressureSpec struct{ Start, End, EvictAbove *int }

// InjectSpec is what a file says of [Injection].
type InjectSpec struct {
	ACKs, RSTs *int32
	FlowGap    *time.Duration
	TTL        *uint8
}

func adaptiveKeys() []key {
	return []key{
		{name: "start", kind: kindCount, hi: 1000, unit: "percent of limits.flows", dflt: "0", meaning: "above this share timers are scaled"},
		{name: "end", kind: kindCount, hi: 1000, unit: "percent of limits.flows", dflt: "0", meaning: "at this share they would be 0; 0 for no scaling"},
	}
}

func injectKeys() []key {
	return []key{
		{name: "acks", kind: kindRate, hi: maxRate, unit: "packets per second", dflt: "unlimited", meaning: "how many ACKs and probes segments may cause, per worker"},
		{name: "rsts", kind: kindRate, hi: maxRate, unit: "packets per second", dflt: "unlimited", meaning: "the same of RST segments and ICMP errors"},
		{name: "flow_gap", kind: kindDuration, dflt: "0s", meaning: "the least time between two ACKs or probes that segments of one connection cause"},
		{name: "ttl", kind: kindCount, hi: 255, unit: "hops", dflt: "0", meaning: "the TTL or hop limit of TCP segments that the gateway makes, so that a capture shows who sent them; 0 for 64"},
	}
}

// pressure decodes adaptive and evict_above.
func (d *decoder) pressure(k *key, e *entry, p *PressureSpec) {
	number := func(n *node, k *key) *int {
		v := d.count(n, k)
		if v == nil {
			return nil
		}
		i := int(*v)
		return &i
	}
	if k.name == "evict_above" {
		p.EvictAbove = number(e.value, k)
		return
	}
	d.section(e.value, k.name, k.section, func(k *key, e *entry) {
		if k.name == "start" {
			p.Start = number(e.value, k)
		} else {
			p.End = number(e.value, k)
		}
	})
	if p.Start != nil && p.End != nil && *p.End != 0 && *p.End <= *p.Start {
		d.problem(e.at, fmt.Sprintf("adaptive from %d to %d", *p.Start, *p.End), "an end above the start, or end: 0")
	}
}

// inject decodes the section inject.
func (d *decoder) inject(n *node, in *InjectSpec) {
	d.section(n, "inject", injectKeys(), func(k *key, e *entry) {
		switch k.name {
		case "acks", "rsts":
			if v, ok := d.rate(e.value, k); ok && k.name == "acks" {
				in.ACKs = &v
			} else if ok {
				in.RSTs = &v
			}
		case "flow_gap":
			in.FlowGap = d.duration(e.value)
		case "ttl":
			if v := d.count(e.value, k); v != nil {
				u := uint8(*v)
				in.TTL = &u
			}
		}
	})
}

// applyFile lets a file have its say about what no rule has.
func (p *Policy) applyFile(s *Spec) {
	set(&p.pressure.Start, s.Pressure.Start)
	set(&p.pressure.End, s.Pressure.End)
	set(&p.pressure.EvictAbove, s.Pressure.EvictAbove)
	set(&p.injection.ACKs, s.Inject.ACKs)
	set(&p.injection.RSTs, s.Inject.RSTs)
	set(&p.injection.FlowGap, s.Inject.FlowGap)
	set(&p.injection.TTL, s.Inject.TTL)
}
