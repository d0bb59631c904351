package proxy

import (
	"context"
	"os"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// A Gateway is what the admin socket and the metrics ask: a [Host].
var _ Host = (*Gateway)(nil)

// Each runs fn on every worker's thread between two batches, one after the other. With --dry-run the engine is the one of what
// really passed, not the one under trial.
func (g *Gateway) Each(ctx context.Context, fn func(queue int, now conntrack.Instant, e *policy.Engine)) error {
	return g.each(ctx, func(now conntrack.Instant, w *Worker) { fn(int(w.queue), now, w.engine) })
}

// killPatience is how long Kill lets the log's writer hold it up in all: the records of some million flows.
const killPatience = 5 * time.Second

// Kill ends the flows that match, a chunk a turn, and returns how many. Between chunks the caller waits until the log has room for the
// records of their ends; what takes the writer longer than killPatience is lost to it, and admitted.
func (g *Gateway) Kill(ctx context.Context, match func(*conntrack.Entry) bool) (total int, err error) {
	until := time.Now().Add(killPatience)
	for _, w := range g.workerList() {
		for cursor := 0; cursor >= 0; {
			w.producer.Await(w.producer.Cap()/2, until)
			err := w.Do(ctx, func(now conntrack.Instant, w *Worker) {
				killed, next := w.engine.Kill(now, cursor, w.burst(), match, w.timeEvent)
				total, cursor = total+killed, next
			})
			if err != nil {
				return total, err
			}
		}
	}
	return total, g.killInShadows(ctx, match)
}

// killInShadows ends the same flows in the shadows' tables, so that what the operator has done is no disagreement.
func (g *Gateway) killInShadows(ctx context.Context, match func(*conntrack.Entry) bool) error {
	for _, w := range g.workerList() {
		for i := range w.shadows.each() {
			for cursor := 0; cursor >= 0; {
				err := w.Do(ctx, func(now conntrack.Instant, w *Worker) {
					sh := w.shadows.list[i]
					_, cursor = sh.engine.Kill(now, cursor, flushChunk, match, sh.timeEvent)
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Subscribe returns flow events as they happen.
func (g *Gateway) Subscribe(buffer int) (<-chan FlowLine, func()) {
	return g.shared.flowEvents.subscribe(buffer)
}

// Status says how the gateway does.
func (g *Gateway) Status() Status {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, _ := g.counts(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	st := Status{Version: g.cfg.Version, PID: os.Getpid(), Started: time.Unix(0, g.clock.Wall(g.start)), UptimeS: g.clock.Now().Sub(g.start).Seconds(),
		Policy: g.pol.Name(), Preset: g.pol.Preset(), Rev: g.pol.Rev(), DryRun: g.cfg.DryRun, FailClosed: g.cfg.FailClosed,
		Received: c.Received, Lost: g.ledger.gaps.Load(), ReloadOK: g.reloaded, Flows: c.live(), Shadows: g.shadowStatus(c.Shadows)}
	fast := g.fast.counters(&c.Fast)
	st.FastPath = fast.status()
	for _, w := range g.workers {
		st.Queues = append(st.Queues, int(w.queue))
	}
	return st
}

// Counters is what the gateway has counted since it began.
func (g *Gateway) Counters() Counters {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = g.counts(ctx) // makes every worker copy its numbers
	lc := g.log.Counters()
	lost := g.watcher.lost()
	g.mu.Lock()
	defer g.mu.Unlock()
	c := Counters{Unwatched: lost, Preset: g.pol.Preset(), Rev: g.pol.Rev(), ReloadOK: g.reloaded, ReloadAt: g.reloadAt, Restored: uint64(g.shared.pending.Len()),
		LogDropped: lc.RingDropped + lc.DiskDropped, Gaps: g.ledger.gaps.Load(), FlowEventsDropped: g.shared.flowEvents.dropped.Load(), PcapDropped: g.pcapDropped()}
	c.Arms = g.experiments.counters()
	if g.recorder != nil {
		c.PcapPackets = g.recorder.Counters().Packets
	}
	var tallies []shadowTally
	var fast fastCounts
	for i, w := range g.workers {
		n := g.retired[i]
		n.Shadows = nil // a copy, which add must not write through
		tallies = addTallies(tallies, g.retired[i].Shadows)
		if !w.retired {
			live := w.copied.Load()
			n.add(live)
			tallies = addTallies(tallies, live.Shadows)
		}
		c.Queues = append(c.Queues, w.queueCounters(&n))
		c.Unwatched += n.Unwatched
		fast.add(&n.Fast)
		for s, m := range n.Flows {
			c.Flows[s] += m
		}
		for why, m := range n.Ended {
			c.Ended[why] += m
		}
		for f, m := range n.Suppressed {
			c.Suppressed[f] += m
		}
	}
	c.Shadows = shadowCounters(tallies)
	c.FastPath = g.fast.counters(&fast)
	return c
}

// queueCounters adds to the worker's own numbers what the kernel counts for its queue.
func (w *Worker) queueCounters(c *Counts) QueueCounters {
	q := QueueCounters{Queue: int(w.queue), Received: c.Received, Decided: c.Decided, Injected: c.Injected, InjectErrors: c.InjectErrors,
		HoldsRefused: c.HoldsRefused, NotRewritten: c.NotRewritten, LostIDs: c.LostIDs, ENOBUFS: c.ENOBUFS, VerdictErrors: c.VerdictErrors + c.FlushErrors}
	if w.kernel == nil {
		return q
	}
	if st, ok, err := w.kernel.Kernel(); err == nil && ok {
		q.Waiting, q.QueueDropped, q.SocketDropped = uint64(st.Waiting), uint64(st.QueueDrops), uint64(st.SocketDrops)
	}
	return q
}
