package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// Recording is what was seen of some connections. [Recording.Script] makes a script of it.
type Recording struct {
	Prose   []string // the first comment: what the script shows and where it is from, a line each
	Policy  string   // line policy, "" for none
	Shadows []string // lines shadow
	Sets    []string // lines set, KEY=VALUE
	Adopt   bool     // the gateway starts with the script
	Flows   []RecordedFlow
	Events  []RecordedEvent
	Files   []RecordedFile // that ride along
}

// RecordedFlow is a connection: its ends and how the script calls them.
type RecordedFlow struct {
	Names [2]string
	Ends  [2]netip.AddrPort
}

// RecordedEvent is a line of the script, and what belongs to it.
type RecordedEvent struct {
	Comments []string      // above it
	Gap      bool          // segments passed unseen before it
	Wait     time.Duration // since the event before, or the beginning; below 0 is none
	Segment  *conntrack.Segment
	Options  []Option          // of the segment as on the wire; nil: its Options in the order of Linux
	Decision *RecordedDecision // what stands behind =>, nil for nothing
	Emits    []RecordedEmit
	Would    []RecordedWould
}

// RecordedDecision is a decision in the language's words: VERDICT/FINDING, of silence what time gave or "", and facts.
type RecordedDecision struct {
	Head  string
	Facts [][2]string // key and value
}

func (d *RecordedDecision) text() string {
	out := decision{head: d.Head}
	for _, f := range d.Facts {
		if info := factByKey(f[0]); info != nil && info.kind == nameFact && f[1] != "none" {
			f[1] = nameText(f[1])
		}
		out.facts = append(out.facts, fact{key: f[0], value: f[1]})
	}
	return out.text()
}

// RecordedEmit is a segment that was sent, or with ICMP an error about a segment of the other direction.
type RecordedEmit struct {
	Segment conntrack.Segment
	ICMP    string
}

// RecordedWould is what a shadow decided.
type RecordedWould struct {
	Name     string
	Decision RecordedDecision
}

// RecordedFile is a file that the script brings along.
type RecordedFile struct{ Name, Data string }

// Script makes a script of the recording, in the canonical layout: numbers are relative to the first SYN of their end, or to the
// number before the first one that was seen of it. A segment of none of its flows, a file that would end another, and what the
// language has no words for are errors. name is as in [Parse].
func (rec *Recording) Script(name string) (*Script, error) {
	m := maker{rec: rec, s: &Script{}}
	for _, text := range rec.Prose {
		m.comment(text)
	}
	if len(rec.Prose) > 0 {
		m.add(statement{kind: isText})
	}
	if rec.Policy != "" {
		m.add(statement{kind: isPolicy, name: rec.Policy})
	}
	for _, sh := range rec.Shadows {
		m.add(statement{kind: isShadow, name: sh, file: sh})
	}
	for _, set := range rec.Sets {
		m.add(statement{kind: isSet, text: set})
	}
	if rec.Adopt {
		m.add(statement{kind: isAdopt})
	}
	for i := range rec.Flows {
		f := &rec.Flows[i]
		m.add(statement{kind: isFlow, flow: i})
		m.s.ends = append(m.s.ends, end{f.Names[0], f.Ends[0]}, end{f.Names[1], f.Ends[1]})
	}
	m.add(statement{kind: isText})
	m.ends = make([]numbering, len(m.s.ends))
	for i := range m.ends {
		m.ends[i].base = m.base(i)
	}
	for i := range rec.Events {
		if err := m.event(&rec.Events[i]); err != nil {
			return nil, err
		}
	}
	if err := m.files(); err != nil {
		return nil, err
	}
	made, problems := Parse(name, m.s.Format())
	if made == nil {
		return nil, fmt.Errorf("scenario: what was recorded cannot be written: %w", problems)
	}
	return made, nil
}

// maker makes a script.
type maker struct {
	rec  *Recording
	s    *Script
	ends []numbering
}

// numbering is what relative numbers of an end are reckoned from.
type numbering struct {
	base  conntrack.Seq
	top   int64         // the highest relative number so far
	next  conntrack.Seq // the number after the last that was sent
	known bool          // next is
}

func (m *maker) add(st statement) { m.s.stmts = append(m.s.stmts, st) }

func (m *maker) comment(text string) {
	m.add(statement{kind: isText, text: strings.TrimRight("# "+strings.Join(strings.Fields(text), " "), " ")})
}

// find returns the ends of a tuple, -1 for none.
func (m *maker) find(t *conntrack.Tuple) (from, to int) {
	for i := range m.s.ends {
		if conntrack.MakeTuple(m.s.ends[i].addr, m.s.ends[i^1].addr) == *t {
			return i, i ^ 1
		}
	}
	return -1, -1
}

// numbered reports whether a segment tells its sender's numbers.
func numbered(s *conntrack.Segment) bool {
	return s.Defect == conntrack.DefectNone || s.Defect == conntrack.DefectOptions
}

// base returns the number that 0 of an end stands for: that of its first SYN; else the one before its first segment, so that data
// begins at 1; else the one before what the other end acknowledges.
func (m *maker) base(e int) conntrack.Seq {
	var first, acked *conntrack.Segment
	for i := range m.rec.Events {
		s := m.rec.Events[i].Segment
		if s == nil || !numbered(s) {
			continue
		}
		switch from, to := m.find(&s.Tuple); {
		case from == e && s.Flags.Has(conntrack.SYN):
			return s.Seq
		case from == e && first == nil && !zeroRST(s):
			first = s
		case to == e && acked == nil && s.Flags.Has(conntrack.ACK) && s.Ack != 0:
			acked = s
		}
	}
	switch {
	case first != nil:
		return first.Seq.Add(^uint32(0))
	case acked != nil:
		return acked.Ack.Add(^uint32(0))
	}
	return 0
}

// zeroRST reports whether a segment is the RST of a host that knows no number (RFC 9293 section 3.5.2).
func zeroRST(s *conntrack.Segment) bool { return s.Flags.Has(conntrack.RST) && s.Seq == 0 }

// relative writes a number of end e, near what the end has sent before. A zero that no stack of this connection would have come
// to is one of the wire: there it means that no number is known.
func (m *maker) relative(e int, n conntrack.Seq, zero bool) number {
	b := &m.ends[e]
	if n == 0 && zero && !(b.known && b.next == 0) {
		return number{abs: true}
	}
	rel := b.top + int64(int32(uint32(n-b.base)-uint32(b.top)))
	b.top = max(b.top, rel)
	return number{n: wrapped(rel)}
}

// wrapped brings a relative number into the language's range.
func wrapped(n int64) int64 {
	if n < 0 {
		return n
	}
	return n & (1<<32 - 1)
}

func (m *maker) event(ev *RecordedEvent) error {
	for _, c := range ev.Comments {
		m.comment(c)
	}
	if ev.Gap {
		m.add(statement{kind: isGap})
	}
	st := statement{kind: isEvent, wait: max(ev.Wait, 0)}
	if st.wait > maxWait {
		return fmt.Errorf("scenario: %s of silence; a script waits for at most %s", ev.Wait, policy.FormatDuration(maxWait))
	}
	if ev.Segment != nil {
		if st.seg = m.segment(ev.Segment, ev.Options); st.seg == nil {
			return fmt.Errorf("scenario: the segment %s is of no flow of the script", ev.Segment.Tuple)
		}
	}
	text := m.s.statementText(&st)
	if ev.Decision != nil {
		text = withRight(text, ev.Decision.text())
	}
	m.add(statement{kind: isText, text: text})
	for i := range ev.Emits {
		em := &ev.Emits[i]
		seg := m.segment(&em.Segment, nil)
		if seg == nil {
			return fmt.Errorf("scenario: the segment %s is of no flow of the script", em.Segment.Tuple)
		}
		if seg.icmp = em.ICMP; em.Segment.Window == 0 { // the language compares a window where one is stated
			seg.fields = nil
		}
		m.add(statement{kind: isEmit, seg: seg})
	}
	for _, w := range ev.Would {
		m.add(statement{kind: isText, text: "  would " + w.Name + " " + w.Decision.text()})
	}
	return nil
}

// segment writes a segment, nil where it is of no flow.
func (m *maker) segment(s *conntrack.Segment, list []Option) *segment {
	from, to := m.find(&s.Tuple)
	if from < 0 {
		return nil
	}
	if !numbered(s) {
		return &segment{from: from, to: to, fields: []field{{key: "defect", value: s.Defect.String()}}} // the rest of it is nowhere
	}
	w := &segment{from: from, to: to, flags: s.Flags & 0x1ff, length: s.Len}
	w.seq = m.relative(from, s.Seq, s.Flags.Has(conntrack.RST))
	if w.end = w.seq; w.seq.abs {
		w.end.n = int64(s.Len)
	} else {
		w.end.n = wrapped(w.end.n + int64(s.Len))
	}
	field := func(key, value string) { w.fields = append(w.fields, field{key: key, value: value}) }
	if s.Flags.Has(conntrack.ACK) {
		ack := m.relative(to, s.Ack, true)
		w.ack = &ack
	}
	if s.Window != defaultWin {
		field("win", itoa(int64(s.Window)))
	}
	if s.Urgent != 0 && s.Flags.Has(conntrack.URG) {
		field("urg", itoa(int64(s.Urgent)))
	}
	if s.Reserved != 0 {
		field("reserved", itoa(int64(s.Reserved&7)))
	}
	switch {
	case s.Checksum == conntrack.ChecksumBad:
		field("cksum", checksumWords()[s.Checksum])
	case s.GSO:
		field("cksum", checksumPartial)
	}
	if s.Defect != conntrack.DefectNone {
		field("defect", s.Defect.String())
	}
	if list == nil {
		list = plain(&s.Options)
	}
	for _, word := range worded(list, s.Flags.Has(conntrack.SYN), func(n conntrack.Seq) number { return m.relative(to, n, false) }) {
		w.options, w.bracket = append(w.options, option{text: word}), true
	}
	if !zeroRST(s) {
		b := &m.ends[from]
		if end := s.End(); !b.known || b.next.Less(end) || s.Flags.Has(conntrack.SYN) {
			b.next, b.known = end, true
		}
	}
	return w
}

// files lets files ride along.
func (m *maker) files() error {
	for _, f := range m.rec.Files {
		for line := range strings.Lines(f.Data) {
			if name, ends := sectionName(strings.TrimRight(line, "\n")); ends {
				return fmt.Errorf("scenario: %s cannot ride along: its line %s would end it", f.Name, policy.Quote("-- "+name+" --"))
			}
		}
		m.s.tail += "-- " + f.Name + " --\n" + strings.TrimRight(f.Data, "\n") + "\n"
	}
	return nil
}

// Fill plays the script and returns its text with the decisions that came out, in the canonical layout. Where it could not be played
// the text is nil, and the result's problems say why.
func (s *Script) Fill(cfg Config) ([]byte, *Result) {
	res := s.Run(cfg)
	if !res.Played {
		return nil, res
	}
	text := res.Update(s)
	again, problems := Parse(s.name, text)
	if again == nil { // an update of a script that could be read can be read
		res.Problems = append(res.Problems, problems...)
		return nil, res
	}
	return again.Format(), res
}
