package proxy

import (
	"fmt"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
)

// withShadows is established with shadows.
func withShadows(t testing.TB, texts ...string) (*Worker, *loopSource) {
	w, src := established(t, "preset: linux-default", dataAndAck(t)...)
	var list []*policy.Policy
	for i, text := range texts {
		list = append(list, compiled(t, fmt.Sprintf("shadow%d.yaml", i), text))
	}
	w.equip(w.engine.Policy(), list, false, policy.EngineConfig{NoAdopt: true, FirstID: 1})
	repeat := src.packets
	src.packets, src.id, src.left = src.first, 0, len(src.first)
	w.tick()
	if _, err := w.turn(); err != nil {
		t.Fatal(err)
	}
	src.packets, src.id = repeat, 0
	return w, src
}

// A known flow's in-window segment costs no allocation with shadows either, whether they agree or have parted.
func TestShadowsAllocateNothing(t *testing.T) {
	for _, text := range []string{"openbsd-pf", "preset: observe\non: {in-window: {packet: drop, reply: rst}}"} {
		w, src := withShadows(t, text, "observe")
		turn := func() {
			src.left = batchSize - 1 // a full one, again and again, would leave the shadows out
			w.tick()
			if _, err := w.turn(); err != nil {
				t.Fatal(err)
			}
		}
		turn()
		if n := allocations(20, turn); n != 0 {
			t.Errorf("%q: %v allocations for %d packets", text, n, batchSize-1)
		}
		parted := text != "openbsd-pf"
		if tl := &w.shadows.list[0].tally; tl.Segments < 20*(batchSize-1) || tl.Shed != 0 || parted != (tl.Diverged > 20*(batchSize-1)) ||
			w.counts.Decided[conntrack.InWindow][policy.Forward] < 20*(batchSize-1) {
			t.Errorf("%+v: the test measures something else", tl.ShadowStats)
		}
	}
}

// BenchmarkShadows is BenchmarkPacket with so many shadows, per packet of batches of 64.
func BenchmarkShadows(b *testing.B) {
	const batch = 64
	for _, n := range []int{0, 1, 3} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, src := withShadows(b, []string{"openbsd-pf", "linux-strict", "lpd-case-2015"}[:n]...)
			b.ReportAllocs()
			packets := 0
			for b.Loop() {
				src.left = batch
				packets += batch
				w.tick()
				if _, err := w.turn(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
			for _, sh := range w.shadows.each() {
				if sh.tally.Shed != 0 || sh.tally.Agreed == 0 {
					b.Fatalf("%+v", sh.tally.ShadowStats)
				}
			}
		})
	}
}
