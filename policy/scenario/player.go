package scenario

import (
	"slices"

	"halfopen/conntrack"
	"halfopen/policy"
)

// player is an engine with what it did since the line before.
type player struct {
	name   string // of a shadow
	line   int    // where it is declared
	engine *policy.Engine
	told   told
	at     conntrack.Instant // up to which time has passed
}

// told is what an engine told of since the line before.
type told struct {
	emits    []policy.Emit
	reply    []string // kinds of what time sent to originators
	peer     []string
	rule     string
	ended    []string
	released []string
	findings []string // that time gave, each once
	events   []policy.TimeEvent
}

// mostRounds bounds how often Advance is called for one line.
const mostRounds = 1 << 20

// advance lets time pass as on a gateway, whose timer wakes it for each thing that is due, and remembers what that caused.
func (p *player) advance(now conntrack.Instant, timed func(*policy.Policy, *policy.TimeEvent)) {
	moved := true
	tell := func(ev *policy.TimeEvent) {
		moved = true
		p.told.time(ev)
		if timed != nil {
			timed(p.engine.Policy(), ev)
		}
	}
	for n := 0; moved && n < mostRounds; n++ {
		next := p.engine.Next()
		if next > now {
			break
		}
		moved = next > p.at
		p.at = max(p.at, next)
		p.engine.Advance(p.at, 64, tell)
	}
	p.at = now
	for more, n := true, 0; more && n < mostRounds; n++ {
		more = p.engine.Advance(now, 64, tell)
	}
}

// time notes what time caused.
func (t *told) time(ev *policy.TimeEvent) {
	t.events = append(t.events, *ev)
	switch ev.Kind {
	case policy.TimeFlow:
		t.flow(&ev.Flow)
	case policy.TimeRelease:
		t.released = append(t.released, ev.Verdict.String())
	case policy.TimeExpired, policy.TimeUnanswered:
		t.found(ev.Finding)
		t.rule = ev.Rule
	default:
		t.rule = ev.Rule
	}
	if ev.HasEmit[conntrack.Original] {
		t.reply = append(t.reply, ev.Emit[conntrack.Original].Kind)
	}
	if ev.HasEmit[conntrack.Reply] {
		t.peer = append(t.peer, ev.Emit[conntrack.Reply].Kind)
	}
	for i := range ev.Emit {
		if ev.HasEmit[i] {
			t.emits = appendEmit(t.emits, &ev.Emit[i])
		}
	}
}

// flow notes a connection's end.
func (t *told) flow(ev *policy.FlowEvent) {
	if ev.Kind != policy.FlowEnd {
		return
	}
	t.ended = append(t.ended, ev.Why.String())
	if f, ok := ev.Entry.Expired(ev.Why); ok {
		t.found(f)
	}
}

func (t *told) found(f conntrack.Finding) {
	if !slices.Contains(t.findings, f.String()) {
		t.findings = append(t.findings, f.String())
	}
}
