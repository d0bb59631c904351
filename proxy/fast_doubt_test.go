package proxy

import (
	"testing"

	"halfopen/conntrack"
	"halfopen/proxy/nfqueue"
)

// past brings a packet to the queue that the program has not seen as one of its connection, as one that reached the gateway by another
// address of the server's.
func (c *talk) past(packet []byte) {
	c.b.main.queued = append(c.b.main.queued, nfqueue.Packet{Data: packet, InDev: inside, OutDev: outside, Hook: hookForward})
	c.b.step()
}

// A peer that makes segments of its own connection come to the queue without a mark takes that connection off the fast path, not those of
// everybody else. Where many connections show it, it is no peer's doing.
func TestFastPeerTakesNothingDown(t *testing.T) {
	b := newFastBench(t, plainPolicy, 128)
	var talks []*talk
	for i := range 3 * fastLossy {
		c := b.open(2000 + i)
		c.say(10)
		if sl := c.slot(); sl == nil || !sl.armed {
			t.Fatal("not on the fast path")
		}
		talks = append(talks, c)
	}
	for i, c := range talks[:3] {
		c.past(seg(t, c.end(), serverEnd, conntrack.ACK, c.client-1, c.server, "9")) // the program has passed one like it
		if down := b.gate.down.Load(); down != (i == 2) {
			t.Fatalf("after %d of %d connections: given up %v: %s", i+1, len(talks), down, b.words)
		}
		if c.slot() != nil {
			t.Error("the connection is still on the fast path")
		}
		c.say(20)
		if c.slot() != nil {
			t.Error("the connection is on the fast path again")
		}
	}
}

// What cannot be read says nothing about marks.
func TestFastUnreadableIsNoEvidence(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(20)
	for range 2 * fastStrays {
		cut := seg(t, c.end(), serverEnd, conntrack.ACK, c.client-1, c.server, "9")
		cut = cut[:20+8] // ports and the sequence number
		cut[3] = byte(len(cut))
		c.past(cut)
		c.say(1)
	}
	if b.gate.down.Load() || b.Worker.fast.counts.Lost != 0 {
		t.Errorf("given up %v, %d marks lost, said: %s", b.gate.down.Load(), b.Worker.fast.counts.Lost, b.words)
	}
	if sl := c.slot(); sl == nil || !sl.armed {
		t.Error("not armed any more")
	}
}

// A thread that hung within a turn, and whose queue was given to another worker meanwhile, wakes nothing on the fast path.
func TestFastGhostArmsNothing(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	passes := func() string {
		return b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, ""))
	}
	if passes() != "fast" {
		t.Fatal("not on the fast path")
	}
	b.Worker.abandoned.Store(true) // as retire does
	b.Worker.fast.bump()
	b.Worker.fast.beat(b.shared.clock.Now()) // the rest of its turn
	if how := passes(); how != "queue" {
		t.Errorf("a segment went by the %s path", how)
	}
	b.step()
	if how := passes(); how != "queue" {
		t.Errorf("after the batch of an abandoned worker a segment went by the %s path", how)
	}
}

// Punted segments that overtake each other on their way to the queue keep their connection off the fast path no longer than until both are
// handled.
func TestFastSwappedPunts(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	for range 300 {
		// a repetition freezes the connection, an ACK of the other direction overtakes it on its way to the queue (another processor)
		b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client-1, c.server, "9"))
		b.in(seg(t, serverEnd, c.end(), conntrack.ACK, c.server, c.client, ""))
		q := b.main.queued
		q[0], q[1] = q[1], q[0]
		b.step()
		if s, _ := b.kernel.Read(1); !s.Armed {
			t.Fatalf("not armed after number %d, of which %d was handled", s.Punt, c.slot().punt)
		}
		c.say(1)
	}
}

// Nothing passes by the fast path of a worker that has ended, whatever ended it.
func TestFastEndsWithItsWorker(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	c := b.open(721)
	c.say(10)
	b.calls <- call{fn: func(conntrack.Instant, *Worker) { panic("out of order") }, done: make(chan struct{})}
	b.run()
	if b.err == nil {
		t.Fatal("the worker did not end by the panic")
	}
	if how := b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "")); how != "queue" {
		t.Errorf("a segment went by the %s path", how)
	}
}
