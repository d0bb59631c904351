package lab

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Widths of the space between two parties' columns, in characters: what a label with its arrow takes comfortably, and at least.
const (
	laneWidth    = 27
	laneWidthMin = 21
)

// timeWidth is the width of the time in front of the columns.
const timeWidth = 12

// gapLimit is the silence beyond which the ladder shows a gap instead of nothing.
const gapLimit = 400 * time.Millisecond

// runLimit is how many uneventful segments in a row are drawn before the rest of the run is only counted.
const runLimit = 6

// ladder draws one phase.
type ladder struct {
	w       io.Writer
	parties []string
	numbers *numbering
	zero    time.Time
	width   int // of the terminal; 0: no limit
	lane    int
}

// drawLadder writes the phase as a ladder: one column a party, one line a segment. What does not fit into width characters (0: no limit)
// goes below its segment.
func drawLadder(w io.Writer, p *Phase, width int) {
	if len(p.trace) == 0 {
		fmt.Fprintln(w, "  (no segment was seen)")
		return
	}
	l := &ladder{w: w, parties: []string{"client", "gateway", "server"}, numbers: newNumbering(p.trace), zero: p.trace[0].at, width: width}
	if p.FarGateway != nil {
		l.parties = []string{"client", "far gateway", "gateway", "server"}
	}
	l.lane = laneWidth
	if width > 0 {
		l.lane = max(laneWidthMin, min(laneWidth, (width-timeWidth-1)/(len(l.parties)-1)-1))
	}
	l.header()
	for i := 0; i < len(p.trace); {
		if i > 0 {
			l.gap(p.trace[i-1].at, p.trace[i].at)
		}
		if i == p.mark && i > 0 {
			l.rule("the incident")
		}
		if n := quietRun(p, i); n > runLimit {
			for _, s := range p.trace[i : i+2] {
				l.segment(s)
			}
			l.rule(fmt.Sprintf("%d more segments, forwarded", n-3))
			l.segment(p.trace[i+n-1])
			i += n
			continue
		}
		l.segment(p.trace[i])
		i++
	}
}

// quietRun counts the uneventful segments from i on: data and ACKs that passed, of which no log said anything.
func quietRun(p *Phase, i int) int {
	n := 0
	for ; i+n < len(p.trace) && (n == 0 || i+n != p.mark); n++ {
		s := p.trace[i+n]
		if s.flags&(flagSYN|flagFIN|flagRST) != 0 || s.injectedBy() >= 0 || s.droppedBy() >= 0 || len(s.notes) > 0 {
			break
		}
	}
	return n
}

func (l *ladder) column(i int) int { return i * (l.lane + 1) }

func (l *ladder) header() {
	line := []rune(strings.Repeat(" ", l.column(len(l.parties)-1)+1))
	for i, name := range l.parties {
		at := min(max(l.column(i)-len(name)/2, 0), len(line)-len(name))
		copy(line[at:], []rune(name))
	}
	fmt.Fprintf(l.w, "%10s  %s\n", "seconds", string(line))
}

// blank returns the columns without an arrow.
func (l *ladder) blank() []rune {
	line := []rune(strings.Repeat(" ", l.column(len(l.parties)-1)+1))
	for i := range l.parties {
		line[l.column(i)] = '│'
	}
	return line
}

func (l *ladder) gap(from, to time.Time) {
	if d := to.Sub(from); d > gapLimit {
		fmt.Fprintf(l.w, "%10s  %s\n", fmt.Sprintf("⋮ %.1f s", d.Seconds()), string(l.blank()))
	}
}

func (l *ladder) rule(text string) {
	line := l.blank()
	copy(line[2:], []rune(" "+text+" "))
	fmt.Fprintf(l.w, "%10s  %s\n", "", string(line))
}

// segment draws one arrow. Solid: sent by an end. Dashed: made by a gateway. It ends in a cross at the gateway that dropped it.
func (l *ladder) segment(s *passage) {
	from, to := 0, len(l.parties)-1
	if !s.toServer {
		from, to = to, from
	}
	stroke, head := '─', '▶'
	if g := s.injectedBy(); g >= 0 {
		from, stroke = g+1, '╌'
	}
	if g := s.droppedBy(); g >= 0 {
		to = g + 1
	}
	line := l.blank()
	lo, hi := l.column(min(from, to)), l.column(max(from, to))
	for i := lo + 1; i < hi; i++ {
		if line[i] == '│' {
			line[i] = '┼'
		} else {
			line[i] = stroke
		}
	}
	at := hi - 1
	if !s.toServer {
		at, head = lo+1, '◀'
	}
	if s.droppedBy() >= 0 {
		head = '✗'
	}
	line[at] = head

	label := " " + l.numbers.label(&s.packet) + " "
	start := l.column(from) + 3
	if !s.toServer {
		start = l.column(from) - 2 - utf8.RuneCountInString(label)
	}
	copy(line[max(start, 0):], []rune(label))
	text := fmt.Sprintf("%10.3f  %s", s.at.Sub(l.zero).Seconds(), string(line))
	notes := strings.Join(s.notes, "; ")
	if l.width == 0 || notes == "" || utf8.RuneCountInString(text)+2+len(notes) <= l.width {
		fmt.Fprintln(l.w, strings.TrimRight(text+"  "+notes, " "))
		return
	}
	fmt.Fprintln(l.w, text)
	for _, n := range s.notes {
		fmt.Fprintf(l.w, "%*s│ ╰ %s\n", timeWidth, "", n)
	}
}
