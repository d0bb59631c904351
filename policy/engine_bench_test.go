package policy

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// established returns an engine that knows n connections, and their next segments.
func established(b *testing.B, n int, policy string) (*Engine, []conntrack.Segment) {
	e := NewEngine(EngineConfig{Policy: policyOf(b, policy), NoAdopt: true})
	segs := make([]conntrack.Segment, n)
	for i := range segs {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 4000)
		tu := conntrack.MakeTuple(from, netip.MustParseAddrPort("192.0.2.1:443"))
		for _, s := range []conntrack.Segment{
			{Tuple: tu, Flags: conntrack.SYN, Seq: 100, Window: 60000},
			{Tuple: tu.Reverse(), Flags: conntrack.SYN | conntrack.ACK, Seq: 900, Ack: 101, Window: 60000},
			{Tuple: tu, Flags: conntrack.ACK, Seq: 101, Ack: 901, Window: 60000},
		} {
			e.Step(1, &s)
		}
		segs[i] = conntrack.Segment{Tuple: tu, Flags: conntrack.ACK | conntrack.PSH, Seq: 101, Ack: 901, Len: 1400, Bytes: 1440, Window: 60000}
	}
	return e, segs
}

// timed reports what this thread spends on a processor until the function that it returns is called, however busy the machine is.
func timed(b *testing.B) func() {
	spent := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			b.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	runtime.LockOSThread()
	began := spent()
	return func() {
		b.ReportMetric(float64(spent()-began)/float64(b.N), "cpu-ns/op")
		runtime.UnlockOSThread()
	}
}

func BenchmarkStepKnownFlow(b *testing.B) {
	for _, c := range []struct {
		name, policy string
		flows        int
	}{
		{"1", "preset: linux-default", 1},
		{"10000", "preset: linux-default", 10000},
		{"10000/rules", "preset: linux-default\nrules: [{name: a, match: {dst_port: 515}}, {name: b, match: {src: 172.16.0.0/12}}]", 10000},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, segs := established(b, c.flows, c.policy)
			b.ReportAllocs()
			now := conntrack.Instant(1)
			i, acked := 0, true
			defer timed(b)()
			for b.Loop() { // data and its ACK in turn, so that no connection looks dead
				now += 1000
				s := segs[i]
				if acked = !acked; acked {
					s = conntrack.Segment{Tuple: s.Tuple.Reverse(), Flags: conntrack.ACK, Seq: 901, Ack: s.End(), Bytes: 40, Window: 60000}
					segs[i].Seq = segs[i].End()
				}
				if out := e.Step(now, &s); !out.Counted {
					b.Fatal(out.Finding)
				}
				if acked {
					i = (i + 1) % len(segs)
				}
			}
		})
	}
}

// A decision that answers, on a flow that stays.
func BenchmarkStepAnswered(b *testing.B) {
	e, segs := established(b, 1, "preset: lpd-case-2015")
	syn := segs[0]
	syn.Flags, syn.Seq, syn.Len = conntrack.SYN, 1<<30, 0
	b.ReportAllocs()
	for b.Loop() {
		if out := e.Step(2, &syn); !out.HasReply {
			b.Fatal(out.Finding)
		}
	}
}

// New connections into a table that is full of half-open ones.
func BenchmarkStepFlood(b *testing.B) {
	e, _ := established(b, 100, "preset: observe\nlimits: {flows: 10000, embryonic: 5000}")
	s := conntrack.Segment{Tuple: conntrack.MakeTuple(netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("192.0.2.1:443")), Flags: conntrack.SYN}
	b.ReportAllocs()
	defer timed(b)()
	now := conntrack.Instant(2)
	for b.Loop() {
		now += 1000
		s.Tuple.SrcPort++
		if s.Tuple.SrcPort == 0 {
			s.Tuple.Src[15]++
		}
		e.Step(now, &s)
	}
}
