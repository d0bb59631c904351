package proxy

import (
	"fmt"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// newWorker makes a worker without queues, engine and injection.
func newWorker(queue uint16, s *shared) *Worker {
	w := &Worker{queue: queue, shared: s, decoder: NewDecoder(), encoder: NewEncoder(EncoderConfig{}),
		held: make(map[uint64]heldPacket), journal: journal{records: make([]decisionlog.Record, 0, 3*batchSize)},
		calls: make(chan call, 16), done: make(chan struct{})}
	w.editor.decoder = NewDecoder()
	w.beat.Store(int64(s.clock.Now()))
	w.copied.Store(&Counts{})
	return w
}

// openInjection opens what the worker needs to send packets of its own.
func (w *Worker) openInjection(mark uint32) error {
	raw, err := OpenRawInjector(mark)
	if err != nil {
		return err
	}
	w.injector = raw
	w.translator, err = NewTranslator(TranslatorConfig{})
	return err
}

// snapshot copies the worker's numbers for other goroutines.
func (w *Worker) snapshot() {
	c := w.counts
	st := w.main.Stats()
	c.LostIDs, c.ENOBUFS, c.VerdictErrors = st.LostIDs, st.ENOBUFS, st.VerdictErrors
	c.Tombstones = uint64(w.engine.Tombstones())
	for s := range c.Flows {
		c.Flows[s] = uint64(w.engine.Count(conntrack.State(s)))
	}
	c.Shadows = w.shadows.snapshot()
	if w.fast != nil {
		c.Fast = w.fast.counts
	}
	w.copied.Store(&c)
}

// bound reports whether the kernel still knows this worker as the queue's owner; where it cannot be told, it is believed.
func (w *Worker) bound() bool {
	if w.kernel == nil {
		return true
	}
	alive, err := w.kernel.Alive()
	return alive || err != nil
}

// writeOff closes the books of a thread that makes no progress, and returns what they say: as of its last turn, so what it decided since
// without having written it down is not explained.
func (w *Worker) writeOff() Counts {
	c := *w.copied.Load()
	c.Received = w.received.Load()
	c.Explained, c.FastTold = w.books.close()
	return c
}

// finalCounts is what a worker counted whose thread has ended.
func (w *Worker) finalCounts() Counts {
	c, st := w.counts, w.main.Stats()
	c.LostIDs, c.ENOBUFS, c.VerdictErrors = st.LostIDs, st.ENOBUFS, st.VerdictErrors
	c.Shadows = w.shadows.snapshot()
	if w.fast != nil {
		c.Fast = w.fast.counts
	}
	return c
}

// waitingInKernel is how many messages the kernel holds for the main queue, received or not.
func (w *Worker) waitingInKernel() uint64 {
	if w.kernel == nil {
		return 0
	}
	st, ok, err := w.kernel.Kernel()
	if err != nil || !ok {
		return 0
	}
	return uint64(st.Waiting)
}

// abandon takes the queues away from a thread that makes no progress, so that they can be bound anew.
func (w *Worker) abandon() {
	w.abandoned.Store(true)
	w.waiter.Wake()
	for _, s := range [...]Source{w.main, w.second} {
		if q, ok := s.(*nfqueue.Queue); ok {
			if err := q.Abandon(); err != nil {
				w.shared.slog.Warn("abandoning a queue", "queue", w.queue, "err", err)
			}
		}
	}
}

// settle answers what is left when nothing new arrives: packets still in the queue, holds, forwards that no record explains.
func (w *Worker) settle() error {
	w.fast.endLulls(conntrack.Never)
	if w.kernel != nil {
		deadline := w.shared.clock.Now().Add(stopLimit / 2)
		for w.waitingInKernel() > 0 && w.shared.clock.Now() < deadline {
			w.tick()
			if n, err := w.turn(); err != nil {
				return err
			} else if n == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	w.tick()
	w.fast.bump()
	last := policy.Forward
	if w.shared.failClosed {
		last = policy.Drop
	}
	w.engine.ReleaseHolds(w.now, last, w.timeEvent)
	w.report(stopLimit / 4)
	return nil
}

// report writes the last records of this worker: flows whose forwards no record explains yet. These are made several times as fast as the log's
// writer takes them, so a worker that has no packet to serve any more gives that its time. What would take longer is lost to a full ring, and admitted.
func (w *Worker) report(patience time.Duration) {
	w.publish()
	w.engine.RestartFlush()
	until := time.Now().Add(patience)
	for w.flushCounted(until) {
	}
	w.snapshot()
	w.counts = *w.copied.Load()
}

// close gives back the queues and sockets. The descriptor that wakes the worker stays with a thread that hangs, and may yet wait for it.
func (w *Worker) close() {
	for _, s := range [...]Source{w.main, w.second} {
		if s == nil {
			continue
		}
		if err := s.Close(); err != nil {
			w.shared.slog.Warn("closing a queue", "queue", w.queue, "err", err)
		}
	}
	if w.waiter != nil && w.ended() {
		_ = w.waiter.Close()
	}
	if w.injector != nil {
		_ = w.injector.Close()
	}
	if w.translator != nil {
		_ = w.translator.Close()
	}
}

// flushChunk is how many table slots one turn looks at, at most, of which each may make a record.
const flushChunk = 1024

// burst is how many records one turn may make beside its packets': what a quarter of the log's ring takes.
func (w *Worker) burst() int { return min(flushChunk, w.producer.Cap()/4) }

// flushCounted writes update records for flows with forwards that no record explains yet. It does one chunk and reports
// whether there is more. Until then it may wait for the log to have room: before the books have the records, so that these hold
// whatever the supervisor does meanwhile.
func (w *Worker) flushCounted(until time.Time) (more bool) {
	more = w.engine.FlushCounted(w.now, w.burst(), func(ev *policy.FlowEvent) {
		w.flowEvent(ev)
	})
	if len(w.records) > 0 {
		w.producer.Await(min(len(w.records), w.producer.Cap()), until)
	}
	w.publish()
	return more
}

// setRates takes the rates of individual records from a policy, once the engine has it and those of the arms.
func (w *Worker) setRates(p *policy.Policy) {
	w.limiter = decisionlog.NewLimiter(p.Log().Rate[:])
	w.shadowLimit = decisionlog.NewLimiter([]int32{shadowRate})
	w.setPace()
}

// String names the worker in messages.
func (w *Worker) String() string { return fmt.Sprintf("worker of queue %d", w.queue) }
