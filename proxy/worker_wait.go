package proxy

import (
	"os"
	"runtime"
	"time"
)

const (
	idleWait = 100 * time.Millisecond // how long a worker sleeps at most: the resolution of timers on an idle gateway
	// alertWait is how long a worker waits at a time that expects the next packet soon: the resolution of timers then.
	alertWait = 4 * time.Millisecond
	// alertFor is how long after a packet the next one is expected soon. Until then a worker makes a turn every alertWait, and the
	// packet that ends the wait finds a thread that needs nothing of Go's scheduler. After that an idle gateway sleeps.
	alertFor = 2 * time.Second
	// lingerFor is how long of a wait an alert worker looks on for packets before it sleeps, while that pays.
	lingerFor = 40 * time.Microsecond
	// followEvery is how long a worker may take the wall clock to be what it was, after somebody has set it.
	followEvery = 10 * time.Millisecond
)

// linger is lingerFor where there is another processor, on which the packet may come that is looked for.
func linger() time.Duration {
	if runtime.NumCPU() < 2 {
		return 0
	}
	return lingerFor
}

// receive takes the next batch of the main queue and reads the clock. Where the worker has nothing else to look after it waits in
// the receive call itself, so that a batch costs two system calls, one to receive and one to answer.
func (w *Worker) receive() (int, error) {
	d := w.patience()
	w.waited = d > 0
	n, err := w.main.Recv(w.batch[:], d)
	w.tick()
	if n > 0 {
		w.lastBatch = w.now
	}
	return n, err
}

// patience is how long the receive call may wait: not at all where there is something to do, or to watch beside the main queue.
func (w *Worker) patience() time.Duration {
	switch {
	case w.kernel == nil, w.stopping.Load(), len(w.calls) > 0, w.shadows != nil, len(w.diverts) > 0, w.fast.clearing():
		return 0
	case w.shared.alert && w.now.Sub(w.lastBatch) < alertFor:
		return alertWait
	}
	return w.untilDue()
}

// untilDue is how long the worker may sleep until a timer is due.
func (w *Worker) untilDue() time.Duration {
	d := idleWait
	if next := min(w.engine.Next(), w.fast.lullEnds()); next < w.now.Add(d) {
		d = max(next.Sub(w.now), time.Millisecond)
	}
	return d
}

// wait sleeps until a queue has packets, somebody calls, or a timer is due.
func (w *Worker) wait() {
	if len(w.calls) > 0 {
		return
	}
	d := w.untilDue()
	if _, err := w.waiter.Wait(d); err != nil {
		w.shared.slog.Warn("waiting for packets", "queue", w.queue, "err", err)
		time.Sleep(d)
	}
}

// tick reads the clock: once per turn, and the wall clock every followEvery.
func (w *Worker) tick() {
	w.now = w.shared.clock.Now()
	if w.now >= w.followAt {
		w.followAt = w.now.Add(followEvery)
		w.offset = w.shared.clock.Follow(w.offset)
	}
}

// makePlaces gives Go's scheduler one place (GOMAXPROCS) more for each worker, because a worker that is alert keeps its place while it
// waits, and everybody else needs one. Where the operator has set GOMAXPROCS it stays. alert says whether there are places enough.
func makePlaces(workers int) (alert bool, restore func()) {
	was := runtime.GOMAXPROCS(0)
	if _, set := os.LookupEnv("GOMAXPROCS"); set {
		return was > workers, func() {}
	}
	runtime.GOMAXPROCS(was + workers)
	return true, func() { runtime.GOMAXPROCS(was) }
}
