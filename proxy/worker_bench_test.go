package proxy

import (
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/nfqueue"
)

// loopSource hands out the same packets again and again, a batch at a time, and forgets the verdicts.
type loopSource struct {
	packets [][]byte
	first   [][]byte // those of the handshake
	left    int
	id      uint32
}

func (l *loopSource) Recv(batch []nfqueue.Packet, _ time.Duration) (int, error) {
	n := min(len(batch), l.left)
	for i := range n {
		p := l.packets[int(l.id)%len(l.packets)]
		l.id++
		batch[i] = nfqueue.Packet{ID: l.id, CapLen: uint32(len(p)), Data: p}
	}
	l.left -= n
	return n, nil
}
func (l *loopSource) Accept(uint32)                      {}
func (l *loopSource) Drop(uint32)                        {}
func (l *loopSource) Reroute(uint32, uint16)             {}
func (l *loopSource) AcceptAltered(uint32, []byte) error { return nil }
func (l *loopSource) Flush() error                       { return nil }
func (l *loopSource) Stats() nfqueue.Stats               { return nfqueue.Stats{} }
func (l *loopSource) Close() error                       { return nil }

// established prepares a worker that knows one connection, and the packets to repeat on it.
func established(t testing.TB, text string, repeat ...[]byte) (*Worker, *loopSource) {
	pol, problems := policy.Load("test.yaml", []byte(text), nil)
	if pol == nil {
		t.Fatal(problems)
	}
	log, err := decisionlog.Open(decisionlog.Options{Dir: "-", Stdout: discard{}, RingSize: 1 << 12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	w := newWorker(0, &shared{clock: NewClock(), log: log, ifaces: newInterfaces(), flowEvents: newFanout(), pending: NewPending()})
	src := &loopSource{packets: [][]byte{
		mustEncode(t, &conntrack.Segment{Tuple: tuple(clientEnd, serverEnd), Flags: conntrack.SYN, Seq: 100, Window: 64240}, nil),
		mustEncode(t, &conntrack.Segment{Tuple: tuple(serverEnd, clientEnd), Flags: conntrack.SYN | conntrack.ACK, Seq: 500, Ack: 101, Window: 64240}, nil),
		mustEncode(t, &conntrack.Segment{Tuple: tuple(clientEnd, serverEnd), Flags: conntrack.ACK, Seq: 101, Ack: 501, Window: 64240}, nil),
	}, left: 3}
	src.first = src.packets
	w.main, w.producer = src, log.Producer(0)
	w.engine = policy.NewEngine(policy.EngineConfig{Policy: pol, NoAdopt: true, FirstID: 1})
	w.setRates(pol)
	w.tick()
	if _, err := w.turn(); err != nil {
		t.Fatal(err)
	}
	src.packets, src.id = repeat, 0
	return w, src
}

func dataAndAck(t testing.TB) [][]byte {
	return [][]byte{
		mustEncode(t, &conntrack.Segment{Tuple: tuple(clientEnd, serverEnd), Flags: conntrack.ACK | conntrack.PSH, Seq: 101, Ack: 501, Window: 64240}, make([]byte, 100)),
		mustEncode(t, &conntrack.Segment{Tuple: tuple(serverEnd, clientEnd), Flags: conntrack.ACK, Seq: 501, Ack: 201, Window: 64240}, nil),
	}
}

// An in-window segment of a known flow costs no allocation from the queue's bytes to the verdict.
func TestPacketPathAllocatesNothing(t *testing.T) {
	w, src := established(t, "preset: linux-default", dataAndAck(t)...)
	turn := func() {
		src.left = batchSize
		w.tick()
		if _, err := w.turn(); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	if n := allocations(20, turn); n != 0 {
		t.Errorf("%v allocations for %d packets", n, batchSize)
	}
	if got := w.counts.Decided[conntrack.InWindow][policy.Forward]; got < 20*batchSize {
		t.Errorf("only %d segments were in the window: the test measures something else", got)
	}
}

// BenchmarkPacket is decode, step and verdict of an in-window segment; with log.detail packet also its record.
func BenchmarkPacket(b *testing.B) {
	for _, c := range []struct{ name, policy string }{
		{"counted", "preset: linux-default"},
		{"recorded", "preset: linux-default\nlog: {detail: packet, rate: {all: unlimited}}"},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, src := established(b, c.policy, dataAndAck(b)...)
			b.ReportAllocs()
			for b.Loop() {
				src.left = 1
				w.tick()
				if _, err := w.turn(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
