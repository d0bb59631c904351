package explain

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/scenario"
)

// Typed explains segments that somebody has typed: statements of the scenario language with ; between them, and what may be left
// out of them. "wait 301s" lets time pass before the next one, an end may be an address with its port, the ends may be those of
// the segment before, flags may stand first, and numbers that are missing are those that a stack would send next: an ACK
// acknowledges all that was sent, and a SYN of an end that has talked before has another number. Ends that no flow declares are
// 192.0.2.1:40000 and 198.51.100.1:80.
//
// ref is the policy's name or file, read reads files. The explanations are those of all segments, in order. Where the text or the
// policy has problems there are none.
func Typed(text, ref string, read func(string) ([]byte, error), set []string) ([]*Explanation, error) {
	w := &typist{names: map[string]string{}, next: map[string]int64{}, spoke: map[string]bool{}}
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		if err := w.item(strings.TrimSpace(item)); err != nil {
			return nil, err
		}
	}
	if w.segments == 0 {
		return nil, fmt.Errorf("explain: %s holds no segment, expected as in %q", policy.Quote(text), "c > s S 0:0(0)")
	}
	var head []string
	for _, s := range set {
		head = append(head, "set "+s)
	}
	lines := append(append(head, w.flows...), w.lines...)
	script, problems := scenario.Parse("segment", []byte(strings.Join(lines, "\n")+"\n"))
	if script == nil {
		return nil, fmt.Errorf("explain: the segments cannot be read\n%w", problems)
	}
	var out []*Explanation
	res := script.Run(scenario.Config{Policy: ref, Read: read, Explain: func(e *scenario.Explained) {
		base := e.Base
		x := Step(e.Trace, &base)
		x.Input = strings.TrimSpace(lines[e.Line-1])
		x.Before = before(e.Time, e.Trace.Now)
		out = append(out, x)
	}})
	if len(res.Problems) > 0 && len(out) == 0 {
		return nil, res.Problems
	}
	for i, x := range out {
		x.Input = fmt.Sprintf("segment %d of %d: %s", i+1, len(out), x.Input)
	}
	return out, nil
}

// typist writes the lines of a scenario.
type typist struct {
	flows, lines []string
	names        map[string]string // of ends given by address
	from, to     string            // of the segment before
	next         map[string]int64  // number that an end sends next, relative
	spoke        map[string]bool   // an end has sent more than its SYN
	dials        int64
	wait         time.Duration
	segments     int
	declared     bool // by a line flow
}

// item writes one statement.
func (w *typist) item(text string) error {
	words := strings.Fields(text)
	if len(words) == 0 || words[0][0] == '#' {
		return nil
	}
	switch words[0] {
	case "wait":
		if len(words) != 2 {
			return fmt.Errorf("explain: %s, expected wait and a time, as in wait 301s", policy.Quote(text))
		}
		d, err := policy.ParseDuration(words[1])
		if n, bad := strconv.ParseFloat(words[1], 64); err != nil && bad == nil && n >= 0 && n < 1e9 {
			d, err = time.Duration(n*float64(time.Second)), nil
		}
		if err != nil {
			return fmt.Errorf("explain: %s is no time, expected as in wait 301s or wait 2h4m", policy.Quote(words[1]))
		}
		w.wait += d
		return nil
	case "flow":
		w.declared = true
		w.flows = append(w.flows, text)
		return nil
	case "policy", "shadow", "timeout", "set", "adopt", "reload", "gap":
		w.lines = append(w.lines, text)
		return nil
	}
	at := policy.FormatDuration(w.wait)
	if words[0][0] == '+' {
		at, words = words[0][1:], words[1:]
		if w.wait != 0 {
			return fmt.Errorf("explain: both wait and +%s before a segment", at)
		}
	}
	w.wait = 0
	if len(words) == 0 {
		return fmt.Errorf("explain: %s holds no segment, expected as in %q", policy.Quote(text), "+5s c > s S 0:0(0)")
	}
	if words[0] == "sweep" {
		w.lines = append(w.lines, "+"+at+" "+strings.Join(words, " "))
		return nil
	}
	w.segment("+"+at, words)
	if w.from == "" || w.to == "" {
		return fmt.Errorf("explain: %s names no ends and follows no segment, expected as in %q", policy.Quote(text), "c > s S 0:0(0)")
	}
	return nil
}

// segment writes a segment. What it cannot read it leaves to the scenario's parser.
func (w *typist) segment(at string, words []string) {
	w.segments++
	words = split(words)
	flags := ""
	if len(words) > 0 && (len(words) < 2 || words[1] != ">") {
		flags, words = words[0], words[1:]
	}
	if len(words) > 2 && words[1] == ">" {
		w.ends(words[0], words[2])
		words = words[3:]
	}
	if flags == "" && len(words) > 0 {
		flags, words = words[0], words[1:]
	}
	start := w.start(flags)
	span := fmt.Sprintf("%d:%d(0)", start, start)
	switch {
	case len(words) > 0 && strings.HasPrefix(words[0], "("):
		n, _ := strconv.ParseInt(strings.Trim(words[0], "()"), 10, 32)
		span, words = fmt.Sprintf("%d:%d%s", start, start+n, words[0]), words[1:]
	case len(words) > 0 && strings.Contains(words[0], ":"):
		span, words = words[0], words[1:]
	}
	acks := false
	for _, word := range words {
		acks = acks || word == "ack"
	}
	line := fmt.Sprintf("%s %s > %s %s %s", at, w.from, w.to, flags, span)
	if strings.Contains(flags, ".") && !acks {
		line += fmt.Sprintf(" ack %d", w.next[w.to])
	}
	w.sent(flags, span)
	w.lines = append(w.lines, strings.Join(append([]string{line}, words...), " "))
}

// split parts words at a > that is glued to them; what stands in <> stays.
func split(words []string) (out []string) {
	for i, word := range words {
		if i > 1 || word == ">" || strings.HasPrefix(word, "<") || !strings.Contains(word, ">") {
			out = append(out, word)
			continue
		}
		a, b, _ := strings.Cut(word, ">")
		for _, part := range []string{a, ">", b} {
			if part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// ends names the ends of a segment, and declares their flow where nobody did.
func (w *typist) ends(a, b string) {
	x, errA := netip.ParseAddrPort(a)
	y, errB := netip.ParseAddrPort(b)
	switch {
	case errA == nil && errB == nil:
		_, known := w.names[a]
		_, back := w.names[b]
		w.from, w.to = w.name(a), w.name(b)
		if !known || !back {
			w.flows = append(w.flows, fmt.Sprintf("flow %s %s %s %s", w.from, x, w.to, y))
		}
		return
	case !w.declared && len(w.flows) == 0 && a != b:
		w.flows = append(w.flows, fmt.Sprintf("flow %s 192.0.2.1:40000 %s 198.51.100.1:80", a, b))
	}
	w.from, w.to = a, b
}

// name returns the scenario's name for an address.
func (w *typist) name(addr string) string {
	if _, ok := w.names[addr]; !ok {
		w.names[addr] = "e" + strconv.Itoa(len(w.names)+1)
	}
	return w.names[addr]
}

// start returns the number of a segment that states none.
func (w *typist) start(flags string) int64 {
	if strings.Contains(flags, "S") && !strings.Contains(flags, ".") {
		if w.spoke[w.from] {
			w.dials++
			return w.dials * 1_000_000
		}
		return 0
	}
	if strings.Contains(flags, "S") {
		return 0
	}
	return w.next[w.from]
}

// sent notes what an end has sent.
func (w *typist) sent(flags, span string) {
	_, end, _ := strings.Cut(span, ":")
	end, _, _ = strings.Cut(end, "(")
	n, err := strconv.ParseInt(end, 10, 64)
	if err != nil || strings.Contains(flags, "R") {
		return
	}
	for _, c := range flags {
		if c == 'S' || c == 'F' {
			n++
		}
	}
	w.next[w.from] = n
	w.spoke[w.from] = !strings.Contains(flags, "S") || strings.Contains(flags, ".")
}

// before tells what time has caused.
func before(events []policy.TimeEvent, now conntrack.Instant) (out []string) {
	for i := range events {
		ev := &events[i]
		ago := duration(now.Sub(ev.At)) + " ago "
		switch ev.Kind {
		case policy.TimeFlow:
			if ev.Flow.Kind != policy.FlowEnd {
				continue
			}
			e := &ev.Flow.Entry
			why := ev.Flow.Why.String()
			if ev.Flow.Why == conntrack.EndIdle {
				why = "its idle timer of " + duration(e.Timeout) + " ran out"
			}
			out = append(out, fmt.Sprintf("%sflow %d (%s) ended in %s: %s", ago, e.ID, e.Tuple, e.State, why))
		case policy.TimeRelease:
			out = append(out, ago+"a held segment was let go: "+ev.Verdict.String())
		default:
			for dir, has := range ev.HasEmit {
				if has {
					out = append(out, ago+ev.Trigger()+": "+emitText(&ev.Emit[dir])+" was sent to "+ev.Emit[dir].Segment.Tuple.To().String())
				}
			}
		}
	}
	return out
}
