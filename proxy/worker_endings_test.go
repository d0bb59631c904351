package proxy

import (
	"log/slog"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// Where a great many connections end at one instant, by time or by a reload, the log's writer is slower than the worker, and no record is lost. The worker
// goes on deciding packets meanwhile, and never waits itself.
func TestEndingsWaitForTheLog(t *testing.T) {
	for _, c := range []struct {
		why conntrack.EndReason
		end func(w *Worker)
	}{
		{conntrack.EndIdle, func(w *Worker) { w.shared.clock = w.shared.clock.later(30 * 24 * time.Hour) }},
		{conntrack.EndReload, func(w *Worker) { w.engine.Swap(w.now, w.engine.Policy(), policy.ReloadDrop) }},
	} {
		t.Run(c.why.String(), func(t *testing.T) {
			w, _ := paced(t)
			src := w.main.(*loopSource)
			src.packets = [][]byte{seg(t, "10.99.0.1:1", serverEnd, conntrack.ACK, 1, 1, "")} // one record, and then none
			c.end(w)
			waited := 0
			for end := time.Now().Add(time.Minute); waited == 0 || w.counts.Ended[c.why] < pacedFlows; {
				src.left = 3
				received, ended := w.counts.Received, w.counts.Ended[c.why]
				if n, err := w.turn(); n != 3 || err != nil || w.counts.Received != received+3 {
					t.Fatalf("%d packets, %v", n, err)
				}
				if w.counts.Ended[c.why] == ended {
					waited++
					if d := w.untilDue(); d < time.Millisecond {
						t.Fatalf("with nothing else to do it would sleep %v", d)
					}
				}
				if time.Now().After(end) {
					t.Fatalf("%d of %d ended", w.counts.Ended[c.why], pacedFlows)
				}
			}
			written(t, w)
		})
	}
}

// A disk that hangs keeps expiry no longer than its patience, and less long where ends are to be asked in time. Held packets have their verdicts all the
// while. What the log has no room for is in the gaps, and a log that has room again gets the patience anew.
func TestEndingsDoNotWaitForEver(t *testing.T) {
	const flows, ring = 2000, 64
	for text, patience := range map[string]time.Duration{
		"":                                 expiryPatience,
		"\nprobes: {tries: 1, every: 10s}": expiryHaste,
		"\nrules:\n  - {name: r, match: {dst_port: 9}, on: {syn-established: {packet: drop, peer: probe-ack}}}": expiryHaste,
	} {
		disk := &slowDisk{}
		log, err := decisionlog.Open(decisionlog.Options{Dir: "-", Stdout: disk, RingSize: ring, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(t, "preset: observe\nlimits: {flows: 100000}\non: {new: {packet: hold, hold: 200ms, then: drop}}"+text, false)
		b.shared.log, b.producer = log, log.Producer(0)
		b.tick()
		crowd(t, b.Worker, flows)
		disk.hangs.Lock()
		later := func(d time.Duration, turns int) (left int) {
			b.now = b.now.Add(d)
			for range turns {
				b.advance()
			}
			return b.engine.Len()
		}
		left := later(30*24*time.Hour, 100)
		if left <= flows-ring || left >= flows {
			t.Errorf("%q: %d of %d are left at once, of a ring of %d", text, left, flows, ring)
		}
		b.later(30 * 24 * time.Hour)
		b.main.push(seg(t, "10.99.0.1:1", serverEnd, conntrack.SYN, 100, 0, ""))
		if b.step(); len(b.held) != 1 {
			t.Fatalf("%q: %d packets are held", text, len(b.held))
		}
		b.pace.since = b.now // however long that took
		if later(200*time.Millisecond, 1); len(b.held) > 0 {
			t.Errorf("%q: the held packet has no verdict", text)
		}
		if left = later(patience-200*time.Millisecond-1, 1); left <= flows-ring {
			t.Errorf("%q: %d of %d are left before its patience is at an end", text, left, flows)
		}
		if left = later(1, flows/expireChunk+1); left > 0 {
			t.Errorf("%q: %d are left", text, left)
		}
		disk.hangs.Unlock()
		log.Flush()
		if later(0, 1); b.pace.since != 0 {
			t.Errorf("%q: there is room, and expiry has no patience", text)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if c := log.Counters(); c.RingDropped == 0 || c.Records+c.RingDropped < flows {
			t.Errorf("%q: %d connections, and the log: %+v", text, flows, c)
		}
	}
}
