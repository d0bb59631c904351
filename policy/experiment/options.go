package experiment

import (
	"math"
	"time"

	"halfopen/policy"
)

// Options says how an experiment is analysed.
type Options struct {
	// Alpha is the chance of naming an effect where there is none, over all metrics and arms together; 0 means 0.05. Intervals have the
	// confidence 1 - Alpha.
	Alpha float64
	// Final: the experiment is over, and this is the one look at fixed tests. Otherwise only what may be looked at at any time is shown:
	// confidence sequences.
	Final bool
	// Now is how far the log goes; zero: as far as the outcomes do.
	Now time.Time
	// Seed of what resamples. The same outcomes with the same seed give the same report.
	Seed uint64
	// Resamples of the bootstrap; 0 means 2000, and more where Alpha is less than 0.01.
	Resamples int
	// Least is the smallest difference that matters, by metric and in its unit; what is not named has the guardrail's limit, and
	// connect-failure else a point. It decides nothing but whether finding no difference means that there is none worth the name.
	Least map[Metric]float64

	Loss     Loss
	Events   []Event                   // of the experiment, from its records
	Policies map[string]*policy.Policy // of arms whose text is known, to say what they differ in
	Remarks  []string                  // caveats about the logs that their reader has
}

// Loss is what the logs admit to have lost.
type Loss struct {
	Flows   uint64 `json:"flows"`   // connections of which the log may have lost the outcome, at most
	Packets uint64 `json:"packets"` // packets without a record, at most
	Gaps    uint64 `json:"gaps"`    // records of loss
}

// EventKind says what happened to an experiment.
type EventKind string

// Kinds of events, as in the field event of experiment records.
const (
	EventStart     EventKind = "start"
	EventEnd       EventKind = "end"
	EventStop      EventKind = "stop"
	EventGuardrail EventKind = "guardrail" // a limit was crossed: new flows of the arm go to control
	EventChanged   EventKind = "changed"   // something that does not touch the assignment is another than before
	// EventReassigned is no record: units get other arms than before, as two records of the experiment show.
	EventReassigned EventKind = "reassigned"
)

// Event is something that happened to an experiment.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    EventKind `json:"event"`
	Arm     string    `json:"arm,omitempty"` // "": all
	Gateway string    `json:"gateway,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

// Bounds of what an analysis holds in memory, whatever the log's length.
const (
	maxSlots    = 1 << 16 // units of an arm that have sums of their own; further ones share them, by their hash
	maxTimes    = 32      // times that are kept of a slot, drawn at random from all of it
	maxPoints   = 60      // of the figures over time; beyond it they are put together
	maxPorts    = 64      // server ports with figures of their own
	maxGateways = 32
	maxRevs     = 16 // of policies, named for an arm
	groups      = 64 // of units, in a segment's intervals
)

// pending is how long a handshake may last: a connection that began so shortly before the log's end and stands neither way is left out.
const pending = 2 * time.Minute

func (o *Options) alpha() float64 {
	if o.Alpha > 0 && o.Alpha < 1 {
		return o.Alpha
	}
	return 0.05
}

func (o *Options) resamples() int {
	if o.Resamples > 0 {
		return o.Resamples
	}
	return int(min(max(2000, math.Ceil(20/o.alpha())), mostResamples))
}

// mostResamples are enough for an alpha of 0.0005; beyond it times have no intervals.
const mostResamples = 40_000

// least is the smallest difference that matters in a metric, 0 where nobody has said.
func (o *Options) least(spec *Spec, m Metric) float64 {
	if d, ok := o.Least[m]; ok {
		return d
	}
	for i := range spec.Guardrails {
		if g := &spec.Guardrails[i]; g.Metric == m && !g.Absolute {
			return g.Max
		}
	}
	if m == ConnectFailure {
		return 0.01
	}
	return 0
}

// halted is when new connections of an arm went to control for the first time on each gateway that stopped it, and on the first of them;
// zero: never.
func (o *Options) halted(arm string) (first time.Time, on map[string]time.Time) {
	on = make(map[string]time.Time)
	for i := range o.Events {
		e := &o.Events[i]
		if e.Kind != EventGuardrail && e.Kind != EventStop || e.Arm != arm && e.Arm != "" {
			continue
		}
		if at, ok := on[e.Gateway]; !ok || e.Time.Before(at) {
			on[e.Gateway] = e.Time
		}
		if first.IsZero() || e.Time.Before(first) {
			first = e.Time
		}
	}
	return first, on
}
