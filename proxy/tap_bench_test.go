package proxy

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkTap is what --pcap costs a worker: batches of in-window segments with and without it in turn, so that the machine's moods
// meet both alike, and medians of them. The recorder writes between them, outside of what is timed.
func BenchmarkTap(b *testing.B) {
	const text = "preset: linux-default"
	plain, plainSource := established(b, text, dataAndAck(b)...)
	with, withSource := established(b, text, dataAndAck(b)...)
	r := tapInto(b, with, b.TempDir())
	batch := func(w *Worker, src *loopSource) float64 {
		src.left = batchSize
		began := time.Now()
		w.tick()
		if _, err := w.turn(); err != nil {
			b.Fatal(err)
		}
		return float64(time.Since(began).Nanoseconds()) / batchSize
	}
	var off, on, more []float64
	for b.Loop() {
		// Who comes first finds caches that the writer has used: each does so once.
		a1, b1 := batch(plain, plainSource), batch(with, withSource)
		r.Flush()
		b2, a2 := batch(with, withSource), batch(plain, plainSource)
		r.Flush()
		off, on, more = append(off, (a1+a2)/2), append(on, (b1+b2)/2), append(more, (b1+b2-a1-a2)/2)
	}
	if c := r.Counters(); c.RingDropped+c.DiskDropped > 0 {
		b.Errorf("lost: %+v", c)
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	b.ReportMetric(median(off), "ns/packet-off")
	b.ReportMetric(median(on), "ns/packet-on")
	b.ReportMetric(median(more), "ns/packet-more")
	b.ReportMetric(1e9/median(off), "packets/s-off")
	b.ReportMetric(1e9/median(on), "packets/s-on")
	b.ReportMetric(0, "ns/op")
}
