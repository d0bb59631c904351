//go:build netns

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/decisionlog"
)

// mute makes the server swallow what is sent to ports 9 and 10, so that a flood stays half open.
func (w *world) mute() {
	w.t.Helper()
	w.exec(w.Server, "nft", "add table inet mute; add chain inet mute in { type filter hook input priority 0; }; add rule inet mute in tcp dport 9-10 drop")
}

// A SYN flood finds the limits of the half-open connections, and not the established ones. What is written about it is bounded by
// the rates, and still adds up.
func TestSYNFlood(t *testing.T) {
	const rate, embryonic, flood = 100, 300, 12000
	for _, full := range []string{"refuse", "evict-embryonic"} {
		t.Run(full, func(t *testing.T) {
			w := newWorld(t)
			w.serve()
			w.mute()
			g := w.start("linux-default", "--set", "limits.flows=1000", "--set", fmt.Sprintf("limits.embryonic=%d", embryonic),
				"--set", "on_full="+full, "--set", fmt.Sprintf("log.rate=%d", rate))
			var live []patient
			for _, from := range w.clientPool(10) { // both families, both queues
				c, err := w.dial(from, order{Do: doEcho})
				if err != nil {
					t.Fatalf("%v\n%s", err, w.said())
				}
				defer c.Close()
				live = append(live, c)
			}
			alive := func(when string) {
				t.Helper()
				for _, c := range live {
					if err := c.ask(1000); err != nil {
						t.Fatalf("%s the flood: %v of %v\n%s", when, err, c.LocalAddr(), w.said())
					}
				}
			}
			alive("before")
			var flooding sync.WaitGroup
			s := w.sender(w.Client)
			flooding.Go(func() {
				for range flood {
					from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + rand.IntN(60))}), uint16(1024+rand.IntN(60000)))
					s.send(s.segment(from, netip.AddrPortFrom(serverAddr, 9), conntrack.SYN, conntrack.Seq(rand.Uint32()), 0, ""))
				}
			})
			for range 10 {
				alive("during")
			}
			flooding.Wait()
			alive("after")
			if n := strings.Count(w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "--state", "ESTABLISHED"), "\n"); n != len(live) {
				t.Errorf("%d established connections are remembered, want %d", n, len(live))
			}
			if n := strings.Count(w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "--state", "SYN_SENT"), "\n"); n > 2*embryonic {
				t.Errorf("%d half-open connections are remembered by two workers with room for %d each", n, embryonic)
			}
			g.stop()
			if p := w.verify(); p.statuses() != "final/balanced" {
				t.Errorf("runs ended %s", p.statuses())
			}
			w.judgeFlood(full, rate)
		})
	}
}

// judgeFlood reads what the log says of a flood.
func (w *world) judgeFlood(full string, rate int) {
	w.t.Helper()
	written := map[string][]time.Time{}
	suppressed := map[string]uint64{}
	w.events(func(e *decisionlog.Event) {
		if e.Decision != nil && e.DestPort == 9 {
			written[e.Decision.Reason] = append(written[e.Decision.Reason], e.Timestamp.Time)
		}
		if e.Stats != nil {
			for reason, n := range e.Stats.Suppressed {
				suppressed[reason] += n
			}
		}
	})
	want := map[string]string{"refuse": "embryonic-limit", "evict-embryonic": "new"}[full]
	if suppressed[want] == 0 || len(written[want]) == 0 {
		w.t.Errorf("suppressed %v; want many of %s, and some that are written", suppressed, want)
	}
	for reason, at := range written {
		span := at[len(at)-1].Sub(at[0]).Seconds()
		if bound := 2 * (float64(rate)*(span+1) + 1); float64(len(at)) > bound { // two workers
			w.t.Errorf("%d records of %s in %.1f s; two workers may write %.0f", len(at), reason, span, bound)
		}
	}
}

// Listing a large table takes its time, and takes none of the traffic's: short connections come about meanwhile.
func TestLargeDump(t *testing.T) {
	const flows = 100_000
	w := newWorld(t)
	w.serve()
	w.mute()
	g := w.start("observe", "--set", "timeouts.syn_sent=10m", "--queues", "0")
	client := proxy.NewAdminClient(g.admin)
	defer client.Close()
	s := w.sender(w.Client)
	remembered := func() uint64 {
		st, err := client.Status(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, w.said())
		}
		return st.Flows
	}
	for port := uint16(1024); port < 1024+flows/2; port += 2000 { // no more at once than the queue holds
		for p := port; p < port+2000; p++ {
			for _, to := range []uint16{9, 10} {
				s.send(s.segment(netip.AddrPortFrom(clientAddr, p), netip.AddrPortFrom(serverAddr, to), conntrack.SYN, 1, 0, ""))
			}
		}
		sent := 2 * uint64(port+2000-1024)
		w.until("the flood is taken in", answerLimit, func() bool { return remembered() >= sent })
	}
	ctx, cancel := context.WithCancel(t.Context())
	var dumping sync.WaitGroup
	listed := make([]int, 2)
	for i, format := range []string{"conntrack", "json"} {
		dumping.Go(func() {
			out, _, _ := w.tryHalfopen(w.Gateway, "flows", "--admin", g.admin, "-o", format)
			listed[i] = strings.Count(out, "\n")
		})
	}
	go func() { dumping.Wait(); cancel() }()
	made := 0
	for ctx.Err() == nil || made < 20 {
		c, err := w.dialWithin(clientAddr, answerLimit)
		if err == nil {
			_, err = c.Write(make([]byte, 17)) // no order: the server hangs up
		}
		if err != nil {
			t.Fatalf("connection %d while the table is listed: %v\n%s", made, err, w.said())
		}
		c.Close()
		made++
	}
	dumping.Wait()
	t.Logf("%d connections while %v flows were listed", made, listed)
	for _, n := range listed {
		if n < flows {
			t.Errorf("%d flows listed, want at least %d", n, flows)
		}
	}
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
}
