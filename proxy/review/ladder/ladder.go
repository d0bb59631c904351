// Package ladder draws what passed between two ends and the boxes between them: one vertical line a party, one line a segment, as text
// for a terminal and as SVG for a page. It knows nothing of where the segments come from.
package ladder

import (
	"slices"
	"strings"
	"time"

	"halfopen/proxy/review/human"
)

// Ladder is a drawing.
type Ladder struct {
	Title   string      // of the SVG; one line
	Lines   []string    // below the title, in the SVG only
	Facts   [][2]string // names and values below these, in the SVG only
	Parties []string    // names, from left to right
	Keeper  int         // the party whose line shows, by [Row.Knows], whether it remembers the connection; 0 for none
	Rows    []Row
}

// Kind says what a row is.
type Kind uint8

// Kinds of rows.
const (
	Arrow Kind = iota // a segment
	Many              // segments that are only counted: both directions between the outermost parties
	Line              // words across the drawing
	Ghost             // what another policy would have done, at the keeper's line
)

// Row is something that happened.
type Row struct {
	Kind     Kind
	At       time.Duration // since the first row; nothing is printed where that is negative
	Pause    time.Duration // silence before it, drawn where it is long
	From, To int           // Arrow: where it begins and ends; indices of parties
	Label    string        // on the arrow, or the words of a Line or Ghost
	Made     bool          // a box in between has made it: dashed
	Cross    bool          // it ends at To because that dropped it
	Held     bool          // To holds it back for a while
	Changed  bool          // it was rewritten on its way
	Mark     string        // the same on an arrow and on what was made because of it, "" for none
	Head     string        // what it was, in a word or two
	Words    []string      // sentences beside or below it
	Bad      bool          // it went wrong
	Odd      bool          // no healthy connection has it
	Knows    bool          // the keeper remembers the connection after it
}

// pauseLimit is the silence beyond which a break is drawn instead of nothing.
const pauseLimit = 400 * time.Millisecond

// texts returns head and words as they are printed.
func (r *Row) texts() []string {
	head := r.Head
	if r.Mark != "" {
		head = strings.TrimSpace("[" + r.Mark + "] " + head)
	}
	if head == "" {
		return r.Words
	}
	return append([]string{head}, r.Words...)
}

// clean returns the row without what would steer a terminal: names come from files that others write.
func (r *Row) clean() *Row {
	c := *r
	c.Label, c.Mark, c.Head = human.Clean(r.Label), human.Clean(r.Mark), human.Clean(r.Head)
	c.Words = make([]string, len(r.Words))
	for i, w := range r.Words {
		c.Words[i] = human.Clean(w)
	}
	return &c
}

// uses tells which signs of the legend the drawing uses.
func (l *Ladder) uses(sign func(*Row) bool) bool {
	return slices.ContainsFunc(l.Rows, func(r Row) bool { return sign(&r) })
}

// sign is an entry of the legend.
type sign struct {
	text, words string
	sample      Row // for the SVG; none where the kind is Line
	used        func(*Ladder) bool
}

// signs are the signs that need words, in the order of the legend.
func (l *Ladder) signs() (used []sign) {
	of := func(f func(*Row) bool) func(*Ladder) bool { return func(l *Ladder) bool { return l.uses(f) } }
	for _, s := range []sign{
		{"╌╌▶", "made by the gateway", Row{Made: true}, of(func(r *Row) bool { return r.Kind == Arrow && r.Made })},
		{"[1]", "what it was made for", Row{Kind: Line}, of(func(r *Row) bool { return r.Mark != "" })},
		{"──✗", "dropped", Row{Cross: true}, of(func(r *Row) bool { return r.Cross })},
		{"──◇", "held", Row{Held: true}, of(func(r *Row) bool { return r.Held })},
		{"─◆─", "rewritten", Row{Changed: true}, of(func(r *Row) bool { return r.Changed })},
		{"◌", "what a shadow policy would have done", Row{Kind: Ghost}, of(func(r *Row) bool { return r.Kind == Ghost })},
		{"⇄", "plain segments, counted", Row{Kind: Many}, of(func(r *Row) bool { return r.Kind == Many })},
		{"┊", "the gateway remembers nothing", Row{Kind: Line}, func(l *Ladder) bool { return l.Keeper > 0 && l.uses(func(r *Row) bool { return !r.Knows }) }},
	} {
		if s.used(l) {
			used = append(used, s)
		}
	}
	return used
}
