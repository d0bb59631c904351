package proxy

import (
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/nfqueue"
)

// silentSource takes verdicts and forgets them.
type silentSource struct{ *memorySource }

func (silentSource) Accept(uint32) {}
func (silentSource) Flush() error  { return nil }

// A punted segment, what it takes over from the program, and arming the connection again cost no allocation; nor does a packet of a
// connection that is not on the fast path, or finds no room there.
func TestFastAllocatesNothing(t *testing.T) {
	for name, places := range map[string]int{"punted": 4, "no room": 0} {
		b := newFastBench(t, plainPolicy, places)
		c := b.open(721)
		c.say(10)
		w := b.Worker
		w.main = silentSource{b.main}
		packet := seg(t, serverEnd, c.end(), conntrack.ACK, c.server-1, c.client, "") // a keepalive
		var s conntrack.Segment
		NewDecoder().Decode(packet, len(packet), PacketInfo{}, &s)
		p := nfqueue.Packet{Data: packet, CapLen: uint32(len(packet)), InDev: outside, OutDev: inside, Hook: hookForward}
		again := seg(t, c.end(), serverEnd, conntrack.ACK, c.client, c.server, "")
		var passes conntrack.Segment
		NewDecoder().Decode(again, len(again), PacketInfo{}, &passes)
		w.now = b.shared.clock.Now()
		round := func() {
			w.now = w.now.Add(time.Microsecond)
			w.fast.beat(w.now)
			b.kernel.ingress(w.now, inside, &passes)
			p.Mark = b.kernel.ingress(w.now, outside, &s)
			w.fast.begin(1)
			w.fast.arrive(&p, &s)
			out := w.engine.Step(w.now, &s)
			w.fast.stepped(out)
			w.act(&p, &s, out)
			w.fast.decided()
			w.flush()
			w.fast.flushed()
		}
		round()
		before := w.fast.counts
		if n := testing.AllocsPerRun(1000, round); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
		if places > 0 && (w.fast.counts.Armed < before.Armed+1000 || w.fast.counts.Absorbed < before.Absorbed+1000) {
			t.Errorf("%s: armed %d times, %d packets taken over", name, w.fast.counts.Armed-before.Armed, w.fast.counts.Absorbed-before.Absorbed)
		}
		if places == 0 && w.fast.counts.Full == 0 {
			t.Error("nothing looked for room")
		}
	}
}
