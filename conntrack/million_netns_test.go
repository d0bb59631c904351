//go:build netns

package conntrack

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/proxy/hugepage"
)

// TestTenMillionFlows holds the table to what it promises at ten million connections, each with a finished handshake, data of both ends, and
// everything that is remembered of such: at most 1.6 GB resident in all; and it tells what a look-up takes, and the longest steps of the
// growth and of the expiry of all of it. Times are those of the thread, since the machine may have other work; that work slows memory down all
// the same, so they are held against what a read of memory takes here and now, and steps against a bound that only a step without bound passes.
func TestTenMillionFlows(t *testing.T) {
	const flows = 10_000_000
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cfg := Config{Max: flows, MaxEmbryonic: flows, Seed: 99, Ended: func(*Entry, EndReason, Instant) {}}
	if !*onHeap {
		cfg.Memory = newArenaMemory(func(err error) { t.Error(err) })
	}
	tb := NewTable(cfg)
	p := &Params{Timeouts: testTimeouts(), Rule: -1, Check: SeqKernel}
	rules := &Rules{Check: SeqKernel}
	en := ends{"10.0.0.1:1", "10.0.0.2:2", 1000, 5000}
	var talk []*Segment
	for _, line := range []string{"> S 0 win 64240 mss 1460 ws 7 sackok ts 100 0", "< S. 0 ack 1 win 65160 mss 1460 ws 7 sackok ts 900 100",
		"> . 1 ack 1 win 502 ts 101 900", "> P. 1+500 ack 1 win 502 ts 102 900", "< P. 1+1400 ack 501 win 501 ts 901 102", "> . 501 ack 1401 win 501 ts 103 901"} {
		talk = append(talk, parseSegment(t, strings.Fields(line), en))
	}
	now := Instant(time.Hour)
	var longest, step time.Duration
	slow := 0
	faulted := faults()
	start := busy()
	last := start
	v := View{}
	for n := range flows {
		tu := flowTuple(n)
		for i, s := range talk {
			s := *s
			if s.Tuple = tu; talk[i].Tuple != talk[0].Tuple {
				s.Tuple = tu.Reverse()
			}
			tb.Lookup(now, &s.Tuple, &v)
			f := Classify(now, &v, &s, rules).Finding
			tb.Commit(now, &v, &s, f, f.Info().Effect, Timer{Op: TimerRefresh}, p)
			now++
		}
		if n%4 == 0 {
			at := busy()
			if at-last > slowStep {
				slow++
			}
			longest, last = max(longest, at-last), at
		}
	}
	t.Logf("%d flows made in %v of processor time, with %d page faults; longest step of 4 flows %v, %d of more than %v", tb.Len(), last-start, faults()-faulted,
		longest, slow, slowStep)
	if tb.Len() != flows || tb.Count(Established) != flows {
		t.Fatalf("%d flows, %d established", tb.Len(), tb.Count(Established))
	}
	if longest > tooLong {
		t.Errorf("growth stalled for %v", longest)
	}
	runtime.GC()
	resident, heap := residentBytes(t), int64(liveHeap())
	t.Logf("%d MB resident, %.1f bytes a flow; %d MB of it outside the heap, %d MB of that on huge pages; extras %d, whole %d, profiles %d", resident/1e6, float64(heap+hugepage.Total())/flows, hugepage.Total()/1e6, hugeBytes(t)/1e6, inUse(&tb.extras), inUse(&tb.whole), len(tb.profiles.number))
	if resident > 1600e6 {
		t.Errorf("%d bytes resident", resident)
	}
	read := reads(tb)
	hits, misses, opened := lookups(tb, 0, flows, false), lookups(tb, flows, flows, false), lookups(tb, 0, flows, true)
	t.Logf("look-up: hit %v, miss %v, with the entry laid open %v; a read of memory %v; huge pages %q", hits, misses, opened, read, hugePagesMode())
	if hits > 250*time.Nanosecond && hits > 2*read {
		t.Errorf("a look-up takes %v, a read of memory %v", hits, read)
	}
	now = now.Add(10 * 24 * time.Hour)
	start = busy()
	last = start
	steps := 0
	for tb.Next() <= now {
		tb.Advance(now, 512)
		at := busy()
		step, last = max(step, at-last), at
		steps++
	}
	t.Logf("all of it expired in %v and %d steps, the longest of %v", last-start, steps, step)
	if tb.Len() != 0 || step > tooLong {
		t.Errorf("%d left; a step of %v", tb.Len(), step)
	}
}

// slowStep is what a step of the growth takes where it had to wait for something, the machine's host included.
const slowStep = 200 * time.Microsecond

// faults returns how often the kernel had to find memory for this thread.
func faults() int64 {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &ru)
	return ru.Minflt
}

// tooLong is what no step takes that is bounded, on however busy a machine.
const tooLong = 100 * time.Millisecond

// reads returns what one read of a record takes that cannot begin before the one before it has ended.
func reads(tb *Table) time.Duration {
	const n = 1 << 20
	start, x := busy(), uint64(1)
	for range n {
		r := tb.record(int32((x >> 32) % uint64(tb.top)))
		x = x*0xd1342543de82ef95 + r.id&1 + 1
	}
	tb.sum += x
	return (busy() - start) / n
}

// onHeap leaves the table in Go's heap, whose pages are small where the kernel gives huge ones only to those who ask.
var onHeap = flag.Bool("heap", false, "TestTenMillionFlows: the table in Go's heap")

func hugePagesMode() string {
	b, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return strings.TrimSpace(string(b))
}

// lookups returns what a look-up takes of random flows, from a number on, in batches: as a plain segment's, or with the entry laid open.
func lookups(tb *Table, from, n int, open bool) time.Duration {
	const batches = 20000
	var segs [64]Segment
	var v View
	g := Glimpse{place: none}
	var spent time.Duration
	for b := range batches {
		for i := range segs {
			x := uint64(b*len(segs)+i) * 0xd1342543de82ef95
			if segs[i].Tuple = flowTuple(from + int(x>>32)%n); x>>31&1 == 1 {
				segs[i].Tuple = segs[i].Tuple.Reverse()
			}
		}
		start := busy()
		tb.Ahead(segs[:])
		for i := range segs {
			if open {
				tb.Lookup(Instant(2*time.Hour), &segs[i].Tuple, &v)
			} else {
				tb.Glimpse(&segs[i], &g)
			}
			if (v.Entry != nil || g.place != none) != (from == 0) {
				panic(segs[i].Tuple.String())
			}
		}
		spent += busy() - start
	}
	return spent / (batches * time.Duration(len(segs)))
}

// hugeBytes returns how much memory the process has on huge pages.
func hugeBytes(t *testing.T) (n int) {
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "AnonHugePages: %d kB", &n); err == nil {
			return n << 10
		}
	}
	return 0
}

// residentBytes returns the memory that the process holds.
func residentBytes(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
