//go:build netns

package main

import (
	"net/netip"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// A segment whose checksum is wrong, of a connection on the fast path, has its decision and its record, on either way out and whatever the
// policy does about it.
func TestFastPathChecksum(t *testing.T) {
	for _, c := range []struct {
		mode, action string
	}{{"on", "drop"}, {"redirect", "drop"}, {"on", "forward"}, {"redirect", "forward"}} {
		t.Run(c.mode+"/"+c.action, func(t *testing.T) {
			w := newWorld(t)
			const mute = "add table inet mute; add chain inet mute in { type filter hook input priority 0; }; " +
				"add rule inet mute in meta l4proto tcp counter drop"
			w.exec(w.Client, "nft", mute)
			w.exec(w.Server, "nft", mute)
			g := w.start(write(t, w.dir, "policy.yaml", "preset: linux-default\non: {checksum-bad: "+c.action+"}\n"), "--fastpath", c.mode, "--queues", "0")
			d := &dialogue{client: w.sender(w.Client), server: w.sender(w.Server), from: netip.AddrPortFrom(clientAddr, 20000),
				to: netip.AddrPortFrom(serverAddr, 515), up: 10001, down: 50001}
			d.open()
			d.converse(12)
			for _, sum := range []func(right, pseudo uint16) uint16{
				func(right, _ uint16) uint16 { return right + 1 }, func(_, pseudo uint16) uint16 { return pseudo }} {
				passed := g.fastPath().Packets
				d.spoilt(sum)
				time.Sleep(100 * time.Millisecond)
				if n := g.fastPath().Packets - passed; n != 0 {
					t.Errorf("a bad segment, and %d passed", n)
				}
				d.converse(3)
			}
			g.stop()
			w.verify()
			decided := 0
			w.events(func(e *decisionlog.Event) {
				if e.Decision != nil && e.Decision.Reason == "checksum-bad" {
					if decided++; e.Decision.Verdict != c.action || e.Decision.Checksum != "bad" {
						t.Errorf("%+v", e.Decision)
					}
				}
			})
			if st := w.lastStats().FastPath; decided != 2 || st.Punts["checksum"] != 2 || st.Packets < 20 {
				t.Errorf("%d decided, %+v", decided, st)
			}
		})
	}
}
