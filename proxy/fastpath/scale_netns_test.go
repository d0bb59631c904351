//go:build netns

package fastpath_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// mapBytes is what the maps of this process take in the kernel, by its own reckoning (memlock in fdinfo, exact from Linux 6.4 on).
func mapBytes() (sum float64) {
	files, _ := filepath.Glob("/proc/self/fdinfo/*")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(b), "map_type:") {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "memlock:"); ok {
				n, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
				sum += n
			}
		}
	}
	return sum
}

// BenchmarkManyFlows measures what the program takes for a segment of any of so many flows, each run on its own, so that what
// it reads of the maps is in no cache if there are many: the median and the 99th percentile by the kernel's timer, which itself takes some tens
// of nanoseconds. And what a flow costs: bytes in the kernel, and the time to install and arm it.
func BenchmarkManyFlows(b *testing.B) {
	for _, flows := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			before := mapBytes()
			bench, slots := newBench(b, flows, false, false)
			empty := mapBytes()
			const flags = conntrack.SideSeen | conntrack.SideKnown | conntrack.SideMaxAck | conntrack.SideSYN | conntrack.SideTimestamp | conntrack.SideSACK
			state := conntrack.Fast{Deadline: conntrack.Never}
			for n := range state.Side {
				state.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 70000, MaxAck: 1000, MaxWin: 65000, Win: 500, Flags: flags, TSRecent: 5}
			}
			rules := conntrack.FastRules{Timeout: time.Hour, Check: conntrack.SeqKernel, Retransmits: 3}
			tupleOf := func(i int) conntrack.Tuple {
				return conntrack.MakeTuple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 4000), netip.MustParseAddrPort("192.0.2.9:515"))
			}
			slots.Beat(conntrack.Never / 2)
			from := time.Now()
			for i := range flows {
				tu := tupleOf(i)
				slot, err := slots.Install([2]fastpath.Key{{Tuple: tu, Ifindex: 1}, {Tuple: tu.Reverse(), Ifindex: 1}})
				if err != nil {
					b.Fatal(err)
				}
				slots.Arm(slot, 0, &state, &rules)
			}
			install := time.Since(from)
			full := mapBytes()
			f := frame{ttl: 64, flags: conntrack.ACK, window: 500, seq: 1000, ack: 1000, options: []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9}}
			rng := rand.New(rand.NewPCG(1, 2))
			var took []time.Duration
			b.ResetTimer()
			for range max(b.N, 1000) {
				f.tuple = tupleOf(rng.IntN(flows))
				d, err := bench.Time(&fastpath.Run{Frame: f.build()}, 1)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, d)
			}
			b.StopTimer()
			st, err := bench.Stats()
			if err != nil || st.Packets != uint64(len(took)) {
				b.Fatalf("%d of %d passed: %+v, %v", st.Packets, len(took), st, err)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "ns/packet")
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns/packet")
			b.ReportMetric((empty-before)/float64(flows), "B/slot")
			b.ReportMetric((full-empty)/float64(flows), "B/flow")
			b.ReportMetric(float64(install)/float64(flows), "ns/install")
		})
	}
}
