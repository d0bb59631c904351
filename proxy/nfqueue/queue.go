package nfqueue

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	gonfqueue "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What can be wrong with a queue; errors of this package wrap one of these where it applies.
var (
	// ErrInUse: another socket is bound to the queue number.
	ErrInUse = errors.New("queue number in use")
	// ErrPrivilege: the process lacks CAP_NET_ADMIN in the user namespace that owns its network namespace.
	ErrPrivilege = errors.New("missing privilege")
	// ErrUnsupported: the kernel lacks NFQUEUE or one of the options asked for.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrClosed: the queue has been closed. It is the only way in which a raw socket call itself can fail.
	ErrClosed = errors.New("nfqueue: queue closed")
)

// WholePacket is the copy range that copies packets in full, as far as a netlink attribute can hold them.
const WholePacket = maxPayloadLength

// Defaults of a zero Config.
const (
	DefaultMaxLen = 16384
	DefaultBatch  = 64
)

// Config says how to bind one queue.
type Config struct {
	Number    uint16
	MaxLen    uint32 // packets that the kernel holds without a verdict before the queue is full; 0 = DefaultMaxLen
	CopyRange uint32 // bytes copied of each packet, from the IP header on; 0 or more than WholePacket = WholePacket
	GSO       bool   // take super-packets as they are; without it the kernel cuts them and completes checksums
	FailOpen  bool   // a full queue or socket accepts the packet instead of dropping it (NFQA_CFG_F_FAIL_OPEN)

	// ReadBuffer is the socket's receive buffer in bytes; 0 = enough for MaxLen messages. The kernel doubles it for its
	// own bookkeeping (socket(7)) and, with CAP_NET_ADMIN, does not hold it to net.core.rmem_max.
	ReadBuffer int
	// Linger is how long a short wait of Recv ([ShortWait]) may go on looking for packets before it sleeps; 0: not at all. It does so
	// while that pays: one such wait in three or more brings packets.
	Linger time.Duration
	// Batch is how many messages one Recv can take; 0 = DefaultBatch.
	Batch int
}

func (c Config) withDefaults() Config {
	c.MaxLen = cmp.Or(c.MaxLen, DefaultMaxLen)
	c.Batch = cmp.Or(c.Batch, DefaultBatch)
	if c.CopyRange == 0 || c.CopyRange > WholePacket {
		c.CopyRange = WholePacket
	}
	if c.ReadBuffer == 0 {
		// A message costs its bytes and about 1 KiB of bookkeeping; of a whole-packet queue most are one MTU long.
		c.ReadBuffer = int(min(uint64(c.MaxLen)*uint64(min(c.CopyRange, 2048)+1024), 1<<29))
	}
	return c
}

// Stats counts what happened on one queue since Open.
type Stats struct {
	Received uint64 // packets delivered by Recv
	// LostIDs is the number of messages that the kernel numbered but could not put into the socket's buffer. With
	// fail-open these packets went on without a decision, otherwise they were dropped. It is exact up to the last
	// message received; [Queue.TailLoss] tells what was lost behind it.
	LostIDs       uint64
	Gaps          uint64 // runs of lost ids
	ENOBUFS       uint64 // overflows that the socket reported; 0 where the report is switched off (see Open)
	VerdictErrors uint64 // verdicts that the kernel refused: it no longer held the packet (ENOENT) or memory ran out
	Malformed     uint64 // datagrams without a packet id
	Foreign       uint64 // datagrams that are neither packets nor answers
	Unasked       uint64 // verdicts given for ids that were not waiting for one; not sent
	Sends         uint64 // system calls that carried verdicts
	SendRetries   uint64 // sends tried again
	VerdictsLost  uint64 // verdict messages given up after every retry; the kernel still holds those packets
}

// Queue is one bound queue number. It belongs to one goroutine; only Abandon, Wake, Kernel and Alive are for others, too.
type Queue struct {
	cfg    Config
	fd     int // of a socket that Go's poller does not know
	portID uint32
	kernel unix.RawSockaddrNetlink // the kernel's address
	proc   *os.File                // the queue table of our own network namespace, whichever thread asks

	stats Stats
	last  uint32 // highest id received
	open  outstanding
	enc   encoder

	headers []mmsghdr
	iovs    []unix.Iovec
	buffers []byte
	step    int // bytes of one buffer
	lastErr kernelError
	sendErr error // of a send in between, for the next Flush

	patience time.Duration // SO_RCVTIMEO
	woken    bool          // by Wake's message, in the present Recv
	lingered uint64        // packets received before the last wait that could have begun awake
	luck     int           // how many waits awake may bring nothing before they are left off
	skipped  uint          // waits that could have begun awake and did not, or were a try
	closed   bool          // the owner's

	waits  atomic.Bool // the owner waits in Recv, or is about to
	called atomic.Bool // Wake was called since the last wait

	gate sync.RWMutex // of others' calls against Close: the descriptor's number may soon be another's
	shut bool
}

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// Open binds a queue. It keeps to the network namespace of the calling thread.
//
// go-nfqueue opens the socket; its Register is not used, for two reasons: it starts a receive loop of its own, and it
// binds before it sets the copy mode. Packets that arrive between the two are dropped by the kernel, bypass and fail-open
// notwithstanding. Open binds, sets mode, flags and length in one message. And it takes the socket out of go-nfqueue's
// hands, because that has it in Go's poller: there every message and every verdict would wake another thread for nothing.
//
// The socket's overflow reports (ENOBUFS) are switched off: with them on, one overflow makes the kernel refuse every
// further message until the reader has emptied the buffer (NETLINK_S_CONGESTED in af_netlink.c). The loss is counted
// from the ids instead, which is exact.
func Open(cfg Config) (*Queue, error) {
	cfg = cfg.withDefaults()
	nf, err := gonfqueue.Open(&gonfqueue.Config{
		NfQueue:      cfg.Number,
		MaxQueueLen:  cfg.MaxLen,
		MaxPacketLen: cfg.CopyRange,
		Copymode:     gonfqueue.NfQnlCopyPacket,
		Flags:        cfg.flags(),
	})
	if err != nil {
		if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
			err = fmt.Errorf("%w: it has no netfilter netlink (CONFIG_NETFILTER_NETLINK)", ErrUnsupported)
		}
		return nil, fmt.Errorf("nfqueue: opening queue %d: %w", cfg.Number, err)
	}
	q := &Queue{cfg: cfg, portID: nf.Con.PID(), kernel: unix.RawSockaddrNetlink{Family: unix.AF_NETLINK}}
	q.enc = newEncoder(cfg.Number)
	q.open = newOutstanding(int(min(cfg.MaxLen, 1<<16)))
	q.prepare()
	if err := q.takeOver(nf); err != nil {
		return nil, fmt.Errorf("nfqueue: queue %d: %w", cfg.Number, err)
	}
	if err := q.bind(); err != nil {
		unix.Close(q.fd)
		return nil, err
	}
	// Without the file, which only root may read, Alive and TailLoss say that they do not know.
	q.proc, _ = os.Open(procQueues)
	return q, nil
}

// flags is the one merged flags word.
func (c *Config) flags() uint32 {
	var f uint32
	if c.GSO {
		f |= gonfqueue.NfQaCfgFlagGSO
	}
	if c.FailOpen {
		f |= gonfqueue.NfQaCfgFlagFailOpen
	}
	return f
}

// takeOver sets go-nfqueue's socket up and closes it, keeping another descriptor of the same: the poller forgets the
// socket, the kernel does not.
func (q *Queue) takeOver(nf *gonfqueue.Nfqueue) error {
	err := nf.Con.SetReadBuffer(q.cfg.ReadBuffer)
	if err != nil {
		err = fmt.Errorf("receive buffer of %d bytes: %w", q.cfg.ReadBuffer, err)
	}
	// Kernels before 2.6.30 and 4.3 lack these; then reports are counted and refused verdicts are echoed in full.
	_ = nf.Con.SetOption(netlink.NoENOBUFS, true)
	_ = nf.Con.SetOption(netlink.CapAcknowledge, true)
	raw, e := nf.Con.SyscallConn()
	if err = errors.Join(err, e); err == nil {
		e = raw.Control(func(fd uintptr) { q.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3) })
		err = errors.Join(err, e)
	}
	if e := nf.Close(); err != nil {
		return errors.Join(err, e)
	}
	if err := unix.SetNonblock(q.fd, false); err != nil { // who must not wait says so in the call
		unix.Close(q.fd)
		return err
	}
	return nil
}

// prepare lays out the receive buffers.
func (q *Queue) prepare() {
	n := q.cfg.Batch
	q.step = (int(q.cfg.CopyRange) + messageOverhead + 63) &^ 63
	q.buffers = make([]byte, n*q.step)
	q.headers = make([]mmsghdr, n)
	q.iovs = make([]unix.Iovec, n)
	for i := range n {
		q.iovs[i].Base = &q.buffers[i*q.step]
		q.iovs[i].SetLen(q.step)
		q.headers[i].hdr.Iov = &q.iovs[i]
		q.headers[i].hdr.SetIovlen(1)
	}
}

// bind binds the queue.
func (q *Queue) bind() error {
	var err error
	if errno := q.sendto(configMessage(&q.cfg)); errno != 0 {
		err = errno
	} else {
		err = q.bound()
	}
	if err != nil {
		return q.explain(err)
	}
	return nil
}

// bound reads the answer to the configuration. The kernel answers before sendmsg returns, and packets can only follow
// a successful bind: so the first datagram decides, and if it is a packet it stays for Recv.
func (q *Queue) bound() error {
	if _, errno := q.recvmmsg(1, unix.MSG_PEEK|unix.MSG_DONTWAIT, true); errno != 0 {
		return errno
	}
	var p Packet
	var ke kernelError
	switch kind, err := parseMessage(q.buffers[:q.headers[0].len], &p, &ke); {
	case err != nil:
		return err
	case kind == messageError:
		return ke.errno
	case kind == messageAck: // nothing that Recv should see
		if _, errno := q.recvmmsg(1, unix.MSG_DONTWAIT, true); errno != 0 {
			return errno
		}
	}
	return nil
}

// explain turns the errno of a refused bind into words.
func (q *Queue) explain(err error) error {
	n := q.cfg.Number
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY):
		// The kernel answers EPERM for a queue that somebody else owns, too.
		if owner, ok := queueOwner(n); ok {
			return fmt.Errorf("nfqueue: queue %d: %w: bound by %s; stop that program or take other numbers (--queues)", n, ErrInUse, owner)
		}
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("nfqueue: queue %d: %w: stop the program that holds it or take other numbers (--queues)", n, ErrInUse)
		}
		return fmt.Errorf("nfqueue: queue %d: %w: binding needs CAP_NET_ADMIN (run as root)", n, ErrPrivilege)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("nfqueue: queue %d: %w: it was built without CONFIG_NETFILTER_NETLINK_QUEUE, or without the GSO or fail-open flag (%w)", n, ErrUnsupported, err)
	}
	return fmt.Errorf("nfqueue: binding queue %d: %w", n, err)
}

// Number returns the queue's number.
func (q *Queue) Number() uint16 { return q.cfg.Number }

// Config returns what the queue was opened with, defaults filled in.
func (q *Queue) Config() Config { return q.cfg }

// ReadBuffer returns the receive buffer in bytes that the kernel granted, its own doubling included.
func (q *Queue) ReadBuffer() (int, error) {
	return unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
}

// Stats returns the counters. Only the queue's owner may call it.
func (q *Queue) Stats() Stats { return q.stats }

// Outstanding returns how many received packets have no verdict yet.
func (q *Queue) Outstanding() int { return q.open.open }
