package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"halfopen/conntrack"
	"halfopen/policy"
)

// compare holds a line against what came of it. A line without a decision and without emits below it is not checked.
func (r *run) compare(i int, f *facts) {
	st := &r.s.stmts[i]
	r.decided(st, st.want, f)
	if st.want == nil {
		r.edits(edit{line: st.line, right: f.text(nil)})
	}
	var emits []int
	for j := i + 1; j < len(r.s.stmts) && r.s.stmts[j].kind != isEvent; j++ {
		if r.s.stmts[j].kind == isEmit && r.s.stmts[j].under == i {
			emits = append(emits, j)
		}
	}
	if r.emitted(st, emits, f.emits) {
		return
	}
	for _, j := range emits {
		r.edits(edit{line: r.s.stmts[j].line, drop: true})
	}
	for k := range f.emits {
		r.edits(edit{line: st.line, below: "  emit  " + r.emitText(&f.emits[k])})
	}
}

// decided compares a decision, and enters the problem and the edit that would mend it.
func (r *run) decided(st *statement, want *decision, f *facts) {
	if want == nil {
		return
	}
	r.res.Decisions++
	col, ok := want.col, want.head == f.head || want.head == ""
	for _, w := range want.facts {
		if f.of[w.key] != w.value && ok {
			col, ok = w.col, false
		}
	}
	if ok {
		return
	}
	got := f.text(want)
	r.fault(st.line, col, "got "+got, want.text())
	r.edits(edit{line: st.line, right: got})
}

// would compares what a shadow decided with the line below the event that names it.
func (r *run) would(i int, sh *player, f *facts) {
	for j := i + 1; j < len(r.s.stmts) && r.s.stmts[j].kind != isEvent; j++ {
		if st := &r.s.stmts[j]; st.kind == isWould && st.under == i && st.name == sh.name {
			at := *st
			r.decidedWould(&at, f)
			return
		}
	}
}

func (r *run) decidedWould(st *statement, f *facts) {
	before := len(r.res.edits)
	r.decided(st, st.want, f)
	for k := before; k < len(r.res.edits); k++ {
		r.res.edits[k].would = st.name
	}
}

// emitted compares what was sent with the lines for it, and reports whether they agree.
func (r *run) emitted(st *statement, lines []int, got []policy.Emit) bool {
	if st.want == nil && len(lines) == 0 {
		return len(got) == 0
	}
	ok := true
	for k := 0; k < max(len(lines), len(got)); k++ {
		switch {
		case k >= len(got):
			r.fault(r.s.stmts[lines[k]].line, r.s.stmts[lines[k]].seg.col, "nothing was sent", r.s.segmentText(r.s.stmts[lines[k]].seg))
			ok = false
		case k >= len(lines):
			r.fault(st.line, 1, "sent "+r.emitText(&got[k]), "nothing, or a line for it: emit "+r.emitText(&got[k]))
			ok = false
		case !r.sameEmit(r.s.stmts[lines[k]].seg, &got[k]):
			r.fault(r.s.stmts[lines[k]].line, r.s.stmts[lines[k]].seg.col, "sent "+r.emitText(&got[k]), r.s.segmentText(r.s.stmts[lines[k]].seg))
			ok = false
		}
	}
	return ok
}

// sameEmit compares a segment that was made with a line for it. A window is compared where the line states one, options
// never: what is made has none.
func (r *run) sameEmit(w *segment, em *policy.Emit) bool {
	s := &em.Segment
	if s.Tuple != r.tuple(w.from, w.to) {
		return false
	}
	if em.ICMP != policy.ReplyNone || w.icmp != "" {
		return em.ICMP != policy.ReplyNone && em.ICMP.String() == w.icmp
	}
	win, stated := w.field("win")
	return s.Flags == w.flags && s.Len == w.length && s.Seq == w.seq.seq(r.base(w.from)) &&
		(w.ack == nil || s.Ack == w.ack.seq(r.base(w.to))) && (!stated || uint32(s.Window) == win.n)
}

// emitText prints a segment that was made, as a line for it would have it.
func (r *run) emitText(em *policy.Emit) string {
	s := &em.Segment
	seg := segment{from: -1, icmp: ""}
	for i := range r.s.ends {
		if s.Tuple == r.tuple(i, i^1) {
			seg.from, seg.to = i, i^1
		}
	}
	if seg.from < 0 {
		return s.Tuple.String() + " " + s.Flags.String()
	}
	if em.ICMP != policy.ReplyNone {
		seg.icmp = em.ICMP.String()
		return r.s.segmentText(&seg)
	}
	rel := func(n, base conntrack.Seq) number {
		if n == 0 {
			return number{abs: true}
		}
		return number{n: int64(int32(n - base))}
	}
	seg.flags, seg.length = s.Flags, s.Len
	seg.seq = rel(s.Seq, r.base(seg.from))
	seg.end = seg.seq
	seg.end.n += int64(s.Len)
	if s.Flags.Has(conntrack.ACK) {
		ack := rel(s.Ack, r.base(seg.to))
		seg.ack = &ack
	}
	if s.Window != 0 {
		seg.fields = []field{{key: "win", value: itoa(int64(s.Window))}}
	}
	return r.s.segmentText(&seg)
}

// flows compares the table with the rows below the line.
func (r *run) flows(i int) {
	st := &r.s.stmts[i]
	var rows []int
	for j := i + 1; j < len(r.s.stmts); j++ {
		if r.s.stmts[j].kind == isRow && r.s.stmts[j].under == i {
			rows = append(rows, j)
		}
	}
	var got []conntrack.Entry
	r.main.engine.Walk(0, 1<<30, func(e *conntrack.Entry) bool {
		if e.Deadline > r.now {
			got = append(got, *e)
		}
		return true
	})
	slices.SortFunc(got, func(a, b conntrack.Entry) int { return cmp.Compare(a.ID, b.ID) })
	counters := false
	for _, j := range rows {
		counters = counters || hasCounters(r.s.stmts[j].row)
	}
	if len(rows) == 0 && !st.none {
		r.updateRows(st, nil, got, false)
		return
	}
	r.res.Decisions++
	ok := true
	for k := 0; k < max(len(rows), len(got)); k++ {
		switch {
		case k >= len(got):
			r.fault(r.s.stmts[rows[k]].line, 1, "no such connection", rowText(r.s.stmts[rows[k]].row))
			ok = false
		case k >= len(rows):
			r.fault(st.line, 1, "the connection "+rowText(r.row(&got[k], counters)), "none, or a row for it")
			ok = false
		default:
			w := r.s.stmts[rows[k]].row
			if have := r.row(&got[k], hasCounters(w)); !slices.Equal(have, comparable1(w)) {
				r.fault(r.s.stmts[rows[k]].line, 1, "got "+rowText(have), rowText(comparable1(w)))
				ok = false
			}
		}
	}
	if !ok {
		r.updateRows(st, rows, got, counters)
	}
}

func (r *run) updateRows(st *statement, rows []int, got []conntrack.Entry, counters bool) {
	for _, j := range rows {
		r.edits(edit{line: r.s.stmts[j].line, drop: true})
	}
	if len(got) == 0 {
		r.edits(edit{line: st.line, whole: fmt.Sprintf("%-8s none", "flows")})
		return
	}
	if st.none {
		r.edits(edit{line: st.line, whole: "flows"})
	}
	for k := range got {
		r.edits(edit{line: st.line, below: "  " + rowText(r.row(&got[k], counters))})
	}
}

func hasCounters(row []string) bool {
	return slices.ContainsFunc(row, func(w string) bool { return strings.HasPrefix(w, "packets=") })
}

// comparable1 returns a row without what means nothing here: conntrack(8) prints mark and use count, and an id on request.
func comparable1(row []string) []string {
	return slices.DeleteFunc(slices.Clone(row), func(w string) bool {
		return strings.HasPrefix(w, "mark=") || strings.HasPrefix(w, "use=") || strings.HasPrefix(w, "id=")
	})
}

// row returns a connection as `conntrack -L` prints it, in words, with packet and byte counters or without (as conntrack(8)
// does with nf_conntrack_acct off).
func (r *run) row(e *conntrack.Entry, counters bool) []string {
	w := []string{"tcp", "6", itoa(int64(e.Deadline.Sub(r.now).Seconds())), e.State.String()}
	side := func(t conntrack.Tuple, s *conntrack.Side) {
		w = append(w, "src="+t.From().Addr().String(), "dst="+t.To().Addr().String(), fmt.Sprintf("sport=%d", t.SrcPort), fmt.Sprintf("dport=%d", t.DstPort))
		if counters {
			w = append(w, fmt.Sprintf("packets=%d", s.Packets), fmt.Sprintf("bytes=%d", s.Bytes))
		}
	}
	side(e.Tuple, &e.Side[conntrack.Original])
	if e.Flags&conntrack.EntryReplied == 0 {
		w = append(w, "[UNREPLIED]")
	}
	side(e.Tuple.Reverse(), &e.Side[conntrack.Reply])
	if e.Flags&conntrack.EntryAssured != 0 {
		w = append(w, "[ASSURED]")
	}
	return w
}

// edit is a change of the script's text that would make a line right.
type edit struct {
	line  int
	right string // what stands behind =>, "" for no change
	would string // right belongs to a line would of this shadow
	whole string // the whole line, "" for no change
	below string // a line to add below
	drop  bool
}

func (r *run) edits(e edit) { r.res.edits = append(r.res.edits, e) }

// Update returns the script's text with the decisions, emits and rows that the run gave. Lines that came out as expected
// stay byte for byte, and so do comments. Lines without a decision get one.
func (res *Result) Update(s *Script) []byte {
	byLine := map[int][]edit{}
	for _, e := range res.edits {
		byLine[e.line] = append(byLine[e.line], e)
	}
	var b strings.Builder
	for i, line := range s.lines {
		var below []string
		drop := false
		for _, e := range byLine[i+1] {
			switch {
			case e.drop:
				drop = true
			case e.below != "":
				below = append(below, e.below)
			case e.whole != "":
				line = e.whole
			case e.would != "":
				line = "  would " + e.would + " " + e.right
			case e.right != "":
				line = withRight(line, e.right)
			}
		}
		if !drop {
			b.WriteString(line + "\n")
		}
		for _, l := range below {
			b.WriteString(l + "\n")
		}
	}
	b.WriteString(s.tail)
	return []byte(b.String())
}

// withRight puts a decision into a line, at the place of the one before, or at the column of the canonical layout.
func withRight(line, right string) string {
	if before, _, arrow := cut(tokens(line)); arrow != nil && len(before) > 0 {
		return string([]rune(line)[:arrow.col-1]) + "=> " + right
	}
	line = strings.TrimRight(line, " \t")
	return line + strings.Repeat(" ", max(0, arrowAt-utf8.RuneCountInString(line))) + " => " + right
}

// stateKey is the key of a state's timeout in a policy file.
func stateKey(s conntrack.State) string { return strings.ToLower(s.String()) }
