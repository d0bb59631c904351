package scenario

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"halfopen/policy"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// Parse reads a scenario file. name is how messages call it, and what names of other files in it are relative to. It returns
// a nil Script exactly when there are problems; they are all that the file has, in its order.
func Parse(name string, data []byte) (*Script, policy.Problems) {
	s := &Script{name: name}
	switch bad := bytes.IndexByte(data, 0); {
	case len(data) > MaxFileSize:
		return nil, policy.Problems{s.problem(0, 0, "a scenario file of more than 4 MiB", "")}
	case bad >= 0 || !utf8.Valid(data):
		return nil, policy.Problems{s.problem(0, 0, "bytes that are no UTF-8 text", "")}
	}
	s.split(strings.TrimPrefix(string(data), "\ufeff"))
	for n := len(s.lines); n > 0 && strings.Trim(s.lines[n-1], " \t") == ""; n-- {
		s.lines = s.lines[:n-1]
	}
	p := &parser{s: s, names: map[string]int{}, event: -1, flows: -1}
	for i, line := range s.lines {
		p.line(i+1, line)
		if len(p.problems) >= maxProblems {
			break
		}
	}
	p.sections()
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return s, nil
}

// parser reads a script line by line.
type parser struct {
	s        *Script
	names    map[string]int // of ends
	problems policy.Problems
	num      int  // the line that is read
	event    int  // statement that an emit or would belongs to, -1 for none
	flows    int  // statement that a row belongs to, -1 for none
	lost     bool // the line that annotations would belong to could not be read: they are read, but belong to nothing
	begun    bool // an event was read
}

// fault enters a problem at a token.
func (p *parser) fault(col int, found, expected string) {
	p.problems = append(p.problems, p.s.problem(p.num, col, found, expected))
}

func (p *parser) add(st statement) {
	st.line = p.num
	p.s.stmts = append(p.s.stmts, st)
}

// line reads one line.
func (p *parser) line(num int, line string) {
	p.num = num
	trimmed := strings.TrimRight(line, " \t")
	words := tokens(trimmed)
	if len(words) == 0 || words[0].text[0] == '#' {
		p.add(statement{kind: isText, text: trimmed})
		return
	}
	for _, w := range words {
		if w.open {
			p.fault(w.col, "an opening "+open(w.text)+" without its end", "")
			p.forget()
			return
		}
	}
	if line[0] == ' ' || line[0] == '\t' {
		p.annotation(words)
		return
	}
	if line[0] == '+' {
		p.eventLine(words)
		return
	}
	p.directive(words)
}

func open(word string) string {
	if word[0] == '<' {
		return "<"
	}
	return "quote"
}

// forget makes annotations belong to nothing, because what they belong to could not be read.
func (p *parser) forget() { p.event, p.flows, p.lost = -1, -1, true }

// annotation reads an indented line.
func (p *parser) annotation(words []token) {
	switch w := words[0]; {
	case w.text == "emit":
		p.emit(words[1:], w)
	case w.text == "would":
		p.would(words[1:], w)
	case w.text == "tcp":
		p.row(words)
	case w.text[0] == '+' || isVerb(w.text):
		p.fault(w.col, policy.Quote(w.text)+" is indented", "it at the start of the line")
		p.forget()
	default:
		p.fault(w.col, "the annotation "+policy.Quote(w.text), policy.OneOf(w.text, []string{"emit", "would", "tcp"}))
	}
}

// above reports whether an annotation has an event above it.
func (p *parser) above(w token) bool {
	if p.event >= 0 {
		return true
	}
	if !p.lost {
		p.fault(w.col, w.text+" without an event above it", "a line +TIME ... above")
	}
	return false
}

func (p *parser) emit(words []token, at token) {
	ok := p.above(at)
	r := reader{p: p, words: words, end: at.col + len(at.text)}
	seg := r.segment(true)
	if !r.done() || seg == nil || !ok {
		return
	}
	p.add(statement{kind: isEmit, seg: seg, under: p.event})
}

func (p *parser) would(words []token, at token) {
	ok := p.above(at)
	r := reader{p: p, words: words, end: at.col + len(at.text)}
	name, had := r.next("the name of a shadow")
	if !had {
		return
	}
	shadow := false
	var known []string
	for i := range p.s.stmts {
		if st := &p.s.stmts[i]; st.kind == isShadow {
			known = append(known, st.name)
			shadow = shadow || st.name == name.text
		}
	}
	if !shadow {
		expected := "a line shadow NAME above"
		if len(known) > 0 {
			expected = policy.OneOf(name.text, known)
		}
		p.fault(name.col, "the shadow "+policy.Quote(name.text)+", which is not declared", expected)
		ok = false
	}
	if ok && p.s.stmts[p.event].seg == nil {
		p.fault(at.col, "would below a sweep", "it below a segment")
		ok = false
	}
	want := r.decision(false)
	if want != nil && ok {
		p.add(statement{kind: isWould, name: name.text, want: want, under: p.event})
	}
}

func (p *parser) row(words []token) {
	if p.flows < 0 {
		if !p.lost {
			p.fault(words[0].col, "a row of the table without flows above it", "")
		}
		return
	}
	st := statement{kind: isRow, under: p.flows}
	for _, w := range words {
		st.row = append(st.row, w.text)
	}
	if p.s.stmts[p.flows].none {
		p.fault(words[0].col, "a row below flows none", "")
		return
	}
	p.add(st)
}

// eventLine reads +TIME SEGMENT or +TIME sweep, and what is expected.
func (p *parser) eventLine(words []token) {
	p.forget()
	p.begun = true
	before, after, arrow := cut(words)
	st := statement{kind: isEvent}
	ok := true
	if st.wait, ok = parseWait(words[0].text[1:]); !ok {
		p.fault(1, "the time "+policy.Quote(words[0].text), "+ and seconds or a duration, as +5, +10ms or +1h30m")
	}
	r := reader{p: p, words: before[1:], end: words[0].col + len(words[0].text)}
	t, had := r.peek()
	sweep := had && t.text == "sweep"
	if sweep {
		r.i++
		ok = r.done() && ok
	} else {
		st.seg = r.segment(false)
		ok = r.done() && ok && st.seg != nil
	}
	if arrow != nil {
		d := reader{p: p, words: after, end: arrow.col + 2}
		st.want = d.decision(sweep)
		ok = ok && st.want != nil
	}
	if !ok {
		return
	}
	p.add(st)
	p.event, p.lost = len(p.s.stmts)-1, false
}

// cut parts words at the arrow.
func cut(words []token) (before, after []token, arrow *token) {
	for i := range words {
		if words[i].text == "=>" {
			return words[:i], words[i+1:], &words[i]
		}
	}
	return words, nil, nil
}

// reader takes words of a line one by one.
type reader struct {
	p     *parser
	words []token
	i     int
	end   int // column after what came before the first word
}

// at returns the column of the next word, or the one after the last.
func (r *reader) at() int {
	if r.i < len(r.words) {
		return r.words[r.i].col
	}
	if n := len(r.words); n > 0 {
		return r.words[n-1].col + utf8.RuneCountInString(r.words[n-1].text)
	}
	return r.end
}

func (r *reader) peek() (token, bool) {
	if r.i >= len(r.words) {
		return token{}, false
	}
	return r.words[r.i], true
}

// next returns the next word; that there is none is a problem.
func (r *reader) next(what string) (token, bool) {
	t, ok := r.peek()
	if !ok {
		r.p.fault(r.at(), "the end of the line", what)
		return t, false
	}
	r.i++
	return t, true
}

// done reports whether all words were taken; that some were not is a problem.
func (r *reader) done() bool {
	t, more := r.peek()
	if more {
		r.p.fault(t.col, policy.Quote(t.text), "the end of the line")
	}
	return !more
}

// count reads a whole number from lo to hi.
func count(text string, lo, hi int64) (int64, bool) {
	if text == "" || len(text) > 20 || text[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= lo && n <= hi
}

func countText(what string, lo, hi int64) string { return fmt.Sprintf("%s, %d to %d", what, lo, hi) }

// sections checks the names of sections.
func (p *parser) sections() {
	for i := range p.s.sections {
		sec := &p.s.sections[i]
		if p.s.section(sec.name) != sec {
			p.problems = append(p.problems, policy.ProblemAt(p.s.name, sec.line-1, 1, "-- "+sec.name+" --", "a second section of this name", ""))
		}
	}
}
