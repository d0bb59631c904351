package lab

import (
	"fmt"
	"io"
	"time"

	"halfopen/proxy/review/ladder"
)

// runLimit is how many uneventful segments in a row are drawn before the rest of the run is only counted.
const runLimit = 6

// drawLadder writes the phase as a ladder: one column a party, one line a segment. What does not fit into width characters (0: no limit)
// goes below its segment.
func drawLadder(w io.Writer, p *Phase, width int) {
	if len(p.trace) == 0 {
		fmt.Fprintln(w, "  (no segment was seen)")
		return
	}
	_ = p.ladder().WriteText(w, ladder.Text{Width: width}) // w keeps its error
}

// ladder returns the phase as a drawing.
func (p *Phase) ladder() *ladder.Ladder {
	d := &ladder.Ladder{Parties: []string{"client", "gateway", "server"}}
	if p.FarGateway != nil {
		d.Parties = []string{"client", "far gateway", "gateway", "server"}
	}
	numbers, zero := newNumbers(p.trace), p.trace[0].at
	words := func(i int, text string) {
		d.Rows = append(d.Rows, ladder.Row{Kind: ladder.Line, At: -1, Pause: pauseBefore(p.trace, i), Label: text})
	}
	segment := func(i int, marked bool) {
		r := p.trace[i].row(numbers, len(d.Parties), zero)
		if !marked {
			r.Pause = pauseBefore(p.trace, i)
		}
		d.Rows = append(d.Rows, r)
	}
	for i := 0; i < len(p.trace); {
		incident := i == p.mark && i > 0
		if incident {
			words(i, "the incident")
		}
		if n := quietRun(p, i); n > runLimit {
			segment(i, incident)
			segment(i+1, false)
			d.Rows = append(d.Rows, ladder.Row{Kind: ladder.Line, At: -1, Label: fmt.Sprintf("%d more segments, forwarded", n-3)})
			segment(i+n-1, false)
			i += n
			continue
		}
		segment(i, incident)
		i++
	}
	return d
}

// pauseBefore is the silence before the i-th segment.
func pauseBefore(trace []*passage, i int) time.Duration {
	if i == 0 {
		return 0
	}
	return trace[i].at.Sub(trace[i-1].at)
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

// row draws one segment: solid where an end sent it, dashed where a gateway made it; it ends in a cross at the gateway that dropped it.
func (p *passage) row(n *ladder.Numbers, parties int, zero time.Time) ladder.Row {
	r := ladder.Row{At: p.at.Sub(zero), To: parties - 1, Label: label(n, &p.packet), Words: p.notes}
	if !p.toServer {
		r.From, r.To = r.To, r.From
	}
	if g := p.injectedBy(); g >= 0 {
		r.From, r.Made = g+1, true
	}
	if g := p.droppedBy(); g >= 0 {
		r.To, r.Cross = g+1, true
	}
	return r
}
