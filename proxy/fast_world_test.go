package proxy

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/fastpath"
	"halfopen/proxy/nfqueue"
)

const (
	inside, outside = 7, 8 // interfaces
	plainPolicy     = "preset: linux-default"
)

// fastBench is a bench whose worker has a fast path: packets come in by the model of the program, and by the queue if that marks them so.
type fastBench struct {
	*bench
	kernel *fastKernel
	gate   *fastGate
	words  *syncedWords
	lose   bool // marks are taken off on the way to the queue
	keep   bool // the rules in front of the queue do not know the mark of what passed
	fast   int  // packets that passed
	byWire func(mark uint32) uint32
}

// syncedWords is what the gate says.
type syncedWords struct{ strings.Builder }

func newFastBench(t *testing.T, text string, places int) *fastBench {
	t.Helper()
	b := &fastBench{bench: newBench(t, text, false), kernel: newFastKernel(places), words: &syncedWords{}}
	b.gate = &fastGate{queueLen: nfqueue.DefaultMaxLen, marks: b.kernel.marks, on: func(uint32) bool { return true }, log: slog.New(slog.NewTextHandler(b.words, nil)), flows: []fastFlows{b.kernel}}
	b.Worker.fast = newFastWorker(b.Worker, b.kernel, b.kernel.marks, b.gate)
	pol, problems := policy.Load("test.yaml", []byte(text), nil)
	if pol == nil {
		t.Fatal(problems)
	}
	b.equip(pol, nil, false, policy.EngineConfig{NoAdopt: true, FirstID: 1, Fast: b.Worker.fast})
	b.setRates(pol)
	return b
}

// in lets a packet come in by its side's interface, and says how it went on.
func (b *fastBench) in(packet []byte) string {
	b.t.Helper()
	var s conntrack.Segment
	NewDecoder().Decode(packet, len(packet), PacketInfo{}, &s)
	p := nfqueue.Packet{Data: packet, InDev: inside, OutDev: outside, Hook: hookForward}
	if s.Tuple.SrcPort == 515 {
		p.InDev, p.OutDev = outside, inside
	}
	p.Mark = b.kernel.ingress(b.shared.clock.Now(), p.InDev, &s)
	if b.lose {
		p.Mark = 0
	}
	if b.kernel.marks.Kind(p.Mark) == fastpath.MarkFast && !b.keep {
		b.fast++
		return "fast"
	}
	b.main.queued = append(b.main.queued, p)
	return "queue"
}

// talk is a conversation of n requests and responses of 10 bytes each, all acknowledged by what follows. Between any two of its packets
// the worker takes what is queued.
type talk struct {
	b        *fastBench
	client   conntrack.Seq // next numbers
	server   conntrack.Seq
	port     int
	from, to string // the ends, where they are not the usual ones
	counts   map[string]int
}

func (b *fastBench) open(port int) *talk {
	return b.between(port, "", serverEnd)
}

// between opens a conversation between other hosts.
func (b *fastBench) between(port int, from, to string) *talk {
	c := &talk{b: b, client: 101, server: 501, port: port, from: from, to: to, counts: map[string]int{}}
	c.send(true, conntrack.SYN, 100, 0, "")
	c.send(false, conntrack.SYN|conntrack.ACK, 500, 101, "")
	c.send(true, conntrack.ACK, 101, 501, "")
	return c
}

func (c *talk) end() string { return fmt.Sprintf("%s:%d", cmp.Or(c.from, "10.0.0.1"), c.port) }

func (c *talk) send(up bool, f conntrack.Flags, seq, ack conntrack.Seq, payload string) string {
	from, to := c.end(), c.to
	if !up {
		from, to = to, from
	}
	how := c.b.in(seg(c.b.t, from, to, f, seq, ack, payload))
	c.counts[how]++
	c.b.Worker.fast.beat(c.b.shared.clock.Now())
	c.b.step()
	return how
}

func (c *talk) say(n int) {
	for range n {
		c.send(true, conntrack.ACK|conntrack.PSH, c.client, c.server, "0123456789")
		c.client += 10
		c.send(false, conntrack.ACK|conntrack.PSH, c.server, c.client, "0123456789")
		c.server += 10
	}
}

// listed is how many packets a listing shows.
func (c *talk) listed() (n uint64) {
	tu := tuple(c.end(), serverEnd)
	c.b.engine.Walk(0, 1000, func(e *conntrack.Entry) bool {
		if e.Tuple == tu {
			n = e.Side[0].Packets + e.Side[1].Packets
		}
		return true
	})
	return n
}

// slot returns what the worker knows of the connection on the fast path, nil where it is not on it.
func (c *talk) slot() *fastSlot {
	tu := tuple(c.end(), c.to)
	e := c.b.engine.Find(c.b.shared.clock.Now(), &tu)
	if e == nil || e.FastSlot == 0 {
		return nil
	}
	return c.b.Worker.fast.slot(e.FastSlot)
}
