package fastpath

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Options says what a fast path is to be.
type Options struct {
	Redirect   bool     // settled segments also take the short way out
	Flows      int      // how many flows it can hold
	MarkMask   uint32   // mark bits that belong to halfopen; see [NewMarks]
	Workers    int      // how many workers there are
	Interfaces []string // names of those that matching segments come in by; nil = any
	Logger     *slog.Logger

	// For tests: another hook than the kernel's best, a kernel that refuses, other programs than the real ones.
	hook     hook
	kernel   func(*attacher)
	load     func(loadOptions) (*objects, error)
	programs func(header int) *ebpf.Program
}

// Path is a fast path that is in place: a program in the kernel on each of the interfaces. Its methods are for any goroutine.
type Path struct {
	opts     Options
	log      *slog.Logger
	obj      *objects
	programs func(header int) *ebpf.Program // by the bytes in front of the IP header
	held     io.Closer                      // the lock
	watchers sync.WaitGroup
	indexes  atomic.Pointer[map[uint32]bool]
	changes  atomic.Uint64 // how often indexes was written

	mu       sync.Mutex // what follows
	att      *attacher
	attached map[int]*attachment
	failed   map[int]string // interfaces on which it could not be put, and why
	feeds    []*feed
	past     string // what a short way out would go past; see ways.go
	detached bool
	released bool
}

// Open loads the programs, takes away what a dead process left, and puts them on the interfaces of the calling thread's network
// namespace, also on those that appear later, until Close. Errors wrap [ErrUnsupported], [ErrPrivilege] or [ErrInUse] where that is the
// reason, and say what is missing.
func Open(opts Options) (_ *Path, err error) {
	p := &Path{opts: opts, log: cmp.Or(opts.Logger, slog.Default()), attached: map[int]*attachment{}, failed: map[int]string{}}
	p.indexes.Store(&map[uint32]bool{})
	defer func() {
		if err != nil {
			_ = p.Close()
		}
	}()
	if err := rlimit.RemoveMemlock(); err != nil { // before Linux 5.11 maps count against it
		p.log.Debug("the limit of locked memory could not be raised", "err", err)
	}
	if p.held, err = lock(p.log); err != nil {
		return nil, err
	}
	if p.att, err = newAttacher(opts.hook); err != nil {
		return nil, fmt.Errorf("fast path: %w", err)
	}
	if opts.kernel != nil {
		opts.kernel(p.att)
	}
	// Who listens before it looks misses nothing.
	p.feeds = []*feed{{of: "interfaces", protocol: unix.NETLINK_ROUTE, groups: unix.RTMGRP_LINK, take: p.takeInterfaces, all: p.lookAtAll},
		{of: "filters", protocol: unix.NETLINK_ROUTE, groups: groupFilters, take: p.takeFilters, all: p.lookForOurs}}
	if opts.Redirect {
		p.feeds = append(p.feeds, p.wayFeeds()...)
	}
	for _, f := range p.feeds {
		if err := f.dial(); err != nil && !f.absent(err) {
			return nil, err
		}
	}
	p.lookAtWays()
	if err := p.removeLeftovers(); err != nil {
		return nil, err
	}
	if err := p.load(); err != nil {
		return nil, explain("loading the programs", err, p.log)
	}
	if err := p.attachFirst(); err != nil {
		return nil, err
	}
	for _, at := range p.attached { // before any connection was known
		at.since = time.Time{}
	}
	for _, f := range p.feeds {
		if f.conn == nil {
			continue // nothing to tell
		}
		if err := p.startWatching(f); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// load makes programs and maps.
func (p *Path) load() (err error) {
	load := p.opts.load
	if load == nil {
		load = loadObjects
	}
	if p.programs = p.opts.programs; p.programs != nil {
		return nil
	}
	p.obj, err = load(loadOptions{Redirect: p.opts.Redirect, Flows: p.opts.Flows, Workers: p.opts.Workers, MarkMask: p.opts.MarkMask})
	if err == nil {
		p.programs = p.obj.program
	}
	return err
}

// removeLeftovers takes off what a process that was killed left at clsact qdiscs.
func (p *Path) removeLeftovers() error {
	all, err := p.att.devices()
	if err != nil {
		return fmt.Errorf("fast path: %w", err)
	}
	for _, l := range p.att.leftovers(all) {
		if err := p.att.removeFilter(l.filter); err != nil {
			return fmt.Errorf("fast path: what a dead process left on %s: %w", l.device.name, err)
		}
		p.log.Info("removed the fast path's filter of a dead process", "interface", l.device.name)
	}
	return nil
}

// attachFirst puts the program on the interfaces there are. One that does not take it is left to the queue; if none takes it, that is
// an error.
func (p *Path) attachFirst() error {
	all, err := p.att.devices()
	if err != nil {
		return fmt.Errorf("fast path: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	type refusal struct {
		device
		err error
	}
	var refused []refusal
	for _, d := range all {
		if err := p.settle(d); err != nil {
			refused = append(refused, refusal{d, err})
		}
	}
	if len(refused) > 0 && len(p.attached) == 0 {
		r := refused[0] // the others will not say much else
		return explain("attaching the program to "+r.name, r.err, p.log)
	}
	for _, r := range refused {
		p.complain(r.device, r.err)
	}
	return nil
}

// settle makes an interface have the program or not, as it should, and remembers it. The caller holds the lock.
func (p *Path) settle(d device) error {
	header, why := d.header(p.opts.Interfaces)
	at := p.attached[d.index]
	if at != nil && (why != "" || at.header != header) {
		p.detach(at, why)
		at = nil
	}
	if at != nil {
		at.device = d // its name may be a new one
		return nil
	}
	if why != "" {
		delete(p.failed, d.index)
		p.log.Debug("no fast path on an interface", "interface", d.name, "because", why)
		return nil
	}
	at, err := p.att.attach(d, header, p.programs(header))
	switch {
	case errors.Is(err, errGone):
		return nil
	case err != nil:
		return err
	}
	delete(p.failed, d.index)
	at.since = time.Now()
	p.freezeAll() // what came in before waits in the queue, and is not to be overtaken
	p.attached[d.index] = at
	p.egress(at, true)
	p.publish()
	p.log.Info("fast path on an interface", "interface", d.name, "hook", p.att.hook, "header", header)
	return nil
}

// complain tells of an interface that does not take the program, once. The caller holds the lock.
func (p *Path) complain(d device, err error) {
	if p.failed[d.index] == err.Error() {
		return
	}
	p.failed[d.index] = err.Error()
	p.log.Warn("no fast path on an interface: what comes in there stays on the queue", "interface", d.name, "err", err)
}

// detach takes the program off. The caller holds the lock.
func (p *Path) detach(at *attachment, why string) {
	delete(p.attached, at.device.index)
	p.publish() // first: nobody is to count on it any more
	p.egress(at, false)
	if err := p.att.detach(at); err != nil {
		p.log.Warn("taking the fast path off an interface", "interface", at.device.name, "err", err)
	}
	p.log.Info("no fast path any more on an interface", "interface", at.device.name, "because", why)
}

// publish tells Attached.
func (p *Path) publish() {
	now := make(map[uint32]bool, len(p.attached))
	for index := range p.attached {
		now[uint32(index)] = true
	}
	p.indexes.Store(&now)
	p.changes.Add(1)
}

// Changes is another number whenever an interface has got the program or lost it.
func (p *Path) Changes() uint64 { return p.changes.Load() }

// Attached reports whether the program is on the interface with that index. Of what comes in elsewhere the fast path sees nothing.
func (p *Path) Attached(ifindex uint32) bool { return (*p.indexes.Load())[ifindex] }

// Interfaces returns the names of the interfaces that have the program, in order.
func (p *Path) Interfaces() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for at := range maps.Values(p.attached) {
		names = append(names, at.device.name)
	}
	slices.Sort(names)
	return names
}

// Hook says where the programs hang: TCX or clsact.
func (p *Path) Hook() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.att.hook.String()
}

// Flows returns the slots of a worker, numbered from 0. Nothing of them may be used after Close.
func (p *Path) Flows(worker int) *Flows { return p.obj.flows(worker) }

// Stats returns the program's counters.
func (p *Path) Stats() (Stats, error) { return p.obj.stats() }

// Detach takes the programs off and follows interfaces no longer. What they were told and have seen can be asked for until Close. A second
// Detach does nothing.
func (p *Path) Detach() error {
	p.mu.Lock()
	first := !p.detached
	p.detached = true
	if first {
		p.stopListening() // wakes the watchers
	}
	p.mu.Unlock()
	p.watchers.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeOff()
}

// stopListening closes the feeds. The caller holds the lock.
func (p *Path) stopListening() {
	for _, f := range p.feeds {
		if f.conn != nil {
			_ = f.conn.Close()
		}
	}
}

// takeOff takes the programs off all interfaces. The caller holds the lock.
func (p *Path) takeOff() (all error) {
	for _, at := range p.attached {
		if err := p.att.detach(at); err != nil {
			all = errors.Join(all, fmt.Errorf("fast path: interface %s: %w", at.device.name, err))
		}
	}
	clear(p.attached)
	p.publish()
	return all
}

// Close is Detach, and gives back what the path had. A second Close does nothing.
func (p *Path) Close() error {
	return errors.Join(p.Detach(), p.release())
}

// release undoes what Open did, as far as it came.
func (p *Path) release() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return nil
	}
	p.released = true
	all := p.takeOff()
	if p.obj != nil {
		all = errors.Join(all, p.obj.Close())
	}
	if p.att != nil {
		p.att.nl.Close()
	}
	if p.held != nil {
		all = errors.Join(all, p.held.Close())
	}
	return all
}
