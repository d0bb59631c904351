package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"halfopen/proxy/review/disagree"
	"halfopen/proxy/review/index"
)

// shadowPage tells how shadow policies stand to the policy in force.
type shadowPage struct {
	frame
	Shadows []shadowView
	Lost    uint64
	Unseen  uint64
	Cut     string // what was left out
}

// shadowView is one shadow beside one revision of the policy in force.
type shadowView struct {
	*disagree.Policy
	ID      string
	Class   string // of its badge
	Parted  uint64
	Share   string
	Matrix  *matrixView
	Kinds   []kindView
	Further int // kinds that are not shown
	Records string
	Diff    string
}

// matrixView is the table of findings: the policy's own down, the shadow's across.
type matrixView struct {
	Columns []string
	Rows    []matrixRow
}

type matrixRow struct {
	Live  string
	Cells []disagree.Cell // by column
}

type kindView struct {
	*disagree.Kind
	Examples []exampleView
}

type exampleView struct {
	disagree.Example
	Href string
}

// Bounds of the page.
const (
	shadowKinds   = 20
	shadowStats   = 20000 // stats records that are read, the newest
	shadowTold    = 50000 // decisions
	shadowPerRead = 1000
	shadowKept    = 3 * time.Second
)

// shadowReport is the last report, kept for a moment.
type shadowReport struct {
	mu  sync.Mutex
	at  time.Time
	rep *disagree.Report
	cut string
}

// shadow answers with the page of shadows.
func (s *Server) shadow(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	rep, cut, err := s.shadows(r.Context())
	if err != nil {
		return err
	}
	p := shadowPage{frame: s.frame("shadow", "Shadow policies"), Lost: rep.LostRecords, Unseen: rep.Unseen, Cut: cut}
	for i, sh := range rep.Shadows {
		p.Shadows = append(p.Shadows, viewOf(i, sh))
	}
	s.render(w, r, http.StatusOK, "shadow", p)
	return nil
}

// shadows makes the report, at most every few seconds.
func (s *Server) shadows(ctx context.Context) (*disagree.Report, string, error) {
	k := &s.disagreement
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := s.cfg.Now(); k.rep == nil || now.Sub(k.at) >= shadowKept {
		rep, cut, err := s.src.disagreements(ctx)
		if err != nil {
			return nil, "", err
		}
		k.rep, k.cut, k.at = rep, cut, now
	}
	return k.rep, k.cut, nil
}

// disagreements reads what the report is made of: stats records, gaps, and the decisions on which a shadow first disagrees.
func (s *source) disagreements(ctx context.Context) (rep *disagree.Report, cut string, err error) {
	b := disagree.NewBuilder()
	for _, part := range []struct {
		filter index.Filter
		most   int
		what   string
	}{
		{index.Filter{Event: []string{"stats"}}, shadowStats, "stats records"},
		{index.Filter{Event: []string{"gap"}}, shadowStats, "gap records"},
		{index.Filter{Disagrees: []string{index.AnyShadow}}, shadowTold, "disagreements"},
	} {
		at, more, err := s.newest(ctx, part.filter, part.most)
		if err != nil {
			return nil, "", err
		}
		if more {
			cut = fmt.Sprintf("The log is long: of its %s only the newest %d are read here. \"halfopen review shadow\" reads all of it.", part.what, part.most)
		}
		for e, err := range s.events(ctx, at) {
			if err != nil {
				return nil, "", err
			}
			b.Add(e)
		}
	}
	return b.Report(), cut, nil
}

// newest are the places of at most so many records, oldest first, and whether there are more.
func (s *source) newest(ctx context.Context, f index.Filter, most int) (at []index.Cursor, more bool, err error) {
	var after index.Cursor
	for len(at) < most {
		p, err := s.x.Page(ctx, f, after, min(shadowPerRead, most-len(at)), index.NewestFirst)
		if err != nil {
			return nil, false, err
		}
		for i := range p.Rows {
			at = append(at, p.Rows[i].Cursor)
		}
		if more = p.More; !more {
			break
		}
		after = at[len(at)-1]
	}
	slices.Reverse(at)
	return at, more, nil
}

// viewOf prepares a shadow for the page.
func viewOf(i int, p *disagree.Policy) shadowView {
	v := shadowView{Policy: p, ID: fmt.Sprint("shadow-", i+1), Class: "good", Parted: p.Disagreed + p.Timed, Matrix: matrixOf(p.Matrix),
		Records: logURL("disagrees:"+quoted(p.Policy), index.NewestFirst), Diff: diffURL(p.LiveRev, p.PolicyRev)}
	switch {
	case v.Parted > 0:
		v.Class = "bad"
	case p.Shed > 0 || p.Segments == 0:
		v.Class = "warn"
	}
	for _, k := range p.Kinds[:min(len(p.Kinds), shadowKinds)] {
		kv := kindView{Kind: k}
		for _, e := range k.Examples {
			ev := exampleView{Example: e}
			if e.Flow != 0 {
				ev.Href = fmt.Sprintf("/flow/%d", e.Flow)
			} else {
				ev.Href = v.Records
			}
			kv.Examples = append(kv.Examples, ev)
		}
		v.Kinds = append(v.Kinds, kv)
	}
	v.Further = len(p.Kinds) - len(v.Kinds)
	return v
}

// matrixOf lays the cells out; what never happened is not a row or column.
func matrixOf(cells []disagree.Cell) *matrixView {
	if len(cells) == 0 {
		return nil
	}
	m := &matrixView{}
	var rows []string
	for _, c := range cells {
		if !slices.Contains(m.Columns, c.Shadow) {
			m.Columns = append(m.Columns, c.Shadow)
		}
		if !slices.Contains(rows, c.Live) {
			rows = append(rows, c.Live)
		}
	}
	// The findings that both have stand in the same order, so that agreement is the diagonal.
	slices.Sort(rows)
	slices.Sort(m.Columns)
	for _, live := range rows {
		r := matrixRow{Live: live, Cells: make([]disagree.Cell, len(m.Columns))}
		for _, c := range cells {
			if c.Live == live {
				r.Cells[slices.Index(m.Columns, c.Shadow)] = c
			}
		}
		m.Rows = append(m.Rows, r)
	}
	return m
}
