package decisionlog

import (
	"runtime"
	"testing"
)

// BenchmarkPut is what logging a decision costs the packet path.
func BenchmarkPut(b *testing.B) {
	p := newProducer(1<<10, 1, 0, make(chan struct{}, 1), nil)
	r := fullDecision()
	b.ReportAllocs()
	for b.Loop() {
		if !p.Put(&r) {
			p.ring.Release(p.ring.Len())
		}
	}
}

// BenchmarkWrite is the whole way of a decision into a file, rings, encoder and
// rotation included.
func BenchmarkWrite(b *testing.B) {
	w, err := Open(Options{Dir: b.TempDir(), MaxTotalBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	p := w.Producer(1)
	r := fullDecision()
	for b.Loop() {
		for !p.Put(&r) { // a lost record would be no work done
			runtime.Gosched()
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	c := w.Counters()
	b.SetBytes(int64(c.Bytes) / int64(b.N))
	b.ReportMetric(float64(c.Records)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkRead is what review and the next start pay per record.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	w, err := Open(Options{Dir: dir, RingSize: 1 << 14})
	if err != nil {
		b.Fatal(err)
	}
	p := w.Producer(1)
	r := fullDecision()
	for range 10000 {
		p.Put(&r)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		for range Read(dir) {
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
