package experiment

import (
	"fmt"
	"time"

	"halfopen/policy/experiment/stats"
)

const (
	// GuardrailAlpha is the chance that an experiment in which every limit is kept is ever stopped by the guardrails that name no
	// alpha: they share it, as the arms of each guardrail share its part.
	GuardrailAlpha = 0.01
	// SRMAlpha is the chance of an alarm of the monitor's sample-ratio test, at any time, where units fall on arms as they should.
	SRMAlpha = 0.01
	// MonitorUnits is how many units a [Monitor] keeps unless told otherwise: about 30 MB with two metrics.
	MonitorUnits = 1 << 18
)

// Monitor watches an experiment's guardrails while it runs. For each of them and each arm but the control it tests sequentially whether
// the arm's figure is above the control's by more than the limit, or with Absolute above the limit itself: one may check after every
// connection for as long as the experiment runs. It never looks at arms with the control's own policy (AA): stopping them would prevent
// nothing.
//
// What counts is the unit, not the connection: see [stats.Sequence]. In a switchback it is the block, since what connections of a block
// have in common does not average out over clients; connections of a block's warm-up are left out. Without a switchback those of the
// warm-up count: it is over all arms alike, and harm is harm.
//
// Entries of different arms live for different times, so that at any moment the connections that have ended are not the same kind of
// connections in each arm. So a connection is told of when it begins, when it is connected and when it ends, and each metric has its
// denominator when all arms know it alike:
//
//	connect-failure, syn-retransmit   when the handshake completes, or the connection ends without
//	reset, stall, still-there         denominator when it begins, what happened when it ends (still-there: when it shows)
//	retransmission                    when it ends, per packet
//
// It reads no clock and is not safe for concurrent use. Memory is bounded: connections of units beyond the limit count for nothing and
// are counted as that. Adding a connection takes constant time and allocates only with a new unit; a check costs the same however many
// units there are.
type Monitor struct {
	spec    *Spec
	max     int
	tracked []Metric         // of guardrails, each once
	place   [NumMetrics]int8 // in tracked; -1
	arms    []monitorArm
	limits  []limit
	units   int
	beyond  uint64
	srm     *stats.SequentialSRM // nil: a switchback
	frozen  bool                 // an arm has been stopped: the units are no longer expected to fall on arms as the weights say
	counts  []int
}

// monitorArm is what is known of one arm.
type monitorArm struct {
	index       map[uint64]int32 // of units, in sums
	sums        []stats.Cluster  // by unit and tracked metric
	clusters    []stats.ClusterSums
	totals      [NumMetrics]stats.Cluster
	connections uint64
	stopped     time.Time
}

// limit is one guardrail on one arm.
type limit struct {
	arm, guardrail int
	alpha          float64
	diff           *stats.Sequence
	own            *stats.RatioSequence // with Absolute
	crossed        *Crossing
}

// NewMonitor makes the monitor of an experiment. It keeps as many units as maxUnits says, [MonitorUnits] with 0. Guardrails must be on
// live metrics (see [LiveMetric]); an absolute limit must be above 0, since no number of connections proves a figure of nothing.
func NewMonitor(spec *Spec, maxUnits int) (*Monitor, error) {
	if len(spec.Arms) < 2 {
		return nil, fmt.Errorf("experiment %s: %d arms, expected at least 2", spec.Name, len(spec.Arms))
	}
	if maxUnits <= 0 {
		maxUnits = MonitorUnits
	}
	m := &Monitor{spec: spec, max: maxUnits, arms: make([]monitorArm, len(spec.Arms)), counts: make([]int, len(spec.Arms))}
	for i := range m.place {
		m.place[i] = -1
	}
	silent, watched := 0, 0
	for _, g := range spec.Guardrails {
		if g.Metric >= NumMetrics || !LiveMetric(g.Metric) {
			return nil, fmt.Errorf("experiment %s: guardrail on a metric that is not known while it runs", spec.Name)
		}
		if m.place[g.Metric] < 0 {
			m.place[g.Metric] = int8(len(m.tracked))
			m.tracked = append(m.tracked, g.Metric)
		}
		if g.Alpha == 0 {
			silent++
		}
	}
	for i := range spec.Arms {
		if spec.watched(i) {
			watched++
		}
		m.arms[i].index = map[uint64]int32{}
		m.arms[i].clusters = make([]stats.ClusterSums, len(m.tracked))
	}
	for g := range spec.Guardrails {
		for a := range spec.Arms {
			if !spec.watched(a) {
				continue
			}
			l, err := newLimit(spec, g, a, spec.Guardrails[g].alpha(silent)/float64(watched))
			if err != nil {
				return nil, err
			}
			m.limits = append(m.limits, l)
		}
	}
	if spec.Switchback == nil {
		weights := make([]float64, len(spec.Arms))
		for i, a := range spec.Arms {
			weights[i] = float64(a.Weight)
		}
		var err error
		if m.srm, err = stats.NewSequentialSRM(weights); err != nil {
			return nil, fmt.Errorf("experiment %s: %w", spec.Name, err)
		}
	}
	return m, nil
}

// watched says whether guardrails concern an arm: not the control, nor its own policy again.
func (s *Spec) watched(arm int) bool { return arm > 0 && !s.Arms[arm].AA }

// alpha is what the guardrail may spend over all its arms, where so many of the experiment's guardrails name none.
func (g *Guardrail) alpha(silent int) float64 {
	if g.Alpha > 0 {
		return g.Alpha
	}
	return GuardrailAlpha / float64(silent)
}

func newLimit(spec *Spec, guardrail, arm int, alpha float64) (l limit, err error) {
	g := &spec.Guardrails[guardrail]
	alpha = min(alpha, 0.49) // of a half on there is nothing to be tested
	l = limit{arm: arm, guardrail: guardrail, alpha: alpha}
	if g.Absolute {
		l.own, err = stats.NewRatioSequence(1-2*alpha, g.Max)
	} else {
		l.diff, err = stats.NewSequence(1 - 2*alpha)
	}
	if err != nil {
		return l, fmt.Errorf("experiment %s: guardrail on %s: %w", spec.Name, g.Metric, err)
	}
	return l, nil
}

// Begin tells of a new connection of an arm (its place in Spec.Arms), a failed attempt of which the gateway made no entry included, with
// its unit's number (see [Spec.UnitHash]) and when it began. Each connection must begin once, before anything else is told of it.
// Connections of units whose arm was stopped belong to no arm.
func (m *Monitor) Begin(arm int, unit uint64, start time.Time) {
	a, u := m.unit(arm, unit, start, true)
	if u < 0 {
		return
	}
	a.connections++
	m.count(a, u, ResetRate, 0, 1)
	m.count(a, u, StallTime, 0, 1)
	m.count(a, u, StillThere, 0, 1)
}

// Connected tells that a connection's handshake is complete. The outcome needs Start, Connected, SYNRetransmits, Adopted and Continued.
func (m *Monitor) Connected(arm int, unit uint64, o *Outcome) {
	if a, u := m.unit(arm, unit, o.Start, false); u >= 0 {
		m.of(a, u, ConnectFailure, o)
		m.of(a, u, SYNRetransmit, o)
	}
}

// Ended tells that a connection is over: its entry ended, or the attempt failed without one. Where Connected is true, that must have
// been told before. Further, the outcome needs Resets, StallS, packets and retransmissions.
func (m *Monitor) Ended(arm int, unit uint64, o *Outcome) {
	a, u := m.unit(arm, unit, o.Start, false)
	if u < 0 {
		return
	}
	if !o.Connected {
		m.of(a, u, ConnectFailure, o)
		m.of(a, u, SYNRetransmit, o)
	}
	m.count(a, u, ResetRate, float64(o.Resets), 0)
	m.count(a, u, StallTime, o.StallS, 0)
	m.of(a, u, Retransmission, o)
}

// StillThere tells that after a connection's end by a timer a segment of it came; once for each connection, which began at start.
func (m *Monitor) StillThere(arm int, unit uint64, start time.Time) {
	if a, u := m.unit(arm, unit, start, false); u >= 0 {
		m.count(a, u, StillThere, 1, 0)
	}
}

// Add tells all of a connection at once, where it is known only afterwards.
func (m *Monitor) Add(arm int, unit uint64, o *Outcome) {
	m.Begin(arm, unit, o.Start)
	if o.Connected {
		m.Connected(arm, unit, o)
	}
	m.Ended(arm, unit, o)
	if o.StillThere {
		m.StillThere(arm, unit, o.Start)
	}
}

// Stop takes an arm out: the gateway no longer gives it connections. What it has may still be told. Its limits are no longer tested, nor
// is the ratio of units. A crossing stops the arm by itself. Control and arms already stopped stay as they are.
func (m *Monitor) Stop(arm int, at time.Time) {
	if arm <= 0 || arm >= len(m.arms) || !m.arms[arm].stopped.IsZero() {
		return
	}
	m.arms[arm].stopped = at
	m.frozen = true
}

// unit finds a unit's sums, making them for a new one with create; -1 where the connection does not count.
func (m *Monitor) unit(arm int, unit uint64, start time.Time, create bool) (*monitorArm, int32) {
	if arm < 0 || arm >= len(m.arms) {
		return nil, -1
	}
	if m.spec.Switchback != nil {
		block := m.spec.BlockOf(start)
		if start.Sub(m.spec.BlockStart(block)) < m.spec.WarmUp {
			return nil, -1
		}
		unit = uint64(block)
	}
	a := &m.arms[arm]
	u, known := a.index[unit]
	switch {
	case known:
		return a, u
	case !create:
		return nil, -1
	case m.units >= m.max:
		m.beyond++
		return nil, -1
	}
	u = int32(len(a.index))
	a.index[unit] = u
	for range m.tracked {
		a.sums = append(a.sums, stats.Cluster{})
	}
	m.units++
	if !m.frozen {
		m.counts[arm]++
	}
	return a, u
}

// of counts what an outcome adds to a metric.
func (m *Monitor) of(a *monitorArm, unit int32, metric Metric, o *Outcome) {
	if num, den, ok := metric.Of(o); ok {
		m.count(a, unit, metric, num, den)
	}
}

func (m *Monitor) count(a *monitorArm, unit int32, metric Metric, num, den float64) {
	if num == 0 && den == 0 {
		return
	}
	t := &a.totals[metric]
	t.Num += num
	t.Den += den
	k := int(m.place[metric])
	if k < 0 {
		return
	}
	c := &a.sums[int(unit)*len(m.tracked)+k]
	old := *c
	c.Num += num
	c.Den += den
	a.clusters[k].Change(old, *c)
}
