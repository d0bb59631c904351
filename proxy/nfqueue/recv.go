package nfqueue

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Recv fills batch with what the kernel has queued, in its order, and returns how many packets that are: at most
// len(batch) and at most Config.Batch. It waits up to timeout for the first (0: not at all; negative: without end) and
// returns 0 and no error when none came. Losses, refused verdicts and unreadable messages are counted in Stats and
// never end the queue. The packets' Data is valid until the next Recv.
func (q *Queue) Recv(batch []Packet, timeout time.Duration) (int, error) {
	n, err := q.recvReady(batch)
	if n > 0 || err != nil || timeout == 0 {
		return n, err
	}
	q.call = rawCall{ms: milliseconds(timeout), event: unix.POLLIN}
	if err := q.raw.Control(q.pollFn); err != nil {
		return 0, ErrClosed
	}
	return q.recvReady(batch)
}

// recvReady takes what is there now. It goes on when a call yields nothing but answers from the kernel.
func (q *Queue) recvReady(batch []Packet) (int, error) {
	for range maxReceives {
		q.call = rawCall{want: min(len(batch), q.cfg.Batch), flags: unix.MSG_DONTWAIT}
		if err := q.raw.Control(q.recvFn); err != nil {
			return 0, ErrClosed
		}
		switch q.call.errno {
		case 0:
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
			continue
		case unix.ENOBUFS:
			q.stats.ENOBUFS++
			continue
		default:
			return 0, fmt.Errorf("nfqueue: receiving from queue %d: %w", q.cfg.Number, q.call.errno)
		}
		if n := q.take(batch, q.call.n); n > 0 {
			return n, nil
		}
	}
	return 0, nil
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

// rawRecv is one recvmmsg.
func (q *Queue) rawRecv(fd uintptr) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&q.headers[0])), uintptr(q.call.want),
		uintptr(q.call.flags), 0, 0)
	q.call.n, q.call.errno = int(n), errno
	runtime.KeepAlive(q)
}

// rawPoll waits for q.call.event.
func (q *Queue) rawPoll(fd uintptr) {
	q.pollfd[0] = unix.PollFd{Fd: int32(fd), Events: q.call.event}
	n, err := unix.Poll(q.pollfd[:], q.call.ms)
	q.call.n, q.call.errno = n, 0
	if err != nil {
		q.call.errno, _ = err.(unix.Errno)
	}
}

// milliseconds rounds up, so that a short wait is a wait.
func milliseconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int(min((d+time.Millisecond-1)/time.Millisecond, 1<<30))
}
