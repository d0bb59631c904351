// Package hugepage gives memory for large arrays without pointers outside Go's heap, on huge pages where the kernel has some: a processor
// finds what is where in gigabytes of small pages only by reading tables that fit its caches as little as the arrays do.
//
// Linux gives huge pages to everyone or to those who ask, as /sys/kernel/mm/transparent_hugepage/enabled says; the latter is usual, and
// Go's heap does not ask.
package hugepage

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	pageSize   = 2 << 20  // of a huge page; where they are larger (arm64 with pages of 64 KB) there are none for us
	regionSize = 64 << 20 // of address space that is reserved at a time
	alignment  = 128
	// minLead and maxLead bound how many bytes are kept ready: a part of what is in use, in whole pages.
	minLead, maxLead = pageSize, 4 << 20
	leadShare        = 32
)

// Arena gives pieces of memory, and keeps the next ones ready: the kernel needs about a millisecond to clear a huge page, which whoever
// takes a piece must not wait for. Take belongs to one goroutine.
//
// Memory is given back to the kernel when the Arena is unreachable, not before. So whoever holds a piece must hold the Arena as well, and
// then nothing that he does with the piece can come too late.
type Arena struct {
	cfg Config

	// What follows up to the blank line is Take's.
	heaped int64 // bytes that Take left to the heap to begin with
	region *region
	used   int64 // bytes of region

	taken    atomic.Int64 // bytes that were handed out, or passed over
	prepared atomic.Int64 // bytes that are or were ready
	next     atomic.Pointer[region]
	busy     atomic.Bool // a goroutine prepares
	failed   atomic.Bool // nothing more will be prepared

	last    *region // where the next page is prepared; that goroutine's
	reserve func() (unsafe.Pointer, error)
	mapped  *mapped
}

// Config says how an Arena begins.
type Config struct {
	// Small is how many bytes are left to the heap before the Arena gives any, so that small owners cost no huge pages. In bytes; 0 for none.
	Small int64
	// Failed is told, once and on a goroutine of its own, why there is no memory of this kind: the heap has to do from then on. May be nil.
	Failed func(error)
}

// region is a part of the address space.
type region struct {
	base  unsafe.Pointer
	ready atomic.Int64 // bytes from base on that may be used
}

// mapped is what was mapped for an Arena. It is apart from it so that it outlives it.
type mapped struct {
	mu   sync.Mutex
	base []unsafe.Pointer
	size int64 // bytes prepared
}

// total is the bytes prepared in all Arenas.
var total atomic.Int64

// Total returns how many bytes all Arenas of the process have in memory. Go's own figures of memory do not contain them.
func Total() int64 { return total.Load() }

// New returns an Arena that has mapped nothing yet.
func New(cfg Config) *Arena {
	a := &Arena{cfg: cfg, reserve: reserve, mapped: &mapped{}}
	runtime.AddCleanup(a, (*mapped).unmap, a.mapped)
	return a
}

// Size returns how many bytes the Arena has in memory. Safe from any goroutine.
func (a *Arena) Size() int64 { return a.prepared.Load() }

// Take returns a zeroed T that begins at a multiple of 128, or nil where the heap has to do: to begin with, where nothing is ready, and where the
// kernel gave nothing. T must be free of pointers, and no larger than 64 MB. The Arena must be held as long as T is used.
func Take[T any](a *Arena) *T {
	var v T
	return (*T)(a.take(int64(unsafe.Sizeof(v))))
}

func (a *Arena) take(size int64) unsafe.Pointer {
	size = (size + alignment - 1) / alignment * alignment
	if a.heaped < a.cfg.Small {
		if a.heaped += size; a.heaped >= a.cfg.Small-minLead {
			a.prepare()
		}
		return nil
	}
	if a.region == nil || a.used+size > regionSize {
		next := a.next.Swap(nil)
		if next == nil {
			a.prepare()
			return nil
		}
		if a.region != nil {
			a.taken.Add(regionSize - a.used)
		}
		a.region, a.used = next, 0
	}
	if a.used+size > a.region.ready.Load() {
		a.prepare()
		return nil
	}
	p := unsafe.Add(a.region.base, a.used)
	a.used += size
	a.taken.Add(size)
	a.prepare()
	return p
}

// lead is how many bytes are to be ready.
func (a *Arena) lead() int64 {
	return min(max(a.taken.Load()/leadShare, minLead), maxLead)
}

// wanting reports whether less than that is.
func (a *Arena) wanting() bool {
	return a.prepared.Load()-a.taken.Load() < a.lead() && !a.failed.Load()
}

// prepare has another thread prepare what is wanting.
func (a *Arena) prepare() {
	if a.wanting() && a.busy.CompareAndSwap(false, true) {
		go a.run()
	}
}

// run prepares what is wanting. At most one goroutine does.
func (a *Arena) run() {
	for {
		for a.wanting() {
			if err := a.page(); err != nil {
				a.failed.Store(true)
				if a.cfg.Failed != nil {
					a.cfg.Failed(err)
				}
			}
		}
		a.busy.Store(false)
		if !a.wanting() || !a.busy.CompareAndSwap(false, true) {
			return
		}
	}
}

// page prepares one page more.
func (a *Arena) page() error {
	r := a.last
	if r == nil || r.ready.Load() == regionSize {
		base, err := a.reserve()
		if err != nil {
			return err
		}
		a.mapped.add(base)
		r = &region{base: base}
	}
	at := r.ready.Load()
	if err := populate(unsafe.Slice((*byte)(unsafe.Add(r.base, at)), pageSize)); err != nil {
		return err
	}
	a.mapped.grow(pageSize)
	r.ready.Store(at + pageSize)
	a.prepared.Add(pageSize)
	if r != a.last {
		a.last = r
		a.next.Store(r) // the one before is ready as a whole, and so not waiting to be taken up as long as the lead is less than a region
	}
	return nil
}

// reserve maps a region whose pages the kernel may make huge ones.
func reserve() (unsafe.Pointer, error) {
	const size = regionSize + pageSize
	p, err := unix.MmapPtr(-1, 0, nil, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	skip := uintptr(pageSize-1) & -uintptr(p)
	base := unsafe.Add(p, skip)
	if skip > 0 {
		_ = unix.MunmapPtr(p, skip)
	}
	if rest := pageSize - skip; rest > 0 {
		_ = unix.MunmapPtr(unsafe.Add(base, regionSize), rest)
	}
	if err := unix.Madvise(unsafe.Slice((*byte)(base), regionSize), unix.MADV_HUGEPAGE); err != nil {
		_ = unix.MunmapPtr(base, regionSize)
		return nil, fmt.Errorf("asking for huge pages: %w", err)
	}
	return base, nil
}

// populate has the kernel put memory behind a page.
func populate(page []byte) error {
	err := unix.Madvise(page, unix.MADV_POPULATE_WRITE)
	for err == unix.EINTR || err == unix.EAGAIN {
		err = unix.Madvise(page, unix.MADV_POPULATE_WRITE)
	}
	if err == unix.EINVAL { // before Linux 5.14
		for i := 0; i < len(page); i += 4096 {
			page[i] = 0
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("populating %d bytes: %w", len(page), err)
	}
	return nil
}

func (m *mapped) add(base unsafe.Pointer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.base = append(m.base, base)
}

func (m *mapped) grow(by int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size += by
	total.Add(by)
}

// unmap gives everything back.
func (m *mapped) unmap() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, base := range m.base {
		_ = unix.MunmapPtr(base, regionSize)
	}
	total.Add(-m.size)
	m.base, m.size = nil, 0
}
