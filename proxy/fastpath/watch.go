package fastpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages about interfaces (RTM_NEWLINK, RTM_DELLINK) begin with struct ifinfomsg: the family in its first byte, the index at byte 4.
const ifinfomsgLen = 16

// feedBuffer is how many bytes of messages may wait; one about an interface is about 1.5 kB.
const feedBuffer = 1 << 20

// feed is a socket by which the kernel tells of changes, and what they lead to.
type feed struct {
	of       string // what the messages are about
	protocol int
	groups   uint32
	take     func([]netlink.Message) // called without the path's lock
	all      func()                  // called with it, where messages may have been lost

	conn *netlink.Conn // under the path's lock
}

// dial begins to listen, in the calling thread's network namespace.
func (f *feed) dial() error {
	c, err := netlink.Dial(f.protocol, &netlink.Config{Groups: f.groups})
	if err != nil {
		return fmt.Errorf("fast path: listening for %s: %w", f.of, err)
	}
	_ = c.SetReadBuffer(feedBuffer) // a smaller one makes more lists, no other difference
	f.conn = c
	return nil
}

// startWatching follows a feed in a goroutine of its own, on a thread in the calling thread's network namespace.
func (p *Path) startWatching(f *feed) error {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("fast path: opening the network namespace: %w", err)
	}
	ready, conn := make(chan error), f.conn
	p.watchers.Go(func() {
		defer ns.Close()
		// Not unlocked: a thread that changed its namespace must end with its goroutine.
		runtime.LockOSThread()
		err := enter(ns)
		ready <- err
		if err == nil {
			p.watch(f, conn)
		}
	})
	return <-ready
}

// enter puts the calling thread into a namespace, unless it is there: to move is a privilege that is not needed then.
func enter(ns *os.File) error {
	var there, here unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &there); err != nil {
		return fmt.Errorf("fast path: asking for the network namespace: %w", err)
	}
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err == nil && here.Dev == there.Dev && here.Ino == there.Ino {
		return nil
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("fast path: entering the network namespace: %w", err)
	}
	return nil
}

// watch acts on what a feed tells, until Detach.
func (p *Path) watch(f *feed, conn *netlink.Conn) {
	for conn != nil {
		msgs, err := conn.Receive()
		if err != nil {
			conn = p.listenAnew(f, err)
			continue
		}
		f.take(msgs)
	}
}

// listenAnew takes a new socket in place of one that failed, mostly because more happened than it could hold, and looks at everything. The old
// one would keep silent about what it loses until somebody has read it empty, and that can be after the look. It returns nil when the
// path is detached.
func (p *Path) listenAnew(f *feed, failed error) *netlink.Conn {
	for {
		p.mu.Lock()
		if p.detached {
			p.mu.Unlock()
			return nil
		}
		if errors.Is(failed, unix.ENOBUFS) {
			p.log.Debug("messages were lost; looking at all there is", "about", f.of)
		} else {
			p.log.Warn("listening for changes; looking at all there is", "about", f.of, "err", failed)
		}
		_ = f.conn.Close()
		if failed = f.dial(); failed == nil {
			f.all()
		}
		conn := f.conn
		p.mu.Unlock()
		if failed == nil {
			return conn
		}
		time.Sleep(time.Second)
	}
}

// takeInterfaces looks at each interface that something happened to.
func (p *Path) takeInterfaces(msgs []netlink.Message) {
	seen := map[int]bool{}
	for _, m := range msgs {
		if index, ok := subject(m); ok && !seen[index] {
			seen[index] = true
			p.look(index)
		}
	}
}

// subject is the interface that a message is about. What a bridge tells of its ports is told as well by the interface itself.
func subject(m netlink.Message) (index int, ok bool) {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < ifinfomsgLen || m.Data[0] != unix.AF_UNSPEC {
		return 0, false
	}
	return int(binary.NativeEndian.Uint32(m.Data[4:])), true
}

// look asks how an interface is now, whatever the message said, and acts on it.
func (p *Path) look(index int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.detached {
		p.lookAt(index)
	}
}

// lookAt is look for who holds the lock.
func (p *Path) lookAt(index int) {
	d, err := p.att.device(index)
	switch {
	case errors.Is(err, errGone): // or moved to another namespace, where it must not have the program either
		delete(p.failed, index)
		if at := p.attached[index]; at != nil {
			p.detach(at, "gone")
		}
	case err != nil:
		p.log.Warn("an interface cannot be asked for", "err", err)
	default:
		if err := p.settle(d); err != nil {
			p.complain(d, err)
		}
	}
}

// lookAtAll is lookAt for all interfaces.
func (p *Path) lookAtAll() {
	all, err := p.att.devices()
	if err != nil {
		p.log.Warn("interfaces cannot be listed", "err", err)
		return
	}
	there := map[int]bool{}
	for _, d := range all {
		there[d.index] = true
		if err := p.settle(d); err != nil {
			p.complain(d, err)
		}
	}
	for index := range p.attached {
		if !there[index] {
			p.lookAt(index) // a list may be incomplete
		}
	}
}
