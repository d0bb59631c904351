package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// slowDisk takes 256 KiB, some 300 records, in five milliseconds, so that any worker is many times as fast; or it refuses, or hangs.
type slowDisk struct {
	refuses atomic.Bool
	hangs   sync.Mutex // it hangs while this is held
}

func (d *slowDisk) Write(p []byte) (int, error) {
	d.hangs.Lock()
	defer d.hangs.Unlock()
	if d.refuses.Load() {
		return 0, errors.New("no room")
	}
	time.Sleep(5 * time.Millisecond)
	return len(p), nil
}

const (
	pacedRing  = 1 << 10
	pacedFlows = 8 * pacedRing
)

// paced is a worker with pacedFlows connections, each of which has a forward that no record tells of, and a log on a slow disk.
func paced(t *testing.T) (*Worker, *slowDisk) {
	t.Helper()
	disk := &slowDisk{}
	log, err := decisionlog.Open(decisionlog.Options{Dir: "-", Stdout: disk, RingSize: pacedRing, Retry: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	w, _ := established(t, "preset: linux-default\nlimits: {flows: 100000}")
	w.shared.log, w.producer = log, log.Producer(0)
	crowd(t, w, pacedFlows)
	crowd(t, w, pacedFlows)
	return w, disk
}

// written closes the log, and fails the test where a record was lost or fewer than the connections' were written.
func written(t *testing.T, w *Worker) {
	t.Helper()
	if err := w.shared.log.Close(); err != nil {
		t.Fatal(err)
	}
	if c := w.shared.log.Counters(); c.RingDropped > 0 || c.DiskDropped > 0 || c.Records < pacedFlows {
		t.Errorf("%d connections, and the log: %+v", pacedFlows, c)
	}
}

// turning lets a goroutine make the worker's turns, and returns a gateway that knows it.
func turning(t *testing.T, w *Worker) *Gateway {
	t.Helper()
	var err error
	if w.waiter, err = nfqueue.NewWaiter(); err != nil {
		t.Fatal(err)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case c := <-w.calls:
				c.fn(w.now, w)
				w.publish()
				close(c.done)
			}
		}
	}()
	t.Cleanup(func() { close(end); <-ended })
	return &Gateway{workers: []*Worker{w}, shared: w.shared}
}

// At the stop every connection has a record to write, all at once, and the log's writer is slower than the worker: it gets the time.
func TestStopWaitsForTheLog(t *testing.T) {
	w, _ := paced(t)
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	written(t, w)
}

// A disk that hangs keeps a worker no longer than its patience, and each record that it has no room for is in the gaps.
func TestStopDoesNotWaitForEver(t *testing.T) {
	w, disk := paced(t)
	disk.hangs.Lock()
	w.report(5 * time.Millisecond) // would never return
	disk.hangs.Unlock()
	if err := w.shared.log.Close(); err != nil {
		t.Fatal(err)
	}
	if c := w.shared.log.Counters(); c.RingDropped == 0 || c.Records-1 > 2*pacedRing || c.Records+c.RingDropped < pacedFlows {
		t.Errorf("%d connections, and the log: %+v", pacedFlows, c)
	}
}

// So it is when update records are due. Here the supervisor waits, and the worker never. A disk that refuses keeps it for a later look.
func TestUpdatesWaitForTheLog(t *testing.T) {
	w, disk := paced(t)
	disk.refuses.Store(true)
	w.shared.log.Put(&decisionlog.Record{Event: decisionlog.EventStats, Stats: &decisionlog.Stats{}})
	w.shared.log.Flush()
	g := turning(t, w)
	w.behind = true
	for range 10 * pacedFlows / flushChunk {
		g.flushCounted(t.Context(), time.Now())
	}
	if !w.behind {
		t.Error("all updates are out, and the disk took none")
	}
	disk.refuses.Store(false)
	w.shared.log.Flush()
	for looks := 0; w.behind; looks++ {
		if g.flushCounted(t.Context(), time.Now().Add(20*time.Millisecond)); looks > 500 {
			t.Fatal("the updates come to no end")
		}
	}
	written(t, w)
}

// And where an operator ends all connections.
func TestKillWaitsForTheLog(t *testing.T) {
	w, _ := paced(t)
	g := turning(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := g.Kill(ctx, func(e *conntrack.Entry) bool { return true })
	if err != nil || n < pacedFlows || w.counts.Ended[conntrack.EndKilled] < pacedFlows {
		t.Fatalf("%d killed, %v, %v", n, w.counts.Ended, err)
	}
	written(t, w)
}
