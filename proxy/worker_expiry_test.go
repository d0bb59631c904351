package proxy

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// threadTime returns the processor time that this thread has had: what a worker's turn costs, however many others share the machine.
func threadTime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// crowd makes the worker's engine remember n connections, all of the same age.
func crowd(t testing.TB, w *Worker, n int) {
	s := conntrack.Segment{Flags: conntrack.ACK, Seq: 101, Ack: 501, Window: 64240, Bytes: 40}
	for i := range n {
		s.Tuple = tuple(clientEnd, serverEnd)
		binary.BigEndian.PutUint32(s.Tuple.Src[12:], 0x0a000000+uint32(i))
		if out := w.engine.Step(w.now, &s); out.After != conntrack.Established {
			t.Fatalf("%d: %s %s", i, out.Finding, out.After)
		}
	}
}

// expireAll lets every connection expire at once, and returns the longest turn of the worker and how many there were. Where the log has no room for
// the records of more it sleeps, as a worker without packets does.
func expireAll(t testing.TB, w *Worker) (longest, total time.Duration, turns int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w.now = w.now.Add(30 * 24 * time.Hour)
	for w.engine.Next() <= w.now {
		before, start := w.engine.Len(), threadTime()
		w.advance()
		d := threadTime() - start
		longest, total = max(longest, d), total+d
		if w.engine.Len() < before {
			turns++
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	if w.engine.Len() != 0 {
		t.Fatalf("%d connections are left", w.engine.Len())
	}
	return longest, total, turns
}

// TestExpiryOfEverything: a worker whose whole table expires at the same instant goes on in turns of a bounded number of connections.
func TestExpiryOfEverything(t *testing.T) {
	w, _ := established(t, "preset: linux-default\nlimits: {flows: 100000}", dataAndAck(t)...)
	const flows = 20 * expireChunk
	crowd(t, w, flows)
	before := w.counts.Ended
	_, _, turns := expireAll(t, w)
	ended := w.counts.Ended[conntrack.EndIdle] - before[conntrack.EndIdle]
	if ended < flows || turns < flows/expireChunk {
		t.Errorf("%d ended in %d turns", ended, turns)
	}
}

// BenchmarkExpiryOfEverything measures the turns of a worker that does nothing but end connections, with a record of each.
func BenchmarkExpiryOfEverything(b *testing.B) {
	for _, flows := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			for range b.N {
				w, _ := established(b, "preset: linux-default\nlimits: {flows: 16000000}", dataAndAck(b)...)
				crowd(b, w, flows)
				longest, total, turns := expireAll(b, w)
				b.ReportMetric(float64(longest.Microseconds()), "µs-longest-turn")
				b.ReportMetric(float64(total.Microseconds())/float64(turns), "µs/turn")
				b.ReportMetric(float64(total.Nanoseconds())/float64(flows), "ns/expiry")
				if err := w.shared.log.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(w.shared.log.Counters().RingDropped), "records-lost")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
