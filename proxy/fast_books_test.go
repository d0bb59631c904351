package proxy

import (
	"errors"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// owes returns how many packets and bytes have passed that neither records nor the queue's books tell of.
func (b *fastBench) owes(c *Counts) (n [2]int64) {
	for i, passed := range [2]uint64{b.kernel.passed, b.kernel.bytes} {
		n[i] = int64(passed-c.Fast.Returned[i]) - c.FastTold[i]
	}
	return n
}

// end lets the worker end by a panic between two batches.
func (b *fastBench) end() {
	b.t.Helper()
	b.calls <- call{fn: func(conntrack.Instant, *Worker) { panic("out of order") }, done: make(chan struct{})}
	b.run()
	if b.err == nil {
		b.t.Fatal("the worker did not end by the panic")
	}
}

// What passed is in flow records, to the packet and the byte, also where some came by the queue after all.
func TestFastIsTold(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	var talks []*talk
	for i := range 20 {
		c := b.open(721 + i)
		c.say(20 + i)
		talks = append(talks, c)
	}
	b.flushCounted(time.Time{})
	b.lose = true
	for range 3 { // the first connection's marks are lost on the way to the queue
		b.in(seg(t, talks[0].end(), serverEnd, conntrack.ACK, talks[0].client, talks[0].server, "0123456789"))
		talks[0].client += 10
	}
	b.step()
	b.lose = false
	for _, c := range talks[10:] {
		c.say(5)
	}
	for _, c := range talks[15:] {
		c.send(true, conntrack.RST, c.client, 0, "")
	}
	if b.owes(&b.counts) == [2]int64{} || b.Worker.fast.counts.Returned != [2]uint64{3, 150} {
		t.Errorf("%v untold, %v returned before the end", b.owes(&b.counts), b.Worker.fast.counts.Returned)
	}
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	c := b.finalCounts()
	if n := b.owes(&c); n != [2]int64{} || c.FastTold[0] < 400 {
		t.Errorf("%v untold at the end, %v told", n, c.FastTold)
	}
}

// A worker that dies owes what passed since its records: what it had taken over, and what the program has counted since; but not what came
// by the queue after all.
func TestFastOwedByTheDead(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		told := !lossy
		b := newFastBench(t, plainPolicy, 16)
		b.gate.lent = []bool{true}
		for i := range 5 {
			c := b.open(721 + i)
			c.say(20)
			if told && i == 2 {
				b.flushCounted(time.Time{})
			}
		}
		if lossy {
			c := b.open(800)
			c.say(20)
			b.lose = true
			b.in(seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "0123456789"))
			b.step()
		}
		b.end()
		c := b.finalCounts()
		if lossy != (c.Fast.Returned == [2]uint64{1, 50}) {
			t.Errorf("%v returned", c.Fast.Returned)
		}
		want := b.owes(&c)
		if want[0] < 60 || told != (c.FastTold[0] > 0) {
			t.Fatalf("%v untold, %v told", want, c.FastTold)
		}
		if got := b.gate.recover(0, b.Worker, &c); got != want || b.gate.lent[0] || len(b.kernel.flows) != 0 {
			t.Errorf("recovered %v, want %v; lent %v, %d flows left", got, want, b.gate.lent, len(b.kernel.flows))
		}
	}
}

// A thread that hangs while it is replaced tells nothing any more, whatever it does when it wakes: its books are closed, and what it
// owes is known when it has ended.
func TestFastOwedByAGhost(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	b.gate.lent = []bool{true}
	c := b.open(721)
	c.say(20)
	b.flushCounted(time.Time{})
	b.snapshot()
	c.say(20)
	booked := b.writeOff()
	b.Worker.fast.bump()
	b.lose = true
	c.say(2) // it goes on with its turn
	b.report()
	if b.counts.FastTold != booked.FastTold || booked.FastTold[0] == 0 {
		t.Errorf("%v told when the books were closed, %v afterwards", booked.FastTold, b.counts.FastTold)
	}
	want := b.owes(&booked)
	if got := b.gate.recover(0, b.Worker, &booked); got != want || got[0] < 40 {
		t.Errorf("recovered %v, want %v", got, want)
	}
}

// blindKernel is one whose slots cannot be read.
type blindKernel struct{ *fastKernel }

func (k blindKernel) Freeze(n uint32) (fastpath.Snapshot, error) {
	return fastpath.Snapshot{}, errors.New("no such map")
}

// What cannot be read cannot be told, and the log says so.
func TestFastUnreadSlot(t *testing.T) {
	b := newFastBench(t, plainPolicy, 16)
	b.gate.lent = []bool{true}
	c := b.open(721)
	c.say(20)
	b.Worker.fast.flows = blindKernel{b.kernel}
	time.Sleep(time.Millisecond)
	c.send(true, conntrack.RST, c.client, 0, "")
	if n := b.gate.counters(&fastCounts{}); n.Unproven != "no such map" || n.State != "off" {
		t.Errorf("%+v", n)
	}
}
