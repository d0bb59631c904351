//go:build netns

package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"halfopen/proxy"
)

// stream is a transfer that goes on until the test ends it.
type stream struct {
	w     *world
	moved atomic.Int64
	stop  chan struct{}
	ended chan error
}

// startStream begins a transfer, and returns when it is on the fast path.
func (w *world) startStream(g *gatewayProcess, from netip.Addr, do byte) *stream {
	w.t.Helper()
	s := &stream{w: w, stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() { s.ended <- w.transfer(from, order{Do: do, Pace: 2 * time.Millisecond}, s.stop, &s.moved) }()
	w.until("the transfer is on the fast path", endLimit, func() bool { return g.fastPath().Packets > 100 })
	return s
}

// fastPath asks the gateway how its fast path does.
func (g *gatewayProcess) fastPath() proxy.FastPathStatus {
	g.w.t.Helper()
	return g.status().FastPath
}

// finish ends the transfer, whose bytes must be what was sent.
func (s *stream) finish() {
	s.w.t.Helper()
	close(s.stop)
	select {
	case err := <-s.ended:
		if err != nil {
			s.w.t.Errorf("the transfer: %v\n%s", err, s.w.said())
		}
	case <-time.After(endLimit):
		s.w.t.Errorf("the transfer does not end\n%s", s.w.said())
	}
}

// goesOn waits until more has come through.
func (s *stream) goesOn(when string) {
	s.w.t.Helper()
	at := s.moved.Load()
	s.w.until("the transfer goes on "+when, endLimit, func() bool { return s.moved.Load() > at+4*frameSize })
}

// stands proves that nothing more comes through, after what was under way.
func (s *stream) stands(when string) {
	s.w.t.Helper()
	var at int64 = -1
	s.w.until("the transfer stands "+when, endLimit, func() bool {
		if now := s.moved.Load(); now != at {
			at = now
			time.Sleep(300 * time.Millisecond)
			return false
		}
		return true
	})
}

// A reload that drops what a connection sends is in force at once, though the connection is on the fast path and no segment of it came by
// the queue for a while.
func TestFastPathReload(t *testing.T) {
	for _, policy := range []string{"on: {in-window: drop}\n", "reload: drop\nadopt: 0s\non: {late-after-expiry: drop}\n"} {
		w := newWorld(t)
		w.serve()
		file := write(t, w.dir, "policy.yaml", "preset: linux-default\n")
		g := w.start(file, "--fastpath", "on")
		s := w.startStream(g, clientAddr, doTake)
		write(t, w.dir, "policy.yaml", "preset: linux-default\n"+policy)
		if _, words, status := halfopen(t, "reload", "--admin", g.admin); status != 0 {
			t.Fatal(words)
		}
		before := g.fastPath()
		s.stands("after a reload that drops it")
		if after := g.fastPath(); after.Packets != before.Packets {
			t.Errorf("%s: the fast path let %d packets pass after the reload", policy, after.Packets-before.Packets)
		}
		write(t, w.dir, "policy.yaml", "preset: linux-default\n")
		if _, words, status := halfopen(t, "reload", "--admin", g.admin); status != 0 {
			t.Fatal(words)
		}
		if strings.Contains(policy, "in-window") { // it lives on, and comes back to the fast path
			s.goesOn("after a reload that lets it go on")
			w.until("it is on the fast path again", endLimit, func() bool { return g.fastPath().Packets > before.Packets+100 })
			s.finish()
		}
		g.stop()
		w.verify()
	}
}

// A process that is killed leaves nothing that lets packets pass which the operator wants dropped, and cuts off nobody else.
func TestFastPathKilled(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(map[bool]string{false: "fail-open", true: "fail-closed"}[closed], func(t *testing.T) {
			w := newWorld(t)
			w.serve()
			more := []string{"--fastpath", "on"}
			if closed {
				more = append(more, "--fail-closed")
			}
			g := w.start("linux-default", more...)
			s := w.startStream(g, clientAddr, doTake)
			g.kill()
			if closed {
				s.stands("when the gateway is dead")
			} else {
				s.goesOn("when the gateway is dead")
			}
			g = w.start("linux-default", more...)
			s.goesOn("behind a new gateway")
			w.until("it is on the new one's fast path", endLimit, func() bool { return g.fastPath().Packets > 100 })
			s.finish()
			g.stop()
			p := w.verify()
			if got := p.statuses(); got != "crash/bounded final/balanced" && got != "crash/balanced final/balanced" {
				t.Errorf("runs ended %s", got)
			}
			if p.Runs[1].FastPath.Status != "balanced" {
				t.Errorf("%+v", p.Runs)
			}
		})
	}
}

// Connections that a gateway has saved go on by the fast path of the next. Each run's log tells of what passed by its own.
func TestFastPathRestart(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("linux-default", "--fastpath", "on", "--state", w.state)
	s := w.startStream(g, clientAddr, doTake)
	for range 2 {
		g.stop()
		s.goesOn("without a gateway")
		g = w.start("linux-default", "--fastpath", "on", "--state", w.state)
		w.until("it is on the new one's fast path", endLimit, func() bool { return g.fastPath().Packets > 100 })
	}
	s.finish()
	g.stop()
	told := uint64(0)
	for _, r := range w.verify().Runs {
		if told += r.FastPath.Told; r.Status != "balanced" || r.FastPath.Status != "balanced" || r.FastPath.Told < 100 {
			t.Errorf("%+v", r)
		}
	}
	if f := most(w.lastFlows()); f.FastToServer+f.FastToClient != told {
		t.Errorf("three runs tell of %d packets of the fast path, the connection's last record of %d", told, f.FastToServer+f.FastToClient)
	}
}

// A process that stands still for three seconds: after the first of them nothing passes the fast path any more, and everything goes on
// afterwards as if nothing had been.
func TestFastPathStopped(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("linux-default", "--fastpath", "on", "--fail-closed")
	s := w.startStream(g, clientAddr, doTake)
	g.signal(syscall.SIGSTOP)
	s.goesOn("in the first moments")
	s.stands("once the program misses the sign of life")
	time.Sleep(2 * time.Second)
	g.signal(syscall.SIGCONT)
	s.goesOn("again")
	at := g.fastPath().Packets
	w.until("it is on the fast path again", endLimit, func() bool { return g.fastPath().Packets > at+100 })
	s.finish()
	g.stop()
	w.verify()
	if f := most(w.lastFlows()); f.ConnState != "SF" || f.BytesToServer < uint64(s.moved.Load()) {
		t.Errorf("%+v; %d bytes were sent", f, s.moved.Load())
	}
}

// Where something takes marks off packets, connections leave the fast path, and it is given up where that is no exception; the log says
// why, and nothing is counted twice.
func TestFastPathMarksLost(t *testing.T) {
	const table = `table inet other { chain pre { type filter hook prerouting priority mangle; %s; }; }`
	t.Run("from the beginning", func(t *testing.T) {
		w := newWorld(t)
		w.serve()
		w.exec(w.Gateway, "nft", strings.Replace(table, "%s", "meta l4proto tcp meta mark set 0", 1))
		g := w.start("linux-default")
		const alone = "the connections between two hosts stay on the queue"
		for n, from := range []netip.Addr{clientAddr, clientAddr6} {
			if err := w.transfer(from, order{Do: doTake, Total: 64 << 20}, nil, nil); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				w.until(alone, endLimit, func() bool { return strings.Contains(g.said(), alone) })
				if g.fastPath().State != "on" {
					t.Error("given up for one pair of hosts")
				}
			}
		}
		w.until("the fast path is given up", endLimit, func() bool { return g.fastPath().State == "off" })
		if err := w.transfer(clientAddr6, order{Do: doGive, Total: 8 << 20}, nil, nil); err != nil {
			t.Fatal(err)
		}
		g.stop()
		w.verify()
		if n := strings.Count(g.said(), "given up"); n != 1 || !strings.Contains(g.said(), "overwrites") {
			t.Errorf("said %d times: %s", n, g.said())
		}
		if st := w.lastStats(); st.FastPath.State != "off" || st.FastPath.Packets != 0 || !strings.Contains(st.FastPath.Why, "marks") {
			t.Errorf("%+v", st.FastPath)
		}
	})
	t.Run("later", func(t *testing.T) {
		w := newWorld(t)
		w.serve()
		g := w.start("linux-default")
		s := w.startStream(g, clientAddr, doTake)
		w.exec(w.Gateway, "nft", strings.Replace(table, "%s", "meta l4proto tcp meta mark set 0", 1))
		w.until("the connection leaves the fast path", endLimit, func() bool { return strings.Contains(g.said(), "stay on the queue") })
		s.goesOn("by the queue")
		s.finish()
		g.stop()
		w.verify()
		f, st := most(w.lastFlows()), w.lastStats()
		if queued := f.PktsToServer + f.PktsToClient - f.FastToServer - f.FastToClient; queued > st.Received || st.Received > queued+20 {
			t.Errorf("%d packets of the flow are said to have taken the queue, which saw %d; %+v", queued, st.Received, st.FastPath)
		}
	})
}

// Packets that get our mark from somebody behind our program pass the queue until the gateway notices; then the mark means nothing any more.
func TestFastPathForeignMarks(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("linux-default", "--set", "on.new=drop")
	w.refused(station4)
	w.exec(w.Gateway, "nft", `table inet other { chain pre { type filter hook prerouting priority mangle; meta l4proto tcp meta mark set 0x02000000; }; }`)
	w.until("the fast path is given up", endLimit, func() bool {
		_, _ = w.tryDial(refusedAfter/4, 0, station4)
		return g.fastPath().State == "off"
	})
	w.until("the mark lets nothing pass", endLimit, func() bool {
		_, err := w.tryDial(refusedAfter, 0, station4)
		return err != nil
	})
	w.refused(station4)
	g.stop()
	w.verify()
}

// status asks the gateway's admin socket.
func (g *gatewayProcess) status() (st proxy.Status) {
	g.w.t.Helper()
	client := http.Client{Timeout: answerLimit, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", g.admin)
	}}}
	res, err := client.Get("http://gateway/v1/status")
	if err != nil {
		g.w.t.Fatalf("status: %v\n%s", err, g.said())
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&st); err != nil {
		g.w.t.Fatal(err)
	}
	return st
}
