package scenario

import (
	"strconv"
	"strings"

	"halfopen/conntrack"
	"halfopen/policy"
)

// factKind is what the value of a fact looks like.
type factKind uint8

const (
	wordFact     factKind = iota // one of its words
	listFact                     // words with commas between, or none
	durationFact                 // a duration
	countFact                    // a whole number
	numberFact                   // a sequence number, or none
	windowFact                   // LO:HI, or none
	nameFact                     // any text; in double quotes where it has blanks, empty or a quote
)

// factInfo describes a fact.
type factInfo struct {
	key     string
	kind    factKind
	words   []string
	sweep   bool // it can be told of a sweep
	segment bool // it can be told of a segment
	meaning string
}

// factTable lists the facts that can be expected, in the order of the manual.
func factTable() []factInfo {
	var states, effects, ends []string
	for s := range conntrack.NumStates {
		states = append(states, s.String())
	}
	for e := range conntrack.NumEffects {
		effects = append(effects, e.String())
	}
	for r := conntrack.EndNone + 1; r < conntrack.NumEndReasons; r++ {
		ends = append(ends, r.String())
	}
	made := append(policy.ReplyWords()[1:], policy.PeerWords()[1:]...) // time sends either's to any end
	none := func(words []string) []string { return append([]string{"none"}, words...) }
	return []factInfo{
		{"reply", listFact, made, true, true, "what the sender gets in the other end's name; of a sweep, what originators get"},
		{"peer", listFact, made, true, true, "what the other end gets"},
		{"stripped", listFact, policy.StripWords(), false, true, "what a rewritten segment lost"},
		{"reply-omitted", wordFact, none(policy.OmitWords()), false, true, "why a reply that the policy asks for cannot be made"},
		{"peer-omitted", wordFact, none(policy.OmitWords()), false, true, "the same, toward the other end"},
		{"unmet", wordFact, none(policy.ConditionWords()), false, true, "the condition of the action that did not hold"},
		{"before", wordFact, states, false, true, "the connection's state before the segment"},
		{"state", wordFact, states, false, true, "the state after it"},
		{"effect", wordFact, effects, false, true, "what the table did"},
		{"rule", nameFact, nil, true, true, "the rule that decided, none for the policy's own findings"},
		{"dir", wordFact, []string{conntrack.Original.String(), conntrack.Reply.String()}, false, true, "the segment's direction within its connection"},
		{"idle", durationFact, nil, false, true, "since the connection's last segment"},
		{"remaining", durationFact, nil, false, true, "until the connection would have expired, before this segment"},
		{"age", durationFact, nil, false, true, "since the connection was created"},
		{"tombstone", wordFact, none(ends), false, true, "why the last connection on this tuple was forgotten"},
		{"forgotten", durationFact, nil, false, true, "how long ago that was"},
		{"seq", numberFact, nil, false, true, "the next number expected of the sender"},
		{"ack", numberFact, nil, false, true, "the acknowledgment expected of the sender"},
		{"seq-window", windowFact, nil, false, true, "where the sender's numbers may lie"},
		{"ack-window", windowFact, nil, false, true, "where its acknowledgment may lie"},
		{"counted", wordFact, []string{"yes", "no"}, false, true, "whether the segment has no record of its own"},
		{"hold", durationFact, nil, false, true, "for how long a held segment waits at most"},
		{"flow", countFact, nil, false, true, "the connection's number, from 1; 0 for none"},
		{"previous", countFact, nil, false, true, "the number of the connection before it on this tuple"},
		{"ended", listFact, ends, true, true, "why connections ended since the line before, each reason once"},
		{"released", listFact, policy.PacketWords(), true, true, "what became of segments that were held"},
		{"flows", countFact, nil, true, true, "how many connections are remembered afterwards"},
		{"embryonic", countFact, nil, true, true, "how many of those have not completed their handshake"},
	}
}

// factByKey returns a fact's description and its place, nil for none.
func factByKey(key string) *factInfo {
	table := factTable()
	for i := range table {
		if table[i].key == key {
			return &table[i]
		}
	}
	return nil
}

// headNothing is what is expected of a sweep in which no connection ended, no held segment was let go, and nothing was sent.
const headNothing = "nothing"

// timedWords are the findings that time alone gives: other heads of what is expected of a sweep.
func timedWords() (words []string) {
	for f := range conntrack.NumFindings {
		if !f.Info().Packet {
			words = append(words, f.String())
		}
	}
	return words
}

// decision reads VERDICT/FINDING and facts; of a sweep findings with commas between, nothing, or facts alone. It returns nil with its
// problems.
func (r *reader) decision(sweep bool) *decision {
	first, ok := r.peek()
	if !ok {
		r.p.fault(r.at(), "nothing behind =>", "a decision, as forward/new")
		return nil
	}
	d := &decision{col: first.col}
	good := true
	if !sweep || !strings.Contains(first.text, "=") {
		r.i++
		good = r.head(d, first, sweep)
	}
	for {
		t, more := r.peek()
		if !more {
			break
		}
		r.i++
		good = r.fact(d, t, sweep) && good
	}
	if !good {
		return nil
	}
	return d
}

func (r *reader) head(d *decision, t token, sweep bool) bool {
	d.head = t.text
	if sweep {
		if t.text == headNothing {
			return true
		}
		for _, w := range strings.Split(t.text, ",") {
			if !contains(timedWords(), w) {
				r.p.fault(t.col, policy.Quote(w)+" of a sweep", policy.OneOf(w, append(timedWords(), headNothing))+", or facts")
				return false
			}
		}
		return true
	}
	verdict, finding, both := strings.Cut(t.text, "/")
	if !both {
		r.p.fault(t.col, policy.Quote(t.text), "VERDICT/FINDING, as forward/new")
		return false
	}
	ok := true
	if !contains(policy.PacketWords(), verdict) {
		r.p.fault(t.col, "the verdict "+policy.Quote(verdict), policy.OneOf(verdict, policy.PacketWords()))
		ok = false
	}
	if f, known := conntrack.FindingByWord(finding); !known || !f.Info().Packet {
		var words []string
		for f := range conntrack.NumFindings {
			if f.Info().Packet {
				words = append(words, f.String())
			}
		}
		r.p.fault(t.col+len(verdict)+1, "the finding "+policy.Quote(finding), nearestOf(finding, words, "a finding (halfopen policy show lists them)"))
		ok = false
	}
	return ok
}

// nearestOf is policy.OneOf for many words: only the hint, or what they are.
func nearestOf(w string, words []string, what string) string {
	if _, hint, ok := strings.Cut(policy.OneOf(w, words), " (did you mean "); ok {
		return what + " (did you mean " + hint
	}
	return what
}

func contains(words []string, w string) bool {
	for _, c := range words {
		if c == w {
			return true
		}
	}
	return false
}

func (r *reader) fact(d *decision, t token, sweep bool) bool {
	if t.text[0] == '#' {
		r.p.fault(t.col, "a comment behind a decision", "comments on lines of their own")
		r.i = len(r.words)
		return false
	}
	key, value, ok := strings.Cut(t.text, "=")
	info := factByKey(key)
	if !ok || info == nil {
		var keys []string
		for _, f := range factTable() {
			keys = append(keys, f.key)
		}
		r.p.fault(t.col, "the fact "+policy.Quote(t.text), "KEY=VALUE, KEY one of "+policy.OneOf(key, keys))
		return false
	}
	if sweep && !info.sweep || !sweep && !info.segment {
		r.p.fault(t.col, "the fact "+key+" of a sweep", "it of a segment")
		return false
	}
	for _, f := range d.facts {
		if f.key == key {
			r.p.fault(t.col, "the fact "+key+" twice", "")
			return false
		}
	}
	text, expected := info.canonical(value)
	if expected != "" {
		r.p.fault(t.col+len(key)+1, key+"="+policy.Quote(value), expected)
		return false
	}
	d.facts = append(d.facts, fact{key, text, t.col})
	return true
}

// canonical returns a value in the form that it is compared in, or what was expected.
func (f *factInfo) canonical(value string) (text, expected string) {
	switch f.kind {
	case wordFact:
		if !contains(f.words, value) {
			return "", policy.OneOf(value, f.words)
		}
	case listFact:
		if value == "none" {
			return value, ""
		}
		for _, w := range strings.Split(value, ",") {
			if !contains(f.words, w) {
				return "", policy.OneOf(w, append([]string{"none"}, f.words...)) + ", with commas between where there are several"
			}
		}
	case durationFact:
		if value == "none" {
			return value, ""
		}
		d, ok := parseDuration(value)
		if !ok {
			return "", "a duration with units, as 30s or 59m58s, or none"
		}
		return durationText(d), ""
	case countFact:
		n, ok := count(value, 0, 1<<62)
		if !ok {
			return "", "a number"
		}
		return itoa(n), ""
	case numberFact:
		return canonicalNumber(value)
	case windowFact:
		lo, hi, both := strings.Cut(value, ":")
		if !both && value != "none" {
			return "", "LO:HI, or none"
		}
		if !both {
			return value, ""
		}
		l, bad1 := canonicalNumber(lo)
		h, bad2 := canonicalNumber(hi)
		if bad1+bad2 != "" || l == "none" || h == "none" {
			return "", "LO:HI, or none"
		}
		return l + ":" + h, ""
	case nameFact:
		return canonicalName(value)
	}
	return value, ""
}

func canonicalNumber(value string) (string, string) {
	if value == "none" {
		return value, ""
	}
	n, ok := parseNumber(value)
	if !ok || n.abs {
		return "", "a number below 2^32, -N below the end's first number, or none"
	}
	return relText(uint32(n.n)), ""
}

// relText prints a relative number: from 2^31 on it is below the base.
func relText(n uint32) string { return itoa(int64(int32(n))) }

func canonicalName(value string) (string, string) {
	if !strings.HasPrefix(value, `"`) {
		return value, ""
	}
	if len(value) < 2 || !strings.HasSuffix(value, `"`) || strings.Contains(value[1:len(value)-1], `"`) {
		return "", "a closing quote at the end"
	}
	return nameText(value[1 : len(value)-1]), ""
}

// nameText is a name as a fact has it.
func nameText(name string) string {
	if name == "" || name == "none" || strings.ContainsAny(name, " \t") || strings.HasPrefix(name, `"`) {
		return `"` + strings.ReplaceAll(name, `"`, "'") + `"`
	}
	return name
}

// text prints a decision.
func (d *decision) text() string {
	words := make([]string, 0, 1+len(d.facts))
	if d.head != "" {
		words = append(words, d.head)
	}
	for _, f := range d.facts {
		words = append(words, f.key+"="+f.value)
	}
	return strings.Join(words, " ")
}

func countWord(n int) string { return strconv.Itoa(n) }
