package fastpath

import (
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Somebody else may take our program off an interface: who removes a clsact qdisc removes every filter there, and a link of TCX can be
// detached by force. Segments of connections on the fast path then come by the queue without a mark, which looks as if marks were lost. So
// the path listens for filters that go, and asks the kernel when marks are missing; it says what has happened, and puts the program back. Who
// removes a qdisc may be about to make it anew, and would fail where there is one already: so a filter comes back a second later.

// groupFilters is RTNLGRP_TC (linux/rtnetlink.h), as a bit.
const groupFilters = 1 << (4 - 1)

// settling is how long after the program has come to an interface packets without marks are no surprise: they may have waited in the queue.
const settling = time.Second

// takeFilters looks for our program where a filter or a qdisc was removed.
func (p *Path) takeFilters(msgs []netlink.Message) {
	for _, m := range msgs {
		if m.Header.Type == unix.RTM_DELTFILTER || m.Header.Type == unix.RTM_DELQDISC {
			p.mu.Lock()
			if !p.detached {
				p.lookForOurs()
			}
			p.mu.Unlock()
			return
		}
	}
}

// lookForOurs looks whether the program is still where it was put. The caller holds the lock.
func (p *Path) lookForOurs() {
	for _, at := range p.attached {
		p.lookForOne(at)
	}
}

// lookForOne says so where somebody has taken the program off, and sees to it that it comes back. The caller holds the lock.
func (p *Path) lookForOne(at *attachment) {
	there, err := p.att.has(at)
	if err != nil || there {
		return // one that cannot be asked is gone itself, and the watcher is told of that
	}
	if _, err := p.att.device(at.device.index); err != nil {
		return
	}
	p.log.Warn("somebody has taken the fast path's program off an interface: it is put back", "interface", at.device.name, "hook", p.att.hook)
	p.detach(at, "taken off by somebody else")
	if at.link != nil {
		p.lookAt(at.device.index)
		return
	}
	time.AfterFunc(settling, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.detached {
			p.lookAt(at.device.index)
		}
	})
}

// freezeAll freezes the flows of all workers.
func (p *Path) freezeAll() {
	if p.obj == nil {
		return
	}
	for i := range p.obj.workers.values {
		atomic.AddUint64(&p.obj.workers.values[i].Epoch, 1)
	}
}

// Whole reports whether the program is on an interface, asked of the kernel, and has been for a second, or since the path was opened. Where it
// is not, a packet without a mark says nothing about marks.
func (p *Path) Whole(ifindex uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.attached[int(ifindex)]
	if at == nil || p.detached || !at.since.IsZero() && time.Since(at.since) < settling {
		return false
	}
	p.lookForOne(at)
	return p.attached[int(ifindex)] == at
}

// has asks the kernel whether a program is still where it was put.
func (a *attacher) has(at *attachment) (bool, error) {
	if at.link != nil {
		info, err := at.link.Info()
		if err != nil {
			return false, err
		}
		tcx := info.TCX()
		return tcx == nil || tcx.Ifindex != 0, nil // 0: detached
	}
	return a.hasFilter(at.filter)
}
