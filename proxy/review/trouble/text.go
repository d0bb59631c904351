package trouble

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"halfopen/proxy/review/human"
)

// textWidth is the width of the text in characters.
const textWidth = 100

// WriteJSON prints the report as one object.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// WriteText prints the report for people; see tells how an example is looked at, "" for not at all. Nil: nothing tells.
func (r *Report) WriteText(w io.Writer, see func(*Case) string) error {
	var b strings.Builder
	between := ""
	if !r.From.IsZero() && r.To.After(r.From.Time) {
		between = fmt.Sprintf(", %s to %s", stamp(r.From.Time, time.Time{}), stamp(r.To.Time, r.From.Time))
	}
	if r.Troubled == 0 {
		fmt.Fprintf(&b, "No trouble in %s%s.\n", human.Count(r.Connections, "connection"), between)
	} else {
		fmt.Fprintf(&b, "Trouble: %d in %s%s.\n", r.Troubled, human.Count(r.Connections, "connection"), between)
	}
	for _, g := range r.Groups {
		g.text(&b, see)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (g *Group) text(b *strings.Builder, see func(*Case) string) {
	fmt.Fprintf(b, "\n%s: %d, %s to %s\n", g.Title, g.Cases, stamp(g.First.Time, time.Time{}), stamp(g.Last.Time, g.First.Time))
	indent(b, "  ", "  ", g.Sentence)
	for _, v := range g.Variants {
		indent(b, fmt.Sprintf("%6d  ", v.Cases), "        ", v.Sentence)
	}
	for i, reason := range g.Reasons {
		text := fmt.Sprintf("%s %d", human.Clean(reason.Reason), reason.Cases)
		if reason.Verdict != "" {
			text = human.Clean(reason.Verdict) + "/" + text
		}
		if reason.Rule != "" {
			text += ", rule " + human.Clean(reason.Rule)
		}
		indent(b, head(i, "reasons"), "            ", text)
	}
	for i, s := range g.Servers {
		fmt.Fprintf(b, "%s%s %d\n", head(i, "servers"), s.Server, s.Cases)
	}
	for i := range g.Examples {
		c := &g.Examples[i]
		indent(b, "  - ", "    ", fmt.Sprintf("%s  %s > %s: %s", stamp(c.At.Time, time.Time{}), c.Client, c.Server, human.Clean(c.What)))
		if see != nil {
			if how := see(c); how != "" {
				fmt.Fprintf(b, "      %s\n", how)
			}
		}
	}
}

// head is the left edge of a list's line.
func head(i int, name string) string {
	if i > 0 {
		name = ""
	}
	return fmt.Sprintf("  %-10s", name)
}

// indent writes a text broken into lines.
func indent(b *strings.Builder, first, rest, text string) {
	for i, l := range human.Wrap(text, textWidth-len(rest)) {
		if i > 0 {
			first = rest
		}
		b.WriteString(first + l + "\n")
	}
}

// stamp writes a time, and no date where that is the one before.
func stamp(t, before time.Time) string {
	if !before.IsZero() && t.Format(time.DateOnly) == before.Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}
