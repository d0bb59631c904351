package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrTooLong is an altered packet that no verdict message can carry.
var ErrTooLong = errors.New("nfqueue: packet too long for a verdict")

// Accept lets a packet go on to the host's later chains. Like every verdict it is only remembered; Flush sends it.
// A verdict for an id that waits for none is counted as Unasked and not sent.
func (q *Queue) Accept(id uint32) { q.accept(id, 0, false) }

// AcceptMark accepts and sets the packet's fwmark.
func (q *Queue) AcceptMark(id, mark uint32) { q.accept(id, mark, true) }

func (q *Queue) accept(id, mark uint32, marked bool) {
	first, ok := q.answer(id)
	if ok {
		q.room(0)
		q.enc.accept(id, mark, marked, first)
	}
}

// Drop discards a packet.
func (q *Queue) Drop(id uint32) { q.other(id, verdictDrop) }

// Reroute hands a packet over to another queue, where it arrives as a new message with an id of its own. Where nobody
// listens on that queue the packet goes on (NF_VERDICT_FLAG_QUEUE_BYPASS).
func (q *Queue) Reroute(id uint32, queue uint16) {
	q.other(id, uint32(queue)<<16|verdictBypass|verdictQueue)
}

func (q *Queue) other(id, verdict uint32) {
	if _, ok := q.answer(id); ok {
		q.room(0)
		q.enc.other(id, verdict)
	}
}

// AcceptAltered accepts a packet with new content from its IP header on, which must carry right checksums: the kernel
// takes them as they are. The packet must have been copied whole and must not be a GSO super-packet, else the kernel
// would cut it off. On ErrTooLong the packet still waits for a verdict.
func (q *Queue) AcceptAltered(id uint32, payload []byte) error {
	if len(payload) > WholePacket {
		return fmt.Errorf("%w: %d bytes", ErrTooLong, len(payload))
	}
	if _, ok := q.answer(id); ok {
		q.room(len(payload))
		q.enc.altered(id, payload)
	}
	return nil
}

func (q *Queue) answer(id uint32) (first, ok bool) {
	if first, ok = q.open.answer(id); !ok {
		q.stats.Unasked++
	}
	return first, ok
}

// room sends what is there when another verdict would not fit. Its error is kept for the next Flush.
func (q *Queue) room(payload int) {
	if !q.enc.fits(payload) {
		q.sendErr = q.Flush()
	}
}

// Flush sends every verdict given since the last Flush, in one system call. The kernel acts on them before Flush
// returns. When the kernel refuses the call for want of memory, Flush waits and tries again, then message by message;
// what fails even so is counted as VerdictsLost and reported.
func (q *Queue) Flush() error {
	earlier := q.sendErr
	q.sendErr = nil
	q.enc.endRun()
	if len(q.enc.buf) == 0 {
		return earlier
	}
	err := q.send(q.enc.buf, sendTries)
	if err != nil && !errors.Is(err, ErrClosed) {
		err = q.sendEach(q.enc.buf)
	}
	q.enc.buf = q.enc.buf[:0]
	if earlier != nil {
		return earlier
	}
	return err
}

const (
	sendTries  = 20 // times 5 ms
	sendWaitMs = 5
)

// sendEach sends the messages of b one by one.
func (q *Queue) sendEach(b []byte) error {
	var first error
	for len(b) >= nlmsgHeaderLen {
		n := int(binary.NativeEndian.Uint32(b))
		if err := q.send(b[:n], sendTries); err != nil {
			q.stats.VerdictsLost++
			if first == nil {
				first = err
			}
		}
		b = b[n:]
	}
	return first
}

// send sends b, waiting for the socket where the kernel says that it is out of room.
func (q *Queue) send(b []byte, tries int) error {
	if q.closed {
		return ErrClosed
	}
	var errno unix.Errno
	for range tries {
		switch errno = q.sendto(b); errno {
		case 0:
			q.stats.Sends++
			return nil
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLERR}}, sendWaitMs)
		default:
			return fmt.Errorf("nfqueue: verdicts on queue %d: %w", q.cfg.Number, errno)
		}
		q.stats.SendRetries++
	}
	return fmt.Errorf("nfqueue: verdicts on queue %d: no room after %d tries: %w", q.cfg.Number, tries, errno)
}

// sendto sends to the kernel (port 0). The kernel carries the accepted packets on within the call, some all the way to
// a socket; the scheduler is not told (see recvmmsg).
func (q *Queue) sendto(b []byte) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(q.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT,
		uintptr(unsafe.Pointer(&q.kernel)), unix.SizeofSockaddrNetlink)
	return errno
}
