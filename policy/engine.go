package policy

import (
	"halfopen/conntrack"
)

// EngineConfig says how an engine begins. Policy is required.
type EngineConfig struct {
	Policy *Policy
	Arms   Arms // of experiments; empty for none
	// Start is when the gateway began to see traffic. For [Policy.Adopt] from then on, connections that are older than
	// the gateway are taken up (finding adopted).
	Start   conntrack.Instant
	NoAdopt bool // take nothing up: the engine knows its connections from their first segment, as in a test
	// FirstID is the id of the first flow; a random one keeps the ids of two runs apart. 0 means 1.
	FirstID uint64
	// Seed keys the hash by which connections are found; a random one keeps whoever chooses tuples from choosing slow ones.
	Seed uint64
	// Memory is where the connection table takes its large arrays from. It is this engine's alone. Nil: Go's heap.
	Memory conntrack.Memory
	// MaxHolds bounds the segments held at a time; 0 means [DefaultHolds].
	MaxHolds int
	// Fast is asked what it has seen of connections on a fast path. Nil: the engine sees everything itself.
	Fast FastPath
}

// Engine decides segments by a policy and remembers their connections. It is pure: time comes in as a value, and what
// must be sent or logged goes out as a value. It belongs to one goroutine; none of its functions may be called from
// within a function that was handed to it.
type Engine struct {
	cfg    EngineConfig
	policy *Policy // the gateway's
	arms   Arms
	asking conntrack.Tuple // handed to Arms.Assign
	by     *Policy         // who decides the step at hand: the gateway's policy or an arm's
	table  *conntrack.Table
	epoch  uint32 // of the policy in force, from 1; entries remember which one matched rules to them
	timers timerSets
	reload reload

	now         conntrack.Instant // the latest that the engine was told
	view        conntrack.View
	out         Outcome
	alternative Action            // what a step did instead of an action whose conditions did not hold
	arriving    conntrack.Segment // the step's segment as a rewrite leaves it
	asked       Strip             // what the step's segment was to lose, whether it had it or not
	maxMSS      uint16            // with StripMSS
	counted     *conntrack.Entry  // the entry that the last step counted its segment in, for Uncount
	plain       plainSteps

	trace   *Trace           // of the step under way, nil where nobody asked to have it explained
	emit    func(*TimeEvent) // where events go while Advance or Kill runs; nil within Step
	event   TimeEvent        // reused for emit
	pending []TimeEvent      // what a step found that is for Advance to tell
	holds   holds
	purge   purge
	budgets []budgets // by arm
	flush   int       // where FlushCounted goes on
}

// NewEngine returns an engine with an empty table. The bounds of the table are the policy's.
func NewEngine(cfg EngineConfig) *Engine {
	e := &Engine{cfg: cfg, policy: cfg.Policy, arms: cfg.Arms, by: cfg.Policy, epoch: 1, now: cfg.Start}
	e.useTimers()
	e.holds.init(cfg.MaxHolds)
	l := cfg.Policy.Limits()
	e.table = conntrack.NewTable(conntrack.Config{Max: l.Flows, MaxEmbryonic: l.Embryonic, Tombstones: l.Tombstones, MaxPerSource: l.PerSource,
		FirstID: cfg.FirstID, Seed: cfg.Seed, Ended: e.ended, Fast: cfg.Fast, Woken: e.woken, Memory: cfg.Memory})
	return e
}

// Policy returns the gateway's policy in force.
func (e *Engine) Policy() *Policy { return e.policy }

// Len returns how many connections are remembered, expired ones that were not swept yet included.
func (e *Engine) Len() int { return e.table.Len() }

// Count returns how many connections are in state s.
func (e *Engine) Count(s conntrack.State) int { return e.table.Count(s) }

// Tombstones returns how many forgotten connections are still remembered for the log.
func (e *Engine) Tombstones() int { return e.table.Tombstones() }

// Embryonic returns how many connections have not completed their handshake.
func (e *Engine) Embryonic() int { return e.table.Embryonic() }

// Gap tells the engine that segments passed it unseen up to now. Every connection is judged liberally until both of its
// directions have progressed. What is armed on a fast path must have been stopped before.
func (e *Engine) Gap(conntrack.Instant) { e.table.Relax() }

// aheadFlows is how many connections make it worth while to read ahead: fewer stay in the processor's caches.
const aheadFlows = 1 << 14

// Ahead prepares the steps of these segments, where that makes them faster. It decides and changes nothing, and no step depends on it.
func (e *Engine) Ahead(segs []conntrack.Segment) {
	if e.table.Len() >= aheadFlows {
		e.table.Ahead(segs)
	}
}

// Uncount takes the last step's segment out of its flow's count, because the caller gives it a record of its own after
// all. It does nothing where the step's Outcome was not Counted, and must directly follow the step.
func (e *Engine) Uncount() {
	switch {
	case e.plain.counted:
		e.table.Uncount(&e.plain.seen)
	case e.counted != nil && e.counted.Counted > 0:
		e.counted.Counted--
	}
	e.counted, e.plain.counted = nil, false
	e.out.Counted = false
}

// ended is the table's callback: it turns an entry's end into events.
func (e *Engine) ended(ent *conntrack.Entry, why conntrack.EndReason, at conntrack.Instant) {
	rule := e.ruleOf(ent)
	if f, ok := ent.Expired(why); ok {
		e.timed(TimeExpired, f, ent, rule, at)
	}
	by := e.of(ent.Arm)
	var ev *FlowEvent
	if e.emit == nil {
		ev = e.flowEvent()
	} else {
		e.event = TimeEvent{Kind: TimeFlow, At: at}
		ev = &e.event.Flow
	}
	ev.Kind, ev.Why, ev.At, ev.By, ev.Rule = FlowEnd, why, at, by, by.RuleName(rule)
	ev.Entry = *ent
	if e.emit != nil {
		e.emit(&e.event)
	}
	if ent.FastSlot != 0 && e.cfg.Fast != nil {
		e.cfg.Fast.Ended(ent)
	}
}

// tell hands a time event out: at once within Advance, by the next Advance from within a step.
func (e *Engine) tell(ev *TimeEvent) {
	if e.emit == nil {
		e.pending = append(e.pending, *ev)
		return
	}
	e.event = *ev
	e.emit(&e.event)
}
