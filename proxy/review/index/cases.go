package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/trouble"
)

// trackerEvery is how many records the search for trouble may be ahead of what is kept of its state: what a start has to read again.
const trackerEvery = 65536

// watch is the search for trouble: it sees each record once, in the log's order, and finds cases. Its state is kept in table tracker,
// with the place up to which it has read; a start reads again from there.
type watch struct {
	t     *trouble.Tracker
	found []trouble.Case // not in table cases yet
	since int            // records since the state was kept
	kept  bool           // there is a state in the table
	light lightEvent
}

// watching makes the search for trouble ready to go on behind what is indexed.
func (b *builder) watching() error {
	if b.x.watch != nil {
		return nil
	}
	w := &watch{}
	at, err := w.load(b.tx)
	if err != nil {
		return err
	}
	b.x.watch = w
	for _, f := range b.x.order() {
		if f.stem < at.Stem || f.pos.Offset == 0 {
			continue
		}
		from := int64(0)
		if f.stem == at.Stem {
			from = at.Offset
		}
		if from < f.pos.Offset {
			if err := b.catchUp(f, from); err != nil {
				b.x.watch = nil
				return err
			}
		}
	}
	return nil
}

// load takes up the state that was kept, and returns the place up to which it has read.
func (w *watch) load(tx *sql.Tx) (at Cursor, err error) {
	keep := func(c *trouble.Case) { w.found = append(w.found, *c) }
	var state []byte
	var last int64
	err = tx.QueryRow("SELECT stem, offset, last_case, state FROM tracker").Scan(&at.Stem, &at.Offset, &last, &state)
	if err == nil {
		w.t, err = trouble.LoadTracker(state, keep)
		w.kept = err == nil
	}
	if err != nil { // there is none, or another version's: it begins at the log's beginning
		w.t, at, last = trouble.NewTracker(keep), Cursor{}, 0
	}
	_, err = tx.Exec("DELETE FROM cases WHERE id > ?", last)
	return at, err
}

// order lists the files in the log's order.
func (x *Index) order() []*fileState {
	out := make([]*fileState, 0, len(x.files))
	for _, f := range x.files {
		out = append(out, f)
	}
	sortFiles(out)
	return out
}

// catchUp shows the search for trouble the lines of a file that are indexed already.
func (b *builder) catchUp(f *fileState, from int64) error {
	pos := decisionlog.Position{Offset: from}
	if f.compressed {
		file := b.file
		b.file = f
		err := b.frameBefore(&pos)
		b.file = file
		if err != nil {
			return err
		}
	}
	lines, err := decisionlog.OpenLines(filepath.Join(b.x.dir, f.name), pos)
	if errors.Is(err, os.ErrNotExist) { // compressed since
		pos.Frame = decisionlog.Frame{}
		lines, err = decisionlog.OpenLines(filepath.Join(b.x.dir, f.stem+".jsonl.zst"), pos)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // retention was faster
	}
	if err != nil {
		return err
	}
	defer lines.Close()
	var fields decisionlog.Fields
	for lines.Position().Offset < f.pos.Offset {
		raw, _, err := lines.Next()
		var bad *decisionlog.BadLine
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &bad):
			if bad.Cut {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		if fields.Decode(raw) != nil {
			continue
		}
		if err := b.show(&fields); err != nil {
			return err
		}
	}
	return nil
}

// show lets the search for trouble see a line.
func (b *builder) show(f *decisionlog.Fields) error {
	w := b.x.watch
	w.since++
	if f.Has(slots.header) || f.Has(slots.trailer) {
		e, err := f.Event()
		if err == nil {
			w.t.Add(e)
		}
		return err
	}
	w.t.Add(w.light.fill(f, b.words))
	return nil
}

// saveCases writes the cases found, and now and then the state.
func (b *builder) saveCases(last bool) error {
	w := b.x.watch
	if w == nil {
		return nil
	}
	for i := range w.found {
		c := &w.found[i]
		word := func(s string) uint32 { return b.words.id([]byte(s)) }
		if _, err := b.tx.Exec(`INSERT INTO cases (at, until, kind_w, variant_w, verdict_w, reason_w, rule_w, arm_w, flow_id, client, server, syns,
			connect_s, what) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, c.At.Nanos(), c.Until.Nanos(), word(string(c.Kind)), word(c.Variant),
			word(c.Verdict), word(c.Reason), word(c.Rule), word(c.Arm), int64(c.FlowID), endText(c.Client), endText(c.Server), c.SYNs, c.ConnectS,
			c.What); err != nil {
			return err
		}
	}
	w.found = w.found[:0]
	if w.since < trackerEvery && (!last || w.kept) {
		return nil
	}
	files := b.x.order()
	if len(files) == 0 {
		return nil
	}
	at := files[len(files)-1]
	if b.file != nil { // files behind it are not read yet
		at = b.file
	}
	state, err := w.t.Save()
	if err != nil {
		return err
	}
	if _, err := b.tx.Exec(`INSERT OR REPLACE INTO tracker (id, stem, offset, last_case, state) VALUES (1, ?, ?,
		(SELECT ifnull(max(id), 0) FROM cases), ?)`, at.stem, at.pos.Offset, state); err != nil {
		return err
	}
	w.since, w.kept = 0, true
	return nil
}

func endText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Trouble groups what went wrong for the users of connections, as trouble.Read finds it by reading the whole log, cases that are not over
// included.
func (x *Index) Trouble(ctx context.Context, f trouble.Filter) (*trouble.Report, error) {
	r, err := x.troubles(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return r, nil
}

func (x *Index) troubles(ctx context.Context, f trouble.Filter) (*trouble.Report, error) {
	var groups trouble.Groups
	pending, r, err := x.pending(ctx)
	if err != nil {
		return nil, err
	}
	for i := range pending {
		if f.Match(&pending[i]) {
			groups.Add(&pending[i])
		}
	}
	open := r
	tx, v, err := x.look()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	ends := make(map[string]netip.AddrPort)
	since, _ := (&Filter{Since: f.Since}).bounds()
	if err := v.cases(tx, "SELECT id, at, until, kind_w, variant_w, verdict_w, reason_w, rule_w, arm_w, flow_id, client, server, syns, connect_s, '' FROM cases WHERE until >= ?",
		ends, func(c *trouble.Case, _ int64) bool {
			if f.Match(c) {
				groups.Add(c)
			}
			return ctx.Err() == nil
		}, since); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r = groups.Report()
	r.Path, r.Connections, r.From, r.To = x.dir, open.Connections, open.From, open.To
	return r, v.tell(tx, r)
}

// pending lists the cases of what is not over, with what the search for trouble knows of the log as a whole.
func (x *Index) pending(ctx context.Context) ([]trouble.Case, *trouble.Report, error) {
	x.building.Lock()
	defer x.building.Unlock()
	unlock, err := x.takeLock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	b := &builder{x: x}
	err = b.begin()
	if err == nil {
		err = b.watching()
	}
	if err == nil && (len(x.watch.found) > 0 || x.watch.since >= trackerEvery) {
		err = b.commit(true)
	}
	if b.tx != nil {
		b.tx.Rollback()
	}
	if err != nil {
		x.forget()
		return nil, nil, err
	}
	var out []trouble.Case
	x.watch.t.Pending(func(c *trouble.Case) { out = append(out, *c) })
	r := &trouble.Report{Connections: x.watch.t.Connections()}
	r.From.Time, r.To.Time = x.watch.t.Span()
	return out, r, nil
}

// cases reads cases; fn returns false to end it.
func (v *view) cases(tx *sql.Tx, query string, ends map[string]netip.AddrPort, fn func(c *trouble.Case, id int64) bool, args ...any) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	end := func(s string) netip.AddrPort {
		a, ok := ends[s]
		if !ok && s != "" {
			a, _ = netip.ParseAddrPort(s) // as String wrote it
			if len(ends) < 1<<16 {
				ends[s] = a
			}
		}
		return a
	}
	for rows.Next() {
		var c trouble.Case
		var id, at, until, flow int64
		var w [6]uint32
		var client, server string
		if err := rows.Scan(&id, &at, &until, &w[0], &w[1], &w[2], &w[3], &w[4], &w[5], &flow, &client, &server, &c.SYNs, &c.ConnectS, &c.What); err != nil {
			return err
		}
		c.Kind, c.Variant, c.Verdict, c.Reason = trouble.Kind(v.words.word(w[0])), v.words.word(w[1]), v.words.word(w[2]), v.words.word(w[3])
		c.Rule, c.Arm, c.FlowID = v.words.word(w[4]), v.words.word(w[5]), uint64(flow)
		c.At.Time, c.Until.Time, c.Client, c.Server = instant(at), instant(until), end(client), end(server)
		if !fn(&c, id) {
			return nil
		}
	}
	return rows.Err()
}

// tell fills in what happened in the examples of a report.
func (v *view) tell(tx *sql.Tx, r *trouble.Report) error {
	for _, g := range r.Groups {
		for i := range g.Examples {
			c := &g.Examples[i]
			if c.What != "" {
				continue
			}
			kind, _ := v.words.find(string(c.Kind))
			err := tx.QueryRow("SELECT what FROM cases WHERE at = ? AND kind_w = ? AND flow_id = ? AND client = ?", c.At.Nanos(), kind, int64(c.FlowID),
				endText(c.Client)).Scan(&c.What)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
	}
	return nil
}

// CasePage is one page of cases.
type CasePage struct {
	Cases []trouble.Case
	Total int
}

// Cases lists cases of trouble of a kind ("": of any) that are over, the latest first, limit of them from the one at offset on.
func (x *Index) Cases(ctx context.Context, kind trouble.Kind, f trouble.Filter, offset, limit int) (CasePage, error) {
	var page CasePage
	tx, v, err := x.look()
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	err = v.cases(tx, "SELECT id, at, until, kind_w, variant_w, verdict_w, reason_w, rule_w, arm_w, flow_id, client, server, syns, connect_s, what FROM cases ORDER BY at DESC, id DESC",
		make(map[string]netip.AddrPort), func(c *trouble.Case, _ int64) bool {
			if (kind == "" || c.Kind == kind) && f.Match(c) {
				if page.Total >= offset && len(page.Cases) < limit {
					page.Cases = append(page.Cases, *c)
				}
				page.Total++
			}
			return ctx.Err() == nil
		})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return page, fmt.Errorf("index: %w", err)
	}
	return page, nil
}
