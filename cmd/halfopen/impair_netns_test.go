//go:build netns

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/lab"
)

// lossy is what both links of the gateway do to segments.
func lossy(seed uint64) lab.Impairment {
	return lab.Impairment{Loss: 0.02, Duplicate: 0.02, Reorder: 0.04, Delay: 6 * time.Millisecond, Seed: seed}
}

// TestTransparentUnderImpairment plays the same connections over links that lose, repeat and reorder segments: through a gateway that only
// forwards, and through gateways with policies that must be transparent. What the first completes all must complete, byte for byte.
func TestTransparentUnderImpairment(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{lab.PlainForwarding, "observe", "linux-default", "transparent-resync"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			w := newImpairedWorld(t, 11)
			pool := w.clientPool(6)
			var g *gatewayProcess
			if policy != lab.PlainForwarding {
				g = w.start(policy)
			}
			w.meters()
			began := time.Now()
			l := w.runWorkload(pool)
			t.Logf("%v in %.1f s; wires: %+v", l.done, time.Since(began).Seconds(), w.Harm())
			for _, err := range l.errs {
				t.Error(err)
			}
			for _, k := range kinds() {
				if got, want := l.done[k.name], k.times*len(pool); got != want {
					t.Errorf("%s: %d connections completed, want %d", k.name, got, want)
				}
			}
			if h := w.Harm(); h.Lost == 0 || h.Duplicated == 0 || h.Reordered == 0 {
				t.Errorf("the links are sound: %+v", h)
			}
			if g != nil {
				w.passedAsLogged(g, policy)
			}
		})
	}
}

// newImpairedWorld is a world with lossy links. On the client's side each segment has its own fate, on the server's super-packets
// have, so that the gateway meets both. The ends try for long: what is completed does not depend on luck.
func newImpairedWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	inside, outside := lossy(seed), lossy(seed+1)
	outside.Whole = true
	w := newWorldOf(t, false, lab.Impaired(inside, outside))
	for _, ns := range []*lab.Namespace{w.Client, w.Server} {
		for name, value := range map[string]string{"tcp_syn_retries": "10", "tcp_syn_linear_timeouts": "10", "tcp_synack_retries": "10"} {
			err := ns.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys/net/ipv4", name), []byte(value), 0) })
			if err != nil && !errors.Is(err, os.ErrNotExist) { // the second is of Linux 6.5
				t.Fatal(err)
			}
		}
	}
	return w
}

// passedAsLogged ends the gateway and holds its log against the host's own counters: each packet that did not leave is a drop that the
// log tells of. Under observe there is none.
func (w *world) passedAsLogged(g *gatewayProcess, policy string) {
	w.t.Helper()
	enter, leave := w.metered()
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" || p.Runs[0].Messages != enter.Packets {
		w.t.Errorf("%d packets entered; proof %+v", enter.Packets, p)
	}
	var last *decisionlog.StatsEvent
	drops := map[string]int{}
	var dropped uint64
	w.events(func(e *decisionlog.Event) {
		switch {
		case e.Stats != nil:
			last = e.Stats
		case e.Decision != nil && e.Decision.Verdict == "drop":
			drops[e.Decision.Reason]++
			dropped++
		}
	})
	if last == nil || !last.Final {
		w.t.Fatalf("last stats record: %+v", last)
	}
	w.t.Logf("%s: verdicts %v, drops %v, injected %d", policy, last.Verdicts, drops, last.Injected)
	for _, reason := range slices.Sorted(maps.Keys(last.Reasons)) {
		w.t.Logf("%s: %d %s", policy, last.Reasons[reason], reason)
	}
	var suppressed uint64
	w.events(func(e *decisionlog.Event) {
		if e.Stats != nil {
			for _, n := range e.Stats.Suppressed {
				suppressed += n
			}
		}
	})
	if suppressed == 0 && last.Verdicts["drop"] != dropped {
		w.t.Errorf("the log counts %d drops and tells of %d", last.Verdicts["drop"], dropped)
	}
	if missing := enter.Packets + last.Injected - leave.Packets; missing != last.Verdicts["drop"] {
		w.t.Errorf("%d packets entered, %d were made, %d left; the log tells of %d drops", enter.Packets, last.Injected, leave.Packets, last.Verdicts["drop"])
	}
	if policy == "observe" && (last.Verdicts["drop"] > 0 || last.Injected > 0 || fmt.Sprint(drops) != "map[]") {
		w.t.Errorf("observe dropped %v", drops)
	}
}
