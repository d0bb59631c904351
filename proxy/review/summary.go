package review

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
	"halfopen/proxy/spool"
)

// Summary is Verify's report as the index knows it, without reading the log: the same sums, and the same status unless a run has one of
// those problems that only reading every record shows (an id that is there twice, a cause or a flow's beginning that is missing, a last
// file whose lines are fewer than its trailer knows, packets of the fast path that no flow record tells of). It reads each file's first line, and of each run the last stats record.
func Summary(ctx context.Context, x *index.Index, dir string) (*Report, error) {
	files, err := x.Files(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("review: no decision log in %s", dir)
	}
	s := summary{verifier{rep: &Report{Path: dir, OK: true}, byID: make(map[string]*runState)}, x, ctx}
	for i := range files {
		var last *decisionlog.Event
		if i+1 == len(files) || files[i+1].Run != files[i].Run {
			next := index.Cursor{}
			if i+1 < len(files) {
				next = index.Cursor{Stem: stem(files[i+1].Path), Offset: -1}
			}
			if last, err = s.lastStats(next); err != nil {
				return nil, err
			}
		}
		if err := s.file(&files[i], last); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(s.crashes(), s.badLines()); err != nil {
		return nil, err
	}
	for _, r := range s.rep.Runs {
		s.finish(r.state)
	}
	s.rep.OK = s.rep.OK && len(s.rep.Problems) == 0
	return s.rep, nil
}

// summary is a verifier that is fed from the index.
type summary struct {
	verifier
	x   *index.Index
	ctx context.Context
}

// stem is a log file's name without its endings.
func stem(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), spool.ZstdSuffix), ".jsonl")
}

// lastStats finds the last stats record before a place.
func (s *summary) lastStats(before index.Cursor) (*decisionlog.Event, error) {
	p, err := s.x.Page(s.ctx, index.Filter{Event: []string{"stats"}}, before, 1, index.NewestFirst)
	if err != nil || len(p.Rows) == 0 {
		return nil, err
	}
	return s.x.Event(s.ctx, p.Rows[0].Cursor)
}

// file takes in what the index knows of a file, and what its header and the run's last stats record say.
func (s *summary) file(f *index.File, last *decisionlog.Event) error {
	s.cur = nil
	e, err := s.x.Event(s.ctx, index.Cursor{Stem: stem(f.Path)})
	if err == nil && e.Header != nil {
		s.header(e)
		s.cur.unread = true
	}
	if s.cur == nil {
		if f.Lines > 0 {
			s.rep.Problems = append(s.rep.Problems, Problem{LinesMissing, f.Path, 1, "the file has no header line"})
		}
		return s.ctx.Err()
	}
	r := s.cur.run
	r.Explained.Add(f.Explains)
	for _, t := range []time.Time{e.Timestamp.Time, f.Last} {
		if t.After(r.Last.Time) {
			r.Last.Time = t
		}
	}
	if last != nil && last.Stats != nil && last.Run == r.Run {
		s.lastOf(f, last)
	}
	return nil
}

// lastOf takes in the last stats record of the run at hand. A header behind it has the newer counter.
func (s *summary) lastOf(f *index.File, last *decisionlog.Event) {
	st := *last.Stats
	if last.File != f.Path && s.cur.hasKernel {
		st.Kernel = nil
	}
	s.cur.stats(&st)
}

// crashes takes in what later runs say of runs that died.
func (s *summary) crashes() error {
	gaps, err := s.x.Gaps(s.ctx)
	if err != nil {
		return err
	}
	for _, g := range gaps {
		if g.Where != decisionlog.GapCrash {
			continue
		}
		e, err := s.x.Event(s.ctx, g.Cursor)
		if err != nil {
			return err
		}
		if e.Gap != nil && e.Gap.Run != "" {
			s.gap(e)
		}
	}
	return nil
}

// badLines takes in the lines that are no records.
func (s *summary) badLines() error {
	problems, err := s.x.Problems(s.ctx)
	if err != nil {
		return err
	}
	files, err := s.x.Files(s.ctx)
	if err != nil {
		return err
	}
	run := make(map[string]string)
	for _, f := range files {
		run[f.Path] = f.Run
	}
	for _, p := range problems {
		if p.Kind == index.ProblemNewer {
			continue
		}
		s.cur = s.byID[run[p.Path]]
		s.badLine(&decisionlog.BadLine{File: p.Path, Line: p.Line, Offset: p.Offset, Cut: p.Kind == index.ProblemCut, Err: errors.New(p.Detail)})
	}
	return nil
}
