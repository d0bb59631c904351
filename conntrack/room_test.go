package conntrack

import (
	"testing"
	"time"
)

// Where a great many entries are due at once, a segment that needs a place buries a bounded number of them: it does not wait for all. It is refused at the bound on embryonic entries, which is never exceeded, and at that of
// its source by what lives alone. An
// embryonic entry that is due makes room whatever is due before it.
func TestRoomIsBounded(t *testing.T) {
	const due = 5000
	crowded := func() *rig {
		rg := newRig(t, Config{Max: due + 100, MaxEmbryonic: 3, MaxPerSource: 1 << 20})
		fill(t, rg, 100, due, time.Second)
		rg.p.Timeouts = testTimeouts()
		rg.now = rg.now.Add(time.Second) // nothing is swept
		for port := range uint16(3) {
			if _, c, _ := rg.step(from(1, port), &Rules{}, NumEffects); c.Entry == nil {
				t.Fatal("no entry")
			}
			rg.now++
		}
		return rg
	}
	t.Run("embryonic", func(t *testing.T) {
		rg := crowded()
		if f, ok := rg.table.Room(rg.now); ok || f != EmbryonicLimit || len(rg.ended) != roomChunk {
			t.Errorf("%s %v, %d ended, want %d", f, ok, len(rg.ended), roomChunk)
		}
		rg.ended = nil
		rg.now = rg.now.Add(testTimeouts()[SynSent] - 3) // the first SYN's time is over, and none other's
		if f, ok := rg.table.Room(rg.now); !ok || len(rg.ended) != 1 || rg.table.Embryonic() != 2 {
			t.Errorf("%s %v, %d ended, want the one embryonic", f, ok, len(rg.ended))
		}
		checkTable(t, rg.table)
		drain(t, rg)
	})
	t.Run("source", func(t *testing.T) {
		rg := crowded()
		rg.table.SetLimits(due+100, 3, 0, 3)
		for n := roomChunk; n < due; n += roomChunk {
			if !rg.table.SourceRoom(rg.now, &from(1, 9).Tuple) || len(rg.ended) != n {
				t.Fatalf("refused, or %d ended, want %d", len(rg.ended), n)
			}
		}
		if rg.table.SourceRoom(rg.now, &from(1, 9).Tuple) || len(rg.ended) != due {
			t.Errorf("not refused by what lives, or %d ended, want %d", len(rg.ended), due)
		}
		checkTable(t, rg.table)
		drain(t, rg)
	})
}
