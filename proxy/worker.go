package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
	"halfopen/proxy/spool"
)

const (
	batchSize   = 256       // packets that one receive call takes at most
	secondSize  = 16        // the same, from the second queue
	expireChunk = batchSize // entries that one turn expires at most: as many as one can make
)

// errAbandoned ends a worker whose queue was given to another.
var errAbandoned = errors.New("proxy: worker abandoned by its supervisor")

// Worker serves one main queue and its second queue with one engine, on one OS thread. All fields without a comment that
// says otherwise belong to it.
type Worker struct {
	queue  uint16
	shared *shared // what all workers use; safe for concurrent use or never changed

	main, second Source
	secondQueue  uint16
	engine       *policy.Engine
	shadows      *shadows       // nil for none
	trial        *shadow        // the policy under trial with --dry-run, the first of them; else nil
	kernel       *nfqueue.Queue // main, where it is the kernel's
	decoder      *Decoder
	encoder      *Encoder
	injector     Injector
	translator   *Translator
	fast         *fastWorker          // nil for none
	experiments  *experiments         // nil for none
	watching     *spool.Ring[watched] // to the experiments' watcher, nil for none
	tap          tap
	pace         expiryPace
	journal      // of the batch at hand; published after its verdicts left

	editor  editor
	pieces  [secondSize]nfqueue.Packet // of the packet being rewritten
	piece   conntrack.Segment
	batch   [batchSize]nfqueue.Packet
	segs    [batchSize]conntrack.Segment
	held    map[uint64]heldPacket
	diverts []divert
	copied  atomic.Pointer[Counts] // of counts, made by snapshot; any goroutine reads

	calls     chan call // administrative calls, any goroutine
	waiter    *nfqueue.Waiter
	waited    bool              // the present turn has waited for its batch
	lastBatch conntrack.Instant // when packets came last
	followAt  conntrack.Instant // when the wall clock is to be read again
	beat      atomic.Int64      // Instant of the last turn, any goroutine reads
	received  atomic.Uint64     // counts.Received, any goroutine reads
	abandoned atomic.Bool       // set by the supervisor
	stopping  atomic.Bool       // set by Stop
	done      chan struct{}     // closed when the thread has ended
	err       error             // why it ended, valid after done

	started  bool  // it has a thread; the supervisor's
	retired  bool  // its queues are given up and its numbers kept elsewhere; the gateway's mutex
	refused  int   // how often its queues could not be bound again; the supervisor's
	behind   bool  // a round of its update records is not at its end; the supervisor's
	seenBeat int64 // beat when the supervisor last looked; the supervisor's
	still    int   // how many looks in a row found it unchanged while packets waited; the supervisor's
}

// shared is what all workers of a gateway use.
type shared struct {
	clock      Clock
	log        *decisionlog.Writer
	ifaces     *interfaces
	flowEvents *fanout
	pending    *Pending
	slog       *slog.Logger
	noHuge     sync.Once // says that tables have no memory of their own
	failClosed bool      // what is held when the gateway stops is dropped
	alert      bool      // workers may keep their place in Go's scheduler while they wait; set before they start
}

// call is an administrative function to be run between two batches.
type call struct {
	fn   func(now conntrack.Instant, w *Worker)
	done chan struct{}
}

// start gives the worker its thread.
func (w *Worker) start() {
	w.started = true
	go w.run()
}

// ended reports whether no thread uses the worker.
func (w *Worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return !w.started
	}
}

// run serves the queues until the worker is stopped and everything received has its verdict. It is bound to its thread: on an idle
// machine a goroutine that each of the scheduler's preemptions, a hundred a second, may move to another thread costs more.
func (w *Worker) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(w.done)
	defer func() {
		w.fast.bump() // however it ends: nobody takes over any more what would pass until the beat is missed
		if r := recover(); r != nil {
			w.err = fmt.Errorf("proxy: worker of queue %d: panic: %v\n%s", w.queue, r, debug.Stack())
		}
	}()
	w.tick()
	for {
		if w.abandoned.Load() {
			w.report(0)
			w.err = errAbandoned
			return
		}
		n, err := w.turn()
		w.beat.Store(int64(w.now))
		if err != nil {
			w.err = err
			return
		}
		if n == 0 && w.stopping.Load() {
			w.err = w.settle()
			return
		}
		if n == 0 && !w.waited {
			w.wait()
		}
	}
}

// turn takes one batch from each queue, runs what time and the operator ask for, and returns how many packets it saw.
func (w *Worker) turn() (int, error) {
	n, err := w.receive()
	if err != nil {
		return n, fmt.Errorf("proxy: queue %d: %w", w.queue, err)
	}
	w.fast.beat(w.now)
	w.advance() // before the batch: what an expiry sends must leave before a new SYN on the same tuple
	if n > 0 {
		w.mainBatch(n)
	}
	if n == 0 && w.shadows != nil {
		w.shadowIdle()
	}
	w.fast.turned(n)
	m, err := w.secondBatch(n == 0)
	if err != nil {
		return n + m, err
	}
	w.forgetDiverts()
	w.runCalls()
	return n + m, nil
}

// mainBatch decides the first n packets of the batch.
func (w *Worker) mainBatch(n int) {
	w.counts.Received += uint64(n)
	w.received.Store(w.counts.Received)
	if w.trial != nil {
		w.dryBatch(n)
		w.publish()
		return
	}
	w.decode(n)
	w.fast.begin(n)
	for i := range w.batch[:n] {
		p, s := &w.batch[i], &w.segs[i]
		w.claim(s)
		if w.fast != nil {
			w.fast.arrive(p, s)
		}
		out := w.engine.Step(w.now, s)
		if w.fast != nil {
			w.fast.stepped(out)
		}
		w.decided(out)
		var live *liveDecision
		if w.shadows != nil {
			live = w.shadows.take(i, s, out)
			live.cause = w.cause
		}
		w.tap.record(w, p, s, out, nil, false)
		w.act(p, s, out)
		verdict := w.verdictAt()
		if i == n-1 {
			w.fast.decided()
			w.flush() // the last packet's own records are written while it is on its way
		}
		w.tap.done(out)
		w.flowEvents(out.Flows)
		w.followState(s, out)
		w.watchStep(s, out)
		if w.logged {
			if live != nil {
				live.record = len(w.records)
			}
			w.decide(p, s, out).Decision.Latency = int64(verdict.Sub(w.now))
		}
	}
	w.fast.flushed()
	if w.shadows != nil {
		w.shadowBatch(n)
	}
	w.publish()
}

// decode turns the first n packets of the batch into segments, and has the engine prepare for them.
func (w *Worker) decode(n int) {
	for i := range w.batch[:n] {
		p := &w.batch[i]
		w.decoder.Decode(p.Data, int(p.CapLen), packetInfo(p), &w.segs[i])
	}
	w.engine.Ahead(w.segs[:n])
}

// packetInfo says what the decoder must know of a queued packet beside its bytes.
func packetInfo(p *nfqueue.Packet) PacketInfo {
	return PacketInfo{Partial: p.Partial, GSO: p.GSO}
}

// verdictAt is when the packet at hand got its verdict, for its record; 0 where it has none: a clock costs something.
func (w *Worker) verdictAt() conntrack.Instant {
	if !w.logged {
		return 0
	}
	return w.shared.clock.Now()
}

// flush sends the verdicts that wait. A failure is counted and logged; the source keeps what it could not send.
func (w *Worker) flush() {
	if err := w.main.Flush(); err != nil {
		w.counts.FlushErrors++
		w.shared.slog.Warn("verdicts not sent", "queue", w.queue, "err", err)
	}
}

// runCalls runs at most one administrative call, so that a long series of them never keeps packets waiting.
func (w *Worker) runCalls() {
	select {
	case c := <-w.calls:
		c.fn(w.now, w)
		close(c.done)
		w.publish()
	default:
	}
}

// Do runs fn on the worker's thread between two batches. It returns the context's error, or one that says that the worker
// has ended.
func (w *Worker) Do(ctx context.Context, fn func(now conntrack.Instant, w *Worker)) error {
	c := call{fn: fn, done: make(chan struct{})}
	select {
	case w.calls <- c:
	case <-w.done:
		return fmt.Errorf("proxy: the worker of queue %d has ended", w.queue)
	case <-ctx.Done():
		return ctx.Err()
	}
	w.waiter.Wake()
	select {
	case <-c.done:
		return nil
	case <-w.done:
		return fmt.Errorf("proxy: the worker of queue %d has ended", w.queue)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop makes the worker settle everything it has received and end; Wait for it on done.
func (w *Worker) Stop() {
	w.stopping.Store(true)
	w.waiter.Wake()
}

// decide appends the record of the packet at hand.
func (w *Worker) decide(p *nfqueue.Packet, s *conntrack.Segment, out *policy.Outcome) *decisionlog.Record {
	from := origin{in: w.shared.ifaces.name(p.InDev), out: w.shared.ifaces.name(p.OutDev), queue: p.Queue}
	return w.decision(from, s, out)
}

// flowEvents logs what happened to entries and tells whoever follows them.
func (w *Worker) flowEvents(events []policy.FlowEvent) {
	for i := range events {
		w.flowEvent(&events[i])
	}
}

func (w *Worker) flowEvent(ev *policy.FlowEvent) {
	w.journal.flowEvent(ev)
	w.experiments.began(ev)
	w.watchFlow(ev)
	w.shared.flowEvents.send(ev)
}
