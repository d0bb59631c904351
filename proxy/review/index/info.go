package index

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"time"

	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// File is a log file as the index knows it.
type File struct {
	Path          string
	Run           string
	FileSeq       int
	SchemaVersion int
	Size          int64 // of the file
	Bytes         int64 // of its text, indexed
	Lines         int
	BadLines      int
	Records       int
	First, Last   time.Time // times of its records; zero: it has none
	Explains      decisionlog.Tally
	Trailer       Cursor // of its last line, which has the sums of all before it; zero: there is none
}

// Run is the life of a gateway.
type Run struct {
	Run, Version, BootID string
	Started              time.Time
	Final                bool // it ended well
	Files                int
	First, Last          time.Time
	Explains             decisionlog.Tally // by the files that are left
}

// Revision is a policy revision in a run: when it decided, and how often.
type Revision struct {
	Run, PolicyRev, Preset string
	First, Last            time.Time // of its decision records
	Decisions              int
}

// Reload is a policy that was loaded, or refused.
type Reload struct {
	Cursor                                Cursor
	Run                                   string
	At                                    time.Time
	OK                                    bool
	Preset, PolicyRev, PreviousRev, Flows string
	FlowsTouched                          int
	Error                                 string
}

// Gap is what a gap record admits.
type Gap struct {
	Cursor   Cursor
	Run      string // whose messages they were
	At       time.Time
	Where    string
	Count    uint64
	Bound    string
	From, To time.Time
	Detail   string
}

// Problem is a line that is no record, or a file that is not whole.
type Problem struct {
	Path   string
	Line   int   // from 1
	Offset int64 // of the line's first byte; in a compressed file, in the text
	Kind   string
	Detail string
}

// String is the problem in one line.
func (p Problem) String() string {
	what := map[string]string{ProblemBadLine: "bad line", ProblemCut: "last line cut short", ProblemNewer: "a later version's log"}[p.Kind]
	return fmt.Sprintf("%s:%d: %s: %s (byte %d)", p.Path, p.Line, what, p.Detail, p.Offset)
}

// Files lists the log's files, oldest first.
func (x *Index) Files(ctx context.Context) ([]File, error) {
	return collect(ctx, x, func(v *view, rows *sql.Rows) (File, error) {
		var f File
		var name string
		var id, first, last, trailer int64
		t := &f.Explains
		err := rows.Scan(&id, &name, &f.Run, &f.FileSeq, &f.SchemaVersion, &f.Size, &f.Bytes, &f.Lines, &f.BadLines, &f.Records, &first, &last,
			&t.Decisions, &t.Counted, &t.Suppressed, &t.Gaps, &t.Upper, &t.Fast.Packets, &t.Fast.Bytes, &t.Fast.Lost, &t.Fast.LostBytes, &trailer)
		if trailer > 0 {
			f.Trailer = v.cursor(id, trailer)
		}
		t.Records = uint64(f.Records)
		f.Path, f.First, f.Last = filepath.Join(x.dir, name), instant(first), instant(last)
		return f, err
	}, `SELECT f.id, f.name, ifnull(r.run, ''), file_seq, schema, size, bytes, lines, bad_lines, records, ifnull(first_at, 0), ifnull(last_at, 0),
		decisions, counted, suppressed, gaps, upper, fast_pkts, fast_bytes, fast_lost, fast_lost_bytes, trailer FROM files f LEFT JOIN runs r ON r.id = f.run ORDER BY stem`)
}

// Runs lists the runs of which files are left, oldest first.
func (x *Index) Runs(ctx context.Context) ([]Run, error) {
	return collect(ctx, x, func(v *view, rows *sql.Rows) (Run, error) {
		var r Run
		var started, first, last int64
		t := &r.Explains
		err := rows.Scan(&r.Run, &r.Version, &r.BootID, &started, &r.Final, &r.Files, &first, &last, &t.Decisions, &t.Counted, &t.Suppressed,
			&t.Gaps, &t.Upper, &t.Records, &t.Fast.Packets, &t.Fast.Bytes, &t.Fast.Lost, &t.Fast.LostBytes)
		r.Started, r.First, r.Last = instant(started), instant(first), instant(last)
		return r, err
	}, `SELECT r.run, version, boot_id, ifnull(started, 0), final, count(*), ifnull(min(first_at), 0), ifnull(max(last_at), 0),
		sum(decisions), sum(counted), sum(suppressed), sum(gaps), sum(upper), sum(records),
		sum(fast_pkts), sum(fast_bytes), sum(fast_lost), sum(fast_lost_bytes)
		FROM files f JOIN runs r ON r.id = f.run GROUP BY r.id ORDER BY min(stem)`)
}

// Revisions lists the policy revisions that decided, by run and then by their first decision.
func (x *Index) Revisions(ctx context.Context) ([]Revision, error) {
	return collect(ctx, x, func(v *view, rows *sql.Rows) (Revision, error) {
		var r Revision
		var first, last int64
		err := rows.Scan(&r.Run, &r.PolicyRev, &r.Preset, &first, &last, &r.Decisions)
		r.First, r.Last = instant(first), instant(last)
		return r, err
	}, `SELECT r.run, policy_rev, preset, first_at, last_at, decisions FROM revisions v JOIN runs r ON r.id = v.run ORDER BY first_at`)
}

// Reloads lists the reloads, oldest first.
func (x *Index) Reloads(ctx context.Context) ([]Reload, error) {
	return collect(ctx, x, func(v *view, rows *sql.Rows) (Reload, error) {
		var r Reload
		var file, offset, at int64
		err := rows.Scan(&file, &offset, &r.Run, &at, &r.OK, &r.Preset, &r.PolicyRev, &r.PreviousRev, &r.Flows, &r.FlowsTouched, &r.Error)
		r.Cursor, r.At = v.cursor(file, offset), instant(at)
		return r, err
	}, `SELECT file, offset, r.run, at, ok, preset, policy_rev, previous_rev, flows, flows_touched, error
		FROM reloads l JOIN runs r ON r.id = l.run ORDER BY at`)
}

// Gaps lists what gap records admit, oldest first.
func (x *Index) Gaps(ctx context.Context) ([]Gap, error) {
	return collect(ctx, x, func(v *view, rows *sql.Rows) (Gap, error) {
		var g Gap
		var file, offset, at, from, to, count int64
		err := rows.Scan(&file, &offset, &g.Run, &at, &g.Where, &count, &g.Bound, &from, &to, &g.Detail)
		g.Cursor, g.At, g.Count, g.From, g.To = v.cursor(file, offset), instant(at), uint64(count), instant(from), instant(to)
		return g, err
	}, `SELECT file, offset, run, at, "where", count, bound, ifnull("from", 0), ifnull("to", 0), detail FROM gaps ORDER BY at`)
}

// Problems lists lines that are no records, and what else is wrong with files, in the log's order.
func (x *Index) Problems(ctx context.Context) ([]Problem, error) {
	return collect(ctx, x, func(v *view, rows *sql.Rows) (Problem, error) {
		var p Problem
		var name string
		err := rows.Scan(&name, &p.Line, &p.Offset, &p.Kind, &p.Detail)
		p.Path = filepath.Join(x.dir, name)
		return p, err
	}, `SELECT f.name, line, offset, kind, detail FROM problems p JOIN files f ON f.id = p.file ORDER BY f.stem, offset`)
}

// FastJumps lists the flow records that do not tell how far their flow's fast path totals have moved, in the log's order.
func (x *Index) FastJumps(ctx context.Context) ([]Problem, error) {
	return collect(ctx, x, func(v *view, rows *sql.Rows) (Problem, error) {
		var p Problem
		var name string
		err := rows.Scan(&name, &p.Line, &p.Detail)
		p.Path = filepath.Join(x.dir, name)
		return p, err
	}, `SELECT f.name, line, detail FROM fast_jumps j JOIN files f ON f.id = j.file ORDER BY f.stem, line`)
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, x *Index, scan func(*view, *sql.Rows) (T, error), query string) ([]T, error) {
	tx, v, err := x.look()
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		t, err := scan(v, rows)
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		out = append(out, t)
	}
	return out, rows.Err()
}

// Words lists the words that the log's records hold in a field of filters: reason, rule, arm, rev, outcome.
func (x *Index) Words(ctx context.Context, key string) ([]string, error) {
	column := map[string]string{"verdict": "verdict_w", "reason": "reason_w", "rule": "rule_w", "arm": "arm_w", "rev": "policy_rev_w", "event": "event_w"}[key]
	query := "SELECT word FROM words WHERE id IN (SELECT DISTINCT " + column + " FROM minute_rows) AND word <> '' ORDER BY word"
	if key == "outcome" {
		query = "SELECT word FROM words WHERE id IN (SELECT DISTINCT outcome_w FROM flow_rows) AND word <> '' ORDER BY word"
	} else if column == "" {
		return nil, fmt.Errorf("index: records have no words %q", key)
	}
	return collect(ctx, x, func(v *view, rows *sql.Rows) (s string, err error) { return s, rows.Scan(&s) }, query)
}

// Check finds words of a filter that cannot be meant: a reason that is no finding and in no record of the log is a *FilterError. For
// other words that no record has it returns a sentence each: they may yet come.
func (x *Index) Check(ctx context.Context, f Filter) (remarks []string, err error) {
	tx, v, err := x.look()
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	tx.Rollback()
	for _, w := range f.Reason {
		if err := checkReason(w, func(w string) bool { _, ok := v.words.find(w); return ok }); err != nil {
			return nil, err
		}
	}
	for _, c := range []struct {
		key   string
		words []string
	}{{"rule", f.Rule}, {"arm", f.Arm}, {"outcome", f.Outcome}} {
		for _, w := range c.words {
			if _, ok := v.words.find(w); ok {
				continue
			}
			known, err := x.Words(ctx, c.key)
			if err != nil {
				return nil, err
			}
			s := fmt.Sprintf("no record has the %s %s", c.key, policy.Quote(w))
			if len(known) > 0 && len(known) <= 12 {
				s += ", only " + policy.OneOf(w, known)
			}
			remarks = append(remarks, s)
		}
	}
	for _, w := range f.Rev {
		if len(v.words.matching(func(s string) bool { return s != "" && oneRev([]string{w}, s) })) == 0 {
			remarks = append(remarks, fmt.Sprintf("no record has a policy revision that begins with %s", policy.Quote(w)))
		}
	}
	return remarks, nil
}
