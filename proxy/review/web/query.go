package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"halfopen/proxy/review/index"
)

// maxFilter bounds a filter's text, in octets.
const maxFilter = 4096

// query is what the address of a list of records says.
type query struct {
	Text   string       // the filter as it is written, in the words of index.ParseFilter
	Filter index.Filter // of it
	Order  index.Order
	After  index.Cursor
	Before index.Cursor // at most one of both
	Limit  int
}

// Bounds on records a page.
const (
	defaultLimit = 100
	maxLimit     = 500
)

// formKeys are the fields of the filter's form beside its text.
var formKeys = []string{"verdict", "reason", "event", "addr", "port", "since", "until"}

// readQuery reads the address of a list; more are the further parameters that the page takes. Everything else is refused.
func (s *Server) readQuery(r *http.Request, more ...string) (q query, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, badRequest("the address cannot be read: a %% must be followed by two hexadecimal digits")
	}
	known := append([]string{"q", "order", "after", "before", "limit"}, more...)
	for k, v := range values {
		if !slices.Contains(known, k) {
			return q, badRequest("%q is no parameter of this page, expected %s", k, strings.Join(known, ", "))
		}
		if len(v) > 1 {
			return q, badRequest("the parameter %s is there %d times, expected once", k, len(v))
		}
	}
	q.Text, q.Limit = strings.TrimSpace(values.Get("q")), defaultLimit
	if len(q.Text) > maxFilter {
		return q, badRequest("a filter of %d bytes, expected at most %d", len(q.Text), maxFilter)
	}
	if q.Filter, err = index.ParseFilter(q.Text, s.cfg.Now()); err != nil {
		return q, err
	}
	switch o := values.Get("order"); o {
	case "", "newest":
		q.Order = index.NewestFirst
	case "oldest":
		q.Order = index.OldestFirst
	default:
		return q, badRequest("order %q, expected newest or oldest", o)
	}
	for name, c := range map[string]*index.Cursor{"after": &q.After, "before": &q.Before} {
		if *c, err = index.ParseCursor(values.Get(name)); err != nil {
			return q, badRequest("%s %q is no place in a log, expected what a link of this page has", name, values.Get(name))
		}
	}
	if q.After != (index.Cursor{}) && q.Before != (index.Cursor{}) {
		return q, badRequest("after and before exclude each other")
	}
	if l := values.Get("limit"); l != "" {
		if q.Limit, err = strconv.Atoi(l); err != nil || q.Limit < 1 || q.Limit > maxLimit {
			return q, badRequest("limit %q, expected a number from 1 to %d", l, maxLimit)
		}
	}
	return q, nil
}

// noQuery refuses parameters of pages that have none but those named.
func noQuery(r *http.Request, known ...string) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the address cannot be read: a %% must be followed by two hexadecimal digits")
	}
	for k, v := range values {
		if !slices.Contains(known, k) {
			return badRequest("%q is no parameter of this page", k)
		}
		if len(v) > 1 {
			return badRequest("the parameter %s is there %d times, expected once", k, len(v))
		}
	}
	return nil
}

// logURL is the address of a list of records.
func logURL(text string, order index.Order) string {
	v := url.Values{}
	if text != "" {
		v.Set("q", text)
	}
	if order == index.OldestFirst {
		v.Set("order", "oldest")
	}
	if len(v) == 0 {
		return "/log"
	}
	return "/log?" + v.Encode()
}

// with is the filter's text with a word more, in place of those of the same key.
func with(f index.Filter, key, value string, now time.Time) string {
	f = without(f, key)
	if value != "" {
		if err := f.Set(key, value, now); err != nil {
			return f.String()
		}
	}
	return f.String()
}

// without is the filter without the words of a key.
func without(f index.Filter, key string) index.Filter {
	switch key {
	case "since":
		f.Since = time.Time{}
	case "until":
		f.Until = time.Time{}
	case "event":
		f.Event = nil
	case "verdict":
		f.Verdict = nil
	case "reason":
		f.Reason = nil
	case "rule":
		f.Rule = nil
	case "arm":
		f.Arm = nil
	case "rev":
		f.Rev = nil
	case "outcome":
		f.Outcome = nil
	case "addr":
		f.Addr = nil
	case "src":
		f.Src = nil
	case "disagrees":
		f.Disagrees = nil
	case "dst":
		f.Dst = nil
	case "port":
		f.Port = nil
	case "src-port":
		f.SrcPort = nil
	case "dst-port":
		f.DstPort = nil
	case "flow":
		f.Flow = nil
	case "community-id":
		f.CommunityID = nil
	}
	return f
}

// chip is a word of the filter that can be taken away.
type chip struct{ Text, Without string }

// chips are the words of a filter.
func chips(q *query) (out []chip) {
	for _, key := range index.Keys() {
		if word := field(q.Filter, key); word != "" {
			rest := without(q.Filter, key)
			out = append(out, chip{key + ":" + word, logURL(rest.String(), q.Order)})
		}
	}
	return out
}

// fromForm makes the address of what the filter's form asks for, so that there is one form of it: a field says what its key is from now
// on. It is "" where the form does not ask.
func (s *Server) fromForm(r *http.Request) (to string, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !slices.ContainsFunc(formKeys, func(k string) bool { return values.Has(k) }) {
		return "", nil
	}
	q, err := s.readQuery(r, formKeys...)
	if err != nil {
		return "", err
	}
	f := q.Filter
	for _, k := range formKeys {
		if !values.Has(k) {
			continue
		}
		f = without(f, k)
		v := strings.TrimSpace(values.Get(k))
		if v == "" {
			continue
		}
		if err := f.SetList(k, v, s.cfg.Now()); err != nil {
			return "", err
		}
	}
	return logURL(f.String(), q.Order), nil
}

// field is what a field of the form shows of the filter.
func field(f index.Filter, key string) string {
	for _, k := range index.Keys() {
		if k != key {
			f = without(f, k)
		}
	}
	return strings.TrimPrefix(f.String(), key+":")
}

// quoted is a value as a filter's text has it.
func quoted(v string) string {
	if v != "" && !strings.ContainsAny(v, ", \t\n\r\"\\") {
		return v
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
}
