package conntrack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"

	"halfopen/proxy/hugepage"
)

// The sizes that the structures are measured at. Ten million flows take 4 GB as values of a map: ask for them with -bench 'Table/10M' and
// room for that.
var benchSizes = []struct {
	name string
	n    int
}{{"10k", 10_000}, {"1M", 1_000_000}, {"10M", 10_000_000}}

// flowTuple returns the i-th of as many different tuples as one likes, in no order.
func flowTuple(i int) Tuple {
	x := uint64(i) * 0x9e3779b97f4a7c15 // odd: a permutation
	src := netip.AddrFrom4([4]byte{10, byte(x >> 56), byte(x >> 48), byte(x >> 40)})
	dst := netip.AddrFrom4([4]byte{192, 0, 2, byte(x >> 32)})
	return MakeTuple(netip.AddrPortFrom(src, uint16(x>>16)), netip.AddrPortFrom(dst, uint16(x)))
}

// store is what the benchmarks ask of a structure that remembers flows.
type store interface {
	insert(i int)
	lookup(segs []Segment) (found int) // independent look-ups, as of a batch
	expire() (left bool)               // some of what is there
}

// entryTable is the product's.
type entryTable struct {
	t   *Table
	p   *Params
	now Instant
	v   View
}

func newEntryTable(n int) *entryTable {
	p := &Params{Timeouts: testTimeouts(), Rule: -1}
	return &entryTable{t: NewTable(Config{Max: n + 1, MaxEmbryonic: n + 1, Seed: 7, Memory: newArenaMemory(nil)}), p: p}
}

// insert makes an established entry, as of a connection that was taken up.
func (e *entryTable) insert(i int) {
	s := Segment{Tuple: flowTuple(i), Flags: ACK, Seq: 1, Ack: 1, Window: 1000}
	e.v = View{}
	e.t.Commit(e.now, &e.v, &s, DataNoState, CreateLiberal, Timer{}, e.p)
}

func (e *entryTable) lookup(segs []Segment) (found int) {
	e.t.Ahead(segs)
	for i := range segs {
		if e.t.Lookup(e.now, &segs[i].Tuple, &e.v); e.v.Entry != nil {
			found++
		}
	}
	return found
}

func (e *entryTable) expire() bool {
	e.now = Instant(10 * time.Hour)
	e.t.Advance(e.now, 512)
	return e.t.Len() > 0
}

// entryMap is a map with the same values.
type entryMap struct{ m map[Tuple]*Entry }

func newEntryMap(int) *entryMap { return &entryMap{m: map[Tuple]*Entry{}} }

func (e *entryMap) insert(i int) {
	tu := flowTuple(i)
	key, _ := tu.Canonical()
	e.m[key] = &Entry{Tuple: tu, State: Established, Deadline: Instant(time.Hour)}
}

func (e *entryMap) lookup(segs []Segment) (found int) {
	for i := range segs {
		key, _ := segs[i].Tuple.Canonical()
		if x, ok := e.m[key]; ok && x.Deadline > 0 {
			found++
		}
	}
	return found
}

// expire looks at every entry, as a map without timers must, and ends those that are due.
func (e *entryMap) expire() bool {
	for key, x := range e.m {
		if x.Deadline <= Instant(10*time.Hour) {
			delete(e.m, key)
		}
	}
	return len(e.m) > 0
}

// entryLRU is golang-lru's simplelru with the same values.
type entryLRU struct{ l *simplelru.LRU[Tuple, *Entry] }

func newEntryLRU(n int) *entryLRU {
	l, _ := simplelru.NewLRU[Tuple, *Entry](n, nil)
	return &entryLRU{l}
}

func (e *entryLRU) insert(i int) {
	tu := flowTuple(i)
	key, _ := tu.Canonical()
	e.l.Add(key, &Entry{Tuple: tu, State: Established, Deadline: Instant(time.Hour)})
}

func (e *entryLRU) lookup(segs []Segment) (found int) {
	for i := range segs {
		key, _ := segs[i].Tuple.Canonical()
		if x, ok := e.l.Get(key); ok && x.Deadline > 0 {
			found++
		}
	}
	return found
}

func (e *entryLRU) expire() bool {
	for range 512 {
		e.l.RemoveOldest()
	}
	return e.l.Len() > 0
}

// BenchmarkStructures measures what remembering flows costs: ns for each insertion, look-up (hit and miss, of a batch of 64) and expiry, the
// longest insertion, and the longest step of an expiry of everything.
func BenchmarkStructures(b *testing.B) {
	for _, size := range benchSizes {
		for _, s := range []struct {
			name string
			make func(n int) store
		}{
			{"table", func(n int) store { return newEntryTable(n) }},
			{"map", func(n int) store { return newEntryMap(n) }},
			{"simplelru", func(n int) store { return newEntryLRU(n) }},
		} {
			b.Run(s.name+"/"+size.name, func(b *testing.B) {
				for range b.N {
					measureStore(b, s.make, size.n)
				}
			})
		}
	}
}

// busy returns the processor time that this thread has had: what a worker's steps cost, however many others share the machine.
func busy() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

func measureStore(b *testing.B, make func(n int) store, n int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := int64(liveHeap()) + hugepage.Total()
	st := make(n)
	var worst time.Duration
	start := busy()
	last := start
	for i := range n {
		st.insert(i)
		if i%16 == 0 { // the clock costs as much as an insertion
			now := busy()
			worst, last = max(worst, now-last), now
		}
	}
	b.ReportMetric(float64(last-start)/float64(n), "ns/insert")
	b.ReportMetric(float64(worst.Nanoseconds())/1e3, "µs-longest-16-inserts")
	b.ReportMetric(float64(int64(liveHeap())+hugepage.Total()-before)/float64(n), "bytes/flow")
	r := rand.New(rand.NewPCG(1, 2))
	for _, of := range []struct {
		name string
		from int
	}{{"ns/hit", 0}, {"ns/miss", n}} {
		var spent time.Duration
		const batches = 20000
		var segs [64]Segment
		for range batches {
			for i := range segs {
				segs[i].Tuple = flowTuple(of.from + r.IntN(n))
				if r.IntN(2) == 0 {
					segs[i].Tuple = segs[i].Tuple.Reverse()
				}
			}
			start := busy()
			found := st.lookup(segs[:])
			spent += busy() - start
			if (found != 0) != (of.from == 0) {
				b.Fatal(fmt.Sprintf("%s: %d found", of.name, found))
			}
		}
		b.ReportMetric(float64(spent.Nanoseconds())/(batches*float64(len(segs))), of.name)
	}
	worst = 0
	start = busy()
	last = start
	for left := true; left; {
		left = st.expire()
		now := busy()
		worst, last = max(worst, now-last), now
	}
	b.ReportMetric(float64(last-start)/float64(n), "ns/expire")
	b.ReportMetric(float64(worst.Nanoseconds())/1e3, "µs-longest-expiry-step")
	b.ReportMetric(0, "ns/op")
}
