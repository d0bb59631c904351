//go:build netns

package main

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// What others' defects ask of a gateway between real ends: docs/regressions.md has the list.

// Real ends believe the RSTs that the gateway makes: a client that dials gives up at its first SYN, and both ends of a connection that
// the gateway forgets are told.
func TestResetsAreBelieved(t *testing.T) {
	w := newWorld(t)
	policy := write(t, w.dir, "resets.yaml", `preset: linux-default
log: {detail: packet}
rules:
  - {name: refused, match: {dst_port: 7002}, on: {new: {packet: drop, reply: rst}}}
  - {name: forgotten, match: {dst_port: 7003}, timeouts: {established: 1s}, on: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}}
`)
	g := w.start(policy)
	for _, addr := range []netip.Addr{serverAddr, serverAddr6} {
		if _, err := w.tryDial(answerLimit, 0, netip.AddrPortFrom(addr, 7002)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a client that was answered with a RST: %v, want connection refused", err)
		}
		at := netip.AddrPortFrom(addr, 7003)
		srv := w.echoServer(at)
		e := w.connect(0, at)
		if err := e.Drained(answerLimit); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("a client whose connection was forgotten: %v, want connection reset", err)
		}
		w.until("the server's end is gone, too", answerLimit, func() bool { return srv.Held() == 0 })
	}
	g.stop()
	w.verify()
	syns := map[string]int{}
	w.events(func(e *decisionlog.Event) {
		if e.Decision != nil && e.DestPort == 7002 && e.Decision.Reply != nil {
			syns[e.DestIP]++
		}
	})
	for _, addr := range []netip.Addr{serverAddr, serverAddr6} {
		if syns[addr.String()] != 1 {
			t.Errorf("%d SYNs to %s, want one: a client that ignores the RST dials on", syns[addr.String()], addr)
		}
	}
}

// A verdict leaves while the gateway waits for packets: a held SYN goes on when its time has come, and no other packet can have woken
// the worker, because the server's answer is the first.
func TestHeldSegmentLeavesByItself(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	g := w.start(write(t, w.dir, "hold.yaml", "preset: observe\non: {new: {packet: hold, hold: 100ms, then: forward}}\n"), "--fresh")
	s := w.sender(w.Client)
	s.send(s.segment(netip.AddrPortFrom(clientAddr, 40000), at, conntrack.SYN, 1000, 0, ""))
	w.until("the server's answer comes by", answerLimit, func() bool { return w.count("syn-ack") > 0 })
	g.stop()
	w.verify()
	settled := 0
	w.events(func(e *decisionlog.Event) {
		if e.Decision != nil && e.Decision.Settles != "" && e.Decision.Verdict == decisionlog.VerdictForward {
			settled++
		}
	})
	if settled != 1 {
		t.Errorf("%d records settle the hold, want 1", settled)
	}
}

// Sums that a network card is to finish are no wrong ones: on the gateway they are seen as the sender left them.
func TestUnfinishedChecksumsAreNotWrong(t *testing.T) {
	w := newWorld(t)
	g := w.start(write(t, w.dir, "detail.yaml", "preset: openbsd-pf\nlog: {detail: packet, rate: unlimited}\n"))
	for i, addr := range []netip.Addr{serverAddr, serverAddr6} {
		at := netip.AddrPortFrom(addr, uint16(7001+i))
		w.echoServer(at)
		w.connect(0, at)
	}
	w.until("data is logged", answerLimit, func() bool { return w.count("in-window") > 3 })
	g.stop()
	w.verify()
	unfinished, data := 0, 0
	w.events(func(e *decisionlog.Event) {
		if e.Decision == nil || e.TCP == nil || e.TCP.Len == 0 {
			return
		}
		data++
		if e.Decision.Checksum == "unverified" {
			unfinished++
		}
		if e.Decision.Checksum == "bad" || e.Decision.Reason == "checksum-bad" {
			t.Errorf("%s", e.Raw)
		}
	})
	if unfinished == 0 {
		t.Errorf("none of %d segments with data has a sum that was left to the card: the test shows nothing", data)
	}
}
