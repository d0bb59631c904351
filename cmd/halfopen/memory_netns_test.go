//go:build netns

package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/hugepage"
)

// A gateway with few connections has no memory for tables but the heap; one with many has taken huge pages for them, where the host gives
// any, and has lost nothing on the way.
func TestTablesMoveToHugePages(t *testing.T) {
	const flows = 70_000
	_, ok, found, _ := hugepage.Probe()
	w := newWorld(t)
	w.mute()
	g := w.start("linux-default", "--set", "limits.flows=200000", "--set", "limits.embryonic=200000", "--set", "log.rate=100")
	if n := g.hugeBytes(); n != 0 && strings.HasPrefix(found, "madvise") {
		t.Errorf("%d bytes on huge pages without a connection", n)
	}
	s := w.sender(w.Client)
	for i := range flows {
		if i%2000 == 0 {
			time.Sleep(20 * time.Millisecond) // the queues must not overflow: what passes undecided is not remembered
		}
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + i%200)}), uint16(1024+i/200))
		s.send(s.segment(from, netip.AddrPortFrom(serverAddr, 9), conntrack.SYN, conntrack.Seq(i), 0, ""))
	}
	w.until("the connections are remembered", endLimit, func() bool {
		return strings.Count(w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "--state", "SYN_SENT"), "\n") >= flows*8/10
	})
	if n := g.hugeBytes(); ok != (n > 0) {
		t.Errorf("%d bytes on huge pages; the host: %s\n%s", n, found, w.said())
	}
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("the run ended %s", p.statuses())
	}
}

// hugeBytes returns how much memory the gateway has on huge pages.
func (g *gatewayProcess) hugeBytes() (n int) {
	g.w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", g.cmd.Process.Pid))
	if err != nil {
		g.w.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "AnonHugePages: %d kB", &n); err == nil {
			return n << 10
		}
	}
	return 0
}
