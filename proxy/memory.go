package proxy

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// garbageAllowed is about how much garbage, in bytes, lies around before the collector runs. Go's own rule allows as much as what lives, which
// beside a table of ten million connections is more than a gigabyte; and since the table has next to no pointers, a collection costs as
// little there as beside an empty one.
const garbageAllowed = 64 << 20

// minPercent bounds how often the collector runs where more than a few gigabytes live.
const minPercent = 2

// pacer keeps the garbage of a process within bounds, unless its operator has said otherwise (GOGC).
type pacer struct {
	off     bool
	percent int
	sample  [1]metrics.Sample
}

func newPacer() *pacer {
	c := &pacer{percent: 100}
	_, c.off = os.LookupEnv("GOGC")
	c.sample[0].Name = "/gc/heap/live:bytes"
	return c
}

// pace sets the garbage collection percentage by what lives.
func (c *pacer) pace() {
	if c.off {
		return
	}
	metrics.Read(c.sample[:])
	if c.sample[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	if p := collectorPercent(c.sample[0].Value.Uint64()); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
}

// collectorPercent returns the percentage for a heap of which so many bytes live. It goes in steps, so that it is seldom set: each
// setting stops the world.
func collectorPercent(live uint64) int {
	p := 100
	for p > minPercent && live*uint64(p) > garbageAllowed*100 {
		p -= max(p/4, 1)
	}
	return p
}
