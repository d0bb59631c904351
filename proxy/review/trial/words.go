package trial

import (
	"fmt"
	"strings"

	"halfopen/policy/experiment"
)

// metricOf is the metric of a word of the report's own.
func metricOf(word string) experiment.Metric {
	m, _ := experiment.ParseMetric(word)
	return m
}

// Figure is an arm's figure for people, "" where there is none.
func Figure(e *experiment.Effect, f *experiment.Figure) string {
	if f == nil {
		return ""
	}
	return metricOf(e.Metric).FormatFigure(f.Value)
}

// Difference is an effect's difference for people.
func Difference(e *experiment.Effect, d *experiment.Estimate) string {
	if d == nil {
		return ""
	}
	sign := ""
	if d.Value > 0 {
		sign = "+"
	}
	return fmt.Sprintf("%s%s (%s to %s)", sign, e.FormatDifference(d.Value), e.FormatDifference(d.Lo), e.FormatDifference(d.Hi))
}

// Shown is the estimate that an effect shows: the difference, or while the experiment runs its sequence.
func Shown(e *experiment.Effect) *experiment.Estimate {
	if e.Difference != nil {
		return e.Difference
	}
	return e.Sequence
}

// Remark says what is special about an effect.
func Remark(e *experiment.Effect) string {
	var parts []string
	switch {
	case e.Noise:
		parts = append(parts, "A/A differs too")
	case e.Small:
		parts = append(parts, "found, too small to matter")
	case e.Found && e.AA:
		parts = append(parts, "found in the A/A arm")
	case e.Found:
		parts = append(parts, "found")
	}
	if e.Descriptive {
		parts = append(parts, "describes only")
	}
	if e.Of == "units" {
		parts = append(parts, "of units with any")
	}
	if b := e.LossBound; b != nil && e.Found {
		m := metricOf(e.Metric)
		parts = append(parts, fmt.Sprintf("with what was lost between %s and %s", m.FormatDifference(b.Lo), m.FormatDifference(b.Hi)))
	}
	if e.Note != "" {
		parts = append(parts, e.Note)
	}
	return strings.Join(parts, "; ")
}

func pText(p *float64) string {
	if p == nil {
		return ""
	}
	return experiment.FormatP(*p)
}

// RailWords say what a guardrail's state is.
func RailWords(g *experiment.Rail) (limit, now, state string) {
	m := metricOf(g.Metric)
	limit = "at most " + m.FormatFigure(g.Max)
	if !g.Absolute {
		limit = "no more than " + m.FormatDifference(g.Max) + map[bool]string{true: " points", false: ""}[m.Kind() == experiment.KindShare] + " above the control"
	}
	if g.Now != nil {
		now = m.FormatFigure(*g.Now)
		if !g.Absolute {
			now = m.FormatDifference(*g.Now)
		}
	}
	state = "kept"
	if g.Crossed != nil {
		state = "CROSSED at " + clockText(*g.Crossed)
		if g.Gateway != "" {
			state += " on " + g.Gateway
		}
	}
	return limit, now, state
}
