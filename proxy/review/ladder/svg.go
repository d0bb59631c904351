package ladder

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"halfopen/proxy/review/human"
)

// SVG says how a ladder is drawn as SVG.
type SVG struct {
	// ID begins the ids inside the drawing, so that several can stand in one page; "" is "ladder".
	ID string
	// Bare leaves out the style sheet: the page around it has [CSS], as where its Content-Security-Policy allows no styles inline.
	Bare bool
	// Headless leaves out the drawn title, lines and facts: the page around it has them. They stay the drawing's name and description.
	Headless bool
}

// Measures of the drawing, in user units (CSS pixels at scale 1).
const (
	margin     = 24
	timeEdge   = 100 // right edge of the times
	firstParty = 144
	laneStep   = 236
	wordsGap   = 36 // between the last party's line and the words
	wordsWidth = 430
	lineHeight = 17
	wordsChars = 60 // what fits into wordsWidth in the widest of the usual fonts
)

// svgLadder is a ladder being drawn.
type svgLadder struct {
	*Ladder
	SVG
	b     strings.Builder
	y     int // where the next row begins
	knows bool
	since int            // y from which on the keeper has remembered, or not
	life  []string       // the keeper's line, piece by piece
	marks map[string]int // y of the arrows that others refer to
	links []string
}

// WriteSVG draws the ladder as a document of its own: text is text, no script, nothing fetched; colours follow the reader's light or
// dark scheme and are never the only sign. The same ladder gives the same bytes.
func (l *Ladder) WriteSVG(w io.Writer, o SVG) error {
	if o.ID == "" {
		o.ID = "ladder"
	}
	d := &svgLadder{Ladder: l, SVG: o, marks: map[string]int{}}
	if d.y = margin; !d.Headless {
		d.head()
	}
	d.parties()
	top := d.y
	d.since = top
	rows := d.b.String()
	d.b.Reset()
	for i := range l.Rows {
		r := l.Rows[i].clean()
		if r.Pause > pauseLimit {
			d.pause(human.Duration(r.Pause))
		}
		d.row(r)
	}
	d.remember(!d.knows, d.y+8)
	bottom := d.y + 8
	drawn := d.b.String()
	d.b.Reset()
	d.y += 28
	d.legendSVG()
	legend := d.b.String()
	d.b.Reset()

	width, height := d.width(), d.y+margin-8
	fmt.Fprintf(&d.b, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"hol\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"graphics-document\" aria-labelledby=\"%s-title %s-desc\">\n",
		width, height, width, height, esc(d.ID), esc(d.ID))
	fmt.Fprintf(&d.b, "<title id=\"%s-title\">%s</title>\n<desc id=\"%s-desc\">%s</desc>\n", esc(d.ID), esc(d.Title), esc(d.ID), esc(d.describe()))
	if !d.Bare {
		fmt.Fprintf(&d.b, "<style>%s</style>\n", CSS)
	}
	fmt.Fprintf(&d.b, "<rect class=\"hol-paper\" width=\"%d\" height=\"%d\"/>\n", width, height)
	d.b.WriteString(rows)
	d.lifelines(top, bottom)
	for _, link := range d.links {
		d.b.WriteString(link)
	}
	d.b.WriteString(drawn)
	d.b.WriteString(legend)
	d.b.WriteString("</svg>\n")
	_, err := io.WriteString(w, d.b.String())
	return err
}

// esc escapes a text for XML, in elements and attributes; what XML cannot hold at all becomes a replacement character.
func esc(s string) string {
	return escaper.Replace(human.Clean(s))
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\ufffe", "\ufffd", "\uffff", "\ufffd")

func (d *svgLadder) x(party int) int { return firstParty + party*laneStep }

func (d *svgLadder) wordsAt() int { return d.x(len(d.Parties)-1) + wordsGap }

func (d *svgLadder) width() int { return d.wordsAt() + wordsWidth + margin }

// describe tells the drawing to who cannot see it.
func (d *svgLadder) describe() string {
	return fmt.Sprintf("Segments between %s, from top to bottom in the order of time. %s", strings.Join(d.Parties, ", "), strings.Join(d.Lines, " "))
}

func (d *svgLadder) text(class string, x, y int, anchor, s string) {
	if anchor != "" {
		anchor = fmt.Sprintf(" text-anchor=\"%s\"", anchor)
	}
	fmt.Fprintf(&d.b, "<text class=\"%s\" x=\"%d\" y=\"%d\"%s>%s</text>\n", class, x, y, anchor, esc(s))
}

// lifelines draws the parties' lines below the rows.
func (d *svgLadder) lifelines(top, bottom int) {
	for i := range d.Parties {
		if i == d.Keeper && i > 0 {
			for _, piece := range d.life {
				d.b.WriteString(piece)
			}
			continue
		}
		fmt.Fprintf(&d.b, "<line class=\"hol-life\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", d.x(i), top, d.x(i), bottom)
	}
}

// remember draws the keeper's line up to y: a bar while it remembers the connection, dots while it does not.
func (d *svgLadder) remember(knows bool, y int) {
	if knows == d.knows || d.Keeper == 0 {
		return
	}
	x := d.x(d.Keeper)
	if d.knows {
		d.life = append(d.life, fmt.Sprintf("<rect class=\"hol-knows\" x=\"%d\" y=\"%d\" width=\"10\" height=\"%d\" rx=\"3\"/>\n", x-5, d.since, y-d.since))
	} else if y > d.since {
		d.life = append(d.life, fmt.Sprintf("<line class=\"hol-life hol-blank\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", x, d.since, x, y))
	}
	d.knows, d.since = knows, y
}

// pause draws a break.
func (d *svgLadder) pause(text string) {
	y := d.y + 16
	d.text("hol-time", timeEdge, y+4, "", "⋮ "+text)
	for i := range d.Parties {
		x := d.x(i)
		fmt.Fprintf(&d.b, "<rect class=\"hol-paper\" x=\"%d\" y=\"%d\" width=\"16\" height=\"10\"/><path class=\"hol-break\" d=\"M%d %dl12 -6M%d %dl12 -6\"/>\n",
			x-8, y-5, x-6, y-2, x-6, y+8)
	}
	d.y += 32
}

func (d *svgLadder) row(r *Row) {
	fmt.Fprintf(&d.b, "<g><title>%s</title>\n", esc(d.sentence(r)))
	switch r.Kind {
	case Arrow:
		d.arrowSVG(r)
	case Many:
		d.many(r)
	case Line:
		d.line(r)
	case Ghost:
		d.ghost(r)
	}
	d.b.WriteString("</g>\n")
}

// sentence tells a row in words alone.
func (d *svgLadder) sentence(r *Row) string {
	var parts []string
	if r.At >= 0 {
		parts = append(parts, fmt.Sprintf("%.3f s", r.At.Seconds()))
	}
	switch r.Kind {
	case Arrow:
		from, to := d.Parties[r.From], d.Parties[r.To]
		text := fmt.Sprintf("%s to %s: %s", from, to, r.Label)
		switch {
		case r.Cross:
			text = fmt.Sprintf("%s: %s, dropped by the %s", from, r.Label, to)
		case r.Held:
			text = fmt.Sprintf("%s: %s, held by the %s", from, r.Label, to)
		case r.Made:
			text = fmt.Sprintf("made by the %s for the %s: %s", from, to, r.Label)
		case r.Changed:
			text += ", rewritten"
		}
		parts = append(parts, text)
	default:
		parts = append(parts, r.Label)
	}
	for _, w := range r.texts() {
		parts = append(parts, strings.TrimSuffix(w, "."))
	}
	return strings.Join(parts, ". ")
}

// time writes when a row was.
func (d *svgLadder) time(r *Row, y int) {
	if r.At >= 0 {
		d.text("hol-time", timeEdge, y, "", fmt.Sprintf("%.3f", r.At.Seconds()))
	}
}

// arrowSVG draws a segment.
func (d *svgLadder) arrowSVG(r *Row) {
	y := d.y + 24
	d.time(r, y+4)
	start, tip := d.x(r.From), d.x(r.To)
	dir := 1
	if tip < start {
		dir = -1
	}
	for _, at := range [...]struct {
		party int
		x     *int
		off   int
	}{{r.From, &start, dir}, {r.To, &tip, -dir}} {
		*at.x += at.off
		if at.party == d.Keeper && d.Keeper > 0 {
			*at.x += 5 * at.off // beside its bar
		}
	}
	d.stroke(r, start, tip, y)
	for i := min(r.From, r.To) + 1; i < max(r.From, r.To); i++ {
		if r.Changed {
			d.diamond(d.x(i), y)
		} else {
			fmt.Fprintf(&d.b, "<circle class=\"hol-passed\" cx=\"%d\" cy=\"%d\" r=\"4\"/>\n", d.x(i), y)
		}
	}
	if dir > 0 {
		d.text("hol-label", start+9, y-7, "", r.Label)
	} else {
		d.text("hol-label", start-9, y-7, "end", r.Label)
	}
	d.mark(r, y)
	d.words(r, y)
	d.remember(r.Knows, y)
}

// stroke draws an arrow's line and what it ends in.
func (d *svgLadder) stroke(r *Row, start, tip, y int) {
	dir := 1
	if tip < start {
		dir = -1
	}
	class := ""
	switch {
	case r.Made:
		class = " hol-made"
	case r.Cross:
		class = " hol-drop"
	case r.Held:
		class = " hol-held"
	}
	end := tip - dir*8
	if r.Cross || r.Held {
		end = tip - dir*14
	}
	fmt.Fprintf(&d.b, "<path class=\"hol-sent%s\" d=\"M%d %dH%d\"/>\n", class, start, y, end)
	c := tip - dir*8
	switch {
	case r.Cross:
		fmt.Fprintf(&d.b, "<circle class=\"hol-stop\" cx=\"%d\" cy=\"%d\" r=\"7\"/><path class=\"hol-cross\" d=\"M%d %dl8 8m0 -8l-8 8\"/>\n", c, y, c-4, y-4)
	case r.Held:
		fmt.Fprintf(&d.b, "<circle class=\"hol-wait\" cx=\"%d\" cy=\"%d\" r=\"7\"/><path class=\"hol-bars\" d=\"M%d %dv6M%d %dv6\"/>\n", c, y, c-2, y-3, c+2, y-3)
	default:
		fmt.Fprintf(&d.b, "<path class=\"hol-tip%s\" d=\"M%d %dl%d -5v10z\"/>\n", class, tip, y, -dir*10)
	}
}

func (d *svgLadder) diamond(x, y int) {
	fmt.Fprintf(&d.b, "<path class=\"hol-changed\" d=\"M%d %dl7 7l-7 7l-7 -7z\"/>\n", x, y-7)
}

// mark draws what refers from one arrow to another: a number at both, and a line from the cause to what was made of it.
func (d *svgLadder) mark(r *Row, y int) {
	if r.Mark == "" || d.Keeper == 0 {
		return
	}
	x := d.x(d.Keeper)
	if at, there := d.marks[r.Mark]; there {
		side := 26
		if r.Made && r.To > r.From {
			side = -side
		}
		d.links = append(d.links, fmt.Sprintf("<path class=\"hol-link\" d=\"M%d %dC%d %d %d %d %d %d\"/>\n", x, at, x+side, at, x+side, y, x, y))
	}
	d.marks[r.Mark] = y
	d.number(x, y-16, r.Mark)
}

// number draws a mark.
func (d *svgLadder) number(x, y int, mark string) {
	fmt.Fprintf(&d.b, "<rect class=\"hol-mark\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"16\" rx=\"8\"/>", x-8-3*(len(mark)-1), y-8, 16+6*(len(mark)-1))
	d.text("hol-number", x, y+4, "middle", mark)
}

// words writes the sentences beside an arrow, and makes room for them.
func (d *svgLadder) words(r *Row, y int) {
	x, at := d.wordsAt(), y+4
	if r.Head != "" {
		class := "hol-head"
		switch {
		case r.Bad:
			class += " hol-bad"
		case r.Odd:
			class += " hol-odd"
		}
		for _, part := range human.Wrap(r.Head, wordsChars-4) {
			d.text(class, x, at, "", part)
			at += lineHeight
		}
	}
	for _, w := range r.Words {
		for _, part := range human.Wrap(w, wordsChars) {
			d.text("hol-words", x, at, "", part)
			at += lineHeight
		}
	}
	d.y = max(d.y+40, at-6)
}

// many draws segments that are only counted.
func (d *svgLadder) many(r *Row) {
	y := d.y + 24
	d.time(r, y+4)
	from, to := d.x(0), d.x(len(d.Parties)-1)
	fmt.Fprintf(&d.b, "<rect class=\"hol-many\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"26\" rx=\"13\"/>\n", from+10, y-13, to-from-20)
	fmt.Fprintf(&d.b, "<path class=\"hol-both\" d=\"M%d %dl7 -5v10zM%d %dl-7 -5v10z\"/>\n", from+18, y, to-18, y)
	d.text("hol-count", (from+to)/2, y+4, "middle", r.Label)
	d.words(r, y)
	d.remember(r.Knows, y)
}

// ghost draws what another policy would have done: a hollow mark at the keeper's line.
func (d *svgLadder) ghost(r *Row) {
	y := d.y + 22
	d.time(r, y+4)
	x := d.x(d.Keeper)
	fmt.Fprintf(&d.b, "<circle class=\"hol-ghost\" cx=\"%d\" cy=\"%d\" r=\"7\"/>\n", x, y)
	d.text("hol-label hol-would", x+14, y+4, "", r.Label)
	at := y + 4
	if x+14+utf8.RuneCountInString(r.Label)*8 > d.wordsAt() { // the words below it
		at += lineHeight
	}
	for _, w := range r.texts() {
		for _, part := range human.Wrap(w, wordsChars) {
			d.text("hol-words", d.wordsAt(), at, "", part)
			at += lineHeight
		}
	}
	d.remember(r.Knows, y)
	d.y = max(d.y+36, at-6)
}

// line draws words across the lines.
func (d *svgLadder) line(r *Row) {
	first := d.y + 26
	parts := human.Wrap(r.Label, (d.width()-firstParty-margin-40)/7)
	d.time(r, first+4)
	width := 0
	for _, p := range parts {
		width = max(width, utf8.RuneCountInString(p))
	}
	height := len(parts)*lineHeight + 10
	d.remember(r.Knows, first-6)
	fmt.Fprintf(&d.b, "<rect class=\"hol-note\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>\n", firstParty-10, first-15, min(width*7+40, d.width()-firstParty-margin+10), height)
	for i, p := range parts {
		d.text("hol-event", firstParty, first+3+i*lineHeight, "", p)
	}
	d.mark(r, first)
	if len(r.texts()) > 0 && firstParty+width*7+30 < d.wordsAt() {
		d.words(r, first)
	}
	d.y = max(d.y, first-15+height+6)
}
