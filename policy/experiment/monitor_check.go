package experiment

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"halfopen/policy/experiment/stats"
)

// Crossing is a limit that an arm was found to have crossed.
type Crossing struct {
	At        time.Time `json:"at"`
	Arm       int       `json:"-"` // its place in Spec.Arms
	ArmName   string    `json:"arm"`
	Guardrail int       `json:"guardrail"` // its place in Spec.Guardrails
	Metric    string    `json:"metric"`
	Max       float64   `json:"max"`
	Absolute  bool      `json:"absolute"`
	Figure    float64   `json:"figure"`  // the arm's at that moment
	Control   float64   `json:"control"` // the control's; 0 with Absolute
	// Lo is the sequential lower bound of what was above Max: of Figure minus Control. With Absolute it is of Figure, and 0 where units
	// do not differ enough for one.
	Lo           float64 `json:"lo"`
	Alpha        float64 `json:"alpha"`
	Units        int     `json:"units"` // of the arm
	ControlUnits int     `json:"control_units"`
	Detail       string  `json:"detail"` // a sentence, for the log; it begins with the metric's word
}

// Check looks at all limits and returns those newly crossed. A crossing stops its arm for the monitor (see [Monitor.Stop]); the caller
// must see to it that the arm's new connections go to the control's policy.
func (m *Monitor) Check(now time.Time) (crossed []Crossing) {
	m.observeUnits()
	for i := range m.limits {
		l := &m.limits[i]
		if l.crossed != nil || !m.arms[l.arm].stopped.IsZero() {
			continue
		}
		if c, ok := m.look(l); ok {
			c.At = now
			l.crossed = &c
			crossed = append(crossed, c)
		}
	}
	for _, c := range crossed {
		m.Stop(c.Arm, now)
	}
	return crossed
}

// observeUnits looks at the ratio of units.
func (m *Monitor) observeUnits() {
	if m.srm != nil {
		m.srm.Observe(m.counts) // counts only grow, and there is one an arm: no error
	}
}

// look tests one limit.
func (m *Monitor) look(l *limit) (c Crossing, crossed bool) {
	g := &m.spec.Guardrails[l.guardrail]
	arm, control := m.clusters(l)
	c = Crossing{Arm: l.arm, ArmName: m.spec.Arms[l.arm].Name, Guardrail: l.guardrail, Metric: g.Metric.String(), Max: g.Max,
		Absolute: g.Absolute, Alpha: l.alpha, Units: arm.Units}
	if g.Absolute {
		if p, err := l.own.Exceeds(arm); err != nil || p > l.alpha {
			return c, false
		}
		if i, err := l.own.Interval(arm); err == nil {
			c.Lo = i.Lo
		}
	} else {
		i, _, err := l.diff.Diff(arm, control)
		if err != nil || i.Lo <= g.Max {
			return c, false
		}
		c.Lo, c.Control, c.ControlUnits = i.Lo, control.Ratio(), control.Units
	}
	c.Figure = arm.Ratio()
	c.Detail = c.sentence(g.Metric)
	return c, true
}

// clusters are the sums by unit of a limit's metric.
func (m *Monitor) clusters(l *limit) (arm, control *stats.ClusterSums) {
	k := m.place[m.spec.Guardrails[l.guardrail].Metric]
	return &m.arms[l.arm].clusters[k], &m.arms[0].clusters[k]
}

// sentence says what was found.
func (c *Crossing) sentence(metric Metric) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of arm %s is %s", c.Metric, c.ArmName, figure(metric, c.Figure))
	if c.Absolute {
		fmt.Fprintf(&b, " of %d units: above the limit of %s", c.Units, figure(metric, c.Max))
	} else {
		fmt.Fprintf(&b, " of %d units, against %s of %d in the control: at least %s more, above the limit of %s", c.Units,
			figure(metric, c.Control), c.ControlUnits, figure(metric, c.Lo), figure(metric, c.Max))
	}
	fmt.Fprintf(&b, " (tested sequentially, alpha %s)", strconv.FormatFloat(c.Alpha, 'g', 3, 64))
	return b.String()
}

// figure writes a metric's figure.
func figure(metric Metric, v float64) string {
	switch {
	case metric.UnitWord() == "s":
		return strconv.FormatFloat(v, 'f', 3, 64) + " s"
	case metric.Kind() == KindShare || metric == Retransmission:
		return strconv.FormatFloat(100*v, 'f', 2, 64) + " %"
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}
