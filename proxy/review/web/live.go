package web

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	"halfopen/proxy/review/index"
)

// Times and bounds of following.
const (
	liveEvery = 500 * time.Millisecond
	livePage  = 200              // records at once
	liveWrite = 10 * time.Second // who does not read them within this is gone
	liveBeat  = 15 * time.Second // a word now and then, so that the way stays open
)

// follow sends the records that the filter picks as they come, as server-sent events: each has the place of its record as id, and a row
// of the table as data. It begins behind Last-Event-ID, or after, or with what comes next.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) error {
	q, err := s.readQuery(r)
	if err != nil {
		return err
	}
	after := q.After
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		if after, err = index.ParseCursor(last); err != nil {
			return badRequest("Last-Event-ID %q is no place in a log", last)
		}
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return nil
	}
	select {
	case s.live <- struct{}{}:
		defer func() { <-s.live }()
	default:
		w.Header().Set("Retry-After", "10")
		return &httpError{http.StatusServiceUnavailable, fmt.Sprintf("%d follow already, and no more can", maxFollowers)}
	}
	f := follower{s: s, w: w, c: http.NewResponseController(w), q: q, after: after}
	if f.after == (index.Cursor{}) {
		p, err := s.src.page(r.Context(), q.Filter, index.Cursor{}, 1, index.NewestFirst)
		if err != nil {
			return err
		}
		f.after = p.End
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	f.run(r)
	return nil
}

// follower is somebody who follows.
type follower struct {
	s     *Server
	w     http.ResponseWriter
	c     *http.ResponseController
	q     query
	after index.Cursor
	spoke time.Time
}

// run sends until the client goes or does not read.
func (f *follower) run(r *http.Request) {
	t := time.NewTicker(liveEvery)
	defer t.Stop()
	if f.send("retry: 2000\n: following\n\n") != nil {
		return
	}
	for {
		f.s.fresh.catchUp(r.Context())
		if r.Context().Err() != nil || f.s.fresh.ended() {
			return
		}
		if err := f.news(r); err != nil {
			return
		}
		if time.Since(f.spoke) > liveBeat && f.send(": still there\n\n") != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-t.C:
		}
	}
}

// news sends what has come, a page at most: who asks for more than can be shown gets it page by page.
func (f *follower) news(r *http.Request) error {
	p, err := f.s.src.page(r.Context(), f.q.Filter, f.after, livePage, index.OldestFirst)
	if err != nil {
		if r.Context().Err() != nil {
			return err
		}
		f.s.cfg.Logger.Info("review page", "follow", err)
		return nil // a full disk may be emptied
	}
	views := f.s.views(r.Context(), p.Rows)
	var b strings.Builder
	for i := range views {
		var row bytes.Buffer
		if err := f.s.tmpl.ExecuteTemplate(&row, "row", views[i]); err != nil {
			return err
		}
		fmt.Fprintf(&b, "id: %s\nevent: row\n", views[i].Cursor)
		for line := range strings.SplitSeq(row.String(), "\n") {
			b.WriteString("data: " + strings.Trim(line, "\r") + "\n")
		}
		b.WriteString("\n")
		f.after = p.Rows[i].Cursor
	}
	if !p.More && behind(p.End, f.after) { // across files without a record that fits
		f.after = p.End
	}
	if b.Len() == 0 {
		return nil
	}
	return f.send(b.String())
}

func (f *follower) send(text string) error {
	f.spoke = time.Now()
	if err := f.c.SetWriteDeadline(f.spoke.Add(liveWrite)); err != nil && f.s.cfg.Logger != nil {
		f.s.cfg.Logger.Debug("review page", "follow", err)
	}
	if _, err := f.w.Write([]byte(text)); err != nil {
		return err
	}
	return f.c.Flush()
}

// behind says whether a stands behind b in the log.
func behind(a, b index.Cursor) bool {
	return a.Stem > b.Stem || a.Stem == b.Stem && a.Offset > b.Offset
}
