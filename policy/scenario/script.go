package scenario

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Bounds of a file. What is larger is a problem, not a crash.
const (
	MaxFileSize = 4 << 20 // bytes
	maxProblems = 500
	maxEnds     = 1 << 16
	maxWait     = 3650 * 24 * time.Hour
	defaultWin  = 65535 // window field of a segment that states none
)

// Script is a parsed scenario file.
type Script struct {
	name     string
	lines    []string // of the script, without line ends
	tail     string   // the sections, as they are
	sections []section
	ends     []end
	stmts    []statement
}

// section is a file that rides along after a line "-- NAME --".
type section struct {
	name string
	line int // of its first line within the scenario file
	data string
}

// end is one end of a flow. Ends 2n and 2n+1 are those of flow n.
type end struct {
	name string
	addr netip.AddrPort
}

func flowOf(end int) int { return end / 2 }

// kind says what a statement is.
type kind uint8

const (
	isText    kind = iota // blank or a comment
	isPolicy              // policy NAME
	isShadow              // shadow NAME [file FILE]
	isTimeout             // timeout STATE DURATION
	isSet                 // set KEY=VALUE
	isFlow                // flow A ADDR:PORT B ADDR:PORT
	isAdopt               // adopt
	isReload              // reload NAME [keep|rematch|drop]
	isGap                 // gap
	isFlows               // flows [none]
	isEvent               // +TIME SEGMENT or +TIME sweep
	isEmit                // emit SEGMENT, below an event
	isWould               // would NAME DECISION, below an event
	isRow                 // a row below flows
)

// statement is a line that could be read.
type statement struct {
	kind kind
	line int    // from 1
	text string // isText: as it is; isSet: the setting

	name, file string          // isPolicy, isShadow, isReload, isWould
	col        int             // of what names a policy
	mode       string          // isReload, "" for the policy's own
	none       bool            // isFlows: the table must be empty
	state      conntrack.State // isTimeout
	wait       time.Duration   // isTimeout and isEvent
	flow       int             // isFlow
	seg        *segment        // isEvent (nil for sweep), isEmit
	want       *decision       // isEvent, isWould; nil for none
	row        []string        // isRow: its words
	under      int             // isEmit, isWould, isRow: index of the statement that it belongs to
}

// number is a sequence number as written: relative to its end's first number, or absolute.
type number struct {
	n   int64
	abs bool
}

// seq returns the number on the wire.
func (n number) seq(base conntrack.Seq) conntrack.Seq {
	if n.abs {
		return conntrack.Seq(uint32(n.n))
	}
	return base.Add(uint32(n.n))
}

// segment is a segment as written.
type segment struct {
	from, to int
	icmp     string // an injected ICMP error's word, and nothing of the rest; "" for TCP
	flags    conntrack.Flags
	seq, end number
	length   uint32
	ack      *number // nil for none
	fields   []field // win, urg, reserved, cksum, defect as written
	options  []option
	bracket  bool // <> was written
	col      int
}

// field is a word with its value behind the numbers of a segment.
type field struct {
	key, value string
	n          uint32
}

// field returns a field of the segment.
func (s *segment) field(key string) (field, bool) {
	for _, f := range s.fields {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// decision is what is expected.
type decision struct {
	head  string // VERDICT/FINDING; for a sweep idle-expired, nothing or ""
	facts []fact
	col   int // of its first word
}

// fact is one key=value, the value in canonical form.
type fact struct {
	key, value string
	col        int
}

// Name returns the name that the script was parsed under.
func (s *Script) Name() string { return s.name }

// Prose returns the first block of comments, without its marks: what the script shows.
func (s *Script) Prose() string {
	var b strings.Builder
	for _, line := range s.lines {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		if !ok {
			break
		}
		b.WriteString(strings.TrimPrefix(text, " ") + "\n")
	}
	return strings.TrimSpace(b.String())
}

// PolicyName returns what the script names as its policy, "" for nothing.
func (s *Script) PolicyName() string {
	for i := range s.stmts {
		if s.stmts[i].kind == isPolicy {
			return s.stmts[i].name
		}
	}
	return ""
}

// Settings returns what the script's lines timeout and set change of its policy, as KEY=VALUE.
func (s *Script) Settings() (list []string) {
	for i := range s.stmts {
		switch st := &s.stmts[i]; st.kind {
		case isTimeout:
			list = append(list, "timeouts."+stateKey(st.state)+"="+policy.FormatDuration(st.wait))
		case isSet:
			list = append(list, st.text)
		}
	}
	return list
}

// Adopts reports whether the gateway starts with the script, so that connections older than it are taken up.
func (s *Script) Adopts() bool {
	return slices.ContainsFunc(s.stmts, func(st statement) bool { return st.kind == isAdopt })
}

// Flows returns the script's connections, each by the tuple from its first end to its second.
func (s *Script) Flows() (list []conntrack.Tuple) {
	for i := 0; i < len(s.ends); i += 2 {
		list = append(list, conntrack.MakeTuple(s.ends[i].addr, s.ends[i+1].addr))
	}
	return list
}

// File returns a file that rides along, "" and false for none of this name.
func (s *Script) File(name string) (string, bool) {
	if sec := s.section(name); sec != nil {
		return sec.data, true
	}
	return "", false
}

// problem returns a problem at a place of the script.
func (s *Script) problem(line, col int, found, expected string) policy.Problem {
	text := ""
	if line >= 1 && line <= len(s.lines) {
		text = s.lines[line-1]
	}
	return policy.ProblemAt(s.name, line, col, text, found, expected)
}
