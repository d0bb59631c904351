package proxy

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// garbageAllowed is about how much garbage, in bytes, lies around before the collector runs. Go's own rule allows as much as what lives in the
// heap. Connection tables do not lie there as a rule, but where the kernel gives them no memory of their own that would be more than a
// gigabyte of garbage beside ten million connections; and since a table has next to no pointers, a collection costs as little
// there as beside an empty one.
const garbageAllowed = 64 << 20

// minPercent bounds how often the collector runs where more than a few gigabytes live.
const minPercent = 2

// pacer keeps the garbage of a process within bounds, unless its operator has said otherwise (GOGC); and it keeps what he has said of all
// memory (GOMEMLIMIT), of which Go counts only its own.
type pacer struct {
	off     bool
	percent int
	asked   int64 // GOMEMLIMIT in bytes, math.MaxInt64 for none
	limit   int64 // what is set of it
	sample  [1]metrics.Sample
}

func newPacer() *pacer {
	c := &pacer{percent: 100, asked: debug.SetMemoryLimit(-1)}
	c.limit = c.asked
	_, c.off = os.LookupEnv("GOGC")
	c.sample[0].Name = "/gc/heap/live:bytes"
	return c
}

// pace sets the garbage collection percentage by what lives in the heap, and the limit of Go's memory by what lies outside.
func (c *pacer) pace(outside int64) {
	if c.asked != math.MaxInt64 {
		if l := heapLimit(c.asked, outside); l != c.limit && (l < c.limit-c.limit/limitStep || l > c.limit+c.limit/limitStep) {
			c.limit = l
			debug.SetMemoryLimit(l)
		}
	}
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

// limitStep: the limit of Go's memory is set again when it is to change by more than one part of so many.
const limitStep = 32

// heapLimit returns what an operator's limit in bytes leaves to Go where so many bytes lie outside: at least a quarter, since with less than lives
// in the heap Go would do nothing but collect.
func heapLimit(asked, outside int64) int64 { return max(asked-outside, asked/4) }

// collectorPercent returns the percentage for a heap of which so many bytes live. It goes in steps, so that it is seldom set: each
// setting stops the world.
func collectorPercent(live uint64) int {
	p := 100
	for p > minPercent && live*uint64(p) > garbageAllowed*100 {
		p -= max(p/4, 1)
	}
	return p
}
