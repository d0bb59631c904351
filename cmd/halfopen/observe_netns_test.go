//go:build netns

package main

import (
	"encoding/json"
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
	w.meters()

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

	enter, leave := w.metered()
	if enter != leave || enter.Bytes < 4<<30 {
		t.Errorf("%+v entered the gateway, %+v left it", enter, leave)
	}
	queued := w.queued()
	if queued[0] == 0 || queued[1] == 0 {
		t.Errorf("packets by queue %v: both must carry some", queued)
	}
	g.stop()
	p := w.verify()
	if p.statuses() != "final/balanced" || p.Runs[0].Truth != "kernel" {
		t.Errorf("proof %+v", p)
	}
	// Three counts of the same packets: the host's, the log's, and the kernel's of both queues with what a full queue let pass. What
	// took the fast path is in the first, and in flow records.
	run, fast := p.Runs[0], w.fastPackets()
	t.Logf("%d packets by the queues, %d by the fast path", run.Messages, fast)
	if run.Messages+fast != enter.Packets || queued[0]+queued[1]+run.Explained.Gaps != run.Messages {
		t.Errorf("%d packets entered, the queues had %v, %d took the fast path, the log explains %+v", enter.Packets, queued, fast, run)
	}
}

// fastPackets returns how many packets took the fast path, by the last record of each flow: some live on when the gateway stops.
func (w *world) fastPackets() (n uint64) {
	w.t.Helper()
	for _, f := range w.lastFlows() {
		n += f.FastToServer + f.FastToClient
	}
	return n
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

// meter is what a counter of the gateway's host saw of TCP.
type meter struct{ Packets, Bytes uint64 }

// meters counts TCP packets where they enter the gateway's host and where they leave it, with rules of the test's own.
func (w *world) meters() {
	w.t.Helper()
	w.exec(w.Gateway, "nft", `table inet test {
		counter enter {}
		counter leave {}
		chain first { type filter hook prerouting priority -400; meta l4proto tcp counter name enter; }
		chain last { type filter hook postrouting priority 400; meta l4proto tcp counter name leave; }
	}`)
}

// metered waits until no packet is under way and returns the counters.
func (w *world) metered() (enter, leave meter) {
	w.t.Helper()
	read := func() (enter, leave meter) {
		var list struct {
			Nftables []struct {
				Counter *struct {
					Name string
					meter
				}
			}
		}
		if err := json.Unmarshal([]byte(w.exec(w.Gateway, "nft", "-j", "list", "counters", "table", "inet", "test")), &list); err != nil {
			w.t.Fatal(err)
		}
		for _, o := range list.Nftables {
			if o.Counter != nil && o.Counter.Name == "enter" {
				enter = o.Counter.meter
			} else if o.Counter != nil {
				leave = o.Counter.meter
			}
		}
		return enter, leave
	}
	enter, leave = read()
	w.until("no packet is under way", endLimit, func() bool {
		was := [2]meter{enter, leave}
		time.Sleep(300 * time.Millisecond)
		enter, leave = read()
		return was == [2]meter{enter, leave}
	})
	return enter, leave
}
