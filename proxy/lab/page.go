package lab

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/ladder"
)

//go:embed page/page.html
var pageText string

//go:embed page/page.css
var pageCSS string

//go:embed page/page.js
var pageScript string

// pageTemplate escapes every text that it is given; only the drawings, which escape their own, and the page's style and script are not.
var pageTemplate = template.Must(template.New("page").Parse(pageText))

// lateSeconds is from when on a recovery is called late: a client's second SYN leaves after one second.
const lateSeconds = 0.9

// WriteHTML prints the matrix as one self-contained page: presets by incidents, and behind each cell what passed and the lines of the
// policy that are responsible. Nothing is fetched, and no script is needed to read it. Equal matrices give equal bytes.
func (m *Matrix) WriteHTML(w io.Writer) error {
	v, err := m.view()
	if err != nil {
		return err
	}
	return pageTemplate.Execute(w, v)
}

// pageView is what the template prints.
type pageView struct {
	*Matrix
	CSS                             template.CSS
	Script                          template.JS
	Incidents                       []incidentView
	Presets                         []presetView
	Phases                          int
	Cells, Recovered, Late, Errors  int
	Lost                            int
	Date, Took, Command, PhasesText string
}

type incidentView struct {
	Incident
	ID     string
	Phases []phaseView
}

type phaseView struct {
	*Row
	ID        string
	Recovered int
	First     bool // of its incident
	Repeat    string
}

type presetView struct {
	PolicyInfo
	ID, Name  string
	Recovered int
	Late      int
	Total     int
	Cells     []*cellView
	Lost      []*cellView // not recovered
}

// cellView is a cell and the panel behind it.
type cellView struct {
	*Cell
	ID, Panel                        string
	First                            bool // of its incident
	Preset                           string
	Row                              *Row
	Class, Icon, Word, Detail        string
	Sentence                         string
	Repeat                           string
	Decisions                        []decisionView
	Drawing                          template.HTML
	Earlier, Later, Above, Below     *cellView
	PresetID, IncidentID, DrawingFor string
}

type decisionView struct {
	*Decision
	Meaning string
	Done    string // what became of it, in words
	Lines   []lineView
}

type lineView struct {
	*PolicyLine
	At      string
	Default bool
	ByLab   bool
	From    string // whose word it is, where it is not the policy's own
	Code    []codeView
}

type codeView struct{ Code, Comment string }

// view lays the page out.
func (m *Matrix) view() (*pageView, error) {
	v := &pageView{Matrix: m, CSS: template.CSS(pageCSS + ladder.CSS), Script: template.JS(pageScript), Phases: len(m.Rows)}
	v.Date = m.Began.UTC().Format("2 January 2006, 15:04 UTC")
	v.Took = fmt.Sprintf("%.0f s", m.Seconds)
	v.Command = m.command()
	m.incidents(v)
	ids := map[string]bool{}
	for i, ref := range m.Policies {
		p := presetView{PolicyInfo: PolicyInfo{Policy: ref}, Name: filepath.Base(ref), Total: len(m.Rows)}
		if i < len(m.Presets) {
			p.PolicyInfo = m.Presets[i]
		}
		for p.ID = slug(p.Name); ids[p.ID]; {
			p.ID += "-again"
		}
		ids[p.ID] = true
		for j := range m.Rows {
			c, err := m.cell(i, j, &p)
			if err != nil {
				return nil, err
			}
			c.First = j > 0 && m.Rows[j-1].Scenario != c.Row.Scenario
			p.Cells = append(p.Cells, c)
			v.count(&p, c)
		}
		v.Presets = append(v.Presets, p)
	}
	v.link()
	return v, nil
}

// command is what was called.
func (m *Matrix) command() string {
	text := "halfopen lab matrix -o html"
	if !slices.Equal(m.Policies, policy.Presets()) {
		for _, p := range m.Policies {
			text += " --policy " + quoteArg(p)
		}
	}
	if len(m.Incidents)+len(m.LeftOut) < len(Scenarios()) {
		for _, s := range m.Incidents {
			text += " --scenario " + s.Scenario
		}
	}
	return text + m.sets()
}

// sets are the overrides as flags.
func (m *Matrix) sets() (text string) {
	for _, s := range m.Set {
		text += " --set " + quoteArg(s)
	}
	return text
}

// quoteArg quotes an argument for a shell, where it needs that.
func quoteArg(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/:=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// slug makes an id of a name.
func slug(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, s)
}

// incidents groups the phases.
func (m *Matrix) incidents(v *pageView) {
	for j := range m.Rows {
		r := &m.Rows[j]
		if n := len(v.Incidents); n == 0 || v.Incidents[n-1].Scenario != r.Scenario {
			in := incidentView{Incident: Incident{Scenario: r.Scenario}, ID: "incident-" + slug(r.Scenario)}
			if i := slices.IndexFunc(m.Incidents, func(x Incident) bool { return x.Scenario == r.Scenario }); i >= 0 {
				in.Incident = m.Incidents[i]
			}
			v.Incidents = append(v.Incidents, in)
		}
		in := &v.Incidents[len(v.Incidents)-1]
		p := phaseView{Row: r, ID: in.ID + "-" + slug(r.Phase), First: len(in.Phases) == 0 && j > 0}
		p.Repeat = "halfopen lab run " + r.Scenario + " --phase " + r.Phase + m.sets()
		for i := range r.Cells {
			count(&p.Recovered, r.Cells[i].Connected)
		}
		in.Phases = append(in.Phases, p)
	}
}

// count adds a cell to the sums.
func (v *pageView) count(p *presetView, c *cellView) {
	v.Cells++
	switch {
	case c.Error != "":
		v.Errors++
		p.Lost = append(p.Lost, c)
	case c.Connected:
		v.Recovered++
		p.Recovered++
		count(&v.Late, c.Seconds >= lateSeconds)
		count(&p.Late, c.Seconds >= lateSeconds)
	default:
		v.Lost++
		p.Lost = append(p.Lost, c)
	}
}

// link gives each cell its neighbours.
func (v *pageView) link() {
	for i := range v.Presets {
		cells := v.Presets[i].Cells
		for j, c := range cells {
			if j > 0 {
				c.Earlier = cells[j-1]
			}
			if j+1 < len(cells) {
				c.Later = cells[j+1]
			}
			if i > 0 {
				c.Above = v.Presets[i-1].Cells[j]
			}
			if i+1 < len(v.Presets) {
				c.Below = v.Presets[i+1].Cells[j]
			}
		}
	}
}

// cell makes the view of policy i in row j.
func (m *Matrix) cell(i, j int, p *presetView) (*cellView, error) {
	r := &m.Rows[j]
	c := &cellView{Cell: &r.Cells[i], Row: r, Preset: p.Name, PresetID: "preset-" + p.ID, IncidentID: "incident-" + slug(r.Scenario)}
	c.Panel = p.ID + "." + slug(r.Scenario) + "." + slug(r.Phase)
	c.ID = "cell." + c.Panel
	c.Repeat = "halfopen lab run " + r.Scenario + " --phase " + r.Phase + " --policy " + quoteArg(p.Policy) + m.sets()
	c.outcome()
	shown := map[string]bool{}
	for _, d := range c.Decisive {
		c.Decisions = append(c.Decisions, viewDecision(d, p.Policy, shown))
	}
	if c.ladder == nil {
		return c, nil
	}
	var b strings.Builder
	drawn := pageLadder(c.ladder)
	drawn.Title = fmt.Sprintf("Ladder of %s under %s", r.Scenario+"/"+r.Phase, p.Name)
	if err := drawn.WriteSVG(&b, ladder.SVG{ID: fmt.Sprintf("l%d", i*len(m.Rows)+j), Bare: true, Headless: true}); err != nil {
		return nil, err
	}
	c.Drawing = template.HTML(b.String())
	return c, nil
}

// outcome says how a cell ended: in a word for the table, in a sentence for the panel.
func (c *cellView) outcome() {
	old := c.SYNSent == 0 // the phase is about the old connection
	took := human.Seconds(c.Seconds)
	if c.Seconds < 0.001 {
		took = "<1 ms"
	}
	brief := took // in the table
	if c.Seconds >= 3 {
		brief = fmt.Sprintf("%.0f s", c.Seconds)
	}
	switch {
	case c.Error != "":
		c.Class, c.Icon, c.Word, c.Detail, c.Sentence = "error", "!", "error", "not played", "The lab could not play this cell: "+c.Error
	case c.Connected && c.Seconds >= lateSeconds:
		c.Class, c.Icon, c.Word, c.Detail, c.Sentence = "late", "◷", "late", brief, "Connected, but only after "+took+"."
	case c.Connected && old:
		c.Class, c.Icon, c.Word, c.Detail, c.Sentence = "good", "✓", "yes", took, "The data got through after "+took+"."
	case c.Connected:
		c.Class, c.Icon, c.Word, c.Detail, c.Sentence = "good", "✓", "yes", took, "Connected after "+took+"."
	case old:
		c.Class, c.Icon, c.Word, c.Detail, c.Sentence = "bad", "✗", "no", c.GaveUp+" "+brief, "No data got through: the "+c.GaveUp+" gave up after "+took+"."
	default:
		c.Class, c.Icon, c.Word, c.Detail, c.Sentence = "bad", "✗", "no", c.GaveUp+" "+brief, "Not connected: the "+c.GaveUp+" gave up after "+took+"."
	}
}

// pageLadder is the ladder as the page draws it: what the log says of a segment first stands out, and of many segments in a row of which it
// says the same only some are drawn.
func pageLadder(l *ladder.Ladder) *ladder.Ladder {
	out := *l
	out.Rows = nil
	for i := 0; i < len(l.Rows); {
		n := alikeRun(l.Rows[i:])
		for k := i; k < i+n; k++ {
			if n > runLimit && k == i+3 {
				out.Rows = append(out.Rows, ladder.Row{Kind: ladder.Line, At: -1, Label: fmt.Sprintf("%d more segments, decided alike", n-4)})
				k = i + n - 1
			}
			r := l.Rows[k]
			if r.Kind == ladder.Arrow && len(r.Words) > 0 {
				r.Head, r.Words, r.Bad = r.Words[0], r.Words[1:], r.Cross
			}
			out.Rows = append(out.Rows, r)
		}
		i += n
	}
	return &out
}

// alikeRun counts the data and ACKs from the first row on that ends sent, that passed, and of which the log says the same; at least 1.
func alikeRun(rows []ladder.Row) int {
	n := 0
	for ; n < len(rows); n++ {
		r := &rows[n]
		plain := r.Kind == ladder.Arrow && !r.Made && !r.Cross && (strings.HasPrefix(r.Label, "data ") || strings.HasPrefix(r.Label, "ACK "))
		if !plain || !slices.Equal(r.Words, rows[0].Words) {
			break
		}
	}
	return max(n, 1)
}

// viewDecision makes the view of a decision of a policy; of settings that the panel has shown before it says nothing again.
func viewDecision(d *Decision, ref string, shown map[string]bool) decisionView {
	v := decisionView{Decision: d}
	if f, ok := conntrack.FindingByWord(d.Finding); ok {
		v.Meaning = f.Info().Meaning
	}
	parts := []string{d.Verdict}
	if d.Reply != "" {
		parts = append(parts, "reply "+d.Reply)
	}
	if d.Peer != "" {
		parts = append(parts, "to the other end "+d.Peer)
	}
	v.Done = strings.Join(parts, ", ")
	own, _, ok := policy.CutReference(ref)
	if ok {
		own += ".yaml"
	} else {
		own = ref
	}
	for i := range d.Lines {
		l := lineView{PolicyLine: &d.Lines[i], At: d.Lines[i].at(), Default: d.Lines[i].File == "", ByLab: d.Lines[i].File == "--set"}
		place := l.At // several keys may stand in one line
		if l.Line == 0 {
			place = l.Key + " " + l.At
		}
		if shown[place] && !strings.HasPrefix(l.Key, "on.") {
			continue
		}
		shown[place] = true
		if !l.Default && !l.ByLab && l.File != own {
			l.From = "inherited"
		}
		if l.Comment != "" {
			l.Code = append(l.Code, codeView{Comment: "# " + l.Comment})
		}
		for _, t := range l.Text {
			code, comment := t, ""
			if i := strings.Index(t, " # "); i >= 0 {
				code, comment = t[:i], t[i:]
			}
			l.Code = append(l.Code, codeView{code, comment})
		}
		if len(l.Text) == 0 {
			l.Code = append(l.Code, codeView{Code: l.Key[strings.LastIndexByte(l.Key, '.')+1:] + ": " + l.Value})
		}
		v.Lines = append(v.Lines, l)
	}
	return v
}
