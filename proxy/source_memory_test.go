package proxy

import (
	"fmt"
	"time"

	"halfopen/conntrack"
	"halfopen/proxy/nfqueue"
)

// wire records, in order, what leaves a worker: verdicts at the moment that they are flushed, and injected packets.
type wire struct{ events []string }

func (w *wire) add(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

// memorySource is a Source whose packets come from memory.
type memorySource struct {
	name     string
	wire     *wire
	queued   []nfqueue.Packet
	altered  [][]byte // what packets were altered to
	capLen   uint32   // the least length that the queue says its packets have
	waiting  []string // verdicts not flushed
	nextID   uint32
	open     map[uint32]bool
	reroute  func(packet []byte)
	flushed  func(packet []byte) // what an accepted packet sets off, nil for nothing
	flushing func()              // nil: nothing is to be done when verdicts leave
	received func()              // nil: nothing happens while a batch is being decided
	hook     uint8               // of all packets where it is not 0
	packets  map[uint32][]byte
}

func newMemorySource(name string, w *wire) *memorySource {
	return &memorySource{name: name, wire: w, open: map[uint32]bool{}, packets: map[uint32][]byte{}}
}

func (m *memorySource) push(packets ...[]byte) {
	for _, p := range packets {
		m.queued = append(m.queued, nfqueue.Packet{Data: p})
	}
}

func (m *memorySource) Recv(batch []nfqueue.Packet, _ time.Duration) (n int, _ error) {
	for n < len(batch) && len(m.queued) > 0 {
		m.nextID++
		p := m.queued[0]
		if m.hook != 0 {
			p.Hook = m.hook
		}
		p.ID, p.CapLen = m.nextID, max(uint32(len(p.Data)), m.capLen)
		batch[n] = p
		m.open[m.nextID], m.packets[m.nextID] = true, p.Data
		m.queued = m.queued[1:]
		n++
	}
	if m.received != nil {
		m.received()
	}
	return n, nil
}

func (m *memorySource) verdict(id uint32, word string) {
	if !m.open[id] {
		panic(fmt.Sprintf("%s: second verdict for %d", m.name, id))
	}
	delete(m.open, id)
	m.waiting = append(m.waiting, fmt.Sprintf("%s %s %d", m.name, word, id))
}

func (m *memorySource) Accept(id uint32) { m.verdict(id, "accept") }
func (m *memorySource) Drop(id uint32)   { m.verdict(id, "drop") }
func (m *memorySource) Reroute(id uint32, _ uint16) {
	m.verdict(id, "reroute")
	if m.reroute != nil {
		m.reroute(m.packets[id])
	}
}
func (m *memorySource) AcceptAltered(id uint32, packet []byte) error {
	m.altered = append(m.altered, append([]byte(nil), packet...))
	m.verdict(id, "altered")
	return nil
}

func (m *memorySource) Flush() error {
	if m.flushing != nil && len(m.waiting) > 0 {
		m.flushing()
	}
	m.wire.events = append(m.wire.events, m.waiting...)
	left := m.waiting
	m.waiting = nil
	if m.flushed != nil {
		for _, v := range left {
			var name, word string
			var id uint32
			if _, err := fmt.Sscanf(v, "%s %s %d", &name, &word, &id); err == nil && word == "accept" {
				m.flushed(m.packets[id])
			}
		}
	}
	return nil
}
func (m *memorySource) Stats() nfqueue.Stats { return nfqueue.Stats{} }
func (m *memorySource) Close() error         { return nil }

// recorder is an Injector that sends nothing.
type recorder struct {
	wire *wire
	err  error
}

func (r *recorder) Send(packet []byte) error {
	var s conntrack.Segment
	NewDecoder().Decode(packet, len(packet), PacketInfo{}, &s)
	if s.Defect == conntrack.DefectNotTCP {
		r.wire.add("inject icmp %s > %s", s.Tuple.From().Addr(), s.Tuple.To().Addr())
		return r.err
	}
	r.wire.add("inject %s %s seq %d ack %d", s.Flags, s.Tuple, s.Seq, s.Ack)
	return r.err
}
func (r *recorder) Close() error { return nil }
