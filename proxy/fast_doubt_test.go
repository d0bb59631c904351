package proxy

import (
	"fmt"
	"strings"
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

// A peer that makes segments of its own connections come to the queue without a mark takes what is between it and the other host off the fast
// path, not the connections of everybody else, however many it has. Where many hosts show it, it is no peer's doing.
func TestFastPeerTakesNothingDown(t *testing.T) {
	b := newFastBench(t, plainPolicy, 256)
	var talks, peers []*talk
	open := func(to *[]*talk, port int, from, at string) {
		c := b.between(port, from, at+":515")
		c.say(10)
		if sl := c.slot(); sl == nil || !sl.armed {
			t.Fatal("not on the fast path")
		}
		*to = append(*to, c)
	}
	for i := range 3 * fastLossy {
		open(&talks, 2000, fmt.Sprintf("10.0.1.%d", i), fmt.Sprintf("192.0.2.%d", 100+i))
	}
	for i := range fastLossy {
		open(&peers, 3000+i, "10.0.0.9", fmt.Sprintf("192.0.2.%d", 50+i/2)) // one host and several others
	}
	lose := func(c *talk) {
		c.past(seg(t, c.end(), c.to, conntrack.ACK, c.client-10, c.server, "0123456789")) // the program has passed one like it
		if c.slot() != nil {
			t.Error("the connection is still on the fast path")
		}
		c.say(20)
		if c.slot() != nil {
			t.Error("the connection is on the fast path again")
		}
	}
	for _, c := range peers[:fastLossy-2] {
		if lose(c); b.gate.down.Load() {
			t.Fatalf("one host has made the gateway give up: %s", b.words)
		}
	}
	c := b.between(4000, "10.0.0.9", "192.0.2.50:515")
	if c.say(20); c.slot() != nil || c.counts["fast"] > 0 {
		t.Error("another connection between these hosts is on the fast path")
	}
	for i, c := range talks[:3] { // with the peer's they are four of 64
		lose(c)
		if down := b.gate.down.Load(); down != (i == 2) {
			t.Fatalf("after %d of %d connections: given up %v: %s", i+1, len(talks), down, b.words)
		}
	}
}

// The first connection that a gateway gives to the fast path loses its marks: it is alone with that until another pair of hosts shows the same.
func TestFastFirstPairTakesNothingDown(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	peer := b.between(2000, "10.0.0.9", "192.0.2.50:515")
	peer.say(10)
	lose := func(c *talk) { c.past(seg(t, c.end(), c.to, conntrack.ACK, c.client-10, c.server, "0123456789")) }
	lose(peer)
	if b.gate.down.Load() || peer.slot() != nil || !strings.Contains(b.words.String(), "one=10.0.0.9 other=192.0.2.50") {
		t.Fatalf("given up %v, on the fast path %v, said: %s", b.gate.down.Load(), peer.slot() != nil, b.words)
	}
	other := b.between(2001, "10.0.0.1", "192.0.2.51:515")
	if other.say(20); other.slot() == nil || other.counts["fast"] < 20 {
		t.Fatalf("another connection is not on the fast path: %v", other.counts)
	}
	again := b.between(2002, "10.0.0.9", "192.0.2.51:515") // the peer, with somebody else
	again.say(10)
	if lose(again); b.gate.down.Load() {
		t.Fatalf("the same host again: %s", b.words)
	}
	third := b.between(2003, "10.0.0.2", "192.0.2.52:515")
	third.say(10)
	if lose(third); !b.gate.down.Load() || strings.Count(b.words.String(), "\n") != 2 {
		t.Errorf("two pairs of hosts: given up %v, said: %s", b.gate.down.Load(), b.words)
	}
}

// Who loses marks between ever new hosts, where that is an exception, does not fill the gateway's own log.
func TestFastNamesFewPairs(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	b.gate.trusted = 1 << 20
	for i := range 3 * fastNamed {
		b.gate.suspect(hosts{{0: byte(i), 1: 1}, {0: byte(i), 1: 2}}, "no marks")
	}
	if n := strings.Count(b.words.String(), "stay on the queue"); n != fastNamed || b.gate.down.Load() {
		t.Errorf("%d pairs are named, want %d; given up %v", n, fastNamed, b.gate.down.Load())
	}
}

// As many pairs of hosts are counted as are remembered, each once.
func TestFastCountsPairs(t *testing.T) {
	f := newFastBench(t, plainPolicy, 16).Worker.fast
	pair := func(i int) hosts { return hosts{{0: byte(i), 1: byte(i >> 8)}, {15: 1}} }
	for i := range fastUnfit + 10 {
		f.keepOnQueue(pair(i), fastLoss(1+i%2))
		f.keepOnQueue(pair(i), fastLossNotExempt)
	}
	if n := f.counts.Kept; n != [numFastLosses]uint64{0, fastUnfit / 2, fastUnfit / 2} || f.shut.Len() != fastUnfit {
		t.Errorf("%v of %d", n, f.shut.Len())
	}
}

// A segment with the mark of those that were let pass, on the queue: it is decided there, its count is taken back, and its connection leaves
// the fast path; that is given up where it is no exception.
func TestFastNotExempt(t *testing.T) {
	b := newFastBench(t, plainPolicy, 256)
	var talks []*talk
	for i := range 2 * fastLossy {
		c := b.between(2000, fmt.Sprintf("10.0.1.%d", i), fmt.Sprintf("192.0.2.%d", 100+i)+":515")
		c.say(10)
		talks = append(talks, c)
	}
	for i, c := range talks[:2] {
		passed := b.kernel.passed
		b.keep = true
		if how := c.send(true, conntrack.ACK, c.client, c.server, "0123456789"); how != "queue" || b.kernel.passed != passed+1 {
			t.Fatalf("by the %s path, %d passed", how, b.kernel.passed-passed)
		}
		b.keep = false
		if n := b.Worker.fast.counts.Kept[fastLossNotExempt]; n != uint64(i+1) {
			t.Errorf("%d pairs of hosts stay on the queue, want %d", n, i+1)
		}
		tu := tuple(c.end(), c.to)
		e := b.engine.Find(b.shared.clock.Now(), &tu)
		if all := e.Side[0].Packets + e.Side[1].Packets; all != 3+20+1 || e.FastSlot != 0 || b.Worker.fast.counts.Returned[0] != uint64(i+1) {
			t.Errorf("%d packets, slot %d, %v returned", all, e.FastSlot, b.Worker.fast.counts.Returned)
		}
		if down := b.gate.down.Load(); down != (i == 1) || down != strings.Contains(b.words.String(), "given up") || !strings.Contains(b.words.String(), "do not exempt") {
			t.Errorf("after %d of %d connections: given up %v: %s", i+1, len(talks), down, b.words)
		}
	}
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	c := b.finalCounts()
	if n := b.owes(&c); n != [2]int64{} {
		t.Errorf("%v untold at the end", n)
	}
}

// Where the program is missing on an interface, segments without marks say nothing about marks, and nothing is taken back for them.
func TestFastProgramMissing(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	missing := false
	b.gate.check = func(ifindex uint32) bool { return !missing || ifindex != inside }
	c := b.open(721)
	c.say(20)
	missing = true
	for range 3 {
		c.past(seg(t, c.end(), serverEnd, conntrack.ACK, c.client-10, c.server, "0123456789"))
	}
	if b.gate.down.Load() || b.Worker.fast.counts.Lost != 0 || b.Worker.fast.counts.Returned[0] != 0 {
		t.Errorf("given up %v, %+v", b.gate.down.Load(), b.Worker.fast.counts)
	}
	missing = false
	c.say(2)
	if c.slot() == nil {
		t.Error("not on the fast path any more")
	}
	c.past(seg(t, c.end(), serverEnd, conntrack.ACK, c.client-10, c.server, "0123456789"))
	if b.Worker.fast.counts.Lost != 1 {
		t.Error("not suspected with the program in its place")
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
