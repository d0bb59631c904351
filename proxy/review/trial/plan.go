package trial

import (
	"context"
	"fmt"
	"io"
	"strings"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/outcome"
)

// LoadPlan reads logs of past traffic and says what an experiment can find. The options' times and remarks are the logs'.
func LoadPlan(ctx context.Context, logs []string, opt experiment.PlanOptions) (*experiment.Plan, error) {
	f, err := records(ctx, logs)
	if err != nil {
		return nil, err
	}
	if !f.begin.Before(f.end) {
		return nil, fmt.Errorf("experiment: the log has no two records at different times, expected some past traffic")
	}
	opt.From, opt.To = f.begin.UTC(), f.end.UTC()
	p := experiment.NewPlanner(opt)
	data, err := outcome.Each(ctx, logs, outcome.Options{}, func(o *experiment.Outcome) error {
		p.Add(o)
		return nil
	})
	if err != nil {
		return nil, err
	}
	plan := p.Plan()
	plan.Caveats = append(plan.Caveats, data.Caveats()...)
	return plan, nil
}

// WritePlan writes a plan for a terminal.
func WritePlan(w io.Writer, p *experiment.Plan) error {
	t := &text{}
	fmt.Fprintf(&t.b, "%s\n\n", planSentence(p))
	fmt.Fprintf(&t.b, "By %s: %d units, %d new ones a day; %d connections, %s of a unit, from %s to %s\n", p.Unit, p.Units, int(p.NewPerDay+0.5), p.Connections,
		experiment.SYNRetransmit.FormatFigure(p.PerUnit), clockText(p.From), clockText(p.To))
	fmt.Fprintf(&t.b, "Control %s of all units, the arm %s; alpha %s over %d tests, power %s\n\n", percent(p.Control), percent(p.Treatment),
		experiment.SYNRetransmit.FormatFigure(p.Alpha), p.Comparisons, percent(p.Power))
	rows := [][]string{{"METRIC", "NOW"}}
	for _, d := range experiment.PlanDays {
		rows[0] = append(rows[0], strings.ToUpper("in "+human.Count(int(d), "day")))
	}
	rows[0] = append(rows[0], "")
	for i := range p.Metrics {
		rows = append(rows, planRow(&p.Metrics[i]))
	}
	t.table("The smallest rise and fall that is found: shares in points, times in the mean", rows)
	rows = [][]string{{"METRIC", "EFFECT", "DAYS"}}
	for i := range p.Metrics {
		if m := &p.Metrics[i]; m.Asked != nil {
			days := m.Asked.Note
			if days == "" {
				days = experiment.SYNRetransmit.FormatFigure(m.Asked.Days)
			}
			rows = append(rows, []string{m.Metric, metricOf(m.Metric).FormatDifference(m.Asked.Effect), days})
		}
	}
	t.table("How long it takes to find", rows)
	t.list("Before you believe it", p.Caveats)
	_, err := io.WriteString(w, t.b.String())
	return err
}

// planSentence says the most telling thing of a plan.
func planSentence(p *experiment.Plan) string {
	for i := range p.Metrics {
		m := &p.Metrics[i]
		if m.Asked != nil {
			mm := metricOf(m.Metric)
			if m.Asked.Note != "" {
				return fmt.Sprintf("%s by %s: %s.", upper(mm.Noun()), mm.FormatDifference(m.Asked.Effect), m.Asked.Note)
			}
			return fmt.Sprintf("A change of %s by %s is found in about %s with a chance of %s.", mm.Noun(), points(mm, m.Asked.Effect),
				human.Count(int(m.Asked.Days+0.999), "day"), percent(p.Power))
		}
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		if m.Metric != experiment.ConnectFailure.String() {
			continue
		}
		for _, e := range m.Finds {
			if e.Days == 7 && e.Note == "" {
				return fmt.Sprintf("In a week a rise of connect failures by %s is found with a chance of %s.", points(experiment.ConnectFailure, e.Rise), percent(p.Power))
			}
		}
		if m.Note != "" {
			return fmt.Sprintf("No plan: %s.", m.Note)
		}
	}
	return "No plan: the log says too little of connect failures."
}

func upper(s string) string { return string(s[0]-'a'+'A') + s[1:] }

// points writes a difference with the word behind it.
func points(m experiment.Metric, v float64) string {
	text := m.FormatDifference(v)
	switch {
	case m.Kind() != experiment.KindShare:
	case text == "1":
		text += " point"
	default:
		text += " points"
	}
	return text
}

func planRow(m *experiment.PlanMetric) []string {
	mm := metricOf(m.Metric)
	row := []string{m.Metric, ""}
	if m.Figure != nil {
		row[1] = mm.FormatFigure(m.Figure.Value)
	}
	note := m.Note
	for range experiment.PlanDays[len(m.Finds):] {
		row = append(row, "-")
	}
	for _, e := range m.Finds {
		switch {
		case e.Note != "":
			row = append(row, "-")
			if note == "" {
				note = e.Note
			}
		case e.Fall == 0:
			row = append(row, "+"+mm.FormatDifference(e.Rise))
		case mm.FormatDifference(e.Rise) == mm.FormatDifference(e.Fall):
			row = append(row, "±"+mm.FormatDifference(e.Rise))
		default:
			row = append(row, "+"+mm.FormatDifference(e.Rise)+" -"+mm.FormatDifference(e.Fall))
		}
	}
	return append(row, note)
}
