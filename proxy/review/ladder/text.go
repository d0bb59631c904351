package ladder

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"halfopen/proxy/review/human"
)

// Text says how a ladder is written.
type Text struct {
	Width int  // characters; 0: no limit, and words stand beside their arrow in one line
	Color bool // ANSI colours, which are never the only sign
}

// Widths of the space between two parties' lines, in characters: what a label with its arrow takes comfortably, and at least.
const (
	laneWidth    = 27
	laneWidthMin = 21
)

// timeWidth is the width of the time in front of the lines, and besideMin the least that words beside an arrow need.
const (
	timeWidth = 12
	besideMin = 34
)

// ANSI colours.
const (
	plain  = ""
	bold   = "\x1b[1m"
	faint  = "\x1b[2m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// textLadder is a ladder being written.
type textLadder struct {
	*Ladder
	Text
	w      io.Writer
	lane   int
	beside int  // characters for words beside an arrow, 0: below it
	knows  bool // the keeper remembers
}

// WriteText draws the ladder with characters: one line a row. Words that do not fit beside their arrow are broken into lines there or,
// where there is too little room for that, stand below it.
func (l *Ladder) WriteText(w io.Writer, t Text) error {
	out := &errWriter{w: w}
	d := &textLadder{Ladder: l, Text: t, w: out, lane: laneWidth}
	if t.Width > 0 {
		between := len(l.Parties) - 1
		d.lane = max(laneWidthMin, min(laneWidth, (t.Width-timeWidth-1)/between-1))
		if lane := min(laneWidth, (t.Width-timeWidth-3-besideMin)/between-1); lane >= laneWidthMin {
			d.lane = lane
			d.beside = t.Width - timeWidth - d.column(between) - 3
		}
	}
	d.header()
	for i := range l.Rows {
		r := l.Rows[i].clean()
		if r.Pause > pauseLimit {
			fmt.Fprintf(d.w, "%10s  %s\n", "⋮ "+human.Duration(r.Pause), string(d.blank()))
		}
		d.row(r)
		d.knows = r.Knows
	}
	d.legend()
	return out.err
}

// errWriter keeps the first error, so that a page of Fprintf needs one check.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(b []byte) (int, error) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
	return len(b), nil
}

func (d *textLadder) paint(color, s string) string {
	if !d.Color || color == plain {
		return s
	}
	return color + s + reset
}

func (d *textLadder) column(i int) int { return i * (d.lane + 1) }

func (d *textLadder) header() {
	line := []rune(strings.Repeat(" ", d.column(len(d.Parties)-1)+1))
	for i, name := range d.Parties {
		n := utf8.RuneCountInString(name)
		at := min(max(d.column(i)-n/2, 0), len(line)-n)
		copy(line[at:], []rune(name))
	}
	fmt.Fprintf(d.w, "%10s  %s\n", "seconds", d.paint(bold, string(line)))
}

// blank returns the parties' lines without an arrow.
func (d *textLadder) blank() []rune {
	line := []rune(strings.Repeat(" ", d.column(len(d.Parties)-1)+1))
	for i := range d.Parties {
		line[d.column(i)] = '│'
		if i == d.Keeper && i > 0 && !d.knows {
			line[d.column(i)] = '┊'
		}
	}
	return line
}

func (d *textLadder) row(r *Row) {
	at := ""
	if r.At >= 0 {
		at = fmt.Sprintf("%10.3f", r.At.Seconds())
	}
	switch r.Kind {
	case Arrow:
		line, whole := d.arrow(r)
		if !whole { // the label on a line of its own
			blank := d.blank()
			label := []rune(" " + r.Label + " ")
			copy(blank[max(min(d.column(min(r.From, r.To))+1, len(blank)-len(label)-1), 1):], label)
			fmt.Fprintf(d.w, "%10s  %s\n", "", string(blank))
		}
		color := plain
		switch {
		case r.Cross:
			color = red
		case r.Made, r.Held, r.Changed:
			color = yellow
		}
		d.knows = r.Knows
		d.print(at, d.paint(color, string(line)), r)
	case Many:
		line := d.blank()
		label := []rune(" ⇄ " + r.Label + " ")
		copy(line[min(2, max(len(line)-len(label), 0)):], label[:min(len(label), len(line)-2)])
		d.knows = r.Knows
		d.print(at, d.paint(faint, string(line)), r)
	case Ghost:
		d.ghost(at, r)
	case Line:
		d.knows = r.Knows
		if label := []rune(r.Label); len(r.texts()) > 0 && len(label)+4 < d.column(len(d.Parties)-1) {
			line := d.blank()
			copy(line[2:], []rune(" "+r.Label+" "))
			d.print(at, string(line), r)
			return
		}
		d.words(at, r)
	}
}

// ghost writes what another policy would have done, from the keeper's line on, and its words beside or below it.
func (d *textLadder) ghost(at string, r *Row) {
	d.knows = r.Knows
	x := d.column(d.Keeper)
	width := 1 << 20
	if d.Width > 0 {
		width = d.Width - timeWidth - x - 2
	}
	parts := human.Wrap(r.Label, width)
	sign := "◌ "
	var line string
	for i, part := range parts {
		label := []rune(sign + part)
		row := d.blank()
		if room := x + len(label); room > len(row) {
			row = append(row, []rune(strings.Repeat(" ", room-len(row)))...)
		}
		copy(row[x:], label)
		line = d.paint(faint, strings.TrimRight(string(row), " "))
		if i < len(parts)-1 || d.Width > 0 {
			fmt.Fprintf(d.w, "%10s  %s\n", at, line)
			at, sign = "", "┊ "
		}
	}
	switch {
	case d.Width == 0:
		d.print(at, line, r)
	case len(r.texts()) == 0:
	case d.beside > 0:
		d.print("", string(d.blank()), r)
	default:
		for _, text := range r.texts() {
			d.under(text)
		}
	}
}

// words writes a row that is a sentence across the lines.
func (d *textLadder) words(at string, r *Row) {
	width := d.column(len(d.Parties)-1) - 4
	if d.Width > 0 {
		width = d.Width - timeWidth - 5
	}
	parts := human.Wrap(r.Label, width)
	for i, text := range parts {
		line := d.blank()
		if len(parts) > 1 { // a block of words
			for j := range line[1:] {
				line[j+1] = ' '
			}
		}
		label := []rune(" " + text + " ")
		if room := len(label) + 2; room > len(line) {
			line = append(line, []rune(strings.Repeat(" ", room-len(line)))...)
		}
		copy(line[2:], label)
		out := strings.TrimRight(string(line), " ")
		if i > 0 {
			at = ""
		}
		fmt.Fprintf(d.w, "%10s  %s\n", at, d.paint(bold, out))
	}
	for _, w := range r.texts() {
		d.under(w)
	}
}

// arrow draws an arrow over the parties' lines; whole is false where the label does not fit on it.
func (d *textLadder) arrow(r *Row) (line []rune, whole bool) {
	stroke, head := '─', '▶'
	if r.Made {
		stroke = '╌'
	}
	line = d.blank()
	left := r.To < r.From
	lo, hi := d.column(min(r.From, r.To)), d.column(max(r.From, r.To))
	for i := lo + 1; i < hi; i++ {
		switch {
		case line[i] == ' ':
			line[i] = stroke
		case r.Changed:
			line[i] = '◆'
		default:
			line[i] = '┼'
		}
	}
	at := hi - 1
	if left {
		at, head = lo+1, '◀'
	}
	switch {
	case r.Cross:
		head = '✗'
	case r.Held:
		head = '◇'
	}
	line[at] = head
	label := []rune(" " + r.Label + " ")
	if len(label)+5 > hi-lo {
		return line, false
	}
	start := d.column(r.From) + 3
	if left {
		start = d.column(r.From) - 2 - len(label)
	}
	copy(line[start:], label)
	return line, true
}

// print writes an arrow's line with its words.
func (d *textLadder) print(at, line string, r *Row) {
	texts := r.texts()
	head := func(i int, s string) string {
		switch {
		case i > 0 || r.Head == "":
			return s
		case r.Bad:
			return d.paint(bold+red, s)
		case r.Odd:
			return d.paint(bold+yellow, s)
		}
		return d.paint(bold, s)
	}
	switch {
	case len(texts) == 0:
		fmt.Fprintf(d.w, "%10s  %s\n", at, line)
	case d.Width == 0:
		fmt.Fprintf(d.w, "%10s  %s  %s\n", at, line, strings.Join(texts, "; "))
	case d.beside > 0:
		first := true
		for i, text := range texts {
			for _, part := range human.Wrap(text, d.beside) {
				if !first {
					at, line = "", string(d.blank())
				}
				fmt.Fprintf(d.w, "%10s  %s  %s\n", at, line, head(i, part))
				first = false
			}
		}
	default:
		fmt.Fprintf(d.w, "%10s  %s\n", at, line)
		for _, text := range texts {
			d.under(text)
		}
	}
}

// under writes words below their arrow.
func (d *textLadder) under(text string) {
	width := 1 << 20
	if d.Width > 0 {
		width = d.Width - timeWidth - 4
	}
	sign := "╰"
	for _, part := range human.Wrap(text, width) {
		fmt.Fprintf(d.w, "%*s│ %s %s\n", timeWidth, "", sign, part)
		sign = " "
	}
}

// legend says what the signs mean that occur.
func (d *textLadder) legend() {
	var parts []string
	for _, s := range d.signs() {
		parts = append(parts, s.text+" "+s.words)
	}
	if len(parts) == 0 || d.Keeper == 0 {
		return
	}
	width := d.Width - timeWidth
	if d.Width == 0 {
		width = 1 << 20
	}
	fmt.Fprintln(d.w)
	line := ""
	for _, p := range parts {
		if line != "" && utf8.RuneCountInString(line)+3+utf8.RuneCountInString(p) > width {
			fmt.Fprintf(d.w, "%*s%s\n", timeWidth, "", line)
			line = ""
		}
		if line != "" {
			line += "   "
		}
		line += p
	}
	fmt.Fprintf(d.w, "%*s%s\n", timeWidth, "", line)
}
