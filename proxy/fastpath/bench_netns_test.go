//go:build netns

package fastpath_test

import (
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// BenchmarkProgram measures the program on one packet, without the way to it: the kernel's own timer around many turns
// (BPF_PROG_TEST_RUN with repeat). What it reports as ns/packet is what counts.
func BenchmarkProgram(b *testing.B) {
	var benches [2]*fastpath.Bench // without and with checksums
	var flowsOf [2]*fastpath.Flows
	for n := range benches {
		benches[n], flowsOf[n] = newBenchOf(b, 1024, fastpath.BenchOptions{Sums: n == 1})
	}
	var f frame
	f.tuple = tuple4(1)
	f.ttl, f.flags, f.window, f.payload = 64, conntrack.ACK, 500, 1448
	f.options = []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9}
	var slot uint32
	for _, flows := range flowsOf {
		var err error
		if slot, err = flows.Install([2]fastpath.Key{{Tuple: f.tuple, Ifindex: 1}, {Tuple: f.tuple.Reverse(), Ifindex: 1}}); err != nil {
			b.Fatal(err)
		}
	}
	const flags = conntrack.SideSeen | conntrack.SideKnown | conntrack.SideMaxAck | conntrack.SideSYN | conntrack.SideTimestamp | conntrack.SideSACK
	state := conntrack.Fast{Deadline: conntrack.Never}
	for n := range state.Side {
		state.Side[n] = conntrack.FastSide{End: 1000, MaxEnd: 70000, MaxAck: 1000, MaxWin: 65000, Win: 500, Flags: flags, TSRecent: 5}
	}
	now := func() conntrack.Instant { return conntrack.Instant(time.Hour) }
	for _, c := range []struct {
		name  string
		check conntrack.SeqCheck
		armed bool
		known bool
		data  int
		opts  []byte
		sums  bool
	}{
		{"pass-strict-ack", conntrack.SeqStrict, true, true, 0, f.options, false},
		{"pass-strict-ack-sum", conntrack.SeqStrict, true, true, 0, f.options, true},
		{"pass-strict-204-sum", conntrack.SeqStrict, true, true, 204, f.options, true},
		{"pass-strict-204", conntrack.SeqStrict, true, true, 204, f.options, false},
		{"pass-strict-1448-sum", conntrack.SeqStrict, true, true, 1448, f.options, true},
		{"pass-strict-1448", conntrack.SeqStrict, true, true, 1448, f.options, false},
		{"pass-kernel-ack", conntrack.SeqKernel, true, true, 0, f.options, false},
		{"pass-strict-sack", conntrack.SeqStrict, true, true, 0, append(append([]byte{}, f.options...), 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2), false},
		{"punt-frozen", conntrack.SeqStrict, false, true, 0, f.options, false},
		{"nothing", conntrack.SeqStrict, true, false, 0, f.options, false}, // what a turn costs that leaves at once
		{"unknown", conntrack.SeqStrict, true, false, 0, f.options, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			f.payload, f.options, f.seq, f.ack = c.data, c.opts, 1000, 1000
			if c.data > 0 {
				f.seq++ // behind a gap: what repeats acknowledged data again and again would end half-dead, on the queue
			}
			f.tuple.SrcPort = 1001
			if !c.known {
				f.tuple.SrcPort = 9
			}
			bench, flows := benches[0], flowsOf[0]
			if c.sums {
				bench, flows = benches[1], flowsOf[1]
			}
			rules := conntrack.FastRules{Timeout: time.Hour, Check: c.check, Retransmits: 3}
			flows.Beat(now())
			snap, err := flows.Freeze(slot)
			if err != nil {
				b.Fatal(err)
			}
			if c.armed {
				flows.Arm(slot, snap.Punt, &state, &rules)
			}
			flows.Beat(conntrack.Never / 2)
			run := fastpath.Run{Frame: f.build(), Ifindex: 1}
			f.finish(run.Frame)
			if c.name == "nothing" {
				run.Frame[12], run.Frame[13] = 8, 6
			}
			before, err := bench.Stats()
			if err != nil {
				b.Fatal(err)
			}
			took, err := bench.Time(&run, b.N)
			if err != nil {
				b.Fatal(err)
			}
			after, err := bench.Stats()
			if passed := after.Packets - before.Packets; err != nil || strings.HasPrefix(c.name, "pass") && passed < uint64(b.N) {
				b.Fatalf("%d of %d passed, %v", passed, b.N, err)
			}
			b.ReportMetric(float64(took.Nanoseconds()), "ns/packet")
		})
	}
}
