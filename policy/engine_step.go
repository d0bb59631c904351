package policy

import (
	"math"
	"slices"

	"halfopen/conntrack"
)

// Step takes one segment through look up, classify, decide and commit. The outcome belongs to the engine and is valid until its
// next call. For a segment of a known flow Step does not allocate.
func (e *Engine) Step(now conntrack.Instant, s *conntrack.Segment) *Outcome {
	e.now = now
	out := &e.out
	e.counted, e.plain.counted = nil, false
	if e.stepPlain(now, s) {
		return out
	}
	e.plain.last = nil
	*out = Outcome{Flows: out.Flows[:0]}
	v := &e.view
	e.lookup(now, s, v)
	out.Arm = e.armOf(now, v, s)
	e.by = e.of(out.Arm)
	out.By = e.by
	rule, dir := e.governs(v, s)
	out.Finding = conntrack.Judge(now, v, e.likeFirst(v, s), e.by.Window(rule), &out.Expect)
	if e.trace != nil {
		e.trace.looked(e, v, s, rule, dir, conntrack.Class{Finding: out.Finding, Expect: out.Expect})
	}
	if e.adopts(now, v, s, out.Finding) {
		out.Finding = conntrack.Adopted
	}
	e.describe(now, v, dir)
	a := e.by.Action(rule, dir, out.Finding)
	if out.Unmet = unmet(now, v, s, a); out.Unmet != "" {
		e.alternative = a.orElse()
		a = &e.alternative
	}
	effect := resolve(a, v)
	if f, ok := e.room(now, v, s, effect); !ok {
		if e.trace != nil {
			e.trace.Refused, e.trace.Wanted = true, *a
		}
		out.Finding = f
		a = e.by.Action(rule, dir, f)
		effect = barren(resolve(a, v))
	}
	out.Action, out.Rule, out.Verdict = *a, e.by.RuleName(rule), a.Packet
	e.answer(v, s, a)
	e.afford(now, v)
	if e.resets(v, s, a) {
		v.Entry.Marks |= markReset
	}
	if v.Entry != nil {
		e.intervene(v.Entry)
	}
	if a.Packet == Hold {
		e.hold(now, s, a)
	}
	e.commit(now, v, e.rewrite(v, s, a, effect), a, effect, rule)
	if e.holds.n() > 0 {
		e.decideHolds(now, s)
	}
	return out
}

// lookup fills v from what stepPlain has found, after settling what a reload or a fast path has left to do about the entry.
func (e *Engine) lookup(now conntrack.Instant, s *conntrack.Segment, v *conntrack.View) {
	e.table.LookupAt(now, s, &e.plain.seen, v)
	if e.cfg.Fast != nil {
		e.takeOver(now, s, v)
	}
	if v.Entry == nil || v.Entry.Epoch == e.epoch {
		return
	}
	if e.reloaded(now, v) {
		e.table.Lookup(now, &s.Tuple, v)
	}
}

// markFlipped on an entry says that its original direction is the rules' reply direction: it was picked up from a segment of
// the end that was dialled.
const markFlipped = 1 << 0

// markReset on an entry says that an end was sent a RST with the connection's numbers.
const markReset = 1 << 3

// Reset reports whether the gateway has sent an end of the connection a RST with its numbers.
func Reset(ent *conntrack.Entry) bool { return ent.Marks&markReset != 0 }

// resets reports whether the step resets the connection that v shows. A SYN's sender that is refused is none of an established one's.
func (e *Engine) resets(v *conntrack.View, s *conntrack.Segment, a *Action) bool {
	return e.out.HasPeer && a.Peer == PeerRSTTracked ||
		e.out.HasReply && a.Reply == ReplyRSTTracked && (s.Kind() != conntrack.KindSYN || v.Entry.State.Embryonic())
}

// intervene counts what the step does about the segment, other than to let it go on, in the entry that the segment met, or made.
func (e *Engine) intervene(ent *conntrack.Entry) {
	out := &e.out
	resets := uint8(0)
	if out.HasReply && out.Action.Reply.rst() {
		resets++
	}
	if out.HasPeer && out.Action.Peer.rst() {
		resets++
	}
	if out.Verdict == Drop || out.Verdict == Hold || out.HasReply || resets > 0 {
		intervened(ent, resets)
	}
}

// intervened counts an intervention, and the RSTs that it made.
func intervened(ent *conntrack.Entry, resets uint8) {
	ent.Interventions += min(1, math.MaxUint8-ent.Interventions)
	ent.Resets += min(resets, math.MaxUint8-ent.Resets)
}

// governs returns the rule for a segment, and the segment's direction as that rule's findings mean it.
func (e *Engine) governs(v *conntrack.View, s *conntrack.Segment) (int32, conntrack.Direction) {
	if ent := v.Entry; ent != nil && ent.Epoch == e.epoch {
		return ent.Rule, v.Dir ^ conntrack.Direction(ent.Marks&markFlipped)
	}
	tu, dir, either := subject(v, s)
	if !either {
		return e.by.Match(&tu, true), dir
	}
	rule, flipped := e.by.MatchSegment(&tu)
	return rule, dir ^ flipped
}

// subject returns the tuple that rules are tried on, in original direction as far as that is known, and the segment's direction
// in it. With either it is not known, and the reverse is tried too.
func subject(v *conntrack.View, s *conntrack.Segment) (tu conntrack.Tuple, dir conntrack.Direction, either bool) {
	if ent := v.Entry; ent != nil {
		return ent.Tuple, v.Dir, ent.Flags&conntrack.EntryPickedUp != 0
	}
	switch k := s.Kind(); {
	case k == conntrack.KindSYN:
		return s.Tuple, conntrack.Original, false
	case v.HasTomb && v.Tombstone.From == s.Tuple:
		return s.Tuple, conntrack.Original, false
	case v.HasTomb:
		return v.Tombstone.From, conntrack.Reply, false
	case k == conntrack.KindSYNACK: // answers a SYN that went another way
		return s.Tuple.Reverse(), conntrack.Reply, false
	}
	return s.Tuple, conntrack.Original, true
}

// match returns the rule for an entry under its policy in force, and Reply where the entry's original direction is the
// rule's reply direction.
func (e *Engine) match(ent *conntrack.Entry) (int32, conntrack.Direction) {
	if ent.Flags&conntrack.EntryPickedUp != 0 {
		return e.of(ent.Arm).MatchSegment(&ent.Tuple)
	}
	return e.of(ent.Arm).Match(&ent.Tuple, true), conntrack.Original
}

// ruleOf returns the rule that governs an entry under its policy in force.
func (e *Engine) ruleOf(ent *conntrack.Entry) int32 {
	if ent.Epoch == e.epoch {
		return ent.Rule
	}
	rule, _ := e.match(ent)
	return rule
}

// adopts reports whether a mid-stream segment is of a connection older than the gateway. A FIN is adopted like data: it may
// be the first segment that a restarted gateway sees of a live connection, whose receiver waits for it. A SYN/ACK belongs to a
// handshake, which its ends can repeat; a RST is the end in any case.
func (e *Engine) adopts(now conntrack.Instant, v *conntrack.View, s *conntrack.Segment, f conntrack.Finding) bool {
	switch f {
	case conntrack.AckNoState, conntrack.DataNoState, conntrack.FinNoState:
		return !e.cfg.NoAdopt && v.Entry == nil && !v.HasTomb && now < e.cfg.Start.Add(e.policy.Adopt())
	}
	return false
}

// describe writes the facts from before the commit.
func (e *Engine) describe(now conntrack.Instant, v *conntrack.View, dir conntrack.Direction) {
	out := &e.out
	if v.HasTomb {
		out.Tombstone, out.HasTomb, out.Previous = v.Tombstone, true, v.Tombstone.ID
	}
	ent := v.Entry
	if ent == nil {
		out.Dir = dir
		return
	}
	out.Dir, out.Flow, out.Previous = v.Dir, ent.ID, ent.Previous
	out.Before, out.After = ent.State, ent.State
	out.Idle, out.Age = now.Sub(ent.LastSeen), now.Sub(ent.Created)
	out.Remaining = ent.Deadline.Sub(now)
	out.Relaxed = v.Relaxed
}

// passes reports whether the segment reaches the other end as far as the table is concerned: a held one does if it is let
// go by time.
func passes(a *Action) bool {
	return a.Packet == Forward || a.Packet == Rewrite || a.Packet == Hold && a.HoldThen == Forward
}

// resolve returns the effect of an action on what v shows. A segment that does not reach the other end creates nothing and
// moves nothing: neither end will act on it.
func resolve(a *Action, v *conntrack.View) conntrack.Effect {
	effect := a.State
	if effect == conntrack.ReplaceIfClosed {
		effect = conntrack.Keep
		if v.Entry != nil && v.Entry.Closed() {
			effect = conntrack.Replace
		}
	}
	if !passes(a) {
		switch effect {
		case conntrack.Track, conntrack.Annotate:
			return conntrack.Keep
		}
		return barren(effect)
	}
	return effect
}

// barren returns the effect without what creates entries.
func barren(effect conntrack.Effect) conntrack.Effect {
	switch effect {
	case conntrack.Create, conntrack.CreateLiberal, conntrack.Replace, conntrack.Resync:
		return conntrack.Keep
	}
	return effect
}

// room makes sure that the entry that an effect creates has its place, evicting as the policy says, and returns the bound
// that stands against it. A handshake that its server has proven (resync) takes the place of an established entry and needs
// none.
func (e *Engine) room(now conntrack.Instant, v *conntrack.View, s *conntrack.Segment, effect conntrack.Effect) (conntrack.Finding, bool) {
	var entry, embryonic bool // what it takes
	switch {
	case effect == conntrack.Deny: // nothing makes room for it: without any the table forgets the denial, and the segment is dropped all the same
		e.table.Room(now)
		return conntrack.New, true
	case v.Entry == nil:
		entry = effect == conntrack.Create || effect == conntrack.CreateLiberal
		if entry && !e.table.SourceRoom(now, &s.Tuple) {
			return conntrack.SourceLimit, false
		}
		embryonic = effect == conntrack.Create
	default:
		embryonic = effect == conntrack.Replace && !v.Entry.State.Embryonic()
	}
	f, ok := e.bound(now, entry, embryonic)
	if ok || e.policy.OnFull() == Refuse || !e.evict(now, f) {
		return f, ok
	}
	return e.bound(now, entry, embryonic)
}

// bound returns the bound that stands against another entry, or another embryonic one. Entries whose time has passed do not
// count: the table buries them first, as far as a segment can wait for that.
func (e *Engine) bound(now conntrack.Instant, entry, embryonic bool) (conntrack.Finding, bool) {
	if !entry && !embryonic {
		return conntrack.New, true
	}
	if _, ok := e.table.Room(now); ok {
		return conntrack.New, true
	}
	switch most, mostEmbryonic := e.table.Limits(); {
	case entry && e.table.Len() >= most:
		return conntrack.TableFull, false
	case embryonic && e.table.Embryonic() >= mostEmbryonic:
		return conntrack.EmbryonicLimit, false
	}
	return conntrack.New, true
}

// commit makes the table remember the decision, and writes what it really did.
func (e *Engine) commit(now conntrack.Instant, v *conntrack.View, s *conntrack.Segment, a *Action, effect conntrack.Effect, rule int32) {
	out := &e.out
	var p conntrack.Params
	switch {
	case effect == conntrack.Replace:
		p = e.opening(now, s.Tuple)
	case effect == conntrack.Resync:
		p = e.opening(now, s.Tuple.Reverse())
	case v.Entry != nil:
		e.fillParams(&p, out.Arm, rule, v.Entry.Timers)
	default:
		e.fillParams(&p, out.Arm, rule, e.timers.ofRule(out.Arm, rule))
	}
	tm := a.Timer
	if a.State == conntrack.ReplaceIfClosed && effect == conntrack.Keep ||
		v.Entry != nil && tm.Op == conntrack.TimerRefresh && !e.refreshes(v, s, out.Finding, rule) {
		tm = conntrack.Timer{}
	}
	if e.trace != nil {
		e.trace.Timer = tm
	}
	before := out.Flow
	c := e.table.Commit(now, v, s, out.Finding, effect, tm, &p)
	out.Effect, out.After = c.Effect, c.After
	if c.Entry == nil {
		return
	}
	e.await(now, c.Entry, v.Dir, a)
	e.remember(c.Entry, s)
	if c.Entry.Epoch == e.epoch && c.Entry.Flags&conntrack.EntryPickedUp != 0 {
		_, flipped := e.match(c.Entry)
		c.Entry.Marks = c.Entry.Marks&^markFlipped | uint8(flipped)
	}
	out.Flow, out.Previous = c.Entry.ID, c.Entry.Previous
	if c.Entry.ID != before {
		if before == 0 {
			e.intervene(c.Entry)
		}
		by := e.of(c.Entry.Arm)
		ev := e.flowEvent()
		ev.Kind, ev.Why, ev.At, ev.By, ev.Rule = FlowNew, conntrack.EndNone, now, by, by.RuleName(p.Rule)
		ev.Entry = *c.Entry
		return
	}
	out.Slot, out.Packets = c.Entry.FastSlot, c.Entry.Side[0].Packets+c.Entry.Side[1].Packets
	if out.Finding.Counted() && out.Verdict == Forward && !out.HasReply && !out.HasPeer &&
		e.policy.Log().Detail == LogDecision {
		out.Counted, out.Settled = true, e.by.settles[rule+1]
		c.Entry.Counted++
		e.counted = c.Entry
	}
}

// flowEvent adds an event to the outcome and returns it, whatever it holds: it is long, and who adds one writes all of it.
func (e *Engine) flowEvent() *FlowEvent {
	n := len(e.out.Flows)
	e.out.Flows = slices.Grow(e.out.Flows, 1)[:n+1]
	return &e.out.Flows[n]
}
