package proxy

import (
	"halfopen/conntrack"
	"halfopen/proxy/capture"
)

// replayBatch is how many segments are decoded before the first of them is decided: as many look-ups as the table reads ahead at a time.
const replayBatch = 64

// batch holds segments that are decoded and not decided yet, so that the engine can read ahead what their look-ups will need.
type batch struct {
	segs  []conntrack.Segment
	from  []sighting // of each segment
	waits int        // how many there are
}

// sighting is what is known of a segment beside what the decoder says: where the capture has it, and when it came.
type sighting struct {
	n      int               // frame
	time   conntrack.Instant // what the replay's clock showed then
	iface  string
	packet []byte // where the capture's reader has it
	length int    // of the whole packet, captured or not
}

// init makes room for so many segments.
func (b *batch) init(size int) {
	b.segs, b.from = make([]conntrack.Segment, size), make([]sighting, size)
}

// newBatch begins with an empty batch. Whoever asks about each frame is told before the next one is looked at.
func (r *replay) newBatch() {
	if r.cfg.Frame != nil || r.cfg.explain != nil {
		r.batch.init(1)
	} else {
		r.batch.init(replayBatch)
	}
}

// keep adds the segment that was just decoded.
func (r *replay) keep(f *capture.Frame) {
	b := &r.batch
	a := &b.from[b.waits]
	a.n, a.time, a.iface = f.N, r.clock.now, f.Interface
	if b.waits++; b.waits == len(b.segs) {
		r.decide()
	}
}

// decide decides the segments that wait for it.
func (r *replay) decide() {
	b := &r.batch
	segs := b.segs[:b.waits]
	b.waits = 0
	if len(segs) > 1 {
		r.engine.Ahead(segs)
		r.shadows.ahead(segs)
	}
	for i := range segs {
		r.segment(&b.from[i], &segs[i])
	}
}
