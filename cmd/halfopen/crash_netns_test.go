//go:build netns

package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// ourTable is the table that the gateway makes.
const ourTable = "inet halfopen"

// TestKillDuringTransfers kills the gateway under transfers, lets them go on without it, and starts it again under a preset that drops what
// belongs to no connection.
func TestKillDuringTransfers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(8)
	g := w.start("openbsd-pf")
	l := w.startLoad(pool)

	g.kill()
	if !slices.Contains(w.tables(), ourTable) {
		t.Fatalf("tables %q: nothing is left of the killed gateway, so nothing is proven below", w.tables())
	}
	l.progress("with the rules of a killed gateway")
	w.shortConnections(pool, 50) // new ones too

	g = w.start("openbsd-pf")
	l.progress("after the restart")
	w.shortConnections(pool, 50)
	if rules := w.exec(w.Gateway, "nft", "list", "table", "inet", "halfopen"); strings.Count(rules, "hook forward") != 1 {
		t.Errorf("rules after the restart:\n%s", rules)
	}
	l.end()
	g.stop()
	if tables := w.tables(); len(tables) != 0 {
		t.Errorf("tables after a clean stop: %q", tables)
	}
	p := w.verify()
	if len(p.Runs) != 2 || p.Runs[0].End != "crash" || p.Runs[0].CrashGap == 0 || p.Runs[1].End != "final" || p.Runs[1].Status != "balanced" {
		t.Errorf("proof: %+v", p)
	}
	if w.count("adopted") == 0 {
		t.Error("no connection was adopted: the second gateway never met them")
	}
}

// TestStateSurvivesStop stops the gateway under traffic and starts it again with its state, without adoption; the control is a start without
// the state, which must cut the connections off.
func TestStateSurvivesStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(4)
	strict := write(t, w.dir, "strict.yaml", "preset: openbsd-pf\nadopt: 0s\n")
	g := w.start(strict, "--state", w.state)
	l := w.startLoad(pool)
	for range 2 {
		g.stop()
		if tables := w.tables(); len(tables) != 0 {
			t.Errorf("tables after a clean stop: %q", tables)
		}
		g = w.start(strict, "--state", w.state)
		l.progress("after a restart with state")
	}
	l.end()
	if n := w.count("adopted") + w.count("data-no-state") + w.count("ack-no-state"); n != 0 {
		t.Errorf("%d segments met no state, although it was saved", n)
	}

	c, err := w.dial(pool[0], order{Do: doEcho})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ask(100); err != nil {
		t.Fatal(err)
	}
	g.stop()
	g = w.start(strict, "--state", w.state, "--fresh")
	if _, err := c.Write([]byte("is anybody there?")); err != nil {
		t.Fatal(err)
	}
	w.until("a connection without state is dropped", trafficLimit, func() bool { return w.count("data-no-state") > 2 })
	g.stop() // the way is free again
	if _, err := io.ReadFull(c, make([]byte, 17)); err != nil {
		t.Errorf("after the strict gateway has gone: %v", err)
	}
	if p := w.verify(); p.statuses() != "final/balanced final/balanced final/balanced final/balanced" {
		t.Errorf("proof: %+v", p)
	}
}

// TestHostFilterStillDecides: a verdict of ours goes on to the host's own rules.
func TestHostFilterStillDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(2)
	g := w.start("observe")
	for _, iptables := range []string{"iptables", "ip6tables"} {
		w.exec(w.Gateway, iptables, "-P", "FORWARD", "DROP")
		w.exec(w.Gateway, iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
		w.exec(w.Gateway, iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
	}
	for _, from := range pool {
		for _, o := range []order{{Do: doTake, Total: 8 << 20}, {Do: doGive, Total: 8 << 20}} {
			if err := w.transfer(from, o, nil, nil); err != nil {
				t.Errorf("transfer %c from %s: %v", o.Do, from, err)
			}
		}
	}
	l := w.startLoad(pool)
	for _, iptables := range []string{"iptables", "ip6tables"} {
		w.exec(w.Gateway, iptables, "-D", "FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
	}
	l.progress("established connections behind the host's filter")
	for _, from := range pool {
		if c, err := w.dialWithin(from, 2500*time.Millisecond); err == nil {
			c.Close()
			t.Errorf("from %s: a new connection got past the host's filter", from)
		}
	}
	l.end()
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("proof: %+v", p)
	}
}
