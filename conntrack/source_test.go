package conntrack

import (
	"testing"
	"time"
)

// from returns a SYN of a host, from a port.
func from(host byte, port uint16) *Segment {
	s := syn(int(port))
	s.Tuple.Src[15], s.Tuple.SrcPort = host, port
	return s
}

// TestSourceRoom: the bound holds for one source alone, counts only what lives, and may come and go.
func TestSourceRoom(t *testing.T) {
	rg := newRig(t, Config{Max: 100, MaxPerSource: 3})
	room := func(host byte, want bool) {
		t.Helper()
		if rg.table.SourceRoom(rg.now, &from(host, 9).Tuple) != want {
			t.Fatalf("room for host %d: %v", host, !want)
		}
	}
	for port := range uint16(3) {
		room(1, true)
		rg.step(from(1, port), &Rules{}, NumEffects)
	}
	room(1, false)
	room(2, true)
	v := rg.look(from(1, 0).Tuple)
	rg.table.Kill(rg.now, &v, EndKilled)
	delete(rg.live, 1)
	room(1, true)
	rg.step(from(1, 7), &Rules{}, NumEffects)
	room(1, false)
	rg.now = rg.now.Add(120 * time.Second) // all due, nothing swept
	room(1, true)
	if len(rg.table.sources) != 0 {
		t.Errorf("sources %v", rg.table.sources)
	}
	rg.step(from(1, 7), &Rules{}, NumEffects)
	rg.table.SetLimits(100, 50, 0, 0)
	rg.step(from(1, 8), &Rules{}, NumEffects)
	room(1, true)
	rg.table.SetLimits(100, 50, 0, 2)
	room(1, false)
	rg.table.SetLimits(100, 50, 0, 3)
	room(1, true)
	checkTable(t, rg.table)
	drain(t, rg)
	if len(rg.table.sources) != 0 {
		t.Errorf("sources %v", rg.table.sources)
	}
}
