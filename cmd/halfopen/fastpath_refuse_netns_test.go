//go:build netns

package main

import (
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"halfopen/proxy/lab"
)

// withoutBPF is a root that has everything that a gateway needs but for the fast path.
var withoutBPF = []string{"setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin"}

// running is a transfer that goes on until end.
type running struct {
	w     *world
	moved atomic.Int64
	stop  chan struct{}
	done  chan error
}

// begin starts a transfer from the server and waits until it moves.
func (w *world) begin() *running {
	w.t.Helper()
	r := &running{w: w, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { r.done <- w.transfer(clientAddr, order{Do: doGive}, r.stop, &r.moved) }()
	r.goesOn("at the beginning")
	return r
}

// goesOn waits until the transfer has moved some more, so much that it has been on the fast path if it can be.
func (r *running) goesOn(when string) {
	r.w.t.Helper()
	from := r.moved.Load()
	r.w.until("a transfer moves "+when, trafficLimit, func() bool {
		select {
		case err := <-r.done:
			r.w.t.Fatalf("%s the transfer ended: %v\n%s", when, err, r.w.said())
		default:
		}
		return r.moved.Load() > from+16<<20
	})
}

// end ends the transfer, whose bytes must be what was sent.
func (r *running) end() {
	r.w.t.Helper()
	close(r.stop)
	if err := <-r.done; err != nil {
		r.w.t.Errorf("%v\n%s", err, r.w.said())
	}
}

// fast returns how many packets the gateway's rules have let past the queues.
func (w *world) fast() (n uint64) {
	w.t.Helper()
	_, after, ok := strings.Cut(w.exec(w.Gateway, "nft", "list", "counter", "inet", "halfopen", "fastpath"), "packets ")
	if _, err := fmt.Sscan(after, &n); !ok || err != nil {
		w.t.Fatalf("counter %q", after)
	}
	return n
}

// takesFast waits until segments are let past the queue, more of them than there were.
func (w *world) takesFast(when string) {
	w.t.Helper()
	from := w.fast()
	w.until("segments take the fast path "+when, trafficLimit, func() bool { return w.fast() > from+100 })
}

// givenUp waits until the gateway says that it gives the fast path up, and returns why.
func (g *gatewayProcess) givenUp() string {
	g.w.t.Helper()
	const words = "the fast path is given up"
	g.w.until(words, trafficLimit, func() bool { return strings.Contains(g.said(), words) })
	_, why, _ := strings.Cut(g.said(), words)
	why, _, _ = strings.Cut(why, "\n")
	return why
}

// Where there can be none, auto says why once and goes on without, and on and redirect do not start and say why.
func TestFastPathRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		under []string
		args  []string
		says  []string
		why   string
	}{
		{"privilege", withoutBPF, nil, []string{"lacks CAP_BPF, CAP_PERFMON"}, "privileges that are missing"},
		{"mark", nil, []string{"--mark", "0x0e000000"}, []string{"0xe000000", "at least 4 bits"}, "mark"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.serve()
			w.under = c.under
			g := w.start("linux-default", c.args...)
			if err := w.transfer(clientAddr, order{Do: doTake, Total: 16 << 20}, nil, nil); err != nil {
				t.Errorf("%v\n%s", err, g.said())
			}
			g.stop()
			w.verify()
			if n := strings.Count(g.said(), "no fast path"); n != 1 {
				t.Errorf("said %d times:\n%s", n, g.said())
			}
			for _, s := range c.says {
				if !strings.Contains(g.said(), s) {
					t.Errorf("no %q in\n%s", s, g.said())
				}
			}
			if st := w.lastStats().FastPath; st.State != "off" || !strings.Contains(st.Why, c.why) || st.Packets != 0 {
				t.Errorf("stats %+v", *st)
			}
			for _, mode := range []string{"on", "redirect"} {
				argv := append(append(append([]string{}, c.under...), program, "run", "--policy", "observe", "--install-rules", "--log", w.logDir, "--fastpath", mode), c.args...)
				said, status := w.ends(w.Gateway, argv)
				for _, s := range append(c.says, "--fastpath "+mode) {
					if status != 1 || !strings.Contains(said, s) {
						t.Errorf("%s: status %d, no %q in %s", mode, status, s, said)
					}
				}
			}
			if left := w.tables(); len(left) != 0 {
				t.Errorf("tables %v", left)
			}
		})
	}
}

// ends runs a program that ends by itself in a namespace, and returns what it said.
func (w *world) ends(ns *lab.Namespace, argv []string) (said string, status int) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), argv[0], argv[1:]...)
	var out []byte
	_ = ns.Do(func() (err error) { // the status says what there is to say
		out, err = cmd.CombinedOutput()
		return err
	})
	return string(out), cmd.ProcessState.ExitCode()
}

// One gateway in a namespace has a fast path; the other is told whose.
func TestFastPathRival(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("linux-default", "--fastpath", "on")
	said, status := w.ends(w.Gateway, []string{program, "run", "--policy", "observe", "--queues", "8", "--log", w.dir + "/other", "--fastpath", "on"})
	if want := fmt.Sprintf("(pid %d)", g.cmd.Process.Pid); status != 1 || !strings.Contains(said, want) {
		t.Errorf("the second one: status %d, no %q in %s", status, want, said)
	}
	r := w.begin()
	w.takesFast("after it")
	r.end()
	g.stop()
	w.verify()
}

// The interface by which a connection comes in becomes a bridge's port and the bridge takes its place; later it is taken out again. The
// connection lives through both, and takes the fast path by each of the two.
func TestFastPathMovesToBridge(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("linux-default", "--fastpath", "on")
	r := w.begin()
	w.takesFast("by the interface")
	addrs := []string{}
	for line := range strings.Lines(w.exec(w.Gateway, "ip", "-br", "addr", "show", "dev", "ho-inside", "scope", "global")) {
		addrs = append(addrs, strings.Fields(line)[2:]...)
	}
	ip := func(args ...string) { w.exec(w.Gateway, "ip", args...) }
	move := func(from, to string) {
		for _, a := range addrs {
			ip("addr", "del", a, "dev", from)
			ip("addr", "add", a, "dev", to, "nodad")
		}
	}
	mac := strings.Fields(w.exec(w.Gateway, "ip", "-br", "link", "show", "dev", "ho-inside"))[2]
	ip("link", "add", "ho-bridge", "address", mac, "type", "bridge")
	ip("link", "set", "ho-bridge", "up")
	ip("link", "set", "ho-inside", "master", "ho-bridge")
	move("ho-inside", "ho-bridge")
	r.goesOn("by the bridge")
	w.takesFast("by the bridge")
	ip("link", "set", "ho-inside", "nomaster")
	move("ho-bridge", "ho-inside")
	ip("link", "del", "ho-bridge")
	r.goesOn("by the interface again")
	w.takesFast("by the interface again")
	r.end()
	g.stop()
	w.verify()
	if strings.Contains(g.said(), "given up") {
		t.Error(g.said())
	}
}

// A rule of the host's own brings the fast path's mark back on packets that it did not let pass, by way of the connection's mark. What passed
// so was not decided: the gateway gives the fast path up and judges the connections mildly afterwards, as after any gap.
func TestFastPathRestoredMarks(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("linux-default")
	r := w.begin()
	w.takesFast("before")
	w.exec(w.Gateway, "nft", "add table inet host; add chain inet host in { type filter hook prerouting priority -140; }; "+
		"add chain inet host front { type filter hook forward priority -150; }; "+
		"add rule inet host front ct mark 0 meta mark & 0xff000000 == 0x02000000 ct mark set meta mark; "+
		"add rule inet host in ct mark != 0 meta mark set ct mark")
	for n := 0; n < 50 && g.fastPath().State != "off"; n++ { // their ends are not let pass
		if err := w.transfer(clientAddr, order{Do: doTake, Total: 4 << 20}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if why := g.givenUp(); !strings.Contains(why, "restores marks") {
		t.Errorf("given up because %s", why)
	}
	r.goesOn("afterwards")
	w.exec(w.Gateway, "nft", "delete table inet host")
	r.goesOn("after the rules are gone")
	r.end()
	g.stop()
	w.verify()
	if n := strings.Count(g.said(), "given up"); n != 1 {
		t.Errorf("said %d times: %s", n, g.said())
	}
}

// With room for one connection a worker, the others live on the queue.
func TestFastPathFull(t *testing.T) {
	w := newWorld(t)
	w.serve()
	g := w.start("linux-default", "--fastpath", "on", "--fastpath-flows", "2")
	var all []*running
	for range 5 {
		all = append(all, w.begin())
	}
	w.takesFast("beside the others")
	for _, r := range all {
		r.goesOn("beside the others")
		r.end()
	}
	g.stop()
	w.verify()
	if st := w.lastStats().FastPath; st.Full == 0 || st.State != "on" || st.Packets == 0 {
		t.Errorf("stats %+v", *st)
	}
	if n := strings.Count(g.said(), "fast path is full"); n != 1 {
		t.Errorf("said %d times: %s", n, g.said())
	}
}
