package proxy

import (
	"fmt"
	"time"

	"halfopen/proxy/decisionlog"
)

// The books of the fast path. What the program has counted as passed is what flow records tell of, and what came by the queue after all
// because its mark was lost (which the queue's own books explain), and what gap records admit: the part of workers that died with it.

// recover takes back what a worker had whose thread has ended, and returns how many packets and bytes passed by it that nothing tells of:
// no record that it handed to the log, and no count of what came by the queue after all. booked is what is in the books of it.
func (f *fastGate) recover(place int, w *Worker, booked *Counts) (untold [2]int64) {
	if w.fast == nil {
		return untold
	}
	passed := w.fast.passed()
	for len(w.fast.live) > 0 {
		w.fast.forget(w.fast.live[len(w.fast.live)-1])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lent[place] = false
	for i := range untold {
		untold[i] = int64(passed[i]-booked.Fast.Returned[i]) - booked.FastTold[i]
	}
	return untold
}

// passed returns how many packets and bytes have passed by the worker's slots since it began: what it has taken over, and what the slots
// still hold. Its thread has ended, or is the caller's.
func (f *fastWorker) passed() (n [2]uint64) {
	c := &f.counts
	n = [2]uint64{c.Absorbed + c.Returned[0], c.AbsorbedBytes + c.Returned[1]}
	for _, slot := range f.live {
		snap, err := f.flows.Freeze(slot)
		if err != nil {
			f.gate.lose(err)
			continue
		}
		sl := f.slot(slot)
		for dir := range snap.Packets {
			n[0] += snap.Packets[dir] - sl.packets[dir]
			n[1] += snap.Bytes[dir] - sl.bytes[dir]
		}
		sl.packets, sl.bytes, sl.armed = snap.Packets, snap.Bytes, false
	}
	return n
}

// lose gives the fast path up because what a slot holds could not be read: it is in no record.
func (f *fastGate) lose(err error) {
	f.mu.Lock()
	f.blind = err.Error()
	f.mu.Unlock()
	f.standDown(fastOffBroken, err.Error())
}

// putFastGap admits packets and bytes that the fast path let pass and of which no flow record will tell. They are no queue messages.
func (g *Gateway) putFastGap(untold [2]int64, why string, queue uint16) {
	if untold == [2]int64{} {
		return
	}
	now := time.Now().UnixNano()
	l := &g.ledger
	l.fastGaps[0] += untold[0]
	l.fastGaps[1] += untold[1]
	detail := fmt.Sprintf(why, queue) + ", and with it what flow records would have told of the fast path"
	g.log.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventGap, Gap: &decisionlog.Gap{Where: decisionlog.GapWorker,
		Bound: decisionlog.BoundExact, Fast: untold, From: l.from, To: now, Detail: detail}})
	g.cfg.Logger.Warn("no flow record tells of packets that the fast path let pass", "packets", untold[0], "bytes", untold[1], "why", detail)
}

// settleFast admits what threads that still hang keep to themselves: what the program has counted, without what the log tells of and what
// came by the queue after all.
func (g *Gateway) settleFast(c *Counts) {
	k, l := g.fast.kernel(), &g.ledger
	passed := [2]uint64{k.Packets, k.Bytes}
	var untold [2]int64
	for i := range untold {
		untold[i] = int64(passed[i]-c.Fast.Returned[i]) - c.FastTold[i] - l.fastGaps[i]
	}
	for _, w := range g.workerList() {
		if !w.ended() {
			g.putFastGap(untold, "the worker of queue %d hangs", w.queue)
			return
		}
	}
	if len(g.ghosts) > 0 {
		g.putFastGap(untold, "a worker of queue %d hung, and was replaced", g.ghosts[0].queue)
		return
	}
	g.putFastGap(untold, "a worker of the queues from %d on ended too late", g.cfg.Queues[0])
}
