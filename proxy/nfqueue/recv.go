package nfqueue

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Recv fills batch with what the kernel has queued, in its order, and returns how many packets that are: at most
// len(batch) and at most Config.Batch. It waits up to timeout for the first (0: not at all; negative: without end), in
// steps of the kernel's clock tick (1 to 10 ms), and returns 0 and no error when none came, or when Wake or a signal
// ended the wait. Losses, refused verdicts and unreadable messages are counted in Stats and never end the queue. The
// packets' Data is valid until the next Recv.
//
// A wait of at most [ShortWait] keeps the goroutine's place in Go's scheduler (GOMAXPROCS): it costs one system call and
// nothing else when a packet comes, but who waits so must leave places for everybody else. A longer wait gives the place
// up, and getting one again costs some tens of microseconds on a busy machine. With Config.Linger a short wait begins awake.
func (q *Queue) Recv(batch []Packet, timeout time.Duration) (int, error) {
	if q.closed {
		return 0, ErrClosed
	}
	if timeout == 0 {
		return q.recvReady(batch)
	}
	if err := q.setPatience(timeout); err != nil {
		return 0, err
	}
	q.waits.Store(true)
	defer q.waits.Store(false)
	if q.called.Swap(false) {
		return q.recvReady(batch)
	}
	short := timeout > 0 && timeout <= ShortWait
	q.woken = false
	if short && q.lingers() {
		if n, err := q.linger(batch); n > 0 || q.woken || err != nil {
			return n, err
		}
	}
	for range maxReceives {
		n, errno := q.recvmmsg(min(len(batch), q.cfg.Batch), unix.MSG_WAITFORONE, short)
		n, more, err := q.received(batch, n, errno)
		if q.woken {
			q.called.Store(false)
		}
		if n > 0 || !more || q.woken || errno == unix.EINTR || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// lingers reports whether the wait to come is to begin awake: where packets came since the last one, and as far as that has paid of late.
func (q *Queue) lingers() bool {
	if q.cfg.Linger <= 0 || q.stats.Received == q.lingered {
		return false
	}
	q.lingered = q.stats.Received
	if q.luck > 0 {
		return true
	}
	q.skipped++
	return q.skipped%lingerTry == 0
}

const (
	lingerLuck = 8  // waits awake in a row that may bring nothing
	lingerGain = 2  // how many of these one that brings packets makes up for
	lingerTry  = 16 // of so many waits one begins awake where it has not paid
)

// linger looks for packets, again and again, for Config.Linger at most. Who sends the next one need not wake anybody then, and an idle
// processor, which on a virtual machine it takes its host to wake, does not go to sleep in between.
func (q *Queue) linger(batch []Packet) (int, error) {
	for begin := time.Now(); ; {
		n, errno := q.recvmmsg(min(len(batch), q.cfg.Batch), unix.MSG_DONTWAIT, true)
		n, _, err := q.received(batch, n, errno)
		if n > 0 {
			q.luck = min(q.luck+lingerGain, lingerLuck)
		}
		if q.woken {
			q.called.Store(false)
		}
		if n > 0 || q.woken || err != nil {
			return n, err
		}
		if time.Since(begin) >= q.cfg.Linger {
			q.luck = max(q.luck-1, 0)
			return 0, nil
		}
	}
}

// ShortWait is the longest wait of Recv that keeps the goroutine's place in Go's scheduler. The collector can stop it, by a
// signal, and the scheduler takes no offence before 10 ms.
const ShortWait = 8 * time.Millisecond

// setPatience sets how long a receive call waits that may wait.
func (q *Queue) setPatience(timeout time.Duration) error {
	timeout = max(timeout, 0) // 0 is without end
	if timeout == q.patience {
		return nil
	}
	tv := unix.NsecToTimeval(int64(timeout + time.Microsecond - 1))
	if err := unix.SetsockoptTimeval(q.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fmt.Errorf("nfqueue: queue %d: receive timeout of %v: %w", q.cfg.Number, timeout, err)
	}
	q.patience = timeout
	return nil
}

// recvReady takes what is there now. It goes on when a call yields nothing but answers from the kernel.
func (q *Queue) recvReady(batch []Packet) (int, error) {
	for range maxReceives {
		n, errno := q.recvmmsg(min(len(batch), q.cfg.Batch), unix.MSG_DONTWAIT, true)
		n, more, err := q.received(batch, n, errno)
		if n > 0 || !more || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// received judges a receive call. more says that the next one may find packets although this one brought none.
func (q *Queue) received(batch []Packet, n int, errno unix.Errno) (packets int, more bool, err error) {
	switch errno {
	case 0:
		return q.take(batch, n), true, nil
	case unix.EAGAIN:
		return 0, false, nil
	case unix.EINTR:
		return 0, true, nil
	case unix.ENOBUFS:
		q.stats.ENOBUFS++
		return 0, true, nil
	}
	return 0, false, fmt.Errorf("nfqueue: receiving from queue %d: %w", q.cfg.Number, errno)
}

// maxReceives bounds the calls of one Recv that yield no packet.
const maxReceives = 64

// take parses the first n buffers into batch.
func (q *Queue) take(batch []Packet, n int) (packets int) {
	for i := range n {
		b := q.buffers[i*q.step : i*q.step+min(int(q.headers[i].len), q.step)]
		p := &batch[packets]
		kind, err := parseMessage(b, p, &q.lastErr)
		switch {
		case err != nil:
			q.stats.Malformed++
		case kind == messageError:
			q.stats.VerdictErrors++
		case kind == messageForeign:
			q.stats.Foreign++
		case kind == messageAck:
			q.woken = true
		case kind == messagePacket:
			q.arrived(p.ID)
			packets++
		}
	}
	return packets
}

// arrived keeps the books of ids. The kernel counts them from 1 under the lock under which it also sends.
func (q *Queue) arrived(id uint32) {
	if skipped := id - q.last - 1; skipped != 0 {
		q.stats.LostIDs += uint64(skipped)
		q.stats.Gaps++
	}
	q.last = id
	q.stats.Received++
	q.open.add(id)
}

// recvmmsg receives up to want datagrams. Of a short call the scheduler is not told: it is over before anything could be
// done about it, and of one that the scheduler knows it takes the place away after 20 us.
func (q *Queue) recvmmsg(want, flags int, short bool) (int, unix.Errno) {
	if short {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.headers[0])), uintptr(want), uintptr(flags), 0, 0)
		return int(n), errno
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.headers[0])), uintptr(want), uintptr(flags), 0, 0)
	return int(n), errno
}

// Wake ends a Recv that waits, the present one or the next. Every goroutine may call it. The kernel answers an empty
// request on the queue's own socket; only while somebody waits there, so that no answer takes a packet's room in its buffer.
func (q *Queue) Wake() {
	q.called.Store(true) // either Recv sees this before it waits, or the next line sees it waiting
	if !q.waits.Load() {
		return
	}
	q.gate.RLock()
	defer q.gate.RUnlock()
	if !q.shut {
		noop := appendHeader(nil, nlmsgHeaderLen, unix.NLMSG_NOOP, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 0, 0)[:nlmsgHeaderLen]
		_ = unix.Sendto(q.fd, noop, unix.MSG_DONTWAIT, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
}

// milliseconds rounds up, so that a short wait is a wait.
func milliseconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int(min((d+time.Millisecond-1)/time.Millisecond, 1<<30))
}
