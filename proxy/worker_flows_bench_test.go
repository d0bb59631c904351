package proxy

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// manySource hands out segments of many connections in no order, made from one packet of each kind by its addresses.
type manySource struct {
	loopSource
	flows int
	rng   *rand.Rand
	kind  int // 0 SYN, 1 SYN/ACK, 2 ACK, 3 window update, of each connection in turn; 4 window updates of any
	next  int
	shape [4][]byte
	buf   [batchSize][256]byte
}

func (m *manySource) Recv(batch []nfqueue.Packet, _ time.Duration) (int, error) {
	n := min(len(batch), m.left)
	for i := range n {
		f := m.next
		if m.kind == 4 {
			f = m.rng.IntN(m.flows)
		}
		m.next++
		p := m.buf[i][:copy(m.buf[i][:], m.shape[min(m.kind, 3)])]
		at := 12 // of the client's address in an IPv4 header
		if m.kind == 1 {
			at = 16
		}
		p[at+1], p[at+2], p[at+3] = byte(f>>16), byte(f>>8), byte(f)
		m.id++
		batch[i] = nfqueue.Packet{ID: m.id, CapLen: uint32(len(p)), Data: p, Partial: true}
	}
	m.left -= n
	return n, nil
}

// manyFlows is a worker that knows so many connections, from 10.0.0.0 on.
func manyFlows(b *testing.B, flows int) (*Worker, *manySource) {
	pol, problems := policy.Load("test.yaml", []byte("preset: linux-default\nlimits: {flows: 16000000, embryonic: 16000000}\nlog: {detail: decision, rate: {all: 1}}"), nil)
	if pol == nil {
		b.Fatal(problems)
	}
	log, err := decisionlog.Open(decisionlog.Options{Dir: "-", Stdout: discard{}, RingSize: 1 << 12})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	w := newWorker(0, &shared{clock: NewClock(), log: log, ifaces: newInterfaces(), flowEvents: newFanout(), pending: NewPending()})
	ends := tuple("10.0.0.0:721", serverEnd)
	src := &manySource{flows: flows, rng: rand.New(rand.NewPCG(1, 2)), shape: [4][]byte{
		mustEncode(b, &conntrack.Segment{Tuple: ends, Flags: conntrack.SYN, Seq: 100, Window: 64240}, nil),
		mustEncode(b, &conntrack.Segment{Tuple: ends.Reverse(), Flags: conntrack.SYN | conntrack.ACK, Seq: 500, Ack: 101, Window: 64240}, nil),
		mustEncode(b, &conntrack.Segment{Tuple: ends, Flags: conntrack.ACK, Seq: 101, Ack: 501, Window: 64240}, nil),
		mustEncode(b, &conntrack.Segment{Tuple: ends, Flags: conntrack.ACK, Seq: 101, Ack: 501, Window: 60000}, nil),
	}}
	w.main, w.producer = src, log.Producer(0)
	w.engine = policy.NewEngine(policy.EngineConfig{Policy: pol, NoAdopt: true, FirstID: 1})
	w.setRates(pol)
	for src.kind < 4 {
		src.left, src.next = flows, 0
		for src.left > 0 {
			w.tick()
			if _, err := w.turn(); err != nil {
				b.Fatal(err)
			}
		}
		src.kind++
	}
	if w.engine.Len() != flows {
		b.Fatalf("%d connections, want %d", w.engine.Len(), flows)
	}
	e := w.engine.Find(w.now, &ends)
	if e == nil || e.State != conntrack.Established {
		b.Fatalf("the first is %+v", e)
	}
	return w, src
}

// BenchmarkPacketFlows is decode, step, count and verdict of an acknowledgment of one of so many connections, any of them, in full batches. cpu-ns/packet
// is the thread's own time.
func BenchmarkPacketFlows(b *testing.B) {
	for _, flows := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			w, src := manyFlows(b, flows)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			packets := 0
			b.ResetTimer()
			from := threadTime()
			for b.Loop() {
				src.left = batchSize
				w.tick()
				if _, err := w.turn(); err != nil {
					b.Fatal(err)
				}
				packets += batchSize
			}
			b.ReportMetric(float64(threadTime()-from)/float64(packets), "cpu-ns/packet")
			if got := w.counts.Decided[conntrack.InWindow][policy.Forward]; got < uint64(packets) {
				b.Fatalf("only %d of %d segments were in the window", got, packets)
			}
		})
	}
}
