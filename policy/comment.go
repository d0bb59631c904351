package policy

import "strings"

// comment returns what a file's author wrote about the key in a line: the comment at the line's end, or else the comment
// lines right above it. It is for people; nothing depends on it.
func (s *source) comment(line int) string {
	if s == nil || line < 1 || line > len(s.lines) {
		return ""
	}
	if c := trailing(s.lines[line-1]); c != "" {
		return c
	}
	var above []string
	for i := line - 2; i >= 0; i-- {
		c, ok := strings.CutPrefix(strings.TrimSpace(s.lines[i]), "#")
		if !ok {
			break
		}
		above = append([]string{strings.TrimSpace(c)}, above...)
	}
	return strings.Join(above, " ")
}

// head returns the comment that opens the file, line by line.
func (s *source) head() []string {
	if s == nil {
		return nil
	}
	var out []string
	for _, l := range s.lines {
		c, ok := strings.CutPrefix(strings.TrimSpace(l), "#")
		if !ok {
			break
		}
		out = append(out, strings.TrimPrefix(c, " "))
	}
	return out
}

// trailing returns the comment at the end of a line that has something before it.
func trailing(line string) string {
	var quote rune
	before := ' '
	for i, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case (r == '"' || r == '\'') && strings.ContainsRune(" {[:,", before):
			quote = r
		case r == '#' && (before == ' ' || before == '\t') && strings.TrimSpace(line[:i]) != "":
			return strings.TrimSpace(line[i+1:])
		}
		before = r
	}
	return ""
}
