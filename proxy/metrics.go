package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"halfopen/conntrack"
)

// Counters is what a gateway has counted since it began, as plain data. Counts only grow, also when a worker is replaced.
type Counters struct {
	Preset   string // of the policy in force; its name where it is of no preset
	Rev      string
	ReloadOK bool      // the last reload was good, or there was none
	ReloadAt time.Time // of the last good load

	Queues            []QueueCounters
	Flows             [conntrack.NumStates]uint64 // now, all tables; StateNone is not used
	Restored          uint64                      // of an earlier run, not met again yet
	Ended             [conntrack.NumEndReasons]uint64
	Suppressed        [conntrack.NumFindings]uint64 // individual records held back by a rate
	LogDropped        uint64                        // records that the log could not take: its ring was full or the disk refused them
	PcapPackets       uint64                        // packets in the annotated capture
	PcapDropped       uint64                        // packets that it could not take
	Gaps              uint64                        // queue messages that gap records admit
	FlowEventsDropped uint64                        // events that readers of `flows -E` were too slow for
	Arms              []ArmCounters                 // of experiments
	Unwatched         uint64                        // what experiments' limits were not told in time
	Shadows           []ShadowCounters
	FastPath          FastPathCounters
}

// ShadowCounters is what a shadow policy has been counted doing since the gateway began, over its revisions.
type ShadowCounters struct {
	Policy                                             string
	Segments, Agreed, Disagreed, Timed, Diverged, Shed uint64 // as in decisionlog.ShadowStats
	Pairs                                              []ShadowPair
}

// ShadowPair counts connections on which a shadow first disagreed, by both findings; "nothing" is the one of who did nothing while time
// made the other side act.
type ShadowPair struct {
	Live, Shadow string
	N            uint64
}

// QueueCounters is what one worker has counted.
type QueueCounters struct {
	Queue         int
	Received      uint64                           // queue messages read
	Decided       [conntrack.NumFindings][4]uint64 // by finding and policy.PacketAction
	Injected      uint64
	InjectErrors  uint64
	HoldsRefused  uint64 // packets that went on because too many were held
	NotRewritten  uint64 // packets that were to be rewritten and could not be
	LostIDs       uint64 // messages that the kernel numbered and could not hand over
	ENOBUFS       uint64 // overflows that the socket reported
	VerdictErrors uint64 // verdicts that could not be sent, or that the kernel refused
	Waiting       uint64 // packets without a verdict now
	QueueDropped  uint64 // by the kernel: dropped because the queue was full
	SocketDropped uint64 // by the kernel: dropped because the socket's buffer was full
}

// MetricsConfig says how to serve metrics.
type MetricsConfig struct {
	Addr     string // to listen on
	Counters func() Counters
	Logger   *slog.Logger
}

// Metrics serves /metrics in Prometheus' format.
type Metrics struct {
	server   *http.Server
	listener net.Listener
	done     chan struct{}
}

// NewMetrics listens on the address and serves until Close.
func NewMetrics(cfg MetricsConfig) (*Metrics, error) {
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(cfg.Counters), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	errorLog := slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorLog: errorLog, MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "halfopen: see /metrics") })
	m := &Metrics{listener: l, done: make(chan struct{}), server: &http.Server{Handler: mux, ErrorLog: errorLog,
		ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 16}}
	go func() {
		defer close(m.done)
		if err := m.server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("metrics", "err", err)
		}
	}()
	return m, nil
}

// Addr is where it listens; with port 0 asked for, the kernel's choice.
func (m *Metrics) Addr() net.Addr { return m.listener.Addr() }

// Close stops serving.
func (m *Metrics) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := m.server.Shutdown(ctx)
	if err != nil {
		err = m.server.Close()
	}
	<-m.done
	return err
}
