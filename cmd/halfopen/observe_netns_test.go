//go:build netns

package main

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestObserveIsInvisible moves a GiB each way over each family and a thousand connections at once through the preset that must not
// be noticed.
func TestObserveIsInvisible(t *testing.T) {
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(16)
	g := w.start("observe")

	began := time.Now()
	var transfers sync.WaitGroup
	for i, o := range []order{{Do: doTake, Total: 1 << 30}, {Do: doGive, Total: 1 << 30}} {
		for _, from := range pool[2*i : 2*i+2] { // IPv4 and IPv6
			transfers.Go(func() {
				if err := w.transfer(from, o, nil, nil); err != nil {
					t.Errorf("transfer %c from %s: %v", o.Do, from, err)
				}
			})
		}
	}
	transfers.Wait()
	t.Logf("4 GiB in %.1f s", time.Since(began).Seconds())
	w.shortConnections(pool, 1000)

	queued := w.queued()
	if queued[0] == 0 || queued[1] == 0 {
		t.Errorf("packets by queue %v: both must carry some", queued)
	}
	g.stop()
	p := w.verify()
	if p.statuses() != "final/balanced" || p.Runs[0].Truth != "kernel" {
		t.Errorf("proof %+v", p)
	}
	// The kernel's counter against the kernel's queues: nothing bypassed them.
	if n := queued[0] + queued[1]; p.Runs[0].Messages < n {
		t.Errorf("the log explains %d packets, the queues had %d", p.Runs[0].Messages, n)
	}
	if p.Runs[0].Explained.Gaps != 0 {
		t.Errorf("%d packets in gaps", p.Runs[0].Explained.Gaps)
	}
}

// shortConnections opens n connections, holds them all open at once, exchanges data on each and closes them.
func (w *world) shortConnections(pool []netip.Addr, n int) {
	w.t.Helper()
	var open, all sync.WaitGroup
	var failed atomic.Int64
	errs := make(chan error, n)
	open.Add(n)
	for i := range n {
		from := pool[i%len(pool)]
		all.Go(func() {
			c, err := w.dial(from, order{Do: doEcho})
			open.Done()
			if err == nil {
				defer c.Close()
				open.Wait()
				err = c.ask(1000)
			}
			if err != nil {
				failed.Add(1)
				errs <- fmt.Errorf("from %s: %w", from, err)
			}
		})
	}
	all.Wait()
	if f := failed.Load(); f > 0 {
		w.t.Errorf("%d of %d short connections failed, for example %v", f, n, <-errs)
	}
}
