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

// eventsBuffer is how many bytes of messages may wait; a message is about 1.5 kB.
const eventsBuffer = 1 << 20

// subscribe listens to what becomes of the interfaces of the calling thread's network namespace.
func subscribe() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	if err != nil {
		return nil, fmt.Errorf("fast path: listening for interfaces: %w", err)
	}
	_ = c.SetReadBuffer(eventsBuffer) // a smaller one makes more lists, no other difference
	return c, nil
}

// startWatching follows the interfaces in a goroutine of its own, on a thread in the calling thread's network namespace.
func (p *Path) startWatching() error {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("fast path: opening the network namespace: %w", err)
	}
	ready := make(chan error)
	go func() {
		defer close(p.watched)
		defer ns.Close()
		// Not unlocked: a thread that changed its namespace must end with its goroutine.
		runtime.LockOSThread()
		err := enter(ns)
		ready <- err
		if err == nil {
			p.watch()
		}
	}()
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

// watch looks at each interface that something happened to, until Detach.
func (p *Path) watch() {
	events := p.events
	for {
		msgs, err := events.Receive()
		if err != nil {
			if events = p.listenAnew(err); events == nil {
				return
			}
			continue
		}
		seen := map[int]bool{}
		for _, m := range msgs {
			if index, ok := subject(m); ok && !seen[index] {
				seen[index] = true
				p.look(index)
			}
		}
	}
}

// listenAnew takes a new socket in place of one that failed, mostly because more happened than it could hold, and looks at all interfaces.
// The old one would keep silent about what it loses until somebody has read it empty, and that can be after the look. It returns nil
// when the path is detached.
func (p *Path) listenAnew(failed error) *netlink.Conn {
	for {
		p.mu.Lock()
		if p.detached {
			p.mu.Unlock()
			return nil
		}
		if errors.Is(failed, unix.ENOBUFS) {
			p.log.Debug("messages about interfaces were lost; looking at all of them")
		} else {
			p.log.Warn("listening for interfaces; looking at all of them", "err", failed)
		}
		_ = p.events.Close()
		fresh, err := subscribe()
		if err == nil {
			p.events = fresh
			p.lookAtAll()
		}
		p.mu.Unlock()
		if err == nil {
			return fresh
		}
		failed = err
		time.Sleep(time.Second)
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
