package experiment

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"halfopen/conntrack"
	"halfopen/policy/experiment/stats"
)

// Accumulator takes the outcomes of an experiment, in any order, and holds sums of bounded size. [Accumulator.Report] analyses them.
// It is not safe for concurrent use.
type Accumulator struct {
	spec *Spec
	opt  Options
	rng  *stats.RNG

	index   map[string]int         // of arms
	halts   []time.Time            // by arm, when it was first stopped on any gateway; zero: never
	stops   []map[string]time.Time // by arm, when each gateway that stopped it did so
	halt    time.Time              // the first of them: from then on not all arms get units
	dealt   []int                  // units before that, by arm
	units   map[uint64]uint32      // places in their arms
	arms    []*side                // by arm; the first holds all of the control
	control []*side                // by arm, the control's connections that began before their gateway stopped the arm; none did: arms[0]
	line    timeline
	parts   parts
	looks   looks
	behind  []*behind // by arm

	excluded Excluded
	mixed    map[uint64]struct{} // units with a connection in another arm than their hash says
	checked  int                 // connections whose arm was computed again
	last     time.Time
	first    time.Time
	backward int // connections that end before they begin
}

// Excluded counts the connections that are left out, by why.
type Excluded struct {
	NoPart        int `json:"no_part"`        // belong to no arm: outside the share or the match, or the experiment was not on
	OtherArm      int `json:"other_arm"`      // of another experiment
	BeganBefore   int `json:"began_before"`   // before the experiment
	After         int `json:"after"`          // after its end
	WarmUp        int `json:"warm_up"`        // in the warm-up
	Adopted       int `json:"adopted"`        // older than the gateway
	Pending       int `json:"pending"`        // the log ended during the handshake
	Moved         int `json:"moved"`          // of a unit whose arm was stopped, decided by the control's policy
	Misassigned   int `json:"misassigned"`    // in another arm than their unit's hash says
	MixedUnits    int `json:"mixed_units"`    // units that those are of
	WithoutEnds   int `json:"without_ends"`   // the log does not tell their addresses
	CarriedOver   int `json:"carried_over"`   // of a switchback: decided by the policy of the block before
	BlocksDropped int `json:"blocks_dropped"` // beyond the bound on switchback blocks
}

// NewAccumulator returns one for an experiment.
func NewAccumulator(spec *Spec, opt Options) *Accumulator {
	a := &Accumulator{spec: spec, opt: opt, rng: stats.NewRNG(opt.Seed), index: make(map[string]int), units: make(map[uint64]uint32), mixed: make(map[uint64]struct{})}
	a.halts, a.stops, a.dealt = make([]time.Time, len(spec.Arms)), make([]map[string]time.Time, len(spec.Arms)), make([]int, len(spec.Arms))
	a.arms, a.control = make([]*side, len(spec.Arms)), make([]*side, len(spec.Arms))
	for i := range spec.Arms {
		a.index[spec.Arms[i].Name] = i
		a.arms[i] = &side{}
		a.behind = append(a.behind, &behind{})
		if i > 0 {
			a.halts[i], a.stops[i] = opt.halted(spec.Arms[i].Name)
			if h := a.halts[i]; !h.IsZero() && (a.halt.IsZero() || h.Before(a.halt)) {
				a.halt = h
			}
		}
	}
	for i := range spec.Arms {
		a.control[i] = a.arms[0]
		if !a.halts[i].IsZero() {
			same := func(stops map[string]time.Time) bool { return maps.EqualFunc(stops, a.stops[i], time.Time.Equal) }
			if j := slices.IndexFunc(a.stops[:i], same); j > 0 {
				a.control[i] = a.control[j]
			} else {
				a.control[i] = &side{}
			}
		}
	}
	a.line = newTimeline(len(spec.Arms))
	a.parts = newParts(len(spec.Arms))
	a.looks = newLooks(a)
	return a
}

// Analyze makes the report of an experiment from its outcomes.
func Analyze(spec *Spec, outcomes func(yield func(*Outcome) bool), opt Options) *Report {
	a := NewAccumulator(spec, opt)
	for o := range outcomes {
		a.Add(o)
	}
	return a.Report()
}

// Lost says what the logs lack, which is known only when they are read.
func (a *Accumulator) Lost(l Loss, remarks []string) {
	a.opt.Loss, a.opt.Remarks = l, remarks
}

// unitHash is a unit's number: 64 bits, so that two of a million units share one with a chance of 1 in 30 million.
func unitHash(unit []byte) uint64 {
	h := sha256.Sum256(unit)
	return binary.BigEndian.Uint64(h[:])
}

// values are what a connection adds to each metric.
type values struct {
	num, den [NumMetrics]float64
	ok       [NumMetrics]bool
}

func valuesOf(o *Outcome) (v values) {
	for m := range NumMetrics {
		v.num[m], v.den[m], v.ok[m] = m.Of(o)
	}
	return v
}

// Add takes one connection.
func (a *Accumulator) Add(o *Outcome) {
	arm, ok := a.index[o.Arm]
	if !ok {
		if o.Arm == "" {
			a.noArm(o)
		} else {
			a.excluded.OtherArm++
		}
		return
	}
	if o.End.Before(o.Start) && !o.End.IsZero() {
		a.backward++
	}
	if !a.inTime(o) {
		return
	}
	switch {
	case o.Adopted:
		a.excluded.Adopted++
		return
	case !o.Client.IsValid() || !o.Server.IsValid():
		a.excluded.WithoutEnds++
		return
	case !o.Finished && !o.Connected && !a.opt.Now.IsZero() && a.opt.Now.Sub(o.Start) < pending:
		a.excluded.Pending++
		return
	}
	tu := conntrack.MakeTuple(o.Client, o.Server)
	key := a.spec.Unit.Key(&tu)
	hash := unitHash(key.Bytes())
	if !a.rightArm(o, &tu, arm, hash) {
		return
	}
	if a.spec.Switchback != nil { // units meet every arm: blocks are what is compared
		hash = unitHash(binary.BigEndian.AppendUint64(nil, uint64(a.spec.BlockOf(o.Start))))
	}
	slot, ok := a.slot(hash, arm, o)
	if !ok {
		return
	}
	if a.first.IsZero() || o.Start.Before(a.first) {
		a.first = o.Start
	}
	for _, t := range [...]time.Time{o.Start, o.End} {
		if t.After(a.last) {
			a.last = t
		}
	}
	v := valuesOf(o)
	a.arms[arm].add(slot, o, &v, a.rng)
	if arm == 0 {
		a.addControl(slot, o, &v)
	}
	a.line.add(o.Start, arm, &v)
	a.parts.add(o, arm, hash, &v)
	a.behind[arm].add(o, &v)
	a.looks.taken(a)
}

// inTime says whether a connection began while the experiment was on, after its warm-up, and counts those that did not.
func (a *Accumulator) inTime(o *Outcome) bool {
	began := a.began()
	switch {
	case a.spec.Analysed(o.Start, began):
		return true
	case o.Start.Before(began):
		a.excluded.BeganBefore++
	case !a.spec.End.IsZero() && !o.Start.Before(a.spec.End):
		a.excluded.After++
	default:
		a.excluded.WarmUp++
	}
	return false
}

// began is when the experiment began: as it was configured, else as the first gateway that ran it says. Zero: nobody says.
func (a *Accumulator) began() time.Time {
	began := a.spec.Start
	if began.IsZero() {
		for i := range a.opt.Events {
			if e := &a.opt.Events[i]; e.Kind == EventStart && (began.IsZero() || e.Time.Before(began)) {
				began = e.Time
			}
		}
	}
	return began
}

// slot is the place of a unit, or of a switchback's block, in its arm, the same for all its connections. It is not ok beyond the bound on
// blocks.
func (a *Accumulator) slot(hash uint64, arm int, o *Outcome) (uint32, bool) {
	s := a.arms[arm]
	h, known := a.units[hash]
	if !known {
		h = uint32(s.units)
		switch {
		case a.spec.Switchback != nil && s.units >= maxSlots:
			a.excluded.BlocksDropped++
			return 0, false
		case a.spec.Switchback != nil:
			s.blocks = append(s.blocks, a.spec.BlockOf(o.Start))
		case s.units >= maxSlots:
			h = uint32(hash % maxSlots)
		}
		s.units++
		a.units[hash] = h
		if a.halt.IsZero() || o.Start.Before(a.halt) {
			a.dealt[arm]++
		}
	}
	return h, true
}

// stopped says whether a connection began after its gateway had stopped an arm. Another gateway may give the arm connections still, and has
// a control for them.
func (a *Accumulator) stopped(arm int, o *Outcome) bool {
	at, ok := a.stops[arm][o.Gateway]
	return ok && !o.Start.Before(at)
}

// addControl adds a connection of the control to what stopped arms are compared with.
func (a *Accumulator) addControl(slot uint32, o *Outcome, v *values) {
	for i, s := range a.control {
		if s != a.arms[0] && slices.Index(a.control, s) == i && !a.stopped(i, o) {
			s.add(slot, o, v, a.rng)
		}
	}
}
