package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The load generator: kernel sockets of the client's and the server's namespaces, driven by blocking system calls. Writes
// are large and what is received is cut off in the kernel (MSG_TRUNC, tcp(7)), so that the ends cost little beside the gateway.

const (
	writeSize  = 1 << 20
	socketWait = 10 // seconds until a call on a socket that hears nothing gives up
	smallMSS   = 88 // the least that Linux takes (TCP_MIN_MSS)
	stamps     = 12 // bytes of it that timestamps take
	// smallWindow is how many small segments a connection has under way at most.
	smallWindow = 64
	// connectors is how many connections are in the making at a time.
	connectors = 32
	// loadThreads is more than a load has threads at a time.
	loadThreads = 3 * connectors
)

// streaming says what one transfer is.
type streaming struct {
	load    string
	streams int
	down    bool // the server sends
	small   bool // segments of the bench's mss, each a packet of its own
	span    time.Duration
	pid     int // of the gateway's process; 0 for none
}

// streamed is what a transfer came to.
type streamed struct {
	bytes, segments float64 // received, a second
	packets         float64 // of both ends, each segment counted, a second
	usage           usage
}

// stream measures one transfer. The first tenth is not counted: congestion windows open in it.
func (b *bench) stream(s streaming) (r streamed, err error) {
	if s.small {
		restore, err := b.smallEnds()
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	l, port, err := b.listen(s.load)
	if err != nil {
		return r, err
	}
	defer unix.Close(l)
	if s.small {
		if err := b.shallow(l); err != nil {
			return r, err
		}
	}
	var senders, receivers []int
	defer func() {
		for _, fd := range slices.Concat(senders, receivers) {
			unix.Close(fd)
		}
	}()
	for i := range s.streams {
		c, a, err := b.pair(l, port, s.small, b.sources[i%len(b.sources)])
		if err != nil {
			return r, err
		}
		if s.down {
			c, a = a, c
		}
		senders, receivers = append(senders, c), append(receivers, a)
	}
	var wait sync.WaitGroup
	errs := make(chan error, 2*s.streams)
	var ending atomic.Bool
	block := make([]byte, writeSize)
	for i := range s.streams {
		wait.Go(func() {
			if err := send(senders[i], block); err != nil && !ending.Load() {
				errs <- fmt.Errorf("lab: sending: %w", err)
			}
		})
		wait.Go(func() {
			if err := discard(receivers[i]); err != nil {
				errs <- fmt.Errorf("lab: receiving: %w", err)
			}
		})
	}
	r.usage, err = b.timed(s.load, s.pid, s.span, r.count(receivers))
	ending.Store(true)
	for _, fd := range senders {
		_ = unix.Shutdown(fd, unix.SHUT_WR)
	}
	wait.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return r, err
}

// shallow makes the connections that a listener takes from now on keep few segments under way, and wake their reader once for many of
// them. A veth queues what it carries by processor, a thousand packets (net.core.netdev_max_backlog), and loses what comes beyond; and
// a reader that wakes for each segment costs many times what forwarding it does.
func (b *bench) shallow(l int) error {
	err := errors.Join(unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<18), // so that the kernel leaves the window as it is
		unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, smallWindow*(b.mss-stamps)),
		unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_RCVLOWAT, smallWindow/2*(b.mss-stamps)))
	if err != nil {
		return fmt.Errorf("lab: listener of small segments: %w", err)
	}
	return nil
}

// send writes until the socket is shut.
func send(fd int, block []byte) error {
	for {
		if _, err := unix.Write(fd, block); err != nil && err != unix.EINTR {
			return err
		}
	}
}

// discard receives until the end, without copying.
func discard(fd int) error {
	buf := make([]byte, writeSize)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return nil
		}
	}
}

// segmentEach makes new connections send each segment as a packet of its own over a link.
func (ns *Namespace) segmentEach(link string) (restore func() error, err error) {
	l, err := ns.link.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("lab: %s in %s: %w", link, ns.Name, err)
	}
	was := int(l.Attrs().GSOMaxSegs)
	return func() error { return ns.link.LinkSetGSOMaxSegs(l, was) }, ns.single(link)
}

// connected is what short connections came to.
type connected struct {
	good    float64 // a second
	failed  int
	failure error // the first
	usage   usage
}

// connections makes short connections, each closed by the client and then the server, connectors of them at a time. One
// is good when the client has read the server's end.
func (b *bench) connections(span time.Duration, pid int) (r connected, err error) {
	var accepting, dialing sync.WaitGroup
	var ending atomic.Bool
	var good atomic.Int64
	var m sync.Mutex
	var listeners []int
	defer func() {
		ending.Store(true)
		dialing.Wait()
		for _, l := range listeners {
			_ = unix.Shutdown(l, unix.SHUT_RDWR) // wakes accept
		}
		accepting.Wait()
		for _, l := range listeners {
			unix.Close(l)
		}
		m.Lock()
		err = errors.Join(err, r.setup())
		m.Unlock()
	}()
	for i := range connectors {
		from := b.sources[i%len(b.sources)]
		l, port, err := b.listen("connections")
		if err != nil {
			return r, err
		}
		listeners = append(listeners, l)
		accepting.Go(func() { hangUpAll(l, &ending) })
		dialing.Go(func() {
			err := b.top.Client.Do(func() error {
				for !ending.Load() {
					err := short(from, port)
					if err == nil {
						good.Add(1)
						continue
					}
					m.Lock()
					r.failed++
					if r.failure == nil {
						r.failure = err
					}
					m.Unlock()
				}
				return nil
			})
			if err != nil {
				m.Lock()
				r.failure = errors.Join(errEnter, err)
				m.Unlock()
			}
		})
	}
	r.usage, err = b.timed("connections", pid, span, r.count(&good))
	return r, err
}

var errEnter = errors.New("lab: no connections were tried")

// setup returns an error that is the lab's own and none of the connections'.
func (r *connected) setup() error {
	if errors.Is(r.failure, errEnter) {
		return r.failure
	}
	return nil
}

// short is one connection, made on a thread in the client's namespace.
func short(from netip.Addr, port uint16) error {
	fd, err := dialFD(from, port, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	switch n, err := readFD(fd); {
	case err != nil:
		return fmt.Errorf("end: %w", err)
	case n != 0:
		return errors.New("data that nobody sent")
	}
	return nil
}

// hangUpAll accepts, waits for the client's end and closes.
func hangUpAll(l int, ending *atomic.Bool) {
	for {
		fd, err := acceptFD(l)
		if err != nil {
			if ending.Load() {
				return
			}
			continue // the connection was reset meanwhile: the client counts it
		}
		_, _ = readFD(fd)
		unix.Close(fd)
	}
}

// latencies returns how long connects took, in microseconds, sorted: one at a time, a millisecond apart.
func (b *bench) latencies(span time.Duration) (took []float64, err error) {
	l, port, err := b.listen("connect")
	if err != nil {
		return nil, err
	}
	var ending atomic.Bool
	var accepting sync.WaitGroup
	accepting.Go(func() { hangUpAll(l, &ending) })
	err = b.top.Client.Do(func() error {
		for end := time.Now().Add(span); time.Now().Before(end) || len(took) == 0; time.Sleep(time.Millisecond) {
			fd, err := socketFD()
			if err != nil {
				return err
			}
			begin := time.Now()
			err = connectFD(fd, port)
			d := time.Since(begin)
			unix.Close(fd)
			if err != nil {
				return err
			}
			took = append(took, float64(d)/1e3)
		}
		return nil
	})
	ending.Store(true)
	_ = unix.Shutdown(l, unix.SHUT_RDWR)
	accepting.Wait()
	unix.Close(l)
	slices.Sort(took)
	return took, err
}
