package web

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/human"
	"halfopen/proxy/review/index"
)

// rowView is a record as a line of the table.
type rowView struct {
	Cursor string
	At     time.Time
	What   string // verdict of a decision, else the event type
	Class  string // of the style sheet
	Sign   string // a letter that tells what the colour tells
	Why    string // reason of a decision, else what kind of event
	Src    string
	Dst    string
	Flags  string
	State  string
	Rule   string
	Idle   string
	Made   string
	Would  string // what the policy under trial would have done
	Flow   uint64
	Href   string
}

// looks are how verdicts and events are shown: a class for the colour, and a sign that says the same.
var looks = map[string][2]string{
	decisionlog.VerdictForward: {"forward", "→"},
	decisionlog.VerdictDrop:    {"drop", "✕"},
	decisionlog.VerdictRewrite: {"rewrite", "✎"},
	decisionlog.VerdictHold:    {"hold", "‖"},
	"flow":                     {"flow", "○"},
	"inject":                   {"inject", "⇢"},
	"reload":                   {"reload", "↻"},
	"gap":                      {"gap", "!"},
	"stats":                    {"stats", "Σ"},
	"experiment":               {"experiment", "⚗"},
	"shadow":                   {"shadow", "◌"},
}

// views makes lines of rows, with what only the records themselves tell.
func (s *Server) views(ctx context.Context, rows []index.Row) []rowView {
	out := make([]rowView, len(rows))
	at := make([]index.Cursor, len(rows))
	for i := range rows {
		out[i], at[i] = s.view(&rows[i]), rows[i].Cursor
	}
	i := 0
	for e, err := range s.src.events(ctx, at) {
		if err == nil && i < len(out) && e.Decision != nil {
			out[i].more(e)
		}
		i++
	}
	return out
}

func (s *Server) view(r *index.Row) rowView {
	v := rowView{Cursor: r.Cursor.String(), At: r.Time, What: r.Event, Why: r.Kind, Flags: r.Flags, Rule: r.Rule, Flow: r.FlowID,
		Src: endText(r.Src), Dst: endText(r.Dst), Made: made(r.Reply, r.Peer)}
	switch r.Event {
	case "decision":
		v.What, v.Why = r.Verdict, r.Reason
		if v.What == "" { // time was the cause
			v.What, v.Why = "timer", r.Kind
		}
		if r.Kind == decisionlog.TriggerShadow {
			v.What, v.Why = r.Kind, r.Reason
		}
		v.State = r.StateBefore
		if r.StateAfter != r.StateBefore {
			v.State += " → " + r.StateAfter
		}
	case "inject":
		v.Made = "to " + r.Peer
	case "flow":
		v.State = r.StateAfter
	}
	look, ok := looks[v.What]
	if !ok {
		look = [2]string{"other", "·"}
	}
	v.Class, v.Sign = look[0], look[1]
	v.Href = "/record?at=" + url.QueryEscape(v.Cursor)
	if r.FlowID != 0 {
		v.Href = "/flow/" + strconv.FormatUint(r.FlowID, 10)
	}
	return v
}

func (v *rowView) more(e *decisionlog.Event) {
	d := e.Decision
	if d.IdleS != nil {
		v.Idle = human.Seconds(*d.IdleS)
	}
	if d.Tombstone != nil && !d.Tombstone.Forgotten.IsZero() {
		v.Idle = "forgotten " + human.Seconds(e.Timestamp.Sub(d.Tombstone.Forgotten.Time).Seconds()) + " ago"
	}
	if w := d.Would; w != nil {
		v.Would = w.Verdict + "/" + w.Reason
	}
	for i := range e.Shadow {
		if sh := &e.Shadow[i]; sh.Differs() {
			text := sh.Policy + ": " + strings.TrimPrefix(sh.Verdict+"/"+sh.Reason, "/")
			if v.Would != "" && d.Would == nil {
				text = v.Would + "; " + text
			}
			v.Would = text
		}
	}
}

func made(reply, peer string) string {
	var parts []string
	if reply != "" {
		parts = append(parts, reply+" to sender")
	}
	if peer != "" {
		parts = append(parts, peer+" to peer")
	}
	return strings.Join(parts, ", ")
}

func endText(p netip.AddrPort) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// funcs are what templates may call.
func funcs(s *Server) template.FuncMap {
	return template.FuncMap{
		"clock":      func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
		"day":        func(t time.Time) string { return t.UTC().Format("01-02") },
		"stamp":      stamp,
		"iso":        func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"span":       func(a, b time.Time) string { return human.Duration(b.Sub(a)) },
		"secs":       human.Seconds,
		"count":      count,
		"bytes":      func(n int64) string { return human.Bytes(uint64(max(n, 0))) },
		"clean":      clean,
		"cleanLines": cleanLines,
		"rev":        shortRev,
		"logurl":     func(text string) string { return logURL(text, index.NewestFirst) },
		"look":       func(what string) []string { l := looks[what]; return l[:] },
	}
}

// count writes any of Go's integers with blanks between the thousands.
func count(n any) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// shortRev is a revision as people compare them.
func shortRev(rev string) string {
	_, digest, ok := strings.Cut(rev, ":")
	if !ok {
		digest = rev
	}
	return digest[:min(len(digest), 12)]
}

// render answers with a page.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.tmpl.ExecuteTemplate(&b, name, data); err != nil {
		s.cfg.Logger.Error("review page", "template", name, "error", err)
		http.Error(w, "this page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes())
	}
}

// cleanLines is clean for a text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// clean is human.Clean, which takes away what steers a terminal, and what steers the direction of writing or is not seen at all.
func clean(s string) string { return strings.Map(seen, human.Clean(s)) }

// seen puts a mark in place of characters that are not seen.
func seen(r rune) rune {
	if unicode.Is(unicode.Cf, r) {
		return unicode.ReplacementChar
	}
	return r
}
