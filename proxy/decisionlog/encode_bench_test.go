package decisionlog

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rev is as long as the hash of a policy.
const rev = "sha256:3b1f0c6a9d5e4f7081a2c3d4e5f60718293a4b5c6d7e8f901a2b3c4d5e6f7081"

// typical are records as a gateway writes them, by the part of them that takes the time.
func typical() map[string]Record {
	at := time.Date(2026, 11, 23, 18, 1, 36, 123456789, time.UTC).UnixNano()
	base := Record{Time: at, Event: EventDecision, Dir: ToServer, FlowID: 1234567890123456, InIface: "eth1", OutIface: "eth2",
		Src: netip.MustParseAddrPort("10.2.0.7:40721"), Dst: netip.MustParseAddrPort("192.0.2.9:443")}
	opened := base
	opened.TCP = TCP{Set: true, Flags: FlagSYN, Seq: 3518846092, Win: 64240, Opts: OptMSS | OptSACKOK | OptTimestamp | OptWScale,
		MSS: 1460, WScale: 7, TSVal: 2876543210, History: History{'S'}}
	opened.Decision = Decision{ID: ID{Hi: 1 << 60, Lo: 2<<48 | 170000}, Verdict: VerdictForward, Reason: "syn-new", Preset: "linux-default",
		PolicyRev: rev, StateAfter: "SYN_SENT", Action: Action{Packet: "forward", State: "create", Timer: "refresh"}, Latency: 38123}
	expected := base
	expected.TCP = TCP{Set: true, Flags: FlagACK | FlagPSH, Seq: 3518999092, Ack: 1918846092, Win: 501, Len: 1448, Opts: OptTimestamp,
		TSVal: 2876543210, TSEcr: 1123456789, History: History{'S', 'h', 'A', 'D', 'd'}}
	expected.Decision = Decision{ID: ID{Hi: 1 << 60, Lo: 2<<48 | 170001}, Verdict: VerdictDrop, Reason: "data-out-of-window", Preset: "linux-default",
		PolicyRev: rev, Known: true, StateBefore: "ESTABLISHED", StateAfter: "ESTABLISHED", Idle: 1803123456, Remaining: 431998196876544,
		Age: 18045678901, Action: Action{Packet: "drop", State: "keep", Timer: "leave"}, Latency: 38123,
		Expected: Expected{HasSeq: true, HasSeqWindow: true, Seq: 3518846092, SeqLo: 3518781092, SeqHi: 3518911000, SeenEnd: 3519000540}}
	tombstone := opened
	tombstone.TCP.Flags, tombstone.TCP.Ack = FlagACK, 1918846092
	tombstone.Decision.Reason, tombstone.Decision.Tombstone = "late-after-expiry", Tombstone{Set: true, At: at - 412e9, Why: "idle-timer",
		State: "ESTABLISHED", Timeout: 3600e9, Idle: 3600000123456, Age: 7200123456789, FlowID: 987654321012345, ClientSeq: 3518846092,
		ClientAck: 1918846092, ServerSeq: 1918846092, ServerAck: 3518846092}
	shadowed := opened
	shadowed.Shadow = []Shadow{{Policy: "openbsd-pf", Would: Would{PolicyRev: rev, Verdict: VerdictDrop, Reason: "syn-established",
		Action: Action{Packet: "drop", Reply: "ack-tracked", State: "keep", Timer: "leave"}, Reply: Made{Kind: "ack-tracked", Flags: FlagACK, Seq: 3518846092, Ack: 1918846092}}}}
	ended := base
	ended.Event = EventFlow
	ended.Flow = Flow{Kind: FlowEnd, Pkts: [2]uint64{1234, 2345}, Bytes: [2]uint64{123456, 3456789}, Counted: 3570, State: "TIME_WAIT", ConnState: "SF",
		History: History{'S', 'h', 'A', 'D', 'd', 'a', 'F', 'f'}, Start: at - 30e9, Last: at, EndReason: "idle-timer", Outcome: "closed",
		Handshake: 12345678, Response: 23456789, Preset: "linux-default", PolicyRev: rev}
	injected := base
	injected.Event = EventInject
	injected.TCP = TCP{Set: true, Flags: FlagRST, Seq: 3518846092}
	injected.Inject = Inject{ID: ID{Hi: 1 << 60, Lo: 2<<48 | 170003}, Cause: ID{Hi: 1 << 60, Lo: 2<<48 | 170002}, Kind: "rst-tracked", To: "server",
		WireSrc: base.Src, WireDst: base.Dst}
	return map[string]Record{"opened": opened, "expected": expected, "tombstone": tombstone, "shadow": shadowed, "flow": ended, "inject": injected}
}

// mix is how often each of them stands among a hundred records: a connection opens and ends, and some are in trouble.
var mix = map[string]int{"opened": 45, "flow": 45, "expected": 6, "inject": 2, "tombstone": 1, "shadow": 1}

// mixed are a hundred records in that mix, interleaved: not one kind after the other.
func mixed(tb testing.TB) (all []Record) {
	kinds := typical()
	for i := range 100 {
		for kind, n := range mix {
			if i*n%100+n >= 100 {
				all = append(all, kinds[kind])
			}
		}
	}
	if len(all) != 100 {
		tb.Fatalf("%d records are no mix of 100", len(all))
	}
	return all
}

// BenchmarkEncode is what the Writer pays to turn a record into a line, by kind and in the mix. cpu-ns/record is the time that the thread
// spent on a processor, which other work on the machine does not change as much as it does ns/op.
func BenchmarkEncode(b *testing.B) {
	kinds := typical()
	run := func(name string, records []Record) {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			buf := make([]byte, 0, 4096)
			bytes, n := 0, 0
			b.ReportAllocs()
			before := threadTime(b)
			for b.Loop() {
				buf = records[n%len(records)].AppendJSON(buf[:0])
				bytes += len(buf)
				n++
			}
			b.ReportMetric(float64(threadTime(b)-before)/float64(n), "cpu-ns/record")
			b.ReportMetric(float64(bytes)/float64(n), "bytes/record")
		})
	}
	for _, kind := range []string{"opened", "flow", "expected", "inject", "tombstone", "shadow"} {
		run(kind, []Record{kinds[kind]})
	}
	run("full", []Record{fullDecision()})
	run("mix", mixed(b))
}

// threadTime is what the calling thread has spent on a processor.
func threadTime(tb testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// Encoding allocates nothing, whatever the record.
func TestEncodeAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 16<<10)
	records := fullRecords()
	for _, r := range typical() {
		records = append(records, r)
	}
	for _, r := range records {
		if n := testing.AllocsPerRun(5, func() { buf = r.AppendJSON(buf[:0]) }); n > 0 {
			t.Errorf("%s: %v allocations", r.Event, n)
		}
	}
}

// Dates are those of package time, over all that 64 bits of nanoseconds hold.
func TestAppendTimeAgainstTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	check := func(ns int64) {
		t.Helper()
		if got, want := string(AppendTime(nil, ns)), time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000-0700"); got != want {
			t.Fatalf("%d: %s, want %s", ns, got, want)
		}
	}
	check(math.MinInt64)
	check(math.MaxInt64)
	for range 5000 {
		check(int64(rng.Uint64()))
	}
	for day := int64(-106000); day < 106000; day += 29 {
		check(day * 86400e9)
		check(day*86400e9 - 1)
	}
}
