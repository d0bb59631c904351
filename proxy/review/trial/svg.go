package trial

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy/review/human"
)

// CSS is the style sheet of the drawings. Colours follow the reader's scheme and are never the only sign: arms have dashes and marks of
// their own, and what was found is filled. Its variables are those of the page's style sheet.
const CSS = `.tr-text{font:13px var(--sans,system-ui,sans-serif);fill:var(--ink)}.tr-dim{fill:var(--dim)}.tr-bold{font-weight:650}
.tr-zero{stroke:var(--dim);stroke-width:1}.tr-grid{stroke:var(--line-soft);stroke-width:1}.tr-axis{stroke:var(--line);stroke-width:1}
.tr-range{stroke:var(--dim);stroke-width:2;fill:none}.tr-dot{fill:var(--paper);stroke:var(--dim);stroke-width:2}
.tr-worse .tr-range,.tr-worse .tr-dot{stroke:var(--drop)}.tr-worse .tr-dot{fill:var(--drop)}
.tr-better .tr-range,.tr-better .tr-dot{stroke:var(--good)}.tr-better .tr-dot{fill:var(--good)}
.tr-line{fill:none;stroke-width:2}.tr-band{stroke:none;opacity:.16}
.tr-a0{--arm:var(--dim)}.tr-a1{--arm:var(--accent)}.tr-a2{--arm:var(--made)}.tr-a3{--arm:var(--hold)}.tr-a4{--arm:var(--rewrite)}.tr-a5{--arm:var(--drop)}
.tr-line{stroke:var(--arm)}.tr-band,.tr-mark{fill:var(--arm)}
.tr-a1 .tr-line{stroke-dasharray:none}.tr-a0 .tr-line{stroke-dasharray:7 4}.tr-a2 .tr-line{stroke-dasharray:2 3}.tr-a3 .tr-line{stroke-dasharray:9 3 2 3}
.tr-a4 .tr-line{stroke-dasharray:12 4}.tr-a5 .tr-line{stroke-dasharray:4 2}
a:hover .tr-mark,a:focus .tr-mark{stroke:var(--ink);stroke-width:2}
`

// Measures of the drawings, in user units (CSS pixels at scale 1).
const (
	plotLeft  = 190
	plotRight = 520
	plotWidth = 920
	rowHeight = 26
	lineLeft  = 64
	lineWidth = 860
	lineTop   = 34
	lineDeep  = 180
)

// drawing is an SVG being drawn.
type drawing struct {
	b strings.Builder
}

func (d *drawing) open(id, title, desc string, width, height int) {
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" class="tr" viewBox="0 0 %d %d" width="%d" height="%d" role="graphics-document" aria-labelledby="%s-title %s-desc">`+"\n",
		width, height, width, height, esc(id), esc(id))
	fmt.Fprintf(&d.b, "<title id=\"%s-title\">%s</title>\n<desc id=\"%s-desc\">%s</desc>\n", esc(id), esc(title), esc(id), esc(desc))
}

func (d *drawing) close() string { return d.b.String() + "</svg>\n" }

func (d *drawing) text(class string, x, y float64, anchor, s string) {
	if anchor != "" {
		anchor = fmt.Sprintf(" text-anchor=\"%s\"", anchor)
	}
	fmt.Fprintf(&d.b, "<text class=\"tr-text %s\" x=\"%s\" y=\"%s\"%s>%s</text>\n", class, num(x), num(y), anchor, esc(s))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&d.b, "<line class=\"%s\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>\n", class, num(x1), num(y1), num(x2), num(y2))
}

// num writes a coordinate.
func num(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\ufffe", "\ufffd", "\uffff", "\ufffd")

func esc(s string) string { return escaper.Replace(human.Clean(s)) }

// Intervals draws an arm's effects with their intervals, one row a metric, each on a scale of its own; "" where there is none to draw.
func Intervals(r *experiment.Report, arm string) string {
	var rows []*experiment.Effect
	for i := range r.Effects {
		if e := &r.Effects[i]; e.Arm == arm && Shown(e) != nil {
			rows = append(rows, e)
		}
	}
	if len(rows) == 0 {
		return ""
	}
	d := &drawing{}
	height := 44 + len(rows)*rowHeight
	d.open("intervals-"+arm, "Effects of "+arm, "For each metric the difference between "+arm+" and the control with its interval, on a scale of its own. Left of the line is better, right of it worse.",
		plotWidth, height)
	mid := (plotLeft + plotRight) / 2.0
	d.text("tr-dim", mid-8, 16, "end", "← better")
	d.text("tr-dim", mid+8, 16, "", "worse →")
	d.line("tr-zero", mid, 24, mid, float64(height-14))
	for i, e := range rows {
		d.effect(e, float64(40+i*rowHeight), mid)
	}
	return d.close()
}

// effect draws a row of the interval plot.
func (d *drawing) effect(e *experiment.Effect, y, mid float64) {
	s := Shown(e)
	most := math.Max(math.Max(math.Abs(s.Lo), math.Abs(s.Hi)), math.Abs(s.Value))
	if most == 0 {
		most = 1
	}
	x := func(v float64) float64 { return mid + v/most*(plotRight-mid-10) }
	class := "tr-none"
	switch {
	case e.Found && !e.Noise && !e.Small && e.Up():
		class = "tr-worse"
	case e.Found && !e.Noise && !e.Small:
		class = "tr-better"
	}
	text := Difference(e, s) + strings.Replace(e.Points(), " in the median", ", median", 1)
	fmt.Fprintf(&d.b, "<g class=\"%s\"><title>%s: %s</title>\n", class, esc(e.What), esc(text))
	d.text(map[bool]string{true: "tr-bold", false: ""}[e.Found], plotLeft-12, y+4, "end", e.Metric)
	d.line("tr-range", x(s.Lo), y, x(s.Hi), y)
	d.line("tr-range", x(s.Lo), y-4, x(s.Lo), y+4)
	d.line("tr-range", x(s.Hi), y-4, x(s.Hi), y+4)
	fmt.Fprintf(&d.b, "<circle class=\"tr-dot\" cx=\"%s\" cy=\"%s\" r=\"4.5\"/>\n", num(x(s.Value)), num(y))
	d.text(map[bool]string{true: "tr-bold", false: "tr-dim"}[e.Found], plotRight+14, y+4, "", text)
	d.b.WriteString("</g>\n")
}

// legend draws the arms' lines and names, and returns where they end.
func (d *drawing) legend(names []string) {
	x := float64(lineLeft)
	for i, name := range names {
		fmt.Fprintf(&d.b, "<g class=\"tr-a%d\"><path class=\"tr-line\" d=\"M%s 14h26\"/>", i%6, num(x))
		d.mark(i, x+13, 14)
		d.text("", x+32, 18, "", name)
		d.b.WriteString("</g>\n")
		x += 48 + 7.5*float64(len([]rune(name)))
	}
}

// mark draws an arm's mark: a circle, a square, a triangle and so on.
func (d *drawing) mark(arm int, x, y float64) {
	switch arm % 4 {
	case 0:
		fmt.Fprintf(&d.b, "<circle class=\"tr-mark\" cx=\"%s\" cy=\"%s\" r=\"3.5\"/>", num(x), num(y))
	case 1:
		fmt.Fprintf(&d.b, "<rect class=\"tr-mark\" x=\"%s\" y=\"%s\" width=\"7\" height=\"7\"/>", num(x-3.5), num(y-3.5))
	case 2:
		fmt.Fprintf(&d.b, "<path class=\"tr-mark\" d=\"M%s %sl4.5 8h-9z\"/>", num(x), num(y-5))
	default:
		fmt.Fprintf(&d.b, "<path class=\"tr-mark\" d=\"M%s %sl5 5l-5 5l-5 -5z\"/>", num(x), num(y-5))
	}
}

// Link makes the address that leads to an arm's connections between two times; "" for none.
type Link func(arm string, from, to time.Time) string

// OverTime draws a metric's figure over time, a line for each arm; "" where there are fewer than two points.
func OverTime(r *experiment.Report, m experiment.Metric, link Link) string {
	points := r.OverTime
	if len(points) < 2 {
		return ""
	}
	top := 0.0
	for _, p := range points {
		for _, a := range p.Arms {
			top = math.Max(top, a.Figures[m.String()])
		}
	}
	if top == 0 {
		return ""
	}
	d := &drawing{}
	d.open("time-"+m.String(), m.What()+" over time", "For each arm the figure of connections that began in each stretch of time, from "+clockText(points[0].From)+" to "+clockText(points[len(points)-1].To)+".",
		lineWidth, lineTop+lineDeep+34)
	names := make([]string, len(r.Arms))
	for i := range r.Arms {
		names[i] = r.Arms[i].Name
	}
	d.legend(names)
	from, span := points[0].From, points[len(points)-1].To.Sub(points[0].From).Seconds()
	x := func(t time.Time) float64 { return lineLeft + t.Sub(from).Seconds()/span*(lineWidth-lineLeft-20) }
	y := func(v float64) float64 { return lineTop + lineDeep - v/top*(lineDeep-12) }
	for _, v := range []float64{0, top / 2, top} {
		d.line("tr-grid", lineLeft, y(v), lineWidth-20, y(v))
		d.text("tr-dim", lineLeft-6, y(v)+4, "end", m.FormatFigure(v))
	}
	d.timeAxis(points, x)
	for arm := range r.Arms {
		d.overTime(r, arm, m, x, y, link)
	}
	return d.close()
}

func (d *drawing) overTime(r *experiment.Report, arm int, m experiment.Metric, x func(time.Time) float64, y func(float64) float64, link Link) {
	fmt.Fprintf(&d.b, "<g class=\"tr-a%d\">\n", arm%6)
	var path strings.Builder
	drawn := false
	type spot struct {
		x, y  float64
		title string
		href  string
	}
	var spots []spot
	for _, p := range r.OverTime {
		if arm >= len(p.Arms) {
			continue
		}
		v, ok := p.Arms[arm].Figures[m.String()]
		if !ok {
			drawn = false
			continue
		}
		px, py := x(p.From.Add(p.To.Sub(p.From)/2)), y(v)
		fmt.Fprintf(&path, "%s%s %s", map[bool]string{true: "L", false: "M"}[drawn], num(px), num(py))
		drawn = true
		s := spot{x: px, y: py, title: fmt.Sprintf("%s, %s: %s of %s", r.Arms[arm].Name, clockText(p.From), m.FormatFigure(v), human.Count(p.Arms[arm].Connections, "connection"))}
		if link != nil {
			s.href = link(r.Arms[arm].Name, p.From, p.To)
		}
		spots = append(spots, s)
	}
	fmt.Fprintf(&d.b, "<path class=\"tr-line\" d=\"%s\"/>\n", path.String())
	for _, s := range spots {
		if s.href != "" {
			fmt.Fprintf(&d.b, "<a href=\"%s\" tabindex=\"-1\" aria-label=\"%s\">", esc(s.href), esc(s.title))
		} else {
			d.b.WriteString("<g>")
		}
		fmt.Fprintf(&d.b, "<title>%s</title>", esc(s.title))
		d.mark(arm, s.x, s.y)
		if s.href != "" {
			d.b.WriteString("</a>\n")
		} else {
			d.b.WriteString("</g>\n")
		}
	}
	d.b.WriteString("</g>\n")
}

// timeAxis writes the times of some points.
func (d *drawing) timeAxis(points []experiment.TimePoint, x func(time.Time) float64) {
	step := max((len(points)+5)/6, 1)
	long := points[len(points)-1].To.Sub(points[0].From) > 36*time.Hour
	for i := 0; i < len(points); i += step {
		t := points[i].From
		layout := "15:04"
		switch {
		case long:
			layout = "01-02 15:04"
		case points[0].To.Sub(points[0].From) < time.Minute:
			layout = "15:04:05"
		}
		d.line("tr-axis", x(t), lineTop+lineDeep, x(t), lineTop+lineDeep+5)
		d.text("tr-dim", x(t), lineTop+lineDeep+20, "", t.UTC().Format(layout))
	}
}

// Distribution draws the distribution functions of a time, a line for each arm with its band; "" where no arm has any. The axis of times is
// logarithmic where they span more than a factor of thirty.
func Distribution(r *experiment.Report, m experiment.Metric) string {
	var names []string
	figures := make([]*experiment.TimeFigure, len(r.Arms))
	lo, hi := math.Inf(1), math.Inf(-1)
	some := false
	for i := range r.Arms {
		names = append(names, r.Arms[i].Name)
		for k := range r.Arms[i].Times {
			if f := &r.Arms[i].Times[k]; f.Metric == m.String() && len(f.ECDF) > 0 {
				figures[i], some = f, true
				lo, hi = math.Min(lo, f.ECDF[0].S), math.Max(hi, f.ECDF[len(f.ECDF)-1].S)
			}
		}
	}
	if !some {
		return ""
	}
	axis := newAxis(lo, hi)
	d := &drawing{}
	d.open("ecdf-"+m.String(), m.What()+": distribution", "For each arm, which share of the times is at most so long. The pale band holds the true function with the report's confidence.", lineWidth, lineTop+lineDeep+34)
	d.legend(names)
	y := func(p float64) float64 { return lineTop + lineDeep - math.Min(math.Max(p, 0), 1)*(lineDeep-8) }
	for _, p := range []float64{0, 0.5, 0.95} {
		d.line("tr-grid", lineLeft, y(p), lineWidth-20, y(p))
		d.text("tr-dim", lineLeft-6, y(p)+4, "end", percent(p))
	}
	for _, v := range axis.ticks() {
		d.line("tr-axis", axis.x(v), lineTop+lineDeep, axis.x(v), lineTop+lineDeep+5)
		d.text("tr-dim", axis.x(v), lineTop+lineDeep+20, "middle", m.FormatFigure(v))
	}
	for i, f := range figures {
		if f == nil {
			continue
		}
		fmt.Fprintf(&d.b, "<g class=\"tr-a%d\"><title>%s: median %s, 95 %% within %s</title>\n", i%6, esc(names[i]), m.FormatFigure(f.Median), m.FormatFigure(f.P95))
		up, down := steps(f, f.Band, &axis, y, false), steps(f, -f.Band, &axis, y, true)
		fmt.Fprintf(&d.b, "<path class=\"tr-band\" d=\"M%sL%sz\"/>\n<path class=\"tr-line\" d=\"M%s\"/>\n</g>\n", up, down, steps(f, 0, &axis, y, false))
	}
	return d.close()
}

// steps are the corners of a distribution function, moved up by some; backwards for the lower edge of a band.
func steps(f *experiment.TimeFigure, by float64, a *axis, y func(float64) float64, back bool) string {
	var pts []string
	before := by
	pts = append(pts, num(lineLeft)+" "+num(y(before)))
	for _, s := range f.ECDF {
		pts = append(pts, num(a.x(s.S))+" "+num(y(before)), num(a.x(s.S))+" "+num(y(s.P+by)))
		before = s.P + by
	}
	pts = append(pts, num(lineWidth-20)+" "+num(y(before)))
	if back {
		for i, j := 0, len(pts)-1; i < j; i, j = i+1, j-1 {
			pts[i], pts[j] = pts[j], pts[i]
		}
	}
	return strings.Join(pts, "L")
}

// axis places times.
type axis struct {
	lo, hi float64
	log    bool
}

func newAxis(lo, hi float64) axis {
	a := axis{lo: 0, hi: hi}
	if lo > 0 && hi/lo > 30 {
		a = axis{lo: lo, hi: hi, log: true}
	}
	if a.hi <= a.lo {
		a.hi = a.lo + 1e-6
	}
	return a
}

func (a *axis) x(v float64) float64 {
	share := (v - a.lo) / (a.hi - a.lo)
	if a.log {
		share = (math.Log(math.Max(v, a.lo)) - math.Log(a.lo)) / (math.Log(a.hi) - math.Log(a.lo))
	}
	return lineLeft + math.Min(math.Max(share, 0), 1)*(lineWidth-lineLeft-20)
}

// ticks are round values within the axis.
func (a *axis) ticks() (out []float64) {
	if a.log {
		for e := math.Floor(math.Log10(a.lo)); e <= math.Ceil(math.Log10(a.hi)); e++ {
			if v := math.Pow(10, e); v >= a.lo && v <= a.hi {
				out = append(out, v)
			}
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10(a.hi)))
	for _, k := range []float64{0.2, 0.5, 1} {
		if a.hi/(step*k) <= 6 {
			step *= k
			break
		}
	}
	for i := 0; i <= 10 && float64(i)*step <= a.hi; i++ {
		out = append(out, float64(i)*step)
	}
	return out
}
