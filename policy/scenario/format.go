package scenario

import (
	"fmt"
	"strings"

	"halfopen/policy"
)

// Format prints the script in its canonical layout. Parsed and printed again that is the same text.
func (s *Script) Format() []byte {
	var b strings.Builder
	for i := range s.stmts {
		b.WriteString(s.statementText(&s.stmts[i]) + "\n")
	}
	b.WriteString(s.tail)
	return []byte(b.String())
}

// statementText prints one line.
func (s *Script) statementText(st *statement) string {
	verb := func(word string, rest ...string) string {
		return strings.TrimRight(fmt.Sprintf("%-8s %s", word, strings.Join(rest, " ")), " ")
	}
	switch st.kind {
	case isPolicy:
		return verb("policy", st.name)
	case isShadow:
		if st.file == st.name {
			return verb("shadow", st.name)
		}
		return verb("shadow", st.name, "file", st.file)
	case isTimeout:
		return verb("timeout", st.state.String(), policy.FormatDuration(st.wait))
	case isSet:
		return verb("set", st.text)
	case isFlow:
		a, b := s.ends[2*st.flow], s.ends[2*st.flow+1]
		return verb("flow", a.name, a.addr.String(), b.name, b.addr.String())
	case isAdopt:
		return "adopt"
	case isReload:
		return verb("reload", st.name, st.mode)
	case isGap:
		return "gap"
	case isFlows:
		if st.none {
			return verb("flows", "none")
		}
		return "flows"
	case isEvent:
		return s.eventText(st)
	case isEmit:
		return "  emit  " + s.segmentText(st.seg)
	case isWould:
		return "  would " + st.name + " " + st.want.text()
	case isRow:
		return "  " + rowText(st.row)
	}
	return st.text
}

// Columns of the canonical layout.
const (
	timeWidth  = 6  // of an event's time
	flagsWidth = 2  // of the flags
	arrowAt    = 62 // columns before the blank before =>
)

func (s *Script) eventText(st *statement) string {
	what := "sweep"
	if st.seg != nil {
		what = s.segmentText(st.seg)
	}
	left := fmt.Sprintf("+%-*s %s", timeWidth, waitText(st.wait), what)
	if st.want == nil {
		return left
	}
	return fmt.Sprintf("%-*s => %s", arrowAt, left, st.want.text())
}

// segmentText prints a segment without its time.
func (s *Script) segmentText(seg *segment) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s > %s ", s.ends[seg.from].name, s.ends[seg.to].name)
	if seg.icmp != "" {
		return b.String() + seg.icmp
	}
	fmt.Fprintf(&b, "%-*s %s:%s(%d)", flagsWidth, flagsText(seg), seg.seq.text(), seg.end.text(), seg.length)
	if seg.ack != nil {
		b.WriteString(" ack " + seg.ack.text())
	}
	for _, f := range seg.fields {
		b.WriteString(" " + f.key + " " + f.value)
	}
	if seg.bracket {
		var words []string
		for i := range seg.options {
			words = append(words, seg.options[i].text)
		}
		b.WriteString(" <" + strings.Join(words, ",") + ">")
	}
	return b.String()
}

func flagsText(seg *segment) string { return seg.flags.String() }

// rowText prints a row as conntrack(8) does: the protocol padded, then its words.
func rowText(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, " ")
	}
	return fmt.Sprintf("%-8s %s", words[0], strings.Join(words[1:], " "))
}
