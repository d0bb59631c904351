package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// DefaultAdminSocket is where `flows` and `reload` look for a gateway.
const DefaultAdminSocket = "/run/halfopen/admin.sock"

// Host is what the admin socket and the metrics ask a gateway for. All methods are safe for concurrent use.
type Host interface {
	// Each runs fn on every worker's thread between two batches, one worker after the other. fn must be short.
	Each(ctx context.Context, fn func(queue int, now conntrack.Instant, e *policy.Engine)) error
	// Kill ends the flows that match, on every worker, a chunk at a time, with their records, and returns how many. match
	// runs on the workers' threads.
	Kill(ctx context.Context, match func(*conntrack.Entry) bool) (int, error)
	// Reload loads the policy again, from path or with "" from where it came, and puts it in force. A bad policy changes
	// nothing; the error then wraps [policy.Problems] where there are any.
	Reload(ctx context.Context, path string) (ReloadResult, error)
	// Subscribe returns flow events as they happen. A full buffer never blocks a worker: events are dropped and counted.
	Subscribe(buffer int) (events <-chan FlowLine, cancel func())
	// Experiments says how the experiments do.
	Experiments() []ExperimentStatus
	// StopExperiment makes an arm, or with "" the whole experiment, get no new connections, and returns the arms that it stopped.
	StopExperiment(ctx context.Context, name, arm string) ([]string, error)
	// Arms returns the names of experiments' arms by the numbers that entries have, "" for none; a number never gets another name.
	Arms() []string
	// Status says how the gateway does.
	Status() Status
	// Counters is what the gateway has counted since it began.
	Counters() Counters
}

// ReloadResult says what a reload changed.
type ReloadResult struct {
	Policy string `json:"policy"`         // name of the policy now in force
	Rev    string `json:"rev"`            // and its revision
	Before string `json:"before"`         // revision before; the same as Rev where nothing changed
	Flows  string `json:"flows"`          // what became of live flows: keep, rematch or drop
	Live   uint64 `json:"live,omitempty"` // how many those were

	Experiments []string `json:"experiments,omitempty"` // what changed in them, in words
}

// Status is how a gateway does, for a person. Times are wall clock.
type Status struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	UptimeS    float64   `json:"uptime_s"`
	Policy     string    `json:"policy"`
	Preset     string    `json:"preset"`
	Rev        string    `json:"rev"`
	DryRun     bool      `json:"dry_run"`     // decides and logs only
	FailClosed bool      `json:"fail_closed"` // what it cannot decide is dropped, not forwarded
	Queues     []int     `json:"queues"`
	Flows      uint64    `json:"flows"`
	Restored   uint64    `json:"restored"` // of an earlier run, not met again yet; not in Flows
	Received   uint64    `json:"received"` // queue messages
	Lost       uint64    `json:"lost"`     // queue messages that passed or were dropped undecided
	ReloadOK   bool      `json:"reload_ok"`

	FastPath FastPathStatus `json:"fastpath"`
	Shadows  []ShadowStatus `json:"shadows,omitempty"`
}

// FastPathStatus is how the kernel's fast path does.
type FastPathStatus struct {
	State   string `json:"state"`         // on, redirect or off
	Why     string `json:"why,omitempty"` // it is off
	Flows   uint64 `json:"flows"`         // on it now
	Packets uint64 `json:"pkts"`          // that it let pass
	Bytes   uint64 `json:"bytes"`         // IP bytes
	// Kept is how many pairs of hosts have their connections on the queue because their marks are lost, by reason: overwritten or not-exempt.
	Kept map[string]uint64 `json:"kept_pairs,omitempty"`
}

// ShadowStatus is how a shadow policy does, in its present revision beside the present one of the policy in force.
type ShadowStatus struct {
	Policy    string `json:"policy"`
	Preset    string `json:"preset"`
	Rev       string `json:"rev"`
	Trial     bool   `json:"trial,omitempty"` // the policy under trial with dry_run
	Segments  uint64 `json:"segments"`        // that it has decided
	Agreed    uint64 `json:"agreed"`
	Disagreed uint64 `json:"disagreed"` // connections, by their first disagreement
	Diverged  uint64 `json:"diverged"`  // segments behind one
	Shed      uint64 `json:"shed"`      // segments that it was not shown
}

// AdminConfig says how to serve the admin socket.
type AdminConfig struct {
	Path    string // of the socket
	Host    Host
	Clock   Clock
	Pending *Pending // restored flows that no worker holds yet, to be listed and killed too; nil: none
	Logger  *slog.Logger
}

// Admin serves the admin socket: HTTP over a unix socket that only the owner may use, JSON in the bodies.
//
//	GET  /v1/flows?filter=F        one Flow a line
//	POST /v1/flows/kill?filter=F   {"killed": n}
//	GET  /v1/events?filter=F       one Flow a line as things happen, until the client goes
//	POST /v1/reload?policy=P       ReloadResult, or status 422 and {"error": words, "problems": [...]}
//	GET  /v1/status                Status
//	GET  /v1/experiments           [ExperimentStatus]
//	POST /v1/experiments/stop?name=N&arm=A   {"stopped": [arms]}, or status 422; without arm all of them
//
// Other errors are {"error": words} with a status that fits.
type Admin struct {
	cfg    AdminConfig
	socket *adminSocket
	server *http.Server
	stop   context.CancelFunc // ends streams
	done   chan struct{}
}

// NewAdmin makes the socket and serves it until Close. A socket that a dead process left is replaced; one that is served is
// an error that names it.
func NewAdmin(cfg AdminConfig) (*Admin, error) {
	socket, err := listenAdmin(cfg.Path)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Admin{cfg: cfg, socket: socket, stop: stop, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/flows", a.flows)
	mux.HandleFunc("POST /v1/flows/kill", a.kill)
	mux.HandleFunc("GET /v1/events", a.events)
	mux.HandleFunc("POST /v1/reload", a.reload)
	mux.HandleFunc("GET /v1/status", a.status)
	mux.HandleFunc("GET /v1/experiments", a.experiments)
	mux.HandleFunc("POST /v1/experiments/stop", a.stopExperiment)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 16,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn)}
	go func() {
		defer close(a.done)
		if err := a.server.Serve(socket.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("admin socket", "err", err)
		}
	}()
	return a, nil
}

// Close ends what runs, and removes the socket.
func (a *Admin) Close() error {
	a.stop()
	removed := a.socket.remove()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := a.server.Shutdown(ctx)
	if err != nil {
		err = a.server.Close() // a handler that waits for its worker or its client
	}
	<-a.done
	return errors.Join(err, removed)
}

func (a *Admin) status(w http.ResponseWriter, _ *http.Request) {
	st := a.cfg.Host.Status()
	if a.cfg.Pending != nil {
		st.Restored = uint64(a.cfg.Pending.Len())
	}
	reply(w, http.StatusOK, &st)
}

func (a *Admin) experiments(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, a.cfg.Host.Experiments())
}

// stoppedArms is the body of the answer to a stop.
type stoppedArms struct {
	Stopped []string `json:"stopped"` // arms; none where they were already
}

func (a *Admin) stopExperiment(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	stopped, err := a.cfg.Host.StopExperiment(r.Context(), q.Get("name"), q.Get("arm"))
	if err != nil {
		reply(w, http.StatusUnprocessableEntity, &adminError{Error: err.Error()})
		return
	}
	a.cfg.Logger.Info("experiment stopped by the operator", "experiment", q.Get("name"), "arms", stopped)
	reply(w, http.StatusOK, &stoppedArms{Stopped: append([]string{}, stopped...)})
}

// adminError is the body of an answer that is no success.
type adminError struct {
	Error    string          `json:"error"`
	Problems policy.Problems `json:"problems,omitempty"`
}

func (a *Admin) reload(w http.ResponseWriter, r *http.Request) {
	res, err := a.cfg.Host.Reload(r.Context(), r.URL.Query().Get("policy"))
	if err != nil {
		body := adminError{Error: err.Error()}
		errors.As(err, &body.Problems)
		reply(w, http.StatusUnprocessableEntity, &body)
		return
	}
	reply(w, http.StatusOK, &res)
}

func (a *Admin) kill(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("filter")
	f, err := a.filter(r)
	if err == nil && text == "" {
		err = errors.New("filter: to kill takes a filter; \"all\" is one")
	}
	if err != nil {
		reply(w, http.StatusBadRequest, &adminError{Error: err.Error()})
		return
	}
	var body struct {
		Killed int `json:"killed"`
	}
	if a.cfg.Pending != nil {
		body.Killed = a.cfg.Pending.Take(f.Match)
	}
	n, err := a.cfg.Host.Kill(r.Context(), f.Match)
	body.Killed += n
	if err != nil {
		reply(w, http.StatusInternalServerError, &adminError{Error: fmt.Sprintf("%v; %d flows are gone", err, body.Killed)})
		return
	}
	a.cfg.Logger.Info("flows killed by the operator", "filter", text, "flows", body.Killed)
	reply(w, http.StatusOK, &body)
}

// reply answers with one JSON object.
func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away needs no answer
}
