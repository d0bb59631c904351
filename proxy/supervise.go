package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/hugepage"
)

const (
	superviseEvery = time.Second
	// wedgedLooks is how many looks in a row find a worker without a turn while its queue holds packets. A turn is at most one batch
	// and one administrative chunk: milliseconds. Looks are counted, not seconds: a machine or process that was stopped as a whole
	// does not make its workers suspicious.
	wedgedLooks = 5
	callLimit   = 5 * time.Second  // for a worker to answer
	stopLimit   = 10 * time.Second // for workers to settle what they received
)

// supervise watches the workers and keeps the books until ctx ends.
func (g *Gateway) supervise(ctx context.Context) error {
	tick := time.NewTicker(g.lookEvery)
	defer tick.Stop()
	lastStats, lastUpdate := time.Now(), time.Now()
	memory := newPacer()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		memory.pace(hugepage.Total())
		g.lookAtFast()
		served := g.watch()
		c := g.balance(ctx)
		if time.Since(lastStats) >= g.cfg.StatsEvery {
			lastStats = time.Now()
			g.putStats(c, false)
			_ = g.notify.Status(g.statusLine())
		}
		if time.Since(lastUpdate) >= g.cfg.UpdateEvery {
			lastUpdate = time.Now()
			for _, w := range g.workerList() {
				w.behind = true
			}
		}
		g.flushCounted(ctx, time.Now().Add(g.lookEvery/2))
		g.shared.pending.Expire(g.clock.Now())
		g.watchExperiments(time.Now())
		if served {
			g.watchdog()
		}
	}
}

// watch replaces workers that have ended, whose queue is gone, or that make no progress, and reports whether every queue is served.
func (g *Gateway) watch() (served bool) {
	served = true
	for i, w := range g.places() {
		if !w.retired {
			why := g.trouble(w)
			if why == "" {
				continue
			}
			g.cfg.Logger.Error("replacing a worker", "queue", w.queue, "why", why)
			g.retire(i, w)
		}
		if err := g.refill(i); err != nil {
			served = false
			if w.refused%refusedLooks == 0 {
				g.cfg.Logger.Error("a queue is not served, and cannot be bound; trying again", "queue", w.queue, "err", err)
			}
			w.refused++
		}
	}
	g.reap()
	return served
}

// refusedLooks is how many looks pass between words about a queue that cannot be bound.
const refusedLooks = 30

// trouble says what is wrong with a worker, "" for nothing.
func (g *Gateway) trouble(w *Worker) string {
	select {
	case <-w.done:
		return fmt.Sprintf("it ended: %v", w.err)
	default:
	}
	if !w.bound() {
		return "the kernel says that nobody serves the queue"
	}
	beat := w.beat.Load()
	if beat != w.seenBeat || w.waitingInKernel() == 0 {
		w.seenBeat, w.still = beat, 0
		return ""
	}
	if w.still++; w.still < wedgedLooks {
		return ""
	}
	return fmt.Sprintf("no turn for %v while packets wait", g.clock.Now().Sub(conntrack.Instant(beat)).Round(time.Millisecond))
}

// retire takes a worker out of service. The old thread, should it ever wake, finds itself abandoned. Its numbers are kept.
func (g *Gateway) retire(i int, old *Worker) {
	old.abandon()
	old.fast.bump() // after that: a thread that beats on has missed this epoch, or sees that it is abandoned
	var c Counts
	select {
	case <-old.done:
		old.close()
		c = old.finalCounts()
		g.putFastGap(g.fast.recover(i, old, &c), "the worker of queue %d ended", old.queue)
	case <-time.After(idleWait): // it may never end
		c = old.writeOff()
		g.ghosts = append(g.ghosts, ghost{old, c})
	}
	c.Flows, c.Tombstones, c.Fast.Flows = [conntrack.NumStates]uint64{}, 0, 0 // its table is gone
	c.Fast.Kept = [numFastLosses]uint64{}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired[i].add(&c)
	old.retired = true
}

// refill puts a new worker in a retired one's place. The flows of the old table are lost, so the new one adopts what it meets
// mid-stream, as after a start. A reload that is under way comes first: it does not know the new worker, which would keep the old policies.
func (g *Gateway) refill(i int) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	w, err := g.newWorker(i, false)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.workers[i] = w
	g.mu.Unlock()
	w.start()
	return nil
}

// reap gives back what abandoned threads held that have ended after all.
func (g *Gateway) reap() {
	g.ghosts = slices.DeleteFunc(g.ghosts, func(w ghost) bool {
		if !w.ended() {
			return false
		}
		w.close()
		g.putFastGap(g.fast.recover(int(w.queue-g.cfg.Queues[0]), w.Worker, &w.booked), "the worker of queue %d hung, and was replaced", w.queue)
		return true
	})
}

// ghost is a worker that was given up while its thread hung.
type ghost struct {
	*Worker
	booked Counts // what the books have of it
}

// places is a copy of the list of workers, retired ones and all.
func (g *Gateway) places() []*Worker {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.workers)
}

// workerList is a copy of the list of workers that serve their queues.
func (g *Gateway) workerList() []*Worker {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.workers), func(w *Worker) bool { return w.retired })
}

// each runs fn on every worker's thread, one after the other. A worker that has ended or hangs is left out.
func (g *Gateway) each(ctx context.Context, fn func(now conntrack.Instant, w *Worker)) error {
	var errs []error
	for _, w := range g.workerList() {
		one, cancel := context.WithTimeout(ctx, callLimit)
		errs = append(errs, w.Do(one, fn))
		cancel()
	}
	return errors.Join(errs...)
}

// counts sums all workers' numbers. Of a worker that does not answer they are as it last gave them; all says that there was none.
func (g *Gateway) counts(ctx context.Context) (sum Counts, all bool) {
	sum, all = g.retiredSum(), true
	for _, w := range g.workerList() {
		one, cancel := context.WithTimeout(ctx, time.Second)
		if w.Do(one, func(_ conntrack.Instant, w *Worker) { w.snapshot() }) != nil {
			all = false
		}
		sum.add(w.copied.Load())
		cancel()
	}
	return sum, all
}

// retiredSum sums up the workers that were replaced.
func (g *Gateway) retiredSum() (c Counts) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.retired {
		c.add(&g.retired[i])
	}
	return c
}

// flushCounted writes an update record for every flow with forwards that no record explains yet, of the workers that are behind with
// that: a chunk at a time, as the log has room. Where it has none till then, or its disk refuses, the rest is left to
// the next look, because a forward that no record tells of yet is not lost.
func (g *Gateway) flushCounted(ctx context.Context, until time.Time) {
	for _, w := range g.workerList() {
		for w.behind && ctx.Err() == nil && w.producer.Await(w.producer.Cap()/2, until) {
			more := false
			one, cancel := context.WithTimeout(ctx, callLimit)
			err := w.Do(one, func(_ conntrack.Instant, w *Worker) { more = w.flushCounted(time.Time{}) })
			cancel()
			w.behind = err == nil && more
		}
	}
}

// stop takes the gateway out of the path and settles everything: rules first, so that nothing new arrives; then the workers answer
// what they have; then flows, state and books are written.
func (g *Gateway) stop() error {
	var errs []error
	if g.cfg.InstallRules {
		errs = append(errs, g.rules.RemoveRules())
	}
	for _, w := range g.workerList() {
		w.Stop()
	}
	deadline, cancel := context.WithTimeout(context.Background(), g.stopLimit)
	defer cancel()
	c, settled := g.retiredSum(), true
	for _, w := range g.workerList() {
		var last Counts
		select {
		case <-w.done:
			last = w.finalCounts()
			if w.err != nil { // it may have ended before it has told everything
				errs = append(errs, w.err)
				g.putFastGap(g.fast.recover(int(w.queue-g.cfg.Queues[0]), w, &last), "the worker of queue %d ended", w.queue)
			}
		case <-deadline.Done():
			errs = append(errs, fmt.Errorf("proxy: the worker of queue %d did not settle within %v", w.queue, g.stopLimit))
			settled = false
			last = w.writeOff()
		}
		c.add(&last)
	}
	g.reap()
	errs = append(errs, g.saveState())
	for _, w := range g.workerList() {
		w.close()
	}
	free := len(g.ghosts) == 0 && settled
	errs = append(errs, g.fast.close(free))
	if !free {
		g.settleFast(&c)
	}
	if g.recorder != nil {
		errs = append(errs, g.recorder.Close())
	}
	errs = append(errs, g.ledger.close(g, c))
	if g.cfg.InstallRules {
		errs = append(errs, g.rules.Remove())
	}
	errs = append(errs, g.log.Close())
	return errors.Join(errs...)
}
