package proxy

import (
	"fmt"
	"path/filepath"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// maxShadows bounds the shadows of one gateway or replay: each has a bit in what is remembered of a connection.
const maxShadows = 32

// maxLiveShadows bounds those of a gateway: each costs the worker's thread another look at every segment.
const maxLiveShadows = 8

// agreement says how a shadow's decision stands to the one of the policy in force.
type agreement uint8

const (
	agrees    agreement = iota
	disagrees           // for the first time on this connection
	diverged            // behind its first disagreement: the shadow sees traffic that it would not have let happen
	relaxed             // it would do something else, but has missed segments of the connection
)

// shadow is a further policy that is shown the same segments as the one in force, with an engine and a table of its own, and whose
// decisions nobody carries out.
type shadow struct {
	name   string // in records
	pol    *policy.Policy
	engine *policy.Engine
	bit    uint32
	trial  bool // under trial with --dry-run

	out    *policy.Outcome // of the segment at hand, valid until the engine's next call
	how    agreement
	same   bool              // it does the same to the segment at hand
	now    conntrack.Instant // up to which time has been told
	gapAt  conntrack.Instant // when it last missed a segment that the policy in force has decided; 0 for never
	missed bool              // it is missing segments now
	times  []timeDeed        // what time has done, here and there, and is not compared yet
	holds  map[uint64]conntrack.Tuple
	tally  shadowTally
	past   []shadowTally // of revisions before a reload
}

// newShadow makes a shadow whose engine begins with cfg.
func newShadow(n int, name string, trial bool, cfg policy.EngineConfig) *shadow {
	sh := &shadow{name: name, pol: cfg.Policy, engine: policy.NewEngine(cfg), bit: 1 << n, trial: trial, holds: make(map[uint64]conntrack.Tuple)}
	sh.tally.begin(sh)
	return sh
}

// shadows are all of an engine's, and what is remembered of the connections that they have parted on. They belong to the engine's
// goroutine. Nil is none.
type shadows struct {
	engine  *policy.Engine // of the policy in force
	list    []*shadow
	parted  partings
	liveRev string                     // of the policy in force
	busy    overload                   // of a worker
	live    []liveDecision             // of the batch at hand, by its packets
	held    map[uint64]conntrack.Tuple // segments that the policy in force holds, by its engine's names
	record  func(*shadowEvent) bool    // writes each first disagreement that time has caused, and says whether it could; nil for nobody
	event   shadowEvent                // reused for record
}

// newShadows returns the shadows of an engine; batch is how many segments are decided before they are asked.
func newShadows(engine *policy.Engine, list []*shadow, batch int) *shadows {
	return &shadows{engine: engine, list: list, liveRev: engine.Policy().Rev(), live: make([]liveDecision, batch), held: make(map[uint64]conntrack.Tuple)}
}

// take keeps the decision of packet i of the batch at hand until the shadows are asked.
func (ss *shadows) take(i int, s *conntrack.Segment, out *policy.Outcome) *liveDecision {
	d := &ss.live[i]
	d.take(s, out)
	if out.Verdict == policy.Hold {
		ss.held[out.Hold] = s.Tuple
	}
	return d
}

// segment lets each shadow decide a segment that the policy in force has decided, and reports whether one differs, and whether one
// does so for the first time on its connection.
func (ss *shadows) segment(now conntrack.Instant, s *conntrack.Segment, live *liveDecision) (differs, first bool) {
	key, _ := s.Tuple.Canonical()
	was := ss.parted.of(key)
	is := was
	for _, sh := range ss.list {
		out := sh.engine.Step(now, s)
		sh.out = out
		if out.Verdict == policy.Hold {
			sh.holds[out.Hold] = s.Tuple
		}
		t := &sh.tally
		t.step(out)
		if live.begins && is&sh.bit != 0 && (out.Before == conntrack.StateNone || begins(out)) {
			is &^= sh.bit // a new connection, and the shadow remembers nothing of the old one
		}
		would := doneBy(out)
		sh.same = sameDeed(&live.deed, &would)
		switch {
		case is&sh.bit != 0:
			sh.how = diverged
			t.Diverged++
			differs = differs || !sh.same
		case sh.same:
			sh.how = agrees
			t.agreed(live.finding, out.Finding)
		case sh.unsure(now, live, out):
			sh.how = relaxed
			t.Relaxed++
			differs = true
		default:
			sh.how = disagrees
			t.disagreed(live.finding, out.Finding)
			is |= sh.bit
			differs, first = true, true
		}
	}
	if is != was {
		ss.partedNow(key, is)
	}
	return differs, first
}

// partedNow remembers which shadows have parted on a connection.
func (ss *shadows) partedNow(key conntrack.Tuple, bits uint32) {
	if lost := ss.parted.set(key, bits); lost != 0 {
		for _, sh := range ss.list {
			if lost&sh.bit != 0 {
				sh.tally.Forgotten++
			}
		}
	}
}

// unsure reports whether a disagreement may come of segments that the shadow has missed: it still judges the connection liberally, or
// only one of the tables knows it or its end, and it was under way when segments were missed.
func (sh *shadow) unsure(now conntrack.Instant, live *liveDecision, out *policy.Outcome) bool {
	if out.Relaxed {
		return true
	}
	if sh.gapAt == 0 {
		return false
	}
	known := out.Before != conntrack.StateNone
	switch {
	case live.known != known && live.known:
		return now.Add(-live.age) <= sh.gapAt
	case live.known != known:
		return now.Add(-out.Age) <= sh.gapAt
	case live.hasTomb != out.HasTomb && live.hasTomb:
		return live.tombCreated <= sh.gapAt
	case live.hasTomb != out.HasTomb:
		return out.Tombstone.Created <= sh.gapAt
	}
	return false
}

// gap tells the engines that segments passed the gateway unseen: the policy in force has missed them too.
func (ss *shadows) gap(now conntrack.Instant) {
	if ss == nil {
		return
	}
	for _, sh := range ss.list {
		sh.engine.Gap(now)
	}
}

// restore enters a connection of an earlier run.
func (ss *shadows) restore(now conntrack.Instant, away time.Duration, saved *policy.Saved) {
	if ss == nil {
		return
	}
	for _, sh := range ss.list {
		sh.engine.Restore(now, away, saved)
	}
}

// each is the list of shadows.
func (ss *shadows) each() []*shadow {
	if ss == nil {
		return nil
	}
	return ss.list
}

// swap puts policies in force: pols by the places of the list, live is the revision that they stand beside from now on.
func (ss *shadows) swap(now conntrack.Instant, pols []*policy.Policy, live string) {
	if ss == nil {
		return
	}
	names := shadowNames(pols)
	for i, sh := range ss.list {
		pol := pols[i]
		if pol.Rev() == sh.pol.Rev() && live == ss.liveRev {
			continue
		}
		sh.endTally()
		if pol.Rev() != sh.pol.Rev() {
			sh.pol, sh.name = pol, names[i]
			sh.engine.Swap(now, pol, pol.Reload())
		}
		sh.tally.begin(sh)
	}
	ss.liveRev = live
}

// loadShadows loads the gateway's shadows, beside the policy that was asked for.
func (c *Config) loadShadows(asked *policy.Policy) ([]*policy.Policy, error) {
	pols, err := LoadShadows(c.Shadows, maxLiveShadows)
	if err != nil {
		return nil, err
	}
	for i, p := range pols {
		if c.DryRun && p.Name() == asked.Name() {
			return nil, fmt.Errorf("shadow %s has the name of the policy under trial, %q, by which records tell them apart", c.Shadows[i], p.Name())
		}
	}
	return pols, nil
}

// LoadShadows loads the policies of references, and refuses two of one name.
func LoadShadows(refs []string, most int) ([]*policy.Policy, error) {
	if len(refs) > most {
		return nil, fmt.Errorf("%d shadows; at most %d", len(refs), most)
	}
	var pols []*policy.Policy
	names := make(map[string]string)
	for _, ref := range refs {
		pol, err := LoadPolicy(ref, nil)
		if err != nil {
			return nil, err
		}
		if other, ok := names[pol.Name()]; ok {
			return nil, fmt.Errorf("shadows %s and %s have the same name %q, by which records tell them apart", other, ref, pol.Name())
		}
		names[pol.Name()] = ref
		pols = append(pols, pol)
	}
	return pols, nil
}

// shadowNames are the names by which records tell shadows apart: a file's without its directory, where no two have the same.
func shadowNames(pols []*policy.Policy) []string {
	names, uses := make([]string, len(pols)), make(map[string]int)
	for i, p := range pols {
		names[i] = filepath.Base(p.Name())
		uses[names[i]]++
	}
	for i, p := range pols {
		if uses[names[i]] > 1 {
			names[i] = p.Name()
		}
	}
	return names
}

// partings remembers which shadows have parted from the policy in force on which connections, the most recent ones within a bound. A
// connection without state has a tuple too, so this goes by tuples and not by flows.
type partings struct {
	by    map[conntrack.Tuple]uint32
	order []conntrack.Tuple // a ring, once it is full
	next  int
}

// maxPartings bounds the connections that are remembered, some 80 bytes each.
const maxPartings = 1 << 16

// of returns the bits of the shadows that have parted on a canonical tuple.
func (p *partings) of(key conntrack.Tuple) uint32 {
	if len(p.by) == 0 {
		return 0
	}
	return p.by[key]
}

// set remembers the bits of a tuple, and returns those of another that had to be forgotten for it.
func (p *partings) set(key conntrack.Tuple, bits uint32) (lost uint32) {
	if bits == 0 {
		delete(p.by, key)
		return 0
	}
	if p.by == nil {
		p.by = make(map[conntrack.Tuple]uint32)
	}
	if _, ok := p.by[key]; ok {
		p.by[key] = bits
		return 0
	}
	if len(p.order) < maxPartings {
		p.order = append(p.order, key)
	} else {
		old := &p.order[p.next]
		lost = p.by[*old]
		delete(p.by, *old)
		*old = key
		p.next = (p.next + 1) % maxPartings
	}
	p.by[key] = bits
	return lost
}
