package experiment

import (
	"time"

	"halfopen/policy/experiment/stats"
)

// MonitorState is what a [Monitor] knows, for people and programs that ask while the experiment runs.
type MonitorState struct {
	Name       string           `json:"name"`
	Arms       []ArmState       `json:"arms"`
	Guardrails []GuardrailState `json:"guardrails"`
	SRM        *SRMState        `json:"srm"` // null in a switchback, which assigns no units
	Units      int              `json:"units"`
	MaxUnits   int              `json:"max_units"`
	Beyond     uint64           `json:"connections_beyond"` // connections of units beyond MaxUnits, which count for nothing
}

// ArmState is one arm's figures up to now.
type ArmState struct {
	Name        string        `json:"name"`
	Units       int           `json:"units"` // of a switchback blocks
	Connections uint64        `json:"connections"`
	Stopped     *time.Time    `json:"stopped"`
	Figures     []FigureState `json:"figures"`
}

// FigureState is one metric of an arm.
type FigureState struct {
	Metric string   `json:"metric"`
	Num    float64  `json:"num"`
	Den    float64  `json:"den"`
	Figure *float64 `json:"figure"` // null without a denominator
}

// GuardrailState is one limit on one arm. The interval is the confidence sequence's, of the arm's figure minus the control's or with
// Absolute of the arm's own; the chance that its lower end was ever above what it estimates is Alpha. Without one Why says what is
// missing.
type GuardrailState struct {
	Arm      string    `json:"arm"`
	Metric   string    `json:"metric"`
	Max      float64   `json:"max"`
	Absolute bool      `json:"absolute"`
	Alpha    float64   `json:"alpha"`
	Estimate *float64  `json:"estimate"`
	Lo       *float64  `json:"lo"`
	Hi       *float64  `json:"hi"`
	Why      string    `json:"why"`
	Crossed  *Crossing `json:"crossed"`
}

// SRMState is the test of whether units fall on arms as the weights say. P is always valid; Alarm is P at most [SRMAlpha]. It stands
// still once an arm has been stopped.
type SRMState struct {
	Counts   []int     `json:"counts"`
	Expected []float64 `json:"expected"`
	P        float64   `json:"p"`
	Alarm    bool      `json:"alarm"`
	Frozen   bool      `json:"frozen"`
}

// State describes what is known now. It shares nothing with the monitor.
func (m *Monitor) State() *MonitorState {
	m.observeUnits()
	s := &MonitorState{Name: m.spec.Name, Arms: []ArmState{}, Guardrails: []GuardrailState{}, Units: m.units, MaxUnits: m.max, Beyond: m.beyond}
	for i := range m.arms {
		s.Arms = append(s.Arms, m.armState(i))
	}
	for i := range m.limits {
		s.Guardrails = append(s.Guardrails, m.guardrailState(&m.limits[i]))
	}
	if m.srm != nil {
		s.SRM = m.srmState()
	}
	return s
}

func (m *Monitor) armState(arm int) ArmState {
	a := &m.arms[arm]
	s := ArmState{Name: m.spec.Arms[arm].Name, Units: len(a.index), Connections: a.connections, Figures: []FigureState{}}
	if !a.stopped.IsZero() {
		at := a.stopped
		s.Stopped = &at
	}
	for metric := range NumMetrics {
		if !LiveMetric(metric) {
			continue
		}
		f := FigureState{Metric: metric.String(), Num: a.totals[metric].Num, Den: a.totals[metric].Den}
		if f.Den > 0 {
			v := f.Num / f.Den
			f.Figure = &v
		}
		s.Figures = append(s.Figures, f)
	}
	return s
}

func (m *Monitor) guardrailState(l *limit) GuardrailState {
	g := &m.spec.Guardrails[l.guardrail]
	s := GuardrailState{Arm: m.spec.Arms[l.arm].Name, Metric: g.Metric.String(), Max: g.Max, Absolute: g.Absolute, Alpha: l.alpha}
	if l.crossed != nil {
		c := *l.crossed
		s.Crossed = &c
	}
	arm, control := m.clusters(l)
	i, err := func() (i stats.Interval, err error) {
		if g.Absolute {
			return l.own.Interval(arm)
		}
		i, _, err = l.diff.Diff(arm, control)
		return i, err
	}()
	if err != nil {
		s.Why = err.Error()
		return s
	}
	s.Estimate, s.Lo, s.Hi = &i.Estimate, &i.Lo, &i.Hi
	return s
}

func (m *Monitor) srmState() *SRMState {
	total, weights := 0, 0
	for i, c := range m.counts {
		total += c
		weights += m.spec.Arms[i].Weight
	}
	s := &SRMState{P: m.srm.P(), Frozen: m.frozen}
	s.Alarm = s.P <= SRMAlpha
	for i, c := range m.counts {
		s.Counts = append(s.Counts, c)
		s.Expected = append(s.Expected, float64(total)*float64(m.spec.Arms[i].Weight)/float64(weights))
	}
	return s
}
