package conntrack

import (
	"testing"
	"time"

	"halfopen/proxy/hugepage"
)

// arenaMemory is a table's memory as a gateway provides it.
type arenaMemory struct{ *hugepage.Arena }

func newArenaMemory(failed func(error)) Memory {
	return arenaMemory{hugepage.New(hugepage.Config{Small: 4 << 20, Failed: failed})}
}

func (m arenaMemory) Flows() *FlowPiece      { return hugepage.Take[FlowPiece](m.Arena) }
func (m arenaMemory) Prefixes() *PrefixPiece { return hugepage.Take[PrefixPiece](m.Arena) }
func (m arenaMemory) Index() *IndexPiece     { return hugepage.Take[IndexPiece](m.Arena) }
func (m arenaMemory) Timers() *TimerPiece    { return hugepage.Take[TimerPiece](m.Arena) }
func (m arenaMemory) Extras() *ExtrasPiece   { return hugepage.Take[ExtrasPiece](m.Arena) }

// scantMemory gives every second piece that it is asked for, and counts by kind.
type scantMemory struct {
	asked int
	gave  map[string]int
}

func scant[T any](m *scantMemory, kind string) *T {
	if m.asked++; m.asked%2 == 0 {
		return nil
	}
	m.gave[kind]++
	return new(T)
}

func (m *scantMemory) Flows() *FlowPiece      { return scant[FlowPiece](m, "flows") }
func (m *scantMemory) Prefixes() *PrefixPiece { return scant[PrefixPiece](m, "prefixes") }
func (m *scantMemory) Index() *IndexPiece     { return scant[IndexPiece](m, "index") }
func (m *scantMemory) Timers() *TimerPiece    { return scant[TimerPiece](m, "timers") }
func (m *scantMemory) Extras() *ExtrasPiece   { return scant[ExtrasPiece](m, "extras") }

// A table takes each kind of piece from its memory, does without where that has none, remembers the same, and takes no more when its flows have
// made room for others.
func TestTableTakesWhatMemoryItGets(t *testing.T) {
	const flows = 20_000
	m := &scantMemory{gave: map[string]int{}}
	tb := NewTable(Config{Max: flows, MaxEmbryonic: flows, Seed: 5, Memory: m})
	p := &Params{Timeouts: testTimeouts(), Rule: -1}
	now := Instant(time.Hour)
	var v View
	tuple := func(i int) Tuple {
		tu := flowTuple(i)
		if i%3 == 0 {
			tu.Src[0], tu.Dst[0] = 0x20, 0x20
		}
		return tu
	}
	asked := 0
	for life := range 2 {
		for i := range flows {
			s := Segment{Tuple: tuple(i), Flags: ACK, Seq: Seq(i), Ack: 1, Window: 1000}
			tb.Lookup(now, &s.Tuple, &v)
			tb.Commit(now, &v, &s, DataNoState, CreateLiberal, Timer{}, p)
			if i%4 == 0 {
				tb.Lookup(now, &s.Tuple, &v)
				v.Entry.Previous = uint64(i) + 1 // for which a record has no room
			}
		}
		if life == 0 {
			asked = m.asked
			for kind, least := range map[string]int{"flows": 8, "prefixes": 2, "index": 1, "timers": 1, "extras": 8} {
				if m.gave[kind] < least {
					t.Errorf("%d pieces of %s taken, want %d or more", m.gave[kind], kind, least)
				}
			}
		}
		for i := range flows {
			tu := tuple(i)
			if tb.Lookup(now, &tu, &v); v.Entry == nil || v.Entry.Tuple != tu || v.Entry.Side[0].End != Seq(i) || i%4 == 0 && v.Entry.Previous != uint64(i)+1 {
				t.Fatalf("flow %d: %+v", i, v.Entry)
			}
		}
		now = now.Add(10 * 24 * time.Hour)
		for tb.Next() <= now {
			tb.Advance(now, 512)
		}
		if tb.Len() != 0 {
			t.Fatalf("%d flows left", tb.Len())
		}
	}
	if m.asked != asked {
		t.Errorf("%d pieces more for as many flows again", m.asked-asked)
	}
}
