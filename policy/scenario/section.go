package scenario

import "strings"

// sectionName returns NAME of a line "-- NAME --", the separator of the txtar format.
func sectionName(line string) (string, bool) {
	line = strings.TrimRight(line, " \t\r")
	if len(line) < 7 || !strings.HasPrefix(line, "-- ") || !strings.HasSuffix(line, " --") {
		return "", false
	}
	name := strings.TrimSpace(line[3 : len(line)-3])
	return name, name != ""
}

// split parts the script from its sections. What line of the file a section begins at is kept for problems in it.
func (s *Script) split(text string) {
	var at int // offset of the line
	var open *section
	for n := 1; at < len(text); n++ {
		line, rest, more := strings.Cut(text[at:], "\n")
		next := len(text) - len(rest)
		if !more {
			next = len(text)
		}
		if name, ok := sectionName(line); ok {
			if s.sections == nil {
				s.tail = text[at:]
			}
			s.sections = append(s.sections, section{name: name, line: n + 1})
			open = &s.sections[len(s.sections)-1]
		} else if open != nil {
			open.data += text[at:next]
		} else {
			s.lines = append(s.lines, strings.TrimSuffix(line, "\r"))
		}
		at = next
	}
}

// section returns a section by its name, nil for none.
func (s *Script) section(name string) *section {
	for i := range s.sections {
		if s.sections[i].name == name {
			return &s.sections[i]
		}
	}
	return nil
}
