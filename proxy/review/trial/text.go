package trial

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/human"
)

// WriteText writes a report for a terminal: the verdict first.
func WriteText(w io.Writer, r *experiment.Report) error {
	t := &text{r: r}
	fmt.Fprintf(&t.b, "%s\n\n", human.Clean(r.Verdict.Sentence))
	t.head()
	t.arms()
	t.effects()
	t.times()
	t.rails()
	t.overTime()
	t.segments()
	t.differences()
	t.history()
	t.excluded()
	t.caveats()
	_, err := io.WriteString(w, t.b.String())
	return err
}

type text struct {
	r *experiment.Report
	b strings.Builder
}

// table writes rows with aligned columns under a title.
func (t *text) table(title string, rows [][]string) {
	if len(rows) < 2 {
		return
	}
	fmt.Fprintf(&t.b, "%s\n", title)
	tw := tabwriter.NewWriter(&t.b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = human.Clean(row[i])
		}
		fmt.Fprintf(tw, "  %s\n", strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	tw.Flush()
	t.b.WriteByte('\n')
}

func (t *text) head() {
	r := t.r
	what := "final"
	if !r.Final {
		what = "running"
	}
	fmt.Fprintf(&t.b, "Experiment %s, %s: ", human.Clean(r.Name), what)
	if s := r.Switchback; s != nil {
		fmt.Fprintf(&t.b, "switchback with blocks of %s, ", human.Seconds(s.BlockS))
	} else {
		fmt.Fprintf(&t.b, "by %s, ", r.Unit)
	}
	fmt.Fprintf(&t.b, "%s of the units, connections from %s to %s\n", percent(r.Share), clockText(r.From), clockText(r.To))
	t.b.WriteString(SRMText(r) + "\n\n")
}

// SRMText tells the sample ratio in a line.
func SRMText(r *experiment.Report) string {
	s := r.SRM
	switch {
	case s == nil:
		return "Sample ratio: blocks are dealt out by the schedule, there is nothing to test."
	case s.Note != "":
		return "Sample ratio: " + s.Note + "."
	case s.Alarm:
		return fmt.Sprintf("Sample ratio: ALARM, the arms have not the units that their weights promise (p %s; at any time %s).", experiment.FormatP(s.P), experiment.FormatP(s.Sequential))
	}
	return fmt.Sprintf("Sample ratio: as the weights promise (p %s; at any time %s).", experiment.FormatP(s.P), experiment.FormatP(s.Sequential))
}

func percent(v float64) string { return experiment.ConnectFailure.FormatFigure(v) }

func clockText(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func (t *text) arms() {
	unit := "UNITS"
	if t.r.Switchback != nil {
		unit = "BLOCKS"
	}
	rows := [][]string{{"ARM", "WEIGHT", unit, "CONNECTIONS", "OPEN", "PACKETS", "BYTES", "RESETS", "POLICY"}}
	for i := range t.r.Arms {
		a := &t.r.Arms[i]
		rows = append(rows, []string{a.Name, percent(a.Weight), fmt.Sprint(a.Units), fmt.Sprint(a.Load.Connections), fmt.Sprint(a.Unfinished), fmt.Sprint(a.Load.Packets),
			human.Bytes(a.Load.Bytes), fmt.Sprint(a.Load.Resets), PolicyWords(a)})
	}
	t.table("Arms", rows)
}

// PolicyWords say what an arm's policy is.
func PolicyWords(a *experiment.ArmReport) string {
	words := a.Policy
	switch {
	case a.AA:
		words = "the control's again (A/A)"
	case words == experiment.GatewayPolicy:
		words = "the gateway's"
	}
	for _, rev := range a.Revs {
		_, digest, _ := strings.Cut(rev, ":")
		words += " " + digest[:min(len(digest), 12)]
	}
	return words
}

func (t *text) effects() {
	interval := fmt.Sprintf("%s intervals, each for itself; p adjusted for all that decide (Holm)", percent(1-t.r.Alpha))
	if !t.r.Final {
		interval = fmt.Sprintf("%s confidence sequences, each for itself; p valid at any time, adjusted for all that decide (Holm)", percent(1-t.r.Alpha))
	}
	rows := [][]string{{"ARM", "METRIC", "CONTROL", "ARM", "DIFFERENCE", "P", "ADJUSTED", "TEST", ""}}
	for i := range t.r.Effects {
		e := &t.r.Effects[i]
		diff := Difference(e, Shown(e))
		if e.P95 != nil {
			diff += ", p95 " + Difference(e, e.P95)
		}
		rows = append(rows, []string{e.Arm, e.Metric, Figure(e, e.Control), Figure(e, e.Treated), diff, pText(e.P), pText(e.Adjusted), string(e.Test), Remark(e)})
	}
	figure := "times in the median"
	if slices.ContainsFunc(t.r.Effects, func(e experiment.Effect) bool { return e.Test == experiment.MethodSequence }) {
		figure = "times in the mean"
		if t.r.Final {
			figure = "times in the median, of a stopped arm in the mean"
		}
	}
	t.table("Effects, arm minus control: shares in points, "+figure+" ("+interval+")", rows)
}

func (t *text) times() {
	rows := [][]string{{"METRIC", "ARM", "TIMES", "MEDIAN", "P95", "MAX"}}
	for m := range experiment.NumMetrics {
		for i := range t.r.Arms {
			for _, f := range t.r.Arms[i].Times {
				if f.Metric == m.String() {
					rows = append(rows, []string{f.Metric, t.r.Arms[i].Name, fmt.Sprint(f.N), m.FormatFigure(f.Median), m.FormatFigure(f.P95), m.FormatFigure(f.Max)})
				}
			}
		}
	}
	t.table("Times", rows)
}

func (t *text) rails() {
	rows := [][]string{{"ARM", "METRIC", "LIMIT", "NOW", "STATE"}}
	for i := range t.r.Guardrails {
		g := &t.r.Guardrails[i]
		limit, now, state := RailWords(g)
		rows = append(rows, []string{g.Arm, g.Metric, limit, now, state})
	}
	t.table("Guardrails", rows)
}

// Telling are the metrics that over time and segments are shown of: connect failures, and what was found, the worst for users first.
func Telling(r *experiment.Report) (out []experiment.Metric) {
	for _, m := range experiment.Ranked() {
		tell := m == experiment.ConnectFailure
		for i := range r.Effects {
			e := &r.Effects[i]
			tell = tell || e.Found && e.Metric == m.String()
		}
		if tell {
			out = append(out, m)
		}
	}
	return out
}

// The text shows at most so many stretches of time, and metrics over time and by segment; the other forms have all.
const (
	textPoints  = 14
	textMetrics = 2
)

// telling are the metrics that the text shows over time and by segment: those that mean most to users.
func (t *text) telling() []experiment.Metric {
	all := Telling(t.r)
	return all[:min(len(all), textMetrics)]
}

func (t *text) overTime() {
	points := t.r.OverTime
	if len(points) < 2 {
		return
	}
	for _, m := range t.telling() {
		rows := [][]string{{"FROM"}}
		for i := range t.r.Arms {
			rows[0] = append(rows[0], strings.ToUpper(t.r.Arms[i].Name), "OF")
		}
		for i := max(len(points)-textPoints, 0); i < len(points); i++ {
			row := []string{clockText(points[i].From)}
			for _, a := range points[i].Arms {
				row = append(row, pointText(m, &a), fmt.Sprint(a.Connections))
			}
			rows = append(rows, row)
		}
		title := fmt.Sprintf("Over time: %s, of connections begun in %s each", m.What(), human.Duration(points[0].To.Sub(points[0].From)))
		if len(points) > textPoints {
			title += fmt.Sprintf(" (the last %d)", textPoints)
		}
		t.table(title, rows)
	}
}

func pointText(m experiment.Metric, a *experiment.ArmPoint) string {
	v, ok := a.Figures[m.String()]
	if !ok {
		return "-"
	}
	return m.FormatFigure(v)
}

func (t *text) segments() {
	for _, m := range t.telling() {
		rows := [][]string{{"SEGMENT"}}
		for i := range t.r.Arms {
			rows[0] = append(rows[0], strings.ToUpper(t.r.Arms[i].Name), "OF")
		}
		for i := 1; i < len(t.r.Arms); i++ {
			rows[0] = append(rows[0], "DIFFERENCE OF "+strings.ToUpper(t.r.Arms[i].Name))
		}
		for _, s := range t.r.Segments {
			row := []string{s.Kind + " " + s.Value}
			for k := range s.Arms {
				row = append(row, pointText(m, &s.Arms[k]), fmt.Sprint(s.Arms[k].Connections))
			}
			for i := 1; i < len(t.r.Arms); i++ {
				row = append(row, SegmentText(&s, t.r.Arms[i].Name, m))
			}
			rows = append(rows, row)
		}
		t.table("By segment: "+m.What()+" (many looks: places to look at, no findings)", rows)
	}
}

// SegmentText is the difference of an arm in a segment, for people.
func SegmentText(s *experiment.Segment, arm string, m experiment.Metric) string {
	for i := range s.Effects {
		if e := &s.Effects[i]; e.Arm == arm && e.Metric == m.String() {
			return Difference(&experiment.Effect{Metric: e.Metric}, &e.Difference)
		}
	}
	return "-"
}

func (t *text) differences() {
	rows := [][]string{{"ARM", "WHERE", "CONTROL", "ARM"}}
	for i := range t.r.Arms {
		for _, d := range t.r.Arms[i].Differences {
			rows = append(rows, []string{t.r.Arms[i].Name, d.Key, orNone(d.Control), orNone(d.Arm)})
		}
	}
	t.table("What the arms' policies differ in from the control's", rows)
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (t *text) history() {
	rows := [][]string{{"TIME", "EVENT", "ARM", "GATEWAY", "DETAIL"}}
	for _, e := range t.r.Events {
		rows = append(rows, []string{clockText(e.Time), string(e.Kind), orNone(e.Arm), orNone(e.Gateway), orNone(e.Detail)})
	}
	t.table("History", rows)
}

// ExcludedLines say which connections were left out, and why.
func ExcludedLines(x *experiment.Excluded) (out []string) {
	for _, l := range []struct {
		n    int
		what string
	}{
		{x.NoPart, "in no arm: outside the share or the match, or while it was not on"},
		{x.OtherArm, "of another experiment"},
		{x.BeganBefore, "begun before the experiment"},
		{x.After, "begun after its end"},
		{x.WarmUp, "begun in the warm-up"},
		{x.Adopted, "older than the gateway"},
		{x.Pending, "still shaking hands when the log ends"},
		{x.Moved, "of a stopped arm's units, decided by the control's policy"},
		{x.Misassigned, "in another arm than their unit's hash says"},
		{x.WithoutEnds, "without addresses in the log"},
		{x.CarriedOver, "decided by the policy of the block before"},
		{x.BlocksDropped, "of blocks beyond the bound"},
	} {
		if l.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", l.n, l.what))
		}
	}
	return out
}

func (t *text) excluded() {
	lines := ExcludedLines(&t.r.Excluded)
	if len(lines) == 0 {
		return
	}
	t.b.WriteString("Connections left out\n")
	for _, l := range lines {
		fmt.Fprintf(&t.b, "  %s\n", l)
	}
	t.b.WriteByte('\n')
}

func (t *text) caveats() { t.list("Before you believe it", t.r.Caveats) }

// list writes sentences under a title.
func (t *text) list(title string, sentences []string) {
	if len(sentences) == 0 {
		return
	}
	t.b.WriteString(title + "\n")
	for _, c := range sentences {
		for i, line := range human.Wrap(human.Clean(c), 116) {
			lead := "  - "
			if i > 0 {
				lead = "    "
			}
			fmt.Fprintf(&t.b, "%s%s\n", lead, line)
		}
	}
}
