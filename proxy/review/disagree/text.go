package disagree

import (
	"fmt"
	"io"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
)

// Bounds of the text.
const (
	shownCells = 20
	shownKinds = 10
)

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	t := text{w: w}
	if len(r.Shadows) == 0 {
		t.line("No policy ran beside the one in force (run --shadow NAME, or --dry-run).")
	}
	for i, p := range r.Shadows {
		if i > 0 {
			t.line("")
		}
		p.text(&t)
	}
	if r.LostRecords > 0 {
		t.line("lost      %s of decisions did not reach the log: examples may be missing, the counts are whole", human.Count(r.LostRecords, "record"))
	}
	if r.Unseen > 0 {
		t.line("unseen    %s passed without any decision (gap records): no policy has seen them", human.Count(r.Unseen, "message"))
	}
	if r.Bad > 0 {
		t.line("bad       %d lines of the log are no records", r.Bad)
	}
	return t.err
}

// WriteText writes a shadow's part for people.
func (p *Policy) WriteText(w io.Writer) error {
	t := text{w: w}
	p.text(&t)
	return t.err
}

type text struct {
	w   io.Writer
	err error
}

func (t *text) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, human.Clean(fmt.Sprintf(format, args...)))
	}
}

func (p *Policy) text(t *text) {
	trial := ""
	if p.Trial {
		trial = ", under trial"
	}
	t.line("shadow    %s %s%s, beside %s", p.Policy, p.PolicyRev, trial, p.LiveRev)
	t.line("  %s", p.Verdict())
	t.line("  decided %s (%s); tracked flows %d%s; it would have injected %d", human.Count(p.Segments, "segment"), counts(p.Verdicts), p.Tracked,
		within(", ended by ", p.Ended), p.Injected)
	t.line("  agrees on %d; first disagrees on %s; %d segments behind that (diverged) say nothing", p.Agreed, human.Count(p.Disagreed+p.Timed, "connection"), p.Diverged)
	for _, s := range p.Caveats() {
		t.line("  %s", s)
	}
	if len(p.Matrix) > 0 {
		t.line("  findings, of the policy in force and of the shadow, up to each connection's first disagreement:")
		t.line("  %9s  %9s", "agreed", "disagreed")
		for _, c := range p.Matrix[:min(len(p.Matrix), shownCells)] {
			t.line("  %9d  %9d  %s | %s", c.Agreed, c.Disagreed, c.Live, c.Shadow)
		}
		more(t, len(p.Matrix), shownCells)
	}
	if len(p.Kinds) > 0 {
		t.line("  first disagreements, by both decisions:")
		for _, k := range p.Kinds[:min(len(p.Kinds), shownKinds)] {
			t.line("  %9d  %s, the shadow %s", k.Flows, k.Live, k.Shadow)
			for _, e := range k.Examples {
				t.line("             %s", e)
			}
		}
		more(t, len(p.Kinds), shownKinds)
	}
}

func more(t *text, n, shown int) {
	if n > shown {
		t.line("  ... and %d more (-o json has all)", n-shown)
	}
}

// Verdict says in a sentence what there is to say.
func (p *Policy) Verdict() string {
	switch n := p.Disagreed + p.Timed; {
	case p.Segments == 0 && p.Shed == 0:
		return "It has seen no segment."
	case n == 0 && p.Shed == 0:
		return "It would have done the same about every segment."
	case n == 0:
		return "It would have done the same about every segment that it was shown; some it was not."
	default:
		return fmt.Sprintf("It would have done something else on %s.", human.Count(n, "connection"))
	}
}

// Caveats say what the numbers do not cover.
func (p *Policy) Caveats() (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.Timed > 0 {
		say("%d of them time alone has parted: one of the two made a packet, or let a held segment go, where the other did nothing or something else", p.Timed)
	}
	if p.Shed > 0 {
		say("shed: it was not shown %s (%s of %s), %s, because the gateway was busy. What it would have done about them is not known, and busy times are the ones left out",
			human.Count(p.Shed, "segment"), share(p.Shed, p.Shed+p.Segments), human.Count(p.Shed+p.Segments, "segment"), p.spans())
	}
	if p.Relaxed+p.TimedRelaxed > 0 {
		say("not claimed: %s and %s where it differs on connections of which it had missed segments", human.Count(p.Relaxed, "segment"), human.Count(p.TimedRelaxed, "end"))
	}
	if n := p.Disagreed + p.Timed; p.Recorded < n {
		say("%d of %d first disagreements have no record (a rate of the log, or its ring): the table has them, the kinds below do not", n-p.Recorded, n)
	}
	if p.Forgotten > 0 {
		say("%d connections that had parted were forgotten for want of room; a later difference on one counts as a first", p.Forgotten)
	}
	return out
}

// spans says when segments were left out.
func (p *Policy) spans() string {
	var parts []string
	for _, s := range p.ShedSpans {
		parts = append(parts, stamp(s.From)+" to "+stamp(s.To))
	}
	if p.Sheds > uint64(len(parts)) {
		return fmt.Sprintf("%d times between %s", p.Sheds, strings.Join(parts, " and "))
	}
	return strings.Join(parts, " and ")
}

func stamp(t decisionlog.Time) string { return t.UTC().Format(time.RFC3339) }

// share is a part in percent.
func share(n, of uint64) string {
	p := 100 * float64(n) / float64(max(of, 1))
	if p > 0 && p < 0.1 {
		return "less than 0.1 %"
	}
	return fmt.Sprintf("%.1f %%", p)
}

// String is one line: a frame of a capture or a time, the ends, the flow.
func (e Example) String() string {
	s := e.At.UTC().Format("2006-01-02T15:04:05.000000Z")
	if e.N != 0 {
		s = fmt.Sprintf("frame %d", e.N)
	}
	s += "  " + e.Src + " > " + e.Dst
	if e.Flow != 0 {
		s += fmt.Sprintf("  flow %d", e.Flow)
	}
	if e.ID != "" {
		s += "  " + e.ID
	}
	return s
}

func counts(m map[string]uint64) string {
	var parts []string
	for _, w := range byCount(m) {
		parts = append(parts, fmt.Sprintf("%d %s", m[w], w))
	}
	return strings.Join(parts, ", ")
}

func within(before string, m map[string]uint64) string {
	if len(m) == 0 {
		return ""
	}
	return before + counts(m)
}
