package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/ladder"
	"halfopen/proxy/review/story"
)

// flowPage is a connection's page, and what the drawer shows of it.
type flowPage struct {
	frame
	ID       uint64
	Story    *story.Story
	Facts    [][2]string
	Ladder   template.HTML // drawn by package ladder, which escapes what it is told
	Flow     index.Flow
	Lives    int // runs that had the flow's id
	Part     bool
	More     bool // of records between its ends
	Records  []recordView
	Further  bool // records beyond those
	Scenario bool
	Packets  bool
	Command  string
	Between  string // address of all records between its ends
	Revs     []string
}

// recordView is a record as it stands in the log.
type recordView struct {
	rowView
	JSON string
}

// Bounds on a flow's page.
const (
	flowRecords  = 100
	ladderSteps  = 400
	flowDownload = 20000
)

// flowID reads the id of a flow's address.
func flowID(r *http.Request) (uint64, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || id == 0 || id >= 1<<63 {
		return 0, notFound("%q is no flow, expected a number as the log's flow_id", r.PathValue("id"))
	}
	return id, nil
}

// flow answers with a connection's page.
func (s *Server) flow(w http.ResponseWriter, r *http.Request) error {
	id, err := flowID(r)
	if err == nil {
		err = noQuery(r, "part")
	}
	if err != nil {
		return err
	}
	p := flowPage{frame: s.frame("flow", fmt.Sprintf("Flow %d", id)), ID: id}
	switch part := r.URL.Query().Get("part"); part {
	case "":
	case "drawer":
		p.Part = true
	default:
		return badRequest("part %q, expected drawer", part)
	}
	fs, err := s.src.flows(r.Context(), id)
	if err != nil {
		return err
	}
	p.Flow, p.Lives = fs[len(fs)-1], len(fs)
	if p.Story, p.More, err = s.src.story(r.Context(), id); err != nil {
		return err
	}
	p.Facts, p.Revs = p.Story.Measures.Facts(), p.Story.Policy.Revs
	if p.Ladder, err = drawn(p.Story); err != nil {
		return err
	}
	lines, more, err := s.src.own(r.Context(), id, flowRecords)
	if err != nil {
		return err
	}
	p.Further = more
	for _, e := range lines {
		p.Records = append(p.Records, recordOf(e))
	}
	p.Scenario = s.cfg.Scenario != nil
	p.Packets = s.cfg.Capture != nil && s.cfg.Anonymizer == nil
	if s.cfg.Anonymizer == nil {
		p.Command = fmt.Sprintf("halfopen review %s --flow %d", shellWord(s.cfg.Dir), id)
	}
	p.Between = logURL(s.between(&p.Flow), index.OldestFirst)
	name := "flow"
	if p.Part {
		name = "drawer"
	}
	s.render(w, r, http.StatusOK, name, p)
	return nil
}

// between is the filter of all that passed between a connection's ends, as exactly as a filter may ask.
func (s *Server) between(f *index.Flow) string {
	if s.cfg.Anonymizer == nil {
		text := "community-id:" + f.CommunityID
		if _, err := index.ParseFilter(text, s.cfg.Now()); err == nil && f.CommunityID != "" {
			return text
		}
	}
	if !f.Client.IsValid() || !f.Server.IsValid() {
		return "flow:" + strconv.FormatUint(f.FlowID, 10)
	}
	return fmt.Sprintf("addr:%s port:%d", f.Client.Addr(), f.Client.Port())
}

// drawn is a story's ladder for a page that has the style sheet.
func drawn(st *story.Story) (template.HTML, error) {
	var b strings.Builder
	if err := st.Ladder().WriteSVG(&b, ladder.SVG{ID: "ladder", Bare: true}); err != nil {
		return "", err
	}
	return template.HTML(strings.Map(seen, b.String())), nil
}

// recordOf shows a record with its line, indented.
func recordOf(e *decisionlog.Event) recordView {
	var b bytes.Buffer
	if err := json.Indent(&b, e.Raw, "", "  "); err != nil {
		b.Write(e.Raw)
	}
	text := visible(b.String())
	v := rowView{At: e.Timestamp.Time, What: e.EventType}
	switch {
	case e.Decision != nil && e.Decision.Trigger == decisionlog.TriggerShadow:
		v.What, v.Why = e.Decision.Trigger, e.Decision.Reason
	case e.Decision != nil && e.Decision.Verdict != "":
		v.What, v.Why = e.Decision.Verdict, e.Decision.Reason
	case e.Decision != nil:
		v.What, v.Why = "timer", e.Decision.Trigger
	case e.Flow != nil:
		v.Why = e.Flow.Event
	case e.Inject != nil:
		v.Why = e.Inject.Kind
	}
	if l, ok := looks[v.What]; ok {
		v.Class, v.Sign = l[0], l[1]
	} else {
		v.Class, v.Sign = "other", "·"
	}
	return recordView{v, text}
}

// recordPage is a record that belongs to no flow.
type recordPage struct {
	frame
	Cursor string
	Record recordView
	Around string // address of the records from there on
}

// record answers with one record.
func (s *Server) record(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r, "at"); err != nil {
		return err
	}
	at, err := index.ParseCursor(r.URL.Query().Get("at"))
	if err != nil || at == (index.Cursor{}) || at.Offset < 0 {
		return badRequest("at %q is no place in a log, expected what a link of this page has", r.URL.Query().Get("at"))
	}
	for e, err := range s.src.events(r.Context(), []index.Cursor{at}) {
		if err != nil {
			s.cfg.Logger.Info("review page", "record", at, "error", err)
			return notFound("no record stands at %s", at)
		}
		s.render(w, r, http.StatusOK, "record", recordPage{s.frame("log", "Record"), at.String(), recordOf(e),
			"/log?order=oldest&after=" + url.QueryEscape(at.String())})
		return nil
	}
	return notFound("no record stands at %s", at)
}

// ladder answers with a connection's drawing as a file of its own.
func (s *Server) ladder(w http.ResponseWriter, r *http.Request) error {
	id, err := flowID(r)
	if err == nil {
		err = noQuery(r)
	}
	if err != nil {
		return err
	}
	st, _, err := s.src.story(r.Context(), id)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := st.Ladder().WriteSVG(&b, ladder.SVG{}); err != nil {
		return err
	}
	return s.file(w, r, fmt.Sprintf("flow-%d.svg", id), "image/svg+xml", &b)
}

// scenario answers with a connection's records as a scenario.
func (s *Server) scenario(w http.ResponseWriter, r *http.Request) error {
	id, err := flowID(r)
	if err == nil {
		err = noQuery(r)
	}
	if err != nil {
		return err
	}
	if s.cfg.Scenario == nil {
		return notFound("this server makes no scenarios")
	}
	var records []*decisionlog.Event
	if _, err := s.src.between(r.Context(), id, func(e *decisionlog.Event) {
		c := *e
		c.Raw = nil
		records = append(records, &c)
	}); err != nil {
		return err
	}
	text, err := s.cfg.Scenario(records)
	if err != nil {
		return &httpError{http.StatusUnprocessableEntity, "no scenario can be made of these records: " + s.src.text(s.shown(err))}
	}
	return s.file(w, r, fmt.Sprintf("flow-%d.scn", id), "text/plain; charset=utf-8", bytes.NewBufferString(text))
}

// flowRecords answers with a connection's lines.
func (s *Server) flowRecords(w http.ResponseWriter, r *http.Request) error {
	id, err := flowID(r)
	if err == nil {
		err = noQuery(r)
	}
	if err != nil {
		return err
	}
	lines, _, err := s.src.own(r.Context(), id, flowDownload)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return index.ErrNoFlow
	}
	var b bytes.Buffer
	for _, e := range lines {
		b.Write(e.Raw)
		b.WriteByte('\n')
	}
	return s.file(w, r, fmt.Sprintf("flow-%d.jsonl", id), "application/x-ndjson", &b)
}

// packetSlack is how far around a connection's records its packets are looked for.
const packetSlack = 5 * time.Second

// packets answers with a connection's packets.
func (s *Server) packets(w http.ResponseWriter, r *http.Request) error {
	id, err := flowID(r)
	if err == nil {
		err = noQuery(r)
	}
	switch {
	case err != nil:
		return err
	case s.cfg.Anonymizer != nil:
		return &httpError{http.StatusForbidden, "addresses are anonymized, and packets would show them"}
	case s.cfg.Capture == nil:
		return notFound("this server was started without a capture (--pcap DIR)")
	}
	fs, err := s.src.flows(r.Context(), id)
	if err != nil {
		return err
	}
	fl := fs[len(fs)-1]
	tmp, err := os.CreateTemp("", "halfopen-review-*.pcapng")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	from := fl.FirstAt
	if !fl.Started.IsZero() && fl.Started.Before(from) {
		from = fl.Started
	}
	n, err := s.cfg.Capture(tmp, id, from.Add(-packetSlack), fl.LastAt.Add(packetSlack))
	if err != nil && n == 0 {
		return err
	}
	if err != nil {
		s.cfg.Logger.Warn("review page", "flow", id, "packets", n, "error", err)
	}
	if n == 0 {
		return notFound("no packet of flow %d is in the capture", id)
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return s.file(w, r, fmt.Sprintf("flow-%d.pcapng", id), "application/x-pcapng", tmp)
}

// file answers with something to keep.
func (s *Server) file(w http.ResponseWriter, r *http.Request, name, kind string, from io.Reader) error {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, from); err != nil && !errors.Is(err, http.ErrHandlerTimeout) {
		s.cfg.Logger.Info("review page", "file", name, "error", err)
	}
	return nil
}

// shellWord quotes a word for a shell where it needs that.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,=@%+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// visible writes JSON with escapes for what a reader would not see, or see somewhere else: what steers the direction of writing, and
// other characters that print nothing.
func visible(json string) string {
	var b strings.Builder
	for _, r := range json {
		switch {
		case r == '\n' || unicode.IsPrint(r) && r != unicode.ReplacementChar:
			b.WriteRune(r)
		case r > 0xffff:
			x, y := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, x, y)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
