package policy

import (
	"math/rand/v2"
	"testing"
	"time"

	"halfopen/conntrack"
)

// memory is what an engine should remember, written without caring for cost: a map that its own events fill and empty.
type memory struct {
	t     *testing.T
	e     *Engine
	now   conntrack.Instant
	flows map[conntrack.Tuple]*recalled // by canonical tuple
}

// recalled is a connection as the engine last told of it.
type recalled struct {
	id       uint64
	state    conntrack.State
	deadline conntrack.Instant
}

func (m *memory) flow(ev *FlowEvent) {
	key, _ := ev.Entry.Tuple.Canonical()
	switch f := m.flows[key]; ev.Kind {
	case FlowNew:
		if f != nil {
			m.t.Fatalf("flow %d begins where flow %d is", ev.Entry.ID, f.id)
		}
		m.flows[key] = &recalled{id: ev.Entry.ID}
	case FlowEnd:
		if f == nil || f.id != ev.Entry.ID {
			m.t.Fatalf("flow %d ends, where %+v is", ev.Entry.ID, f)
		}
		if ev.Why == conntrack.EndIdle && (ev.At != f.deadline || ev.At > m.now) {
			m.t.Fatalf("at %d flow %d ends by its timer at %d, which is set to %d", m.now, f.id, ev.At, f.deadline)
		}
		delete(m.flows, key)
	}
}

func (m *memory) time(ev *TimeEvent) {
	if ev.Kind == TimeFlow {
		m.flow(&ev.Flow)
	}
}

// recall takes over what the engine says of one connection now.
func (m *memory) recall(now conntrack.Instant, tu *conntrack.Tuple) {
	key, _ := tu.Canonical()
	switch f, ent := m.flows[key], m.e.Find(now, tu); {
	case f == nil:
	case ent == nil: // it has come to a state that lasts no time
		f.deadline = min(f.deadline, now)
	default:
		f.state, f.deadline = ent.State, ent.Deadline
	}
}

// compare holds every connection against the engine's table. An entry is absent from its deadline on, whether or not its end has
// been told.
func (m *memory) compare(now conntrack.Instant, last *conntrack.Tuple) {
	m.t.Helper()
	for port := range uint16(16) {
		tu := *last
		tu.SrcPort, tu.DstPort = 1000+port, 515
		if side(last) == 1 {
			tu = last.Reverse()
			tu.SrcPort = 1000 + port
		}
		key, _ := tu.Canonical()
		f, ent := m.flows[key], m.e.Find(now, &tu)
		switch {
		case f == nil && ent != nil:
			m.t.Fatalf("port %d: the engine holds flow %d and has not told of it", 1000+port, ent.ID)
		case f != nil && ent == nil && f.deadline > now:
			m.t.Fatalf("port %d: flow %d is gone %v before its time, and nothing was told", 1000+port, f.id, f.deadline.Sub(now))
		case f != nil && ent != nil && (ent.ID != f.id || ent.State != f.state || ent.Deadline != f.deadline):
			m.t.Fatalf("port %d: flow %d %v until %d is flow %d %v until %d now, and no segment of its own came", 1000+port, f.id, f.state, f.deadline,
				ent.ID, ent.State, ent.Deadline)
		}
	}
	if n := m.e.Len(); n != len(m.flows) {
		m.t.Fatalf("%d entries, %d flows told of", n, len(m.flows))
	}
}

// Under every preset the table is what its events say: a connection changes by its own segments only, and lives until its deadline
// or until its end is told.
func TestMemory(t *testing.T) {
	for name, text := range everyPolicy() {
		t.Run(name, func(t *testing.T) {
			p := remembering(t, text)
			for seed := range uint64(max(4/breadth, 1)) {
				course := happenings(seed+100, 500)
				rng := rand.New(rand.NewPCG(seed, 12))
				m := &memory{t: t, e: NewEngine(EngineConfig{Policy: p}), flows: map[conntrack.Tuple]*recalled{}}
				most := 0
				for i := range course {
					h := &course[i]
					if h.still || rng.IntN(3) == 0 {
						m.advance(h.at)
					}
					if h.still {
						continue
					}
					m.now = h.at
					out := m.e.Step(h.at, &h.s)
					for i := range out.Flows {
						m.flow(&out.Flows[i])
					}
					m.recall(h.at, &h.s.Tuple)
					m.compare(h.at, &h.s.Tuple)
					most = max(most, m.e.Len())
				}
				if most < 3 {
					t.Errorf("at most %d connections at a time", most)
				}
				m.advance(conntrack.Instant(course[len(course)-1].at).Add(100 * 365 * 24 * time.Hour))
				if m.e.Len() != 0 || len(m.flows) != 0 {
					t.Errorf("%d entries, %d flows at the end of time", m.e.Len(), len(m.flows))
				}
			}
		})
	}
}

// advance lets time have its way, and takes over what a probe or a timer has set anew.
func (m *memory) advance(now conntrack.Instant) {
	m.now = now
	for m.e.Next() <= now {
		m.e.Advance(now, 1000, m.time)
	}
	m.e.Walk(0, 1<<20, func(ent *conntrack.Entry) bool {
		m.recall(now, &ent.Tuple)
		return true
	})
}
