//go:build netns

package proxy

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/lab"
	"halfopen/proxy/nfqueue"
	"halfopen/proxy/review"
)

// patienceLimit is generous: the machine may be slow and shared.
const patienceLimit = 30 * time.Second

// site is a gateway of this process between a client and a server of the kernel's.
type site struct {
	*Gateway
	t     *testing.T
	top   *lab.Topology
	dir   string
	words *syncBuffer // what the gateway says
	stop  func() error
	live  *lab.End // a connection that began before any trouble
	at    netip.AddrPort
}

// syncBuffer takes words from several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newSite starts a gateway whose supervisor looks ten times a second, and a connection through it.
func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	top, err := lab.Build(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, top: top, dir: filepath.Join(t.TempDir(), "log"), words: &syncBuffer{}, at: netip.MustParseAddrPort("198.51.100.10:7001")}
	cfg := Config{Policy: "linux-default", FastPath: FastPathOff, InstallRules: true, Hooks: nfqueue.Forward, LogDir: s.dir, Fresh: true, Logger: slog.New(slog.NewTextHandler(s.words, nil))}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	opened, ended := make(chan error, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // everything that a gateway opens after its start, too, belongs into its namespace
		ended <- top.Gateway.Do(func() error {
			var err error
			s.Gateway, err = open(cfg)
			if err == nil {
				s.Gateway.lookEvery = 100 * time.Millisecond
			}
			opened <- err
			if err != nil {
				return err
			}
			return s.serve(ctx)
		})
	}()
	if err := <-opened; err != nil {
		cancel()
		t.Fatal(err)
	}
	s.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = s.stop() })
	srv, err := top.Server.Serve(s.at, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	s.live = s.connect()
	return s
}

// connect makes a connection that carries data.
func (s *site) connect() *lab.End {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceLimit)
	defer cancel()
	e, err := s.top.Client.Dial(ctx, netip.MustParseAddrPort("192.0.2.10:0"), s.at)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.words)
	}
	s.t.Cleanup(func() { e.Close() })
	s.say(e)
	return e
}

func (s *site) say(e *lab.End) {
	s.t.Helper()
	if err := e.Say("still there?\n", patienceLimit); err != nil {
		s.t.Fatalf("%v\n%s", err, s.words)
	}
}

// until waits for a condition.
func (s *site) until(what string, met func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patienceLimit); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("after %v still not: %s\n%s", patienceLimit, what, s.words)
		}
	}
}

// replaced waits until the worker of the only queue is another one.
func (s *site) replaced(old *Worker) {
	s.t.Helper()
	s.until("the worker is replaced", func() bool { list := s.workerList(); return len(list) == 1 && list[0] != old })
}

// goesOn proves that traffic passes and is decided, that the log says what happened, and that it adds up after the stop.
func (s *site) goesOn(said string) map[string]uint64 {
	s.t.Helper()
	s.say(s.live)
	s.connect()
	before := s.workerList()[0].received.Load()
	s.say(s.live)
	if s.workerList()[0].received.Load() == before {
		s.t.Error("the new worker sees no packets")
	}
	if err := s.stop(); err != nil {
		s.t.Errorf("the gateway ended with %v", err)
	}
	if !strings.Contains(s.words.String(), said) {
		s.t.Errorf("nothing says %q in\n%s", said, s.words)
	}
	return s.balanced()
}

// balanced proves the log and returns what gap records admit, by the place of the loss.
func (s *site) balanced() map[string]uint64 {
	s.t.Helper()
	rep, err := review.Verify(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if !rep.OK || len(rep.Runs) != 1 || rep.Runs[0].Status != review.Balanced {
		var text bytes.Buffer
		_ = rep.WriteText(&text)
		s.t.Errorf("the log does not add up:\n%s\n%s", text.String(), s.words)
	}
	gaps := map[string]uint64{}
	for e, err := range decisionlog.Read(s.dir) {
		if err != nil {
			s.t.Fatal(err)
		}
		if e.Gap != nil {
			gaps[e.Gap.Where] += e.Gap.Count
		}
	}
	return gaps
}

// block makes a worker hang in an administrative call until the returned function is called.
func (s *site) block(w *Worker) (release func()) {
	hangs, free := make(chan struct{}), make(chan struct{})
	go w.Do(context.Background(), func(conntrack.Instant, *Worker) { close(hangs); <-free })
	<-hangs
	release = sync.OnceFunc(func() { close(free) })
	s.t.Cleanup(release)
	return release
}
