package nfqueue

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Drain hands over what is left in the queue until it is empty or the time is over, for a clean stop after the rules
// were removed. handle gives each packet its verdict; Drain flushes. It reports whether the queue is empty; where the
// kernel's table cannot be read, that is judged by quiet alone.
func (q *Queue) Drain(batch []Packet, limit time.Duration, handle func(*Packet)) (empty bool, err error) {
	deadline := time.Now().Add(limit)
	for {
		n, err := q.Recv(batch, drainQuiet)
		if err != nil {
			return false, err
		}
		for i := range n {
			handle(&batch[i])
		}
		if err := q.Flush(); err != nil {
			return false, err
		}
		if n == 0 {
			st, ok, err := q.Kernel()
			if err != nil || !ok || st.Waiting == 0 {
				return ok || err != nil, nil
			}
		}
		if time.Now().After(deadline) {
			return false, nil
		}
	}
}

// drainQuiet is how long a queue must be silent before it is looked up in the kernel's table.
const drainQuiet = 5 * time.Millisecond

// Release accepts everything that the kernel holds in this queue, whether it was received or not, and forgets what was
// outstanding. It returns how many packets the kernel held just before.
func (q *Queue) Release() (held uint32, err error) {
	if st, ok, err := q.Kernel(); err == nil && ok {
		held = st.Waiting
	}
	if err := q.Flush(); err != nil {
		return held, err
	}
	// A batch verdict covers every id up to its own, by a signed difference of 32 bits.
	q.enc.verdict(typeVerdictBatch, q.last+1<<30, verdictAccept, 0, false)
	q.open = newOutstanding(0)
	return held, q.Flush()
}

// Close unbinds the queue. What is still queued is let go first where the queue fails open; the kernel drops the rest.
// It needs no answer from the kernel and no lock, so it ends under any load.
func (q *Queue) Close() error {
	if q.closed {
		return ErrClosed
	}
	var err error
	if q.cfg.FailOpen {
		_, err = q.Release()
	}
	if q.proc != nil {
		q.proc.Close()
	}
	q.gate.Lock()
	defer q.gate.Unlock()
	q.closed, q.shut = true, true
	if e := unix.Close(q.fd); e != nil && err == nil {
		err = fmt.Errorf("nfqueue: closing queue %d: %w", q.cfg.Number, e)
	}
	return err
}

// Abandon unbinds a queue whose owner is stuck, so that it can be opened anew; of all methods this is the one for other
// goroutines. What is queued goes on first where the queue fails open. The owner finds a silent queue, Alive no more,
// and still has to Close it.
func (q *Queue) Abandon() error {
	var out []byte
	if st, ok, err := q.Kernel(); q.cfg.FailOpen && err == nil && ok {
		e := encoder{queue: q.cfg.Number}
		e.verdict(typeVerdictBatch, st.LastID+1<<30, verdictAccept, 0, false)
		out = e.buf
	}
	out = append(out, commandMessage(q.cfg.Number, cfgCmdUnbind)...)
	q.gate.RLock()
	defer q.gate.RUnlock()
	if q.shut {
		return ErrClosed
	}
	if err := unix.Sendto(q.fd, out, unix.MSG_DONTWAIT, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("nfqueue: unbinding queue %d: %w", q.cfg.Number, err)
	}
	return nil
}

// Waiter waits for several queues at once, so that one thread can serve a main queue and its second queue.
type Waiter struct {
	queues []*Queue
	fds    []unix.PollFd
	wake   int

	mu     sync.RWMutex // of Wake, which any goroutine may call, against Close: the descriptor's number may soon be another's
	closed bool
}

// NewWaiter makes a Waiter. The queues must stay open while it is in use.
func NewWaiter(queues ...*Queue) (*Waiter, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("nfqueue: wake-up descriptor: %w", err)
	}
	w := &Waiter{queues: queues, wake: wake, fds: make([]unix.PollFd, len(queues)+1)}
	w.fds[len(queues)] = unix.PollFd{Fd: int32(wake), Events: unix.POLLIN}
	for i, q := range queues {
		if q.closed {
			unix.Close(wake)
			return nil, ErrClosed
		}
		w.fds[i] = unix.PollFd{Fd: int32(q.fd), Events: unix.POLLIN}
	}
	return w, nil
}

// Wait returns when a queue has something to receive, when Wake was called, or when the time is over (negative:
// without end). woken reports a Wake since the last Wait. Which queue is ready is for Recv with timeout 0 to find out.
func (w *Waiter) Wait(timeout time.Duration) (woken bool, err error) {
	_, err = unix.Poll(w.fds, milliseconds(timeout))
	if err != nil { // then the events are those of an earlier call
		if err != unix.EINTR {
			return false, fmt.Errorf("nfqueue: waiting: %w", err)
		}
		return false, nil
	}
	if w.fds[len(w.queues)].Revents == 0 {
		return false, nil
	}
	var b [8]byte
	n, _ := unix.Read(w.wake, b[:])
	return n == 8, nil
}

// Wake ends a Wait, the present one or the next, and a Recv that waits on one of the queues (see [Queue.Wake]). Every
// goroutine may call it, at any time.
func (w *Waiter) Wake() {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return
	}
	one := [8]byte{1}
	_, _ = unix.Write(w.wake, one[:])
	for _, q := range w.queues {
		q.Wake()
	}
}

// Close frees the descriptor. Nobody may be in Wait any more.
func (w *Waiter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	return unix.Close(w.wake)
}
