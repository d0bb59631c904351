package conntrack

import (
	"runtime"
	"testing"
	"time"
)

const benchFlows = 1 << 16

func benchTuple(i int) Tuple {
	tu := tupleN(i & 0xffff)
	tu.SrcPort, tu.DstPort = uint16(i>>16), 443
	return tu
}

func benchTable(b *testing.B, n int) (*Table, *Params) {
	b.Helper()
	t := NewTable(Config{Max: n + 1, MaxEmbryonic: n + 1})
	p := &Params{Timeouts: testTimeouts()}
	var v View
	for i := range n {
		s := &Segment{Tuple: benchTuple(i), Flags: ACK, Seq: 1, Ack: 1, Window: 1000}
		t.Lookup(0, &s.Tuple, &v)
		t.Commit(0, &v, s, DataNoState, CreateLiberal, Timer{}, p)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return t, p
}

func BenchmarkLookupHit(b *testing.B) {
	t, _ := benchTable(b, benchFlows)
	var v View
	for i := range b.N {
		tu := benchTuple(i * 7919 % benchFlows)
		t.Lookup(1, &tu, &v)
		if v.Entry == nil {
			b.Fatal("miss")
		}
	}
}

func BenchmarkLookupMiss(b *testing.B) {
	t, _ := benchTable(b, benchFlows)
	var v View
	for i := range b.N {
		tu := benchTuple(benchFlows + i*7919%benchFlows)
		t.Lookup(1, &tu, &v)
		if v.Entry != nil {
			b.Fatal("hit")
		}
	}
}

// BenchmarkKnownFlow is look up, classify, commit with a refresh: what a packet of an established connection costs.
func BenchmarkKnownFlow(b *testing.B) {
	t, p := benchTable(b, benchFlows)
	var v View
	rules := &Rules{}
	s := &Segment{Flags: ACK, Seq: 1, Ack: 1, Window: 1000}
	for i := range b.N {
		s.Tuple = benchTuple(i * 7919 % benchFlows)
		t.Lookup(Instant(i), &s.Tuple, &v)
		c := Classify(Instant(i), &v, s, rules)
		t.Commit(Instant(i), &v, s, c.Finding, Track, Timer{Op: TimerRefresh}, p)
	}
}

// BenchmarkInsertExpire is the life of an entry: created, expired, buried.
func BenchmarkInsertExpire(b *testing.B) {
	t, p := benchTable(b, 0)
	t.SetLimits(benchFlows, benchFlows, 0, 0)
	var v View
	s := &Segment{Flags: SYN, Window: 1000}
	now := Instant(0)
	for i := range b.N {
		s.Tuple = benchTuple(i)
		now = now.Add(5 * time.Millisecond) // 24,000 alive with 120 s
		t.Lookup(now, &s.Tuple, &v)
		t.Commit(now, &v, s, New, Create, Timer{}, p)
		t.Advance(now, 4)
	}
}

// liveHeap returns what is in use.
func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
