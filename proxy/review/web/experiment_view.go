package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/trial"
)

// trialView is a report as the page shows it.
type trialView struct {
	*experiment.Report
	Class, Kind string
	SRM         string
	SRMClass    string
	UnitWord    string
	Confidence  string
	ShareText   string
	Arms        []armView
	Tests       []armEffects
	Times       []timeView
	Lines       []lineView
	Rails       []railView
	Segments    []segmentTable
	Differences []armDifferences
	Left        []string
}

type armView struct {
	experiment.ArmReport
	WeightText string
	BytesText  string
	Words      string
	Records    string
	Revisions  []revLink
	Index      int
}

type revLink struct{ Rev, Href string }

// armEffects are an arm's effects: the drawing and the table.
type armEffects struct {
	Arm    string
	AA     bool
	Plot   template.HTML
	Effect []effectView
}

type effectView struct {
	*experiment.Effect
	ControlText, ArmText, ControlHref, ArmHref string
	DifferenceText, P95Text, PText, HolmText   string
	Remark                                     string
	Class                                      string
}

type timeView struct {
	What    string
	Drawing template.HTML
	Rows    []timeRow
}

type timeRow struct {
	Arm              string
	N                int
	Median, P95, Max string
	Href             string
}

type lineView struct {
	What    string
	Drawing template.HTML
	Rows    []pointRow
	Heads   []string
}

type pointRow struct {
	From  time.Time
	Cells []pointCell
}

type pointCell struct {
	Text, Of, Href string
}

type railView struct {
	*experiment.Rail
	Limit, Now, State string
	Class             string
}

type segmentTable struct {
	What  string
	Heads []string
	Diffs []string
	Rows  []segmentRow
}

type segmentRow struct {
	Name  string
	Cells []pointCell
	Diffs []string
}

type armDifferences struct {
	Arm  string
	List []experiment.PolicyDifference
}

// newTrialView makes the view of a report, with links.
func newTrialView(r *experiment.Report, links trialLinks) *trialView {
	v := &trialView{Report: r, Class: verdictClasses[r.Verdict.Kind], Kind: verdictWords[r.Verdict.Kind], UnitWord: "Units", Left: trial.ExcludedLines(&r.Excluded),
		Confidence: experiment.ConnectFailure.FormatFigure(1 - r.Alpha), ShareText: experiment.ConnectFailure.FormatFigure(r.Share)}
	v.SRM, v.SRMClass = trial.SRMText(r), "good"
	if r.SRM == nil || r.SRM.Note != "" {
		v.SRMClass = "open"
	} else if r.SRM.Alarm {
		v.SRMClass = "bad"
	}
	if r.Switchback != nil {
		v.UnitWord = "Blocks"
	}
	for i := range r.Arms {
		v.arm(i, links)
	}
	for i := 1; i < len(r.Arms); i++ {
		v.effects(&r.Arms[i], links)
	}
	for m := range experiment.NumMetrics {
		if m.Kind() == experiment.KindTime {
			v.times(m, links)
		}
	}
	for _, m := range trial.Telling(r) {
		v.overTime(m, links)
		v.segments(m, links)
	}
	for i := range r.Guardrails {
		g := railView{Rail: &r.Guardrails[i], Class: "good"}
		g.Limit, g.Now, g.State = trial.RailWords(g.Rail)
		if g.Crossed != nil {
			g.Class = "bad"
		}
		v.Rails = append(v.Rails, g)
	}
	return v
}

func (v *trialView) arm(i int, links trialLinks) {
	a := armView{ArmReport: v.Report.Arms[i], Index: i % 6}
	a.WeightText = experiment.ConnectFailure.FormatFigure(a.Weight)
	a.BytesText = human.Bytes(a.Load.Bytes)
	bare := a.ArmReport
	bare.Revs = nil
	a.Words = trial.PolicyWords(&bare)
	if links.records != nil {
		a.Records = links.records(a.Name, "", v.From, time.Time{})
	}
	for _, rev := range a.Revs {
		l := revLink{Rev: rev}
		if links.policy != nil {
			l.Href = links.policy(rev)
		}
		a.Revisions = append(a.Revisions, l)
	}
	v.Arms = append(v.Arms, a)
	if len(a.ArmReport.Differences) > 0 {
		v.Differences = append(v.Differences, armDifferences{a.Name, a.ArmReport.Differences})
	}
}

func (v *trialView) effects(a *experiment.ArmReport, links trialLinks) {
	t := armEffects{Arm: a.Name, AA: a.AA, Plot: template.HTML(trial.Intervals(v.Report, a.Name))} // package trial escapes what it draws
	control := v.Report.Arms[0].Name
	for i := range v.Report.Effects {
		e := &v.Report.Effects[i]
		if e.Arm != a.Name {
			continue
		}
		x := effectView{Effect: e, ControlText: trial.Figure(e, e.Control), ArmText: trial.Figure(e, e.Treated), DifferenceText: trial.Difference(e, trial.Shown(e)),
			P95Text: trial.Difference(e, e.P95), Remark: trial.Remark(e)}
		if e.P != nil {
			x.PText = experiment.FormatP(*e.P)
		}
		if e.Adjusted != nil {
			x.HolmText = experiment.FormatP(*e.Adjusted)
		}
		if links.behind != nil {
			x.ControlHref, x.ArmHref = links.behind(v.Name, control, e.Metric), links.behind(v.Name, a.Name, e.Metric)
		}
		if e.Found && !e.Noise && !e.Small {
			x.Class = map[bool]string{true: "worse", false: "better"}[e.Up()]
		}
		t.Effect = append(t.Effect, x)
	}
	v.Tests = append(v.Tests, t)
}

func (v *trialView) times(m experiment.Metric, links trialLinks) {
	t := timeView{What: m.What(), Drawing: template.HTML(trial.Distribution(v.Report, m))}
	for i := range v.Report.Arms {
		a := &v.Report.Arms[i]
		for k := range a.Times {
			if f := &a.Times[k]; f.Metric == m.String() {
				row := timeRow{Arm: a.Name, N: f.N, Median: m.FormatFigure(f.Median), P95: m.FormatFigure(f.P95), Max: m.FormatFigure(f.Max)}
				if links.behind != nil {
					row.Href = links.behind(v.Name, a.Name, f.Metric)
				}
				t.Rows = append(t.Rows, row)
			}
		}
	}
	if t.Drawing != "" {
		v.Times = append(v.Times, t)
	}
}

func (v *trialView) heads() (out []string) {
	for i := range v.Report.Arms {
		out = append(out, v.Report.Arms[i].Name)
	}
	return out
}

func (v *trialView) overTime(m experiment.Metric, links trialLinks) {
	var link trial.Link
	if links.records != nil {
		link = func(arm string, from, to time.Time) string { return links.records(arm, "", from, to) }
	}
	t := lineView{What: m.What(), Drawing: template.HTML(trial.OverTime(v.Report, m, link)), Heads: v.heads()}
	if len(v.Report.OverTime) < 2 {
		return
	}
	for _, p := range v.Report.OverTime {
		row := pointRow{From: p.From}
		for i := range p.Arms {
			href := ""
			if link != nil && p.Arms[i].Connections > 0 {
				href = link(p.Arms[i].Arm, p.From, p.To)
			}
			row.Cells = append(row.Cells, cellOf(m, &p.Arms[i], href))
		}
		t.Rows = append(t.Rows, row)
	}
	v.Lines = append(v.Lines, t)
}

func cellOf(m experiment.Metric, a *experiment.ArmPoint, href string) pointCell {
	c := pointCell{Text: "–", Of: fmt.Sprint(a.Connections), Href: href}
	if f, ok := a.Figures[m.String()]; ok {
		c.Text = m.FormatFigure(f)
	}
	return c
}

func (v *trialView) segments(m experiment.Metric, links trialLinks) {
	t := segmentTable{What: m.What(), Heads: v.heads()}
	for i := 1; i < len(v.Report.Arms); i++ {
		t.Diffs = append(t.Diffs, v.Report.Arms[i].Name)
	}
	for i := range v.Report.Segments {
		s := &v.Report.Segments[i]
		row := segmentRow{Name: s.Kind + " " + s.Value}
		if s.Kind == "family" {
			row.Name = s.Value
		}
		for k := range s.Arms {
			href := ""
			if links.records != nil && s.Kind == "port" && !strings.Contains(s.Value, "others") && s.Arms[k].Connections > 0 {
				href = links.records(s.Arms[k].Arm, "port:"+s.Value, v.From, time.Time{})
			}
			row.Cells = append(row.Cells, cellOf(m, &s.Arms[k], href))
		}
		for _, arm := range t.Diffs {
			row.Diffs = append(row.Diffs, trial.SegmentText(s, arm, m))
		}
		t.Rows = append(t.Rows, row)
	}
	if len(t.Rows) > 0 {
		v.Segments = append(v.Segments, t)
	}
}
