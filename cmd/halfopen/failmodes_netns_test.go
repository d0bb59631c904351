//go:build netns

package main

import (
	"net/netip"
	"syscall"
	"testing"

	"halfopen/proxy/decisionlog"
)

// What the operator chose to happen where the gateway cannot decide: each way of failing, both answers.

// Rules whose gateway was never started pass everything, or nothing.
func TestRulesWithoutGateway(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	live := w.connect(0, at)

	w.halfopenIn(w.Gateway, "rules", "install", "--queues", "0-1")
	w.say(live)
	w.connect(0, at)

	w.halfopenIn(w.Gateway, "rules", "install", "--queues", "0-1", "--fail-closed")
	w.refused(at)

	w.halfopenIn(w.Gateway, "rules", "remove")
	w.say(live)
	if left := w.tables(); len(left) != 0 {
		t.Errorf("tables left behind: %v", left)
	}
}

// What kill -9 leaves behind is harmless, or holds, as the operator chose. The next start cleans up, and the log still adds up.
func TestKilledGateway(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(map[bool]string{false: "fail-open", true: "fail-closed"}[closed], func(t *testing.T) {
			w := newWorld(t)
			at := netip.AddrPortFrom(serverAddr, 7001)
			w.echoServer(at)
			var more []string
			if closed {
				more = []string{"--fail-closed"}
			}
			g := w.start("observe", more...)
			live := w.connect(0, at)
			g.kill()
			if closed {
				w.refused(at)
			} else {
				w.say(live)
				w.connect(0, at)
			}
			g = w.start("observe", more...)
			w.say(live)
			w.connect(0, at)
			g.stop()
			if left := w.tables(); len(left) != 0 {
				t.Errorf("tables left behind: %v", left)
			}
			w.say(live)
			p := w.verify()
			if got := p.statuses(); got != "crash/bounded final/balanced" && got != "crash/balanced final/balanced" {
				t.Errorf("runs ended %s", got)
			}
			if n := w.gaps()["crash"]; n == 0 {
				t.Error("no gap record admits what the killed gateway missed")
			}
		})
	}
}

// A gateway that is alive and does nothing, behind a queue of eight packets.
func TestStoppedGateway(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(map[bool]string{false: "fail-open", true: "fail-closed"}[closed], func(t *testing.T) {
			w := newWorld(t)
			at := netip.AddrPortFrom(serverAddr, 7001)
			w.echoServer(at)
			more := []string{"--queue-len", "8", "--queues", "0"}
			where := decisionlog.GapFailOpen
			if closed {
				more, where = append(more, "--fail-closed"), decisionlog.GapQueue
			}
			g := w.start("observe", more...)
			live := w.connect(0, at)

			g.signal(syscall.SIGSTOP)
			w.sender(w.Client).segments(100, netip.AddrPortFrom(serverAddr, 9)) // the queue is full now
			if closed {
				w.refused(at)
			} else {
				w.connect(0, at)
				w.say(live)
			}
			g.signal(syscall.SIGCONT)
			w.say(live)
			w.connect(0, at)
			g.stop()
			if p := w.verify(); p.statuses() != "final/balanced" {
				t.Errorf("runs ended %s", p.statuses())
			}
			if gaps := w.gaps(); gaps[where] < 92 || len(gaps) != 1 { // 100 segments, of which eight found room
				t.Errorf("gap records admit %v, want at least 92 in %s and nothing else", gaps, where)
			}
		})
	}
}
