package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// position is a place in a policy file: line and column, both from 1, the column in characters. The zero value is
// unknown.
type position struct{ line, col int }

// Problem is something wrong with a policy file.
type Problem struct {
	File     string `json:"file"`               // or the flag that brought the value
	Line     int    `json:"line,omitempty"`     // from 1; 0 where the problem has no place
	Column   int    `json:"column,omitempty"`   // from 1, in characters
	Found    string `json:"found"`              // what was found
	Expected string `json:"expected,omitempty"` // what was expected, "" where there is nothing to say
	Excerpt  string `json:"excerpt,omitempty"`  // the line, shortened around the column and without control characters; "" for none
	Caret    int    `json:"caret"`              // from 0: the column within Excerpt
}

// Problems are everything that is wrong with a policy, in the order of the file.
type Problems []Problem

// maxPrinted bounds how many problems are printed; the rest are counted.
const maxPrinted = 50

// Error returns the problem in one line: "FILE:LINE:COL: found, expected ...".
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": " + p.Found)
	if p.Expected != "" {
		b.WriteString(", expected " + p.Expected)
	}
	return b.String()
}

// Error returns all problems, each with its line and a caret below the place, at most fifty of them.
func (ps Problems) Error() string {
	var b strings.Builder
	for i := range ps {
		if i == maxPrinted {
			atLeast := ""
			if len(ps) >= maxProblems {
				atLeast = "at least "
			}
			fmt.Fprintf(&b, "and %s%d more problems\n", atLeast, len(ps)-maxPrinted)
			break
		}
		p := &ps[i]
		b.WriteString(p.Error() + "\n")
		if p.Excerpt != "" {
			fmt.Fprintf(&b, "%6d | %s\n       | %s^\n", p.Line, p.Excerpt, strings.Repeat(" ", p.Caret))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Err returns the problems as an error, nil where there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// inOrder sorts problems by their place.
func (ps Problems) inOrder() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return ps
}

// source is a file's text, kept for excerpts.
type source struct {
	name  string
	lines []string
}

func newSource(name string, data []byte) *source {
	return &source{name, strings.Split(string(data), "\n")}
}

// problem returns a problem at a place of the source, with its excerpt. A nil source is one of a Spec made by hand.
func (s *source) problem(at position, found, expected string) Problem {
	if s == nil {
		return Problem{File: "policy", Found: found, Expected: expected}
	}
	if n := len(s.lines); n > 0 && at.line > n { // the end of the file
		at = position{n, 1}
	}
	p := Problem{File: s.name, Line: at.line, Column: at.col, Found: found, Expected: expected}
	if at.line >= 1 && at.line <= len(s.lines) {
		p.Excerpt, p.Caret = excerpt(s.lines[at.line-1], at.col)
	}
	return p
}

// excerpt returns at most about 120 characters of a line around a column (from 1), and where the column is in that.
func excerpt(line string, col int) (string, int) {
	const before, width = 60, 120
	var b strings.Builder
	at, n, caret := 1, 0, 0
	start := max(1, col-before)
	for _, r := range line {
		if at >= start && n < width {
			if at == col {
				caret = n
			}
			if !unicode.IsPrint(r) || r == utf8.RuneError {
				r = map[bool]rune{true: ' ', false: '?'}[r == '\t' || r == '\r']
			}
			b.WriteRune(r)
			n++
		}
		if n == width {
			break
		}
		at++
	}
	if col >= at && caret == 0 && col > start {
		caret = n
	}
	text := strings.TrimRight(b.String(), " ")
	if text == "" {
		return "", 0
	}
	return text, min(caret, n)
}

// quote returns a piece of a file for a message: quoted, and shortened where it is long.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "..."
	}
	return fmt.Sprintf("%q", s)
}
