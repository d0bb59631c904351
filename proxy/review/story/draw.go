package story

import (
	"fmt"
	"io"
	"strings"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/ladder"
)

// Parties of the drawing.
const (
	client = iota
	gateway
	server
)

// Ladder returns the story as a drawing.
func (s *Story) Ladder() *ladder.Ladder {
	l := &ladder.Ladder{Title: s.title(), Parties: []string{"client", "gateway", "server"}, Keeper: gateway}
	l.Lines = s.lines()
	l.Facts = append(s.Measures.Facts(), s.Policy.facts()...)
	if s.Before != nil {
		l.Rows = append(l.Rows, ladder.Row{Kind: ladder.Line, At: -1, Label: "Before it on these ports: " + s.Before.Text + ".", Knows: s.Before.Held})
	}
	for i := range s.Steps {
		if s.Omitted > 0 && i == len(s.Steps)/2 {
			l.Rows = append(l.Rows, ladder.Row{Kind: ladder.Line, At: -1, Knows: s.Steps[i].Remembers, Label: human.Count(s.Omitted, "record") + " of its middle left out."})
		}
		l.Rows = append(l.Rows, s.Steps[i].row())
	}
	if s.After != nil {
		l.Rows = append(l.Rows, ladder.Row{Kind: ladder.Line, At: -1, Label: "After it on these ports: " + s.After.Text + "."})
	}
	return l
}

// row draws a step.
func (s *Step) row() ladder.Row {
	r := ladder.Row{At: human.FromSeconds(s.SinceS), Pause: human.FromSeconds(s.PauseS), Label: s.Label, Words: s.Words, Knows: s.Remembers,
		From: client, To: server}
	if !s.ToServer {
		r.From, r.To = server, client
	}
	switch s.Kind {
	case Event:
		r.Kind = ladder.Line
		return r
	case Bundle:
		r.Kind = ladder.Many
		return r
	case Shadow:
		r.Kind = ladder.Ghost
		return r
	case Injected:
		r.Made, r.From, r.Bad = true, gateway, s.Error != ""
		r.Head, r.Mark = s.Reason, s.Cause
		return r
	}
	r.Head, r.Mark = s.head(), s.Mark
	r.Bad, r.Odd = s.Verdict == decisionlog.VerdictDrop, s.Remarks
	switch {
	case s.Released && s.Verdict == decisionlog.VerdictDrop:
		r.Kind, r.Label = ladder.Line, s.Label+": dropped"
	case s.Released:
		r.From = gateway
	case s.Verdict == decisionlog.VerdictDrop:
		r.To, r.Cross = gateway, true
	case s.Verdict == decisionlog.VerdictHold:
		r.To, r.Held = gateway, true
	case s.Verdict == decisionlog.VerdictRewrite:
		r.Changed = true
	}
	return r
}

// past are the verdicts as what has happened.
var past = map[string]string{decisionlog.VerdictForward: "", decisionlog.VerdictDrop: "dropped", decisionlog.VerdictRewrite: "rewritten", decisionlog.VerdictHold: "held"}

// head names a decision in a few words.
func (s *Step) head() string {
	text := s.Reason
	if p := past[s.Verdict]; p != "" {
		text += ": " + p
	}
	if s.State != "" {
		text += " → " + s.State
	}
	return text
}

func (s *Story) title() string {
	return fmt.Sprintf("%s > %s, flow %d", s.Client, s.Server, s.FlowID)
}

// lines are what the story says above the drawing.
func (s *Story) lines() []string {
	lines := []string{s.Headline}
	if c := s.Trouble; c != nil {
		lines = append(lines, "Trouble: "+c.Title()+". "+c.Sentence())
		if !strings.Contains(strings.ToLower(s.Headline), c.What) {
			lines = append(lines, upper(c.What))
		}
	}
	return lines
}

// Text says how a story is written.
type Text = ladder.Text

// WriteText tells the story for a terminal.
func (s *Story) WriteText(w io.Writer, t Text) error {
	d := textStory{Text: t, w: w}
	d.line("", s.title(), bold)
	d.line("", fmt.Sprintf("%s to %s", stamp(s.From), stamp(s.To)), "")
	for i, l := range s.lines() {
		color := ""
		if i > 0 {
			color = red
		}
		d.line("", l, color)
	}
	d.blank()
	for _, f := range s.Measures.Facts() {
		d.line(fmt.Sprintf("  %-17s", f[0]), f[1], "")
	}
	for _, f := range s.Policy.facts() {
		d.line(fmt.Sprintf("  %-17s", f[0]), f[1], "")
	}
	d.blank()
	if d.err != nil {
		return d.err
	}
	return s.Ladder().WriteText(w, t)
}

// ANSI colours.
const (
	bold  = "\x1b[1m"
	red   = "\x1b[31m"
	reset = "\x1b[0m"
)

type textStory struct {
	Text
	w   io.Writer
	err error
}

func (d *textStory) blank() { d.print("\n") }

func (d *textStory) print(s string) {
	if d.err == nil {
		_, d.err = io.WriteString(d.w, s)
	}
}

// line writes a text behind a name, broken into lines.
func (d *textStory) line(name, text, color string) {
	width := 1 << 20
	if d.Width > 0 {
		width = d.Width - len(name)
	}
	for i, part := range human.Wrap(human.Clean(text), width) {
		if i > 0 {
			name = fmt.Sprintf("%*s", len(name), "")
		}
		if d.Color && color != "" {
			part = color + part + reset
		}
		d.print(name + part + "\n")
	}
}

// short cuts a revision to what people compare.
func short(rev string) string {
	if kind, sum, ok := strings.Cut(rev, ":"); ok && len(sum) > 12 {
		return kind + ":" + sum[:12]
	}
	return rev
}

func (p *Policy) facts() (facts [][2]string) {
	if p.Preset != "" {
		text := p.Preset
		for i, r := range p.Revs {
			if i > 0 {
				text += ", then"
			}
			text += " " + short(r)
		}
		facts = append(facts, [2]string{"policy", text})
	}
	if p.Rule != "" {
		facts = append(facts, [2]string{"rule", p.Rule})
	}
	if p.Arm != "" {
		facts = append(facts, [2]string{"arm", p.Arm})
	}
	return facts
}

// stamp writes a time.
func stamp(t decisionlog.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000 UTC") }
