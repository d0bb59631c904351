package ladder

import (
	"fmt"
	"unicode/utf8"

	"halfopen/proxy/review/human"
)

// head writes what stands above the drawing.
func (d *svgLadder) head() {
	d.y += 16
	d.text("hol-title", margin, d.y, "", d.Title)
	for i, l := range d.Lines {
		class := "hol-lead"
		if i > 0 {
			class = "hol-lead hol-bad"
		}
		for _, part := range human.Wrap(human.Clean(l), (d.width()-2*margin)/8) {
			d.y += 21
			d.text(class, margin, d.y, "", part)
		}
	}
	if len(d.Facts) > 0 {
		d.facts()
	}
	d.y += 34
}

// facts writes names and values in columns.
func (d *svgLadder) facts() {
	const columns = 3
	column := (d.width() - 2*margin) / columns
	d.y += 12
	for i := 0; i < len(d.Facts); i += columns {
		lines := 0
		for j, f := range d.Facts[i:min(i+columns, len(d.Facts))] {
			x := margin + j*column
			d.text("hol-name", x, d.y+18, "", f[0])
			parts := human.Wrap(human.Clean(f[1]), (column-16)/7)
			for n, part := range parts {
				d.text("hol-value", x, d.y+36+n*lineHeight, "", part)
			}
			lines = max(lines, len(parts))
		}
		d.y += 30 + lines*lineHeight
	}
}

// parties writes the names.
func (d *svgLadder) parties() {
	d.text("hol-time", timeEdge, d.y, "", "seconds")
	for i, name := range d.Parties {
		d.text("hol-party", d.x(i), d.y, "middle", name)
	}
	d.y += 12
}

// legendSVG says what the signs mean that occur.
func (d *svgLadder) legendSVG() {
	x := firstParty
	for _, s := range d.signs() {
		size := utf8.RuneCountInString(s.words)*7 + 24
		if x+48+size > d.width()-margin {
			x = firstParty
			d.y += 24
		}
		d.sample(&s, x, d.y-4)
		d.text("hol-legend", x+48, d.y, "", s.words)
		x += 48 + size
	}
}

// sample draws a sign of the legend.
func (d *svgLadder) sample(s *sign, x, y int) {
	switch r := &s.sample; {
	case s.text == "[1]":
		d.number(x+20, y, "1")
	case r.Kind == Line:
		fmt.Fprintf(&d.b, "<line class=\"hol-life hol-blank\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", x+20, y-10, x+20, y+10)
	case r.Kind == Ghost:
		fmt.Fprintf(&d.b, "<circle class=\"hol-ghost\" cx=\"%d\" cy=\"%d\" r=\"7\"/>\n", x+20, y)
	case r.Kind == Many:
		fmt.Fprintf(&d.b, "<rect class=\"hol-many\" x=\"%d\" y=\"%d\" width=\"40\" height=\"16\" rx=\"8\"/><path class=\"hol-both\" d=\"M%d %dl6 -4v8zM%d %dl-6 -4v8z\"/>\n",
			x, y-8, x+5, y, x+35, y)
	default:
		d.stroke(r, x, x+40, y)
		if r.Changed {
			d.diamond(x+18, y)
		}
	}
}
