package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// A conversation takes the fast path after its first packets. Its end comes by the queue, and its records count every packet and byte
// once, those of the fast path apart.
func TestFastConversation(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(100)
	if c.counts["queue"] > 14 || c.counts["fast"] < 189 {
		t.Errorf("%v of 203 packets", c.counts)
	}
	c.send(true, conntrack.FIN|conntrack.ACK, c.client, c.server, "")
	c.send(false, conntrack.FIN|conntrack.ACK, c.server, c.client+1, "")
	c.send(true, conntrack.ACK, c.client+1, c.server+1, "")
	if len(b.kernel.flows) != 0 || len(b.kernel.keys) != 0 || b.Worker.fast.counts.Flows != 0 {
		t.Errorf("%d flows and %d keys are left of a connection that closed", len(b.kernel.flows), len(b.kernel.keys))
	}
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	if b.counts.Explained+b.counts.suppressed() != b.counts.Received || b.counts.Received != uint64(c.counts["queue"]) {
		t.Errorf("%d explained, %d received, %d queued", b.counts.Explained, b.counts.Received, c.counts["queue"])
	}
	records := b.records("flow")
	last := records[len(records)-1]
	for _, want := range []string{`"pkts_toserver":104,"pkts_toclient":102,`, fmt.Sprintf(`"bytes_toserver":%d,"bytes_toclient":%d,`, 104*40+1000, 102*40+1000),
		fmt.Sprintf(`"fastpath_pkts_toserver":%d,"fastpath_pkts_toclient":%d,`, b.kernel.passed/2, b.kernel.passed-b.kernel.passed/2), `"fastpath_bytes_toserver":`, `"history":"ShADdFf"`} {
		if !strings.Contains(last, want) {
			t.Errorf("no %s in %s", want, last)
		}
	}
}

// What the queue-only worker says of a connection after some progress (its numbers, its verdict) the one with a fast path says too.
func TestFastThenOdd(t *testing.T) {
	type ending func(c *talk)
	for name, end := range map[string]ending{
		"RST":         func(c *talk) { c.send(true, conntrack.RST, c.client, 0, "") },
		"RST inexact": func(c *talk) { c.send(true, conntrack.RST, c.client+7, 0, "") },
		"RST outside": func(c *talk) { c.send(false, conntrack.RST, c.server+1<<20, 0, "") },
		"SYN":         func(c *talk) { c.send(true, conntrack.SYN, 90000, 0, "") },
		"above":       func(c *talk) { c.send(true, conntrack.ACK, c.client+1<<20, c.server, "x") },
		"below":       func(c *talk) { c.send(true, conntrack.ACK, c.client-1<<20, c.server, "x") },
		"ack above":   func(c *talk) { c.send(true, conntrack.ACK, c.client, c.server+1000, "") },
		"repeat":      func(c *talk) { c.send(true, conntrack.ACK, c.client-10, c.server, "0123456789") },
		"half-dead": func(c *talk) {
			for range 5 { // once, and what is not acknowledged again
				c.send(true, conntrack.ACK, c.client, c.server, "0123456789")
			}
		},
		"keepalive":    func(c *talk) { c.send(false, conntrack.ACK, c.server-1, c.client, "") },
		"FIN outside":  func(c *talk) { c.send(true, conntrack.FIN|conntrack.ACK, c.client+1<<20, c.server, "") },
		"FIN":          func(c *talk) { c.send(true, conntrack.FIN|conntrack.ACK, c.client, c.server, "") },
		"data and FIN": func(c *talk) { c.send(true, conntrack.FIN|conntrack.ACK, c.client, c.server, "bye") },
		"urgent": func(c *talk) {
			c.send(true, conntrack.ACK|conntrack.URG, c.client, c.server, "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var said [2][]string
			for i, places := range []int{0, 16} {
				b := newFastBench(t, plainPolicy+"\ntimeouts: {established: 1h}", places)
				c := b.open(721)
				c.say(20)
				end(c)
				c.say(3)
				if places > 0 && c.counts["fast"] == 0 {
					t.Fatal("nothing took the fast path")
				}
				if err := b.settle(); err != nil {
					t.Fatal(err)
				}
				for _, r := range append(b.records("decision"), b.records("inject")...) {
					said[i] = append(said[i], timeless(r))
				}
			}
			if a, b := strings.Join(said[0], ""), strings.Join(said[1], ""); a != b {
				t.Errorf("by the queue:\n%s\nwith a fast path:\n%s", a, b)
			}
		})
	}
}

// timeless is a record without what depends on the clock and on how many decisions there were before.
func timeless(record string) string {
	var kept []string
	for _, f := range strings.Split(record, ",") {
		skip := false
		for _, name := range []string{"timestamp", `"idle_s"`, `"remaining_s"`, `"age_s"`, `"latency_ns"`, `"id":`, `"cause"`} {
			skip = skip || strings.Contains(f, name)
		}
		if !skip {
			kept = append(kept, f)
		}
	}
	return strings.Join(kept, ",")
}

// A punted segment that waits freezes its connection; the worker arms it again only behind the last one.
func TestFastSaturated(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	sl := c.slot()
	if sl == nil || !sl.armed {
		t.Fatal("not on the fast path")
	}
	// A repetition is punted, and what comes behind it before the worker turns is punted too, in both directions.
	b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client-1, c.server, "9"))
	for i := range 300 { // more than a batch
		if how := b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "0123456789")); how != "queue" {
			t.Fatalf("packet %d behind a punted one went by the %s path", i, how)
		}
		c.client += 10
	}
	if how := b.in(seg(t, serverEnd, c.end(), conntrack.ACK, c.server, c.client, "")); how != "queue" {
		t.Fatalf("the other direction went by the %s path", how)
	}
	b.tick()
	if _, err := b.turn(); err != nil {
		t.Fatal(err)
	}
	if how := b.in(seg(t, serverEnd, c.end(), conntrack.ACK, c.server, c.client, "")); how != "queue" {
		t.Error("armed while punted segments wait")
	}
	b.step()
	if how := b.in(seg(t, serverEnd, c.end(), conntrack.ACK, c.server, c.client, "")); how != "fast" {
		t.Error("not armed again when all is handled")
	}
}

// Nothing that was decided is overtaken by data: a connection is armed before the verdicts leave only where none but bare ACKs wait.
func TestFastOrder(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	armed := func() bool {
		sl := c.slot()
		s, _ := b.kernel.Read(1)
		return sl.armed && s.Armed
	}
	var at []bool // when verdicts leave
	b.main.flushing = func() { at = append(at, armed()) }
	c.send(false, conntrack.ACK, c.server-1, c.client, "") // a keepalive, which is punted
	b.main.flushing = nil
	if len(at) == 0 || !at[0] {
		t.Errorf("armed when the verdict of a bare ACK leaves: %v", at)
	}
	at = nil
	b.main.flushing = func() { at = append(at, armed()) }
	c.send(true, conntrack.ACK, c.client-1, c.server, "9") // repeated data
	b.main.flushing = nil
	if len(at) == 0 || at[0] || !armed() {
		t.Errorf("armed when the verdict of data leaves: %v; afterwards: %v", at, armed())
	}
}

// Whatever freezes all flows at once is in force before the next packet, and over with it.
func TestFastBump(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	b.Worker.fast.bump()
	pol, _ := policy.Load("test.yaml", []byte(plainPolicy+"\nreload: drop\non: {late-after-expiry: drop}"), nil)
	b.adoptPolicy(b.shared.clock.Now(), pol, nil)
	before := len(b.wire.events)
	if how := c.send(true, conntrack.ACK, c.client, c.server, "0123456789"); how != "queue" {
		t.Fatalf("after a reload a packet went by the %s path", how)
	}
	if got := b.wire.events[before:]; len(got) != 1 || !strings.Contains(got[0], "drop") {
		t.Errorf("the policy drops live flows, and the packet met %v", got)
	}
	if len(b.kernel.flows) != 0 {
		t.Error("the fast path knows a flow that is gone")
	}
}

// A worker that gives no sign of life for a second lets nothing pass.
func TestFastBeat(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	b.kernel.beat -= 2e9
	if how := b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "")); how != "queue" {
		t.Errorf("went by the %s path", how)
	}
}

// Only what comes by the forward hook can take the fast path.
func TestFastOtherHooks(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	b.main.hook = 1
	c := b.open(721)
	c.say(20)
	if b.Worker.fast.counts.Installed != 0 {
		t.Error("a flow of the input hook was installed")
	}
}

// log.detail: packet and probes need each packet.
func TestFastNotForEveryPolicy(t *testing.T) {
	for _, text := range []string{"log: {detail: packet}", "probes: {tries: 3}", "refresh: original", "on: {in-window: {packet: forward, timer: leave}}"} {
		b := newFastBench(t, plainPolicy+"\n"+text, 16)
		c := b.open(721)
		c.say(20)
		if c.counts["fast"] != 0 || len(b.kernel.flows) != 0 {
			t.Errorf("%s: %v", text, c.counts)
		}
	}
}

// A listing shows what the fast path has let pass so far; an update record too; and a timer that is due sees it.
func TestFastProgressIsSeen(t *testing.T) {
	b := newFastBench(t, plainPolicy+"\ntimeouts: {established: 300ms}", 16)
	c := b.open(721)
	c.say(10)
	for range 8 { // 800 ms
		b.later(100 * time.Millisecond)
		c.say(1)
	}
	if c.slot() == nil {
		t.Fatal("a connection in use ended by its timer")
	}
	var listed uint64
	b.engine.Walk(0, 100, func(e *conntrack.Entry) bool { listed = e.Side[0].Packets + e.Side[1].Packets; return true })
	if all := uint64(c.counts["fast"] + c.counts["queue"]); listed != all {
		t.Errorf("a listing shows %d of %d packets", listed, all)
	}
	b.later(400 * time.Millisecond)
	b.step()
	if len(b.kernel.flows) != 0 || b.engine.Len() != 0 {
		t.Error("an idle connection stays")
	}
	var ended bool
	for _, r := range b.records("flow") {
		ended = ended || strings.Contains(r, `"reason":"idle"`) && strings.Contains(r, fmt.Sprintf(`"pkts_toserver":%d`, (c.counts["fast"]+c.counts["queue"]+1)/2))
	}
	if !ended {
		t.Error("no end record with all packets")
	}
}
