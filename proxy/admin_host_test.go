package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// engineHost is a gateway without queues: engines on goroutines of their own that run what they are asked to.
type engineHost struct {
	workers []*engineWorker
	events  *fanout
	fail    atomic.Bool // the second worker is dead
	mu      sync.Mutex  // pol, counters
	pol     *policy.Policy
	stats   Counters
	turns   atomic.Int64
}

type engineWorker struct {
	engine *policy.Engine
	now    conntrack.Instant
	calls  chan func()
}

func newEngineHost(t *testing.T, workers int) *engineHost {
	t.Helper()
	pol, err := policy.Open("observe", os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	h := &engineHost{events: newFanout(), pol: pol}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range workers {
		w := &engineWorker{now: 1e12, calls: make(chan func()), engine: policy.NewEngine(policy.EngineConfig{Policy: pol, Start: 1e12,
			NoAdopt: true, FirstID: uint64(1000*(i+1)) + 1})}
		h.workers = append(h.workers, w)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case fn := <-w.calls:
					fn()
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	t.Cleanup(func() { stop(); wg.Wait() })
	return h
}

// do runs fn on a worker's goroutine.
func (h *engineHost) do(ctx context.Context, i int, fn func(w *engineWorker)) error {
	if i == 1 && h.fail.Load() {
		return errors.New("the worker of queue 1 has ended")
	}
	done := make(chan struct{})
	select {
	case h.workers[i].calls <- func() { fn(h.workers[i]); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *engineHost) Each(ctx context.Context, fn func(int, conntrack.Instant, *policy.Engine)) error {
	for i := range h.workers {
		h.turns.Add(1)
		if err := h.do(ctx, i, func(w *engineWorker) { fn(i, w.now, w.engine) }); err != nil {
			return err
		}
	}
	return nil
}

func (h *engineHost) Arms() []string { return nil }

func (h *engineHost) Experiments() []ExperimentStatus { return nil }

func (h *engineHost) StopExperiment(context.Context, string, string) ([]string, error) {
	return nil, errors.New("experiment: none here")
}

func (h *engineHost) Kill(ctx context.Context, match func(*conntrack.Entry) bool) (total int, err error) {
	for i := range h.workers {
		err := h.do(ctx, i, func(w *engineWorker) {
			n, _ := w.engine.Kill(w.now, 0, 1<<20, match, func(ev *policy.TimeEvent) { h.events.send(&ev.Flow) })
			total += n
		})
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (h *engineHost) Reload(_ context.Context, path string) (ReloadResult, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if path == "" {
		path = "observe"
	}
	p, err := policy.Open(path, os.ReadFile)
	if err != nil {
		return ReloadResult{}, fmt.Errorf("reload refused, the policy in force stays: %w", err)
	}
	res := ReloadResult{Policy: p.Name(), Rev: p.Rev(), Before: h.pol.Rev(), Flows: p.Reload().String()}
	h.pol = p
	return res, nil
}

func (h *engineHost) Subscribe(buffer int) (<-chan FlowLine, func()) {
	return h.events.subscribe(buffer)
}

func (h *engineHost) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Status{Policy: h.pol.Name(), Rev: h.pol.Rev(), Queues: []int{0, 1}, ReloadOK: true}
}

func (h *engineHost) Counters() Counters {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats
}

// step gives a worker a segment, a second after its last one.
func (h *engineHost) step(t *testing.T, i int, tu conntrack.Tuple, flags conntrack.Flags, seq, ack conntrack.Seq) {
	t.Helper()
	s := conntrack.Segment{Tuple: tu, Flags: flags, Seq: seq, Ack: ack, Window: 64240, Bytes: 40}
	err := h.do(context.Background(), i, func(w *engineWorker) {
		w.now = w.now.Add(time.Second)
		out := w.engine.Step(w.now, &s)
		for i := range out.Flows {
			h.events.send(&out.Flows[i])
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// open leads a connection through its handshake, 3 s in all.
func (h *engineHost) open(t *testing.T, i int, tu conntrack.Tuple) {
	t.Helper()
	h.step(t, i, tu, conntrack.SYN, 100, 0)
	h.step(t, i, tu.Reverse(), conntrack.SYN|conntrack.ACK, 500, 101)
	h.step(t, i, tu, conntrack.ACK, 101, 501)
}

// serveAdmin serves a host on a socket of the test's own.
func serveAdmin(t *testing.T, h Host, pending *Pending) (*AdminClient, *Admin) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	a, err := NewAdmin(AdminConfig{Path: path, Host: h, Clock: NewClock(), Pending: pending, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	c := NewAdminClient(path)
	t.Cleanup(func() {
		c.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, a
}

func list(t *testing.T, c *AdminClient, filter string) []Flow {
	t.Helper()
	var flows []Flow
	if err := c.Flows(t.Context(), filter, func(f *Flow) error { flows = append(flows, *f); return nil }); err != nil {
		t.Fatalf("listing %q: %v", filter, err)
	}
	return flows
}
