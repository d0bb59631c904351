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
// those problems that only reading every record shows (an id that is there twice, a cause or a flow's beginning that is missing). It reads each
// file's first line, of each run the trailer and the last stats record, and gap records where they matter.
func Summary(ctx context.Context, x *index.Index, dir string) (*Report, error) {
	files, err := x.Files(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("review: no decision log in %s", dir)
	}
	s := summary{verifier{rep: &Report{Path: dir, OK: true}, byID: make(map[string]*runState)}, x, make(map[string]string), ctx}
	for i := range files {
		s.runs[files[i].Path] = files[i].Run
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
	if err := errors.Join(s.fastJumps(), s.gaps(), s.badLines()); err != nil {
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
	x    *index.Index
	runs map[string]string // by path of a file
	ctx  context.Context
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
	if f.Trailer == (index.Cursor{}) {
		return nil
	}
	if e, err = s.x.Event(s.ctx, f.Trailer); err != nil {
		return err
	}
	if e.Trailer != nil {
		s.cur.compare(e, e.Trailer.Before, "the trailer")
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

// fastJumps takes in the flow records whose fast path totals do not go on from those before.
func (s *summary) fastJumps() error {
	jumps, err := s.x.FastJumps(s.ctx)
	if err != nil {
		return err
	}
	for _, p := range jumps {
		if r := s.byID[s.runs[p.Path]]; r != nil && len(r.parts) < maxPerRun {
			r.parts = append(r.parts, Problem{FastPath, p.Path, p.Line, p.Detail})
		}
	}
	return nil
}

// gaps takes in what later runs say of runs that died, and of a run with records to excuse, whether some that would are lost.
func (s *summary) gaps() error {
	gaps, err := s.x.Gaps(s.ctx)
	if err != nil {
		return err
	}
	for _, g := range gaps {
		r := s.byID[g.Run]
		if g.Where != decisionlog.GapCrash && (r == nil || len(r.parts) == 0 || r.lostFlows) {
			continue
		}
		e, err := s.x.Event(s.ctx, g.Cursor)
		if err != nil {
			return err
		}
		if s.cur = r; e.Gap != nil && (e.Gap.Run != "" || s.cur != nil) {
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
	for _, p := range problems {
		if p.Kind == index.ProblemNewer {
			continue
		}
		s.cur = s.byID[s.runs[p.Path]]
		s.badLine(&decisionlog.BadLine{File: p.Path, Line: p.Line, Offset: p.Offset, Cut: p.Kind == index.ProblemCut, Err: errors.New(p.Detail)})
	}
	return nil
}
