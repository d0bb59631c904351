package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// ledger keeps the books of conservation: what the counter rule in front of the queue saw, against what the log explains.
//
// Losses become gap records when they are certain: ids that the kernel skipped at once and exactly; packets that passed or were
// dropped at a full queue as soon as the counter is ahead of everything received and still waiting; and what remains at the
// stop, when the rules are gone and the queues are empty, exactly.
type ledger struct {
	hasCounter bool
	base       uint64        // the counter when this run began
	counter    uint64        // the counter when last read
	gaps       atomic.Uint64 // messages admitted by gap records so far
	lost       uint64        // of those, ids that the kernel skipped
	missing    uint64        // messages that the last look found nowhere
	last       Counts        // when the last stats record was written
	offset     uint64        // what must be added to the kernel's number since that began anew
	from       int64         // wall clock of the last look, Unix nanoseconds
	producers  uint16
	fastGaps   [2]int64 // packets and bytes that the fast path let pass, admitted by gap records so far
}

// producerNumber numbers the log's producers; a replaced worker's number is never used again.
func (l *ledger) producerNumber() uint16 {
	l.producers++
	return l.producers - 1
}

// begin opens the books: left is the counter of rules that a dead process left behind, if found.
func (l *ledger) begin(g *Gateway, left uint64, found bool) {
	if gap := g.log.Recover(left, found); gap != nil {
		g.cfg.Logger.Warn("the run before ended without settling; a gap record bounds what it decided unseen", "run", gap.Run,
			"count", gap.Count, "bound", gap.Bound)
	}
	now, ok, err := g.rules.Counter()
	l.hasCounter = err == nil && ok
	if !l.hasCounter {
		g.cfg.Logger.Warn("no counter rule in front of the queue: losses that the queue itself does not show stay unknown", "table", nfqueue.DefaultTable)
	}
	if !g.cfg.InstallRules {
		l.base = now
	}
	l.counter = now
	l.from = time.Now().UnixNano()
	g.putStats(Counts{}, false)
	g.log.Flush() // a process that is killed before its first record left would be a run that nobody knows of
}

// balance reads the counters, writes gap records for losses that are certain, and returns all workers' counts.
func (g *Gateway) balance(ctx context.Context) Counts {
	l := &g.ledger
	counter, ok := g.readCounter()
	waiting := g.waiting()
	counts, all := g.counts(ctx)
	if ok {
		l.counter = counter
	}
	if !all { // a loss is certain only where every worker has said what it received
		return counts
	}
	if !ok && l.hasCounter && g.cfg.InstallRules {
		g.restoreRules(&counts)
	}
	if n := counts.LostIDs - l.lost; n > 0 && counts.LostIDs > l.lost {
		l.lost = counts.LostIDs
		if ok { // what was lost behind the last message shows at the counter first, and was admitted then
			n = min(n, l.unexplained(counts.Received))
		}
		if n > 0 {
			g.putGap(g.lossKind(), n, "the socket's buffer was full: ids that the kernel skipped")
		}
	}
	if !ok {
		return counts
	}
	// A packet between the counter and the queue looks like a loss for a moment; what two looks in a row find missing is one.
	seen := counts.Received + l.gaps.Load() + waiting
	missing := max(counter-l.base, seen) - seen
	if lost := min(missing, l.missing); lost > 0 {
		g.putGap(g.lossKind(), lost, "the queue was full, or nobody served it")
		missing -= lost
	} else if missing > 0 {
		g.gap() // the engines need not wait for the proof
	}
	l.missing = missing
	return counts
}

// readCounter reads the counter in front of the queue. Where somebody has set it back meanwhile, it goes on from what was
// last seen: what passed in between is nobody's to know.
func (g *Gateway) readCounter() (counter uint64, ok bool) {
	l := &g.ledger
	n, ok, err := g.rules.Counter()
	if err != nil || !ok || !l.hasCounter {
		return 0, false
	}
	if l.offset+n < l.counter {
		g.cfg.Logger.Warn("the counter in front of the queue was set back", "from", l.counter-l.offset, "to", n)
		l.offset = l.counter - n
	}
	return l.offset + n, true
}

// restoreRules makes the rules again after somebody flushed the host's rule set. Their counter begins at 0; it goes on from what was
// received, because nothing came by the queue in between.
func (g *Gateway) restoreRules(c *Counts) {
	if _, err := g.rules.Install(); err != nil {
		g.cfg.Logger.Error("our rules are gone and cannot be made again; packets pass undecided", "err", err)
		return
	}
	l := &g.ledger
	l.offset = max(l.counter, l.base+c.Received+l.gaps.Load())
	l.counter = l.offset
	g.cfg.Logger.Warn("our rules were gone, and are back: somebody flushed the rule set; packets passed undecided meanwhile")
	g.gap()
}

// unexplained is how many messages the counter has seen beyond those received and those that gap records admit.
func (l *ledger) unexplained(received uint64) uint64 {
	seen := received + l.gaps.Load()
	return max(l.counter-l.base, seen) - seen
}

// lossKind names what became of packets that the queue could not take.
func (g *Gateway) lossKind() string {
	if g.cfg.FailClosed {
		return decisionlog.GapQueue
	}
	return decisionlog.GapFailOpen
}

// putGap admits a loss.
func (g *Gateway) putGap(where string, n uint64, detail string) {
	now := time.Now().UnixNano()
	g.log.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventGap, Gap: &decisionlog.Gap{Where: where, Count: n,
		Bound: decisionlog.BoundExact, From: g.ledger.from, To: now, Detail: detail}})
	g.ledger.gaps.Add(n)
	g.ledger.from = now
	g.cfg.Logger.Warn("packets passed the gateway without a decision of its own", "count", n, "why", detail, "verdict", map[bool]string{
		false: "accepted (fail-open)", true: "dropped (fail-closed)"}[g.cfg.FailClosed])
	g.gap()
}

// gap tells the engines that they have missed segments.
func (g *Gateway) gap() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	g.each(ctx, func(now conntrack.Instant, w *Worker) {
		w.fast.bump()
		w.engine.Gap(now)
		w.shadows.gap(now)
	})
}

// putStats writes a stats record.
func (g *Gateway) putStats(c Counts, final bool) {
	l := &g.ledger
	st := &decisionlog.Stats{Run: g.log.Run(), Final: final, Uptime: int64(g.clock.Now().Sub(g.start)), Received: c.Received,
		Verdicts: c.byVerdict(), Reasons: c.byReason(), Suppressed: c.suppressedSince(&l.last),
		RingDropped: g.log.Counters().RingDropped, PcapDropped: g.pcapDropped(), UserDropped: c.LostIDs, Tombstones: c.Tombstones, Injected: c.Injected, InjectErrors: c.InjectErrors, Omitted: c.Omitted, Flows: c.live(),
		Shadows: shadowStats(c.Shadows, g.clock.Wall)}
	fast := g.fast.counters(&c.Fast)
	st.FastPath = fast.record()
	if full := l.gaps.Load() - min(l.gaps.Load(), c.LostIDs); g.cfg.FailClosed {
		st.QueueDropped = full
	} else {
		st.FailOpen = full
	}
	if l.hasCounter {
		st.Kernel = decisionlog.Kernel{Set: true, Base: l.base, Now: l.counter}
	}
	g.log.Put(&decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventStats, Stats: st})
	l.last = c
}

// pcapDropped is how many packets the annotated capture lacks.
func (g *Gateway) pcapDropped() uint64 {
	if g.recorder == nil {
		return 0
	}
	c := g.recorder.Counters()
	return c.RingDropped + c.DiskDropped
}

// waiting is how many messages the kernel holds in the main queues, received or not.
func (g *Gateway) waiting() (n uint64) {
	for _, w := range g.workerList() {
		n += w.waitingInKernel()
	}
	return n
}

// close settles the books: rules are gone, queues are empty, every record is put.
func (l *ledger) close(g *Gateway, c Counts) error {
	if l.hasCounter {
		explained := l.base + c.Explained + c.suppressed() + l.gaps.Load()
		if counter, ok := g.readCounter(); ok {
			l.counter = counter
		} else {
			l.counter = max(l.counter, explained)
			g.cfg.Logger.Warn("the counter in front of the queue is gone; what passed since it was last read is unknown")
		}
		if l.counter > explained {
			g.putGap(g.lossKind(), l.counter-explained, "settled at the stop")
		}
	}
	g.putStats(c, true)
	return nil
}
