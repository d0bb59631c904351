package proxy

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// Marks that are lost between ingress and queue: nothing is counted twice, and the connection leaves the fast path, as do all between its hosts.
func TestFastMarksLost(t *testing.T) {
	t.Run("from the beginning", func(t *testing.T) {
		b := newFastBench(t, plainPolicy, 16)
		b.lose = true
		c := b.open(721)
		c.say(100)
		if b.fast != 0 || b.kernel.passed != 0 {
			t.Errorf("%d packets passed", b.kernel.passed)
		}
		if b.gate.down.Load() || !strings.Contains(b.words.String(), "marks") || strings.Count(b.words.String(), "\n") != 1 {
			t.Errorf("said: %s", b.words)
		}
		if d := b.open(722); len(b.kernel.flows) == 0 {
			if d.say(100); b.Worker.fast.counts.Installed != 1 {
				t.Error("another connection between these hosts was tried")
			}
		}
		// Nothing passes, and the fast path is on: an operator sees why.
		n := b.gate.counters(&b.Worker.fast.counts)
		if st, rec := n.status(), n.record(); st.State != "on" || st.Packets != 0 || !maps.Equal(st.Kept, map[string]uint64{"overwritten": 1}) ||
			!slices.Equal(rec.Kept, []decisionlog.Count{{Word: "overwritten", N: 1}}) {
			t.Errorf("status %+v, record %+v", st, rec)
		}
		if b.between(723, "10.0.0.2", serverEnd).say(100); b.Worker.fast.counts.Installed != 2 || b.gate.down.Load() {
			t.Errorf("%d installed, given up %v: the server has been in such a pair", b.Worker.fast.counts.Installed, b.gate.down.Load())
		}
		if b.between(724, "10.0.0.3", "192.0.2.10:515").say(100); !b.gate.down.Load() || strings.Count(b.words.String(), "\n") != 2 {
			t.Errorf("a second pair of hosts: said: %s", b.words)
		}
		c.say(1)
		if len(b.kernel.flows) != 0 {
			t.Error("flows are left on a fast path that was given up")
		}
	})
	t.Run("later", func(t *testing.T) {
		b := newFastBench(t, plainPolicy, 16)
		c := b.open(721)
		c.say(20)
		b.lose = true
		// The worker does not turn before all of these are queued: the fast path has let them pass, but their marks are gone.
		for range 5 {
			b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "0123456789"))
			c.client += 10
		}
		b.in(seg(t, serverEnd, c.end(), conntrack.ACK, c.server, c.client, ""))
		passed := b.kernel.passed
		b.step()
		if n := &b.Worker.fast.counts; b.gate.down.Load() || !strings.Contains(b.words.String(), "stay on the queue") || n.Lost != 6 || n.Kept[fastLossOverwritten] != 1 {
			t.Errorf("down %v, %d lost marks, pairs %v", b.gate.down.Load(), n.Lost, n.Kept)
		}
		c.say(3)
		tu := tuple(c.end(), serverEnd)
		e := b.engine.Find(b.shared.clock.Now(), &tu)
		if all := e.Side[0].Packets + e.Side[1].Packets; all != 3+40+6+6 || e.FastPackets[0]+e.FastPackets[1] != passed-5 {
			t.Errorf("%d packets, of them %d by the fast path; it let %d pass, of which 5 came by the queue", all, e.FastPackets[0]+e.FastPackets[1], passed)
		}
		if e.FastSlot != 0 || len(b.kernel.flows) != 0 {
			t.Error("the flow is still on the fast path")
		}
		if err := b.settle(); err != nil {
			t.Fatal(err)
		}
		if b.counts.Explained+b.counts.suppressed() != b.counts.Received {
			t.Errorf("%d explained of %d", b.counts.Explained, b.counts.Received)
		}
	})
}

// More connections than room: the busy ones take the place of idle ones.
func TestFastFull(t *testing.T) {
	b := newFastBench(t, plainPolicy, 4)
	var talks []*talk
	for i := range 6 {
		talks = append(talks, b.open(1000+i))
	}
	for range 10 {
		for _, c := range talks[:4] {
			c.say(1)
		}
	}
	for _, c := range talks[:4] {
		if c.slot() == nil {
			t.Fatal("not on the fast path")
		}
	}
	for range 20 { // the first four are idle now
		time.Sleep(2 * time.Millisecond)
		for _, c := range talks[4:] {
			c.say(1)
		}
	}
	for _, c := range talks[4:] {
		if c.slot() == nil || c.counts["fast"] < 5 {
			t.Errorf("a busy connection is not on the fast path: %v", c.counts)
		}
	}
	if n := b.Worker.fast.counts; n.Evicted < 2 || n.Flows != 4 || len(b.kernel.flows) != 4 {
		t.Errorf("%+v, %d in the kernel", n, len(b.kernel.flows))
	}
	if strings.Count(b.words.String(), "full") != 1 {
		t.Errorf("said: %s", b.words)
	}
	for _, c := range talks { // nothing is lost with a place
		c.say(1)
		if got := int(c.listed()); got != c.counts["fast"]+c.counts["queue"] {
			t.Errorf("%d packets of %v", got, c.counts)
		}
	}
}

// A connection that comes in otherwise than its keys say stays on the queue, and is not tried again and again.
func TestFastKeysDoNotMatch(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	b.gate.on = func(ifindex uint32) bool { return ifindex == inside }
	c := b.open(721)
	c.say(100)
	if b.kernel.passed != 0 || b.Worker.fast.counts.Installed != 0 || b.Worker.fast.unfit.Len() != 1 {
		t.Errorf("%d passed, installed %d times", b.kernel.passed, b.Worker.fast.counts.Installed)
	}
}

// A connection that did not fit the interfaces is tried again when they have changed.
func TestFastInterfacesChange(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	ready, changes := false, uint64(0)
	b.gate.on = func(ifindex uint32) bool { return ready || ifindex == inside }
	b.gate.changes = func() uint64 { return changes }
	c := b.open(721)
	c.say(20)
	ready = true
	c.say(20)
	if c.counts["fast"] > 0 {
		t.Error("tried again although nothing was said to have changed")
	}
	changes++
	c.say(20)
	if c.slot() == nil || c.counts["fast"] < 20 {
		t.Errorf("not on the fast path: %v", c.counts)
	}
}
