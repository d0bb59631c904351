package proxy

import (
	"testing"

	"halfopen/conntrack"
)

// Punts that were lost on their way, however many, keep a connection off the fast path no longer than until the queue has caught up.
func TestFastLostPunts(t *testing.T) {
	for _, lost := range []int{1, 100, 126, 127, 128, 200, 252, 253, 254, 300, 506, 1000} {
		b := newFastBench(t, plainPolicy, 16)
		c := b.open(721)
		c.say(10)
		c.send(true, conntrack.ACK, c.client-1, c.server, "9")
		queued := b.main.queued
		for range lost {
			b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client-1, c.server, "9"))
		}
		b.main.queued = queued // the queue was full
		before := c.counts["queue"]
		c.say(10)
		if n := c.counts["queue"] - before; n > 4 {
			t.Errorf("%d punts lost: %d of 20 packets by the queue", lost, n)
		}
	}
}

// A connection of whose numbers too many were lost stays frozen while anything of it waits, though nothing more comes.
func TestFastLostPuntsWhileOthersWait(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	c.send(true, conntrack.ACK, c.client-1, c.server, "9")
	b.kernel.flows[1].punt += 200 // which the queue had no room for
	for i := range 5 * batchSize {
		if i == 0 || i > 4*batchSize {
			b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "0123456789"))
			c.client += 10
		} else { // somebody else's, so that some batches bring nothing of it
			b.in(seg(t, "10.0.0.2:9", serverEnd, conntrack.ACK, 1, 1, ""))
		}
	}
	for len(b.main.queued) > 0 {
		b.tick()
		if _, err := b.turn(); err != nil {
			t.Fatal(err)
		}
		if s, _ := b.kernel.Read(1); s.Armed {
			t.Fatalf("armed while %d segments wait", len(b.main.queued))
		}
	}
	b.step()
	if s, _ := b.kernel.Read(1); !s.Armed {
		t.Error("not armed with all handled")
	}
}
