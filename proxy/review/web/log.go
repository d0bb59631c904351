package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"halfopen/proxy/review/index"
)

// logPage is the page of records.
type logPage struct {
	frame
	Bar     filterBar
	Strip   *strip
	Rows    []rowView
	Newer   string // addresses of the pages around, "" for none
	Older   string
	Turn    string // address in the other order
	Newest  bool   // newest first
	More    bool   // there are more behind the last row
	Begun   bool   // there may be some before the first row
	End     string // a place behind all records
	Remarks []string
	Live    string // address to follow at
}

// filterBar is the form above lists.
type filterBar struct {
	Text     string
	Order    string
	Chips    []chip
	Fields   map[string]string
	Verdicts []string
	Events   []string
	Reasons  []string
	Command  string // which shows the same
}

// bar makes the filter's form.
func (s *Server) bar(r *http.Request, q *query) filterBar {
	b := filterBar{Text: q.Text, Chips: chips(q), Fields: make(map[string]string), Verdicts: index.Verdicts(), Events: index.Events(),
		Command: s.command(q)}
	for _, k := range formKeys {
		b.Fields[k] = field(q.Filter, k)
	}
	for _, o := range []struct {
		key  string
		list *[]string
	}{{"verdict", &b.Verdicts}, {"event", &b.Events}} { // several words of a key are an option of their own
		if v := b.Fields[o.key]; v != "" && !slices.Contains(*o.list, v) {
			*o.list = append(*o.list, v)
		}
	}
	b.Reasons, _ = s.src.x.Words(r.Context(), "reason")
	if q.Order == index.OldestFirst {
		b.Order = "oldest"
	}
	return b
}

// command is the command line that lists the same records.
func (s *Server) command(q *query) string {
	c := "halfopen review " + shellWord(s.cfg.Dir)
	for _, w := range chips(q) {
		c += " " + shellWord(w.Text)
	}
	if q.Order == index.NewestFirst {
		c += " --reverse"
	}
	if s.cfg.Anonymizer != nil {
		return ""
	}
	return c
}

// records answers with a page of records.
func (s *Server) records(w http.ResponseWriter, r *http.Request) error {
	if to, err := s.fromForm(r); to != "" || err != nil {
		if err == nil {
			http.Redirect(w, r, to, http.StatusSeeOther)
		}
		return err
	}
	q, err := s.readQuery(r)
	if err != nil {
		return err
	}
	asked, err := s.src.asked(q.Filter)
	if err != nil {
		return err
	}
	p := logPage{frame: s.frame("log", "Records"), Bar: s.bar(r, &q), Newest: q.Order == index.NewestFirst}
	var bad *index.FilterError
	if p.Remarks, err = s.src.x.Check(r.Context(), asked); errors.As(err, &bad) {
		return bad
	} else if err != nil {
		return err
	}
	page, begun, err := s.around(r, &q)
	if err != nil {
		return err
	}
	p.Rows = s.views(r.Context(), page.Rows)
	p.More, p.Begun, p.End = page.More, begun, page.End.String()
	s.links(&p, &q)
	if p.Strip, err = s.strip(r.Context(), &q, false); err != nil {
		return err
	}
	s.render(w, r, http.StatusOK, "log", p)
	return nil
}

// around is the page of records that an address means: behind a place, or before one. begun tells that there may be records before it.
func (s *Server) around(r *http.Request, q *query) (page index.Page, begun bool, err error) {
	if q.Before == (index.Cursor{}) {
		page, err = s.src.page(r.Context(), q.Filter, q.After, q.Limit, q.Order)
		return page, q.After != (index.Cursor{}), err
	}
	page, err = s.src.page(r.Context(), q.Filter, q.Before, q.Limit, !q.Order)
	slices.Reverse(page.Rows)
	begun, page.More = page.More, true
	return page, begun, err
}

// links sets the addresses of the pages around.
func (s *Server) links(p *logPage, q *query) {
	to := func(key, cursor string) string {
		v := url.Values{}
		if q.Text != "" {
			v.Set("q", q.Text)
		}
		if q.Order == index.OldestFirst {
			v.Set("order", "oldest")
		}
		if key != "" {
			v.Set(key, cursor)
		}
		return "?" + v.Encode()
	}
	p.Turn = logURL(q.Text, !q.Order)
	p.Live = "/live" + logURL(q.Text, index.NewestFirst)[len("/log"):]
	if len(p.Rows) == 0 {
		return
	}
	if p.Begun {
		p.Newer = "/log" + to("before", p.Rows[0].Cursor)
	}
	if p.More {
		p.Older = "/log" + to("after", p.Rows[len(p.Rows)-1].Cursor)
	}
}

// rowsPage is a piece of the table for the script that scrolls it.
type rowsPage struct {
	Rows  []rowView
	More  bool
	Begun bool
}

// rows answers with rows alone.
func (s *Server) rows(w http.ResponseWriter, r *http.Request) error {
	q, err := s.readQuery(r)
	if err != nil {
		return err
	}
	page, begun, err := s.around(r, &q)
	if err != nil {
		return err
	}
	s.render(w, r, http.StatusOK, "rows", rowsPage{s.views(r.Context(), page.Rows), page.More, begun})
	return nil
}
