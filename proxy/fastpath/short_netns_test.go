//go:build netns

package fastpath_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// BenchmarkShortWay measures the program on segments that pass and take the short way out, each one a new one and run on its own, so that little
// of the program is in the nearest caches: the median by the kernel's timer, which itself takes some tens of nanoseconds. A segment that the
// program leaves at once tells how much.
func BenchmarkShortWay(b *testing.B) {
	b.Run("data", func(b *testing.B) { shortWay(b, 0x0800) })
	b.Run("nothing", func(b *testing.B) { shortWay(b, 0x0806) })
}

func shortWay(b *testing.B, protocol uint16) {
	w := newTown(b)
	bench, flows := newBenchOf(b, 8, fastpath.BenchOptions{Redirect: true, Sums: true})
	w.check(bench.SetEgress(uint32(w.outside.Index), true))
	w.neighbour(w.outside.Index, "10.7.2.2", w.outside.HardwareAddr)
	flows.Beat(conntrack.Never / 2)
	f := frame{tuple: conntrack.MakeTuple(netip.MustParseAddrPort("10.7.1.2:4000"), netip.MustParseAddrPort("10.7.2.2:80")), ttl: 64, flags: conntrack.ACK, seq: 1000, ack: 1000, window: 59000, payload: 300, options: []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9}}
	slot, err := flows.Install([2]fastpath.Key{{Tuple: f.tuple, Ifindex: 1}, {Tuple: f.tuple.Reverse(), Ifindex: 2}})
	w.check(err)
	state := conntrack.Fast{Deadline: conntrack.Never}
	for n := range state.Side {
		state.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 1 << 30, MaxAck: 1000, MaxWin: 1 << 30, Win: 59000, Flags: sideFlags}
	}
	flows.Arm(slot, 0, &state, &conntrack.FastRules{Check: conntrack.SeqKernel, Retransmits: 3, Timeout: time.Hour})
	var took []time.Duration
	b.ResetTimer()
	for range max(b.N, 1000) {
		packet := f.build()
		packet[12], packet[13] = byte(protocol>>8), byte(protocol)
		f.seq += conntrack.Seq(f.payload)
		d, err := bench.Time(&fastpath.Run{Frame: packet}, 1)
		w.check(err)
		took = append(took, d)
	}
	b.StopTimer()
	st, err := bench.Stats()
	w.check(err)
	if protocol == 0x0800 && st.Redirected != uint64(len(took)) {
		b.Fatalf("%d of %d took the short way: %+v", st.Redirected, len(took), st)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "ns/packet")
}
