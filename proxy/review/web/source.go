package web

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"path/filepath"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/story"
	"halfopen/proxy/review/trouble"
)

// source is the log as the page may see it: the index and the log behind it, with addresses mapped where that is asked for. Handlers
// see a log through it alone.
type source struct {
	x    *index.Index
	dir  string
	anon *Anonymizer // nil: addresses are shown
}

// asked is the filter that the index is asked with: addresses that a user sees, and asks for, are mapped ones.
func (s *source) asked(f index.Filter) (index.Filter, error) {
	if s.anon == nil {
		return f, nil
	}
	if len(f.CommunityID) > 0 {
		return f, &index.FilterError{Key: "community-id", Value: f.CommunityID[0],
			Problem: "cannot be looked up while addresses are anonymized; ask for the flow, or for both ends"}
	}
	for _, list := range []*[]netip.Prefix{&f.Addr, &f.Src, &f.Dst} {
		mapped := make([]netip.Prefix, len(*list))
		for i, p := range *list {
			mapped[i] = s.anon.Original(p)
		}
		*list = mapped
	}
	return f, nil
}

func (s *source) text(t string) string {
	if s.anon == nil {
		return t
	}
	return s.anon.Text(t)
}

func (s *source) end(p netip.AddrPort) netip.AddrPort {
	if s.anon == nil {
		return p
	}
	return s.anon.AddrPort(p)
}

// page is index.Page.
func (s *source) page(ctx context.Context, f index.Filter, after index.Cursor, limit int, order index.Order) (index.Page, error) {
	f, err := s.asked(f)
	if err != nil {
		return index.Page{}, err
	}
	p, err := s.x.Page(ctx, f, after, limit, order)
	for i := range p.Rows {
		r := &p.Rows[i]
		r.Src, r.Dst = s.end(r.Src), s.end(r.Dst)
	}
	return p, err
}

// events is index.Events.
func (s *source) events(ctx context.Context, at []index.Cursor) iter.Seq2[*decisionlog.Event, error] {
	if s.anon == nil {
		return s.x.Events(ctx, at)
	}
	return func(yield func(*decisionlog.Event, error) bool) {
		for e, err := range s.x.Events(ctx, at) {
			if err == nil {
				e, err = s.anon.event(e)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// flows are the lives that a flow id had, the newest last.
func (s *source) flows(ctx context.Context, id uint64) ([]index.Flow, error) {
	fs, err := s.x.FlowsByID(ctx, id)
	if err == nil && len(fs) == 0 {
		err = index.ErrNoFlow
	}
	for i := range fs {
		f := &fs[i]
		if s.anon == nil {
			continue
		}
		f.CommunityID = s.anon.community(f.Client, f.Server)
		f.Client, f.Server = s.anon.AddrPort(f.Client), s.anon.AddrPort(f.Server)
	}
	return fs, err
}

// Bounds on what is read for a connection's story.
const (
	storyRecords = 20000
	storyPage    = 1000
)

// between walks the records that passed between a connection's ends, oldest first, up to a bound; more tells that there are others.
func (s *source) between(ctx context.Context, id uint64, visit func(*decisionlog.Event)) (more bool, err error) {
	fs, err := s.x.FlowsByID(ctx, id)
	if err != nil {
		return false, err
	}
	if len(fs) == 0 {
		return false, index.ErrNoFlow
	}
	fl := &fs[len(fs)-1]
	f := index.Filter{CommunityID: []string{fl.CommunityID}}
	n, err := s.x.Count(ctx, f)
	if err != nil {
		return false, err
	}
	if more = n > storyRecords; more || n == 0 { // of ends that always talk, or have no id that fits them, the connection alone
		f = index.Filter{Flow: []uint64{id}}
	}
	var after index.Cursor
	for left := storyRecords; left > 0; left -= storyPage {
		p, err := s.x.Page(ctx, f, after, storyPage, index.OldestFirst)
		if err != nil {
			return more, err
		}
		at := make([]index.Cursor, len(p.Rows))
		for i := range p.Rows {
			at[i] = p.Rows[i].Cursor
			after = at[i]
		}
		for e, err := range s.events(ctx, at) {
			if ctx.Err() != nil {
				return more, ctx.Err()
			}
			if err == nil && (e.FlowID != id || e.Run == fl.Run) {
				visit(e)
			}
		}
		if !p.More {
			return more, nil
		}
	}
	return true, nil
}

// story tells a connection.
func (s *source) story(ctx context.Context, id uint64) (st *story.Story, more bool, err error) {
	fs, err := s.flows(ctx, id)
	if err != nil {
		return nil, false, err
	}
	fl := &fs[len(fs)-1]
	c := story.NewCollector(id, fl.Client, fl.Server, fl.Predecessor)
	if more, err = s.between(ctx, id, c.Add); err != nil {
		return nil, more, err
	}
	return story.Tell(c.Records()), more, nil
}

// own are the connection's own records as they stand in the log, up to a bound.
func (s *source) own(ctx context.Context, id uint64, limit int) (lines []*decisionlog.Event, more bool, err error) {
	p, err := s.x.Page(ctx, index.Filter{Flow: []uint64{id}}, index.Cursor{}, limit, index.OldestFirst)
	if err != nil {
		return nil, false, err
	}
	at := make([]index.Cursor, len(p.Rows))
	for i := range p.Rows {
		at[i] = p.Rows[i].Cursor
	}
	for e, err := range s.events(ctx, at) {
		if err != nil {
			continue
		}
		e.Raw = append([]byte(nil), e.Raw...)
		lines = append(lines, e)
	}
	return lines, p.More, ctx.Err()
}

// aCase maps a case of trouble.
func (s *source) aCase(c trouble.Case) trouble.Case {
	c.Client, c.Server, c.What = s.end(c.Client), s.end(c.Server), s.text(c.What)
	return c
}

// policyText is the text of a revision as it was kept beside the log. The error is for the page; it names no path.
func (s *source) policyText(rev string) ([]byte, error) {
	text, err := decisionlog.PolicyText(s.dir, rev)
	if err != nil {
		return nil, errNoText
	}
	return []byte(s.text(string(text))), nil
}

var errNoText = errors.New("the policy's text is not kept beside this log")

// problem is a line's trouble without the path of its directory.
func (s *source) problem(p index.Problem) string {
	p.Path = filepath.Base(p.Path)
	p.Detail = s.text(p.Detail)
	return fmt.Sprint(p)
}
