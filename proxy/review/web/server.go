package web

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// Config says what is served to whom. Dir and Index are needed.
type Config struct {
	Dir   string       // the log's directory
	Index *index.Index // of it; the server brings it up to date

	Token      string      // who does not know it sees nothing; "": everybody does
	Loopback   bool        // only loopback is listened on: requests by other names than its own are refused
	Anonymizer *Anonymizer // maps addresses; nil: they are shown

	// Capture writes the packets of a connection that an annotated capture holds, between two times, and says how many they are. Nil: there
	// is no capture. With an Anonymizer it is not asked.
	Capture func(w io.Writer, flow uint64, from, until time.Time) (packets int, err error)
	// Scenario makes a scenario of a connection's records. Nil: none is offered.
	Scenario func(records []*decisionlog.Event) (string, error)

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
}

// Server is the page's handler. [New] makes one, [Server.Run] keeps its index up to date.
type Server struct {
	cfg   Config
	src   source
	tmpl  *template.Template
	mux   http.Handler
	fresh keeper
	cases cases
	trial trials
	live  chan struct{} // places for followers
	busy  chan struct{} // places for what takes long
	fails failures

	disagreement shadowReport

	verified struct {
		sync.Mutex
		at   time.Time
		data *balance
	}
}

// Bounds on what is served at once.
const (
	maxFollowers = 32
	maxBusy      = 8
)

// New makes the handler.
func New(cfg Config) (*Server, error) {
	if cfg.Index == nil || cfg.Dir == "" {
		return nil, errors.New("review: a page needs a log and its index")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, src: source{cfg.Index, cfg.Dir, cfg.Anonymizer}, live: make(chan struct{}, maxFollowers), busy: make(chan struct{}, maxBusy)}
	s.fresh.x, s.fresh.now, s.fresh.base = cfg.Index, cfg.Now, context.Background()
	s.cases.src, s.trial.src = &s.src, &s.src
	t, err := template.New("").Funcs(funcs(s)).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	s.tmpl = t
	s.mux = s.routes()
	return s, nil
}

// name is what the log is called on the page: the host's paths stay the host's.
func (s *Server) name() string { return filepath.Base(filepath.Clean(s.cfg.Dir)) }

// routes puts the handlers together.
func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	page := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		m.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, h) })
	}
	page("/{$}", s.start)
	page("/log", s.records)
	page("/rows", s.rows)
	page("/strip", s.stripOnly)
	page("/record", s.record)
	page("/flow/{id}", s.flow)
	page("/flow/{id}/ladder.svg", s.ladder)
	page("/flow/{id}/scenario.scn", s.scenario)
	page("/flow/{id}/records.jsonl", s.flowRecords)
	page("/flow/{id}/packets.pcapng", s.packets)
	page("/trouble/{kind}", s.trouble)
	page("/policies", s.policies)
	page("/policies/diff", s.policyDiff)
	page("/policies/{rev...}", s.policy)
	page("/shadow", s.shadow)
	page("/experiments", s.experiments)
	page("/experiments/{name}", s.experiment)
	page("/experiments/{name}/report.json", s.experimentJSON)
	page("/experiments/{name}/behind", s.behind)
	page("/live", s.follow)
	m.HandleFunc("GET /assets/{name}", s.asset)
	if s.cfg.Token != "" {
		m.HandleFunc("GET /login", s.loginForm)
		m.HandleFunc("POST /login", s.login)
	}
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.fail(w, r, &httpError{http.StatusMethodNotAllowed, "the page only shows: GET and HEAD are all it answers"})
			return
		}
		s.fail(w, r, &httpError{http.StatusNotFound, "there is no such page"})
	})
	return s.guard(m)
}

// httpError is an error that the page tells.
type httpError struct {
	status int
	text   string
}

func (e *httpError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &httpError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &httpError{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// pageLimit is how long a page may take.
const pageLimit = 30 * time.Second

// serve runs a handler, within bounds, and tells its error.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, h func(http.ResponseWriter, *http.Request) error) {
	if r.URL.Path != "/live" {
		ctx, cancel := context.WithTimeout(r.Context(), pageLimit)
		defer cancel()
		r = r.WithContext(ctx)
		select {
		case s.busy <- struct{}{}:
			defer func() { <-s.busy }()
		case <-ctx.Done():
			s.fail(w, r, &httpError{http.StatusServiceUnavailable, "too many questions at once; ask again"})
			return
		}
		s.fresh.catchUp(ctx)
	}
	if err := h(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// fail answers with an error's page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := &httpError{http.StatusInternalServerError, "the log could not be read: " + s.src.text(s.shown(err))}
	var filter *index.FilterError
	var known *httpError
	switch {
	case errors.As(err, &known):
		e = known
	case errors.As(err, &filter):
		e = &httpError{http.StatusBadRequest, filter.Error()}
	case errors.Is(err, index.ErrNoFlow):
		e = &httpError{http.StatusNotFound, "no record of this log has that flow"}
	case errors.Is(err, fs.ErrNotExist):
		e = &httpError{http.StatusNotFound, "the file that held it is not in the log any more"}
	case r.Context().Err() != nil:
		e = &httpError{http.StatusServiceUnavailable, "that took too long; a narrower filter is faster"}
	default:
		s.cfg.Logger.Warn("review page", "path", r.URL.Path, "error", err)
	}
	w.Header().Del("Content-Disposition")
	w.Header().Del("Content-Type")
	s.render(w, r, e.status, "error", errorPage{s.frame("", http.StatusText(e.status)), e.status, http.StatusText(e.status), e.text})
}

// shown is an error's text without the host's paths.
func (s *Server) shown(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Op + " " + filepath.Base(path.Path) + ": " + path.Err.Error()
	}
	return err.Error()
}

type errorPage struct {
	frame
	Status int
	Title  string
	Text   string
}

// frame is what every page has.
type frame struct {
	Log      string
	Section  string // of the navigation
	Heading  string
	Token    bool
	Masked   bool
	Alarm    string // what is wrong with the index
	Indexing int    // per cent, 100: done
}

func (s *Server) frame(section, heading string) frame {
	done, problem := s.fresh.state()
	return frame{Log: s.name(), Section: section, Heading: heading, Token: s.cfg.Token != "", Masked: s.cfg.Anonymizer != nil,
		Alarm: s.src.text(problem), Indexing: done}
}

// Run keeps the index at the log's end while somebody looks, until ctx ends. Then the index may be closed, once no request is being
// answered.
func (s *Server) Run(ctx context.Context) {
	s.fresh.run(ctx)
	s.cases.wait()
	s.trial.wait()
}

// Progress is for index.Options: the page says how far indexing is.
func (s *Server) Progress(p index.Progress) { s.fresh.progress(p) }
