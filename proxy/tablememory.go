package proxy

import (
	"halfopen/conntrack"
	"halfopen/proxy/hugepage"
)

// smallTable is how many bytes of a table lie in Go's heap, those of about 20,000 connections: their records stay in the processor's caches,
// and each of many workers with few connections would otherwise cost huge pages of its own.
const smallTable = 4 << 20

// tableMemory is where a connection table lies: on huge pages outside Go's heap. The table holds it, and it its memory, so that a thread
// that hangs keeps what it may yet touch.
type tableMemory struct{ arena *hugepage.Arena }

// newTableMemory returns memory for one table; failed is told why there are no huge pages, nil for nobody.
func newTableMemory(failed func(error)) conntrack.Memory {
	return tableMemory{hugepage.New(hugepage.Config{Small: smallTable, Failed: failed})}
}

// tableMemory returns memory for one table.
func (s *shared) tableMemory() conntrack.Memory { return newTableMemory(s.noTableMemory) }

// noTableMemory says why there is none, once for all tables. Safe from any goroutine.
func (s *shared) noTableMemory(err error) {
	s.noHuge.Do(func() {
		s.slog.Warn("no huge pages for the connection table: it grows in Go's heap, where look-ups among millions of connections take longer", "err", err)
	})
}

func (m tableMemory) Flows() *conntrack.FlowPiece { return hugepage.Take[conntrack.FlowPiece](m.arena) }

func (m tableMemory) Prefixes() *conntrack.PrefixPiece {
	return hugepage.Take[conntrack.PrefixPiece](m.arena)
}

func (m tableMemory) Index() *conntrack.IndexPiece {
	return hugepage.Take[conntrack.IndexPiece](m.arena)
}

func (m tableMemory) Timers() *conntrack.TimerPiece {
	return hugepage.Take[conntrack.TimerPiece](m.arena)
}

func (m tableMemory) Extras() *conntrack.ExtrasPiece {
	return hugepage.Take[conntrack.ExtrasPiece](m.arena)
}
