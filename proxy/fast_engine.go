package proxy

import (
	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/fastpath"
)

// A fastWorker is what the engine asks about connections on the fast path.
var _ policy.FastPath = (*fastWorker)(nil)

// Peek implements [policy.FastPath].
func (f *fastWorker) Peek(e *conntrack.Entry) (p conntrack.Progress, ok bool) {
	sl := f.slot(e.FastSlot)
	if !sl.used || !sl.armed {
		return p, false
	}
	snap, err := f.flows.Read(e.FastSlot)
	if err != nil {
		f.gate.standDown(fastOffBroken, err.Error())
		return p, false
	}
	return f.progress(sl, &snap)
}

// Freeze implements [policy.FastPath]. It is called for the entry of the packet at hand before that is decided, whose mark tells then what
// it was, and for entries that end.
func (f *fastWorker) Freeze(e *conntrack.Entry) (p conntrack.Progress, ok bool) {
	n := e.FastSlot
	sl := f.slot(n)
	if !sl.used {
		return p, false
	}
	if sl.armed {
		snap, err := f.flows.Freeze(n)
		sl.armed = false
		if err != nil {
			f.gate.lose(err)
			return p, false
		}
		sl.newest = snap.Punt
		if snap.Met {
			sl.passes()
		} else {
			sl.vainly()
		}
		if p, ok = f.progress(sl, &snap); !ok {
			p.Fast = conntrack.Fast{} // of counts alone, should any be taken back
		}
		for dir := range sl.loose {
			sl.loose[dir] = sl.packets[dir] - sl.base[dir]
			sl.end[dir], sl.ack[dir] = snap.Fast.Side[dir].End, snap.Fast.Side[dir].MaxAck
		}
	}
	if s := f.segment; s != nil {
		switch s.Tuple {
		case sl.tuple:
			ok = f.met(sl, conntrack.Original, &p) || ok
		case sl.tuple.Reverse():
			ok = f.met(sl, conntrack.Reply, &p) || ok
		}
	}
	return p, ok
}

// Ended implements [policy.FastPath].
func (f *fastWorker) Ended(e *conntrack.Entry) {
	if f.slot(e.FastSlot).used {
		f.forget(e.FastSlot)
	}
}

// progress returns what a snapshot tells beyond what was taken over before.
func (f *fastWorker) progress(sl *fastSlot, snap *fastpath.Snapshot) (p conntrack.Progress, ok bool) {
	for dir := range p.Packets {
		p.Packets[dir], p.Bytes[dir] = snap.Packets[dir]-sl.packets[dir], snap.Bytes[dir]-sl.bytes[dir]
		f.counts.Absorbed += p.Packets[dir]
		f.counts.AbsorbedBytes += p.Bytes[dir]
	}
	sl.packets, sl.bytes = snap.Packets, snap.Bytes
	p.Fast = snap.Fast
	return p, p.Packets[0]|p.Packets[1] != 0
}

// met takes the packet at hand into account, which is one of the slot's connection, of direction dir: its number, or that it has lost its
// mark. It reports whether p has changed.
//
// A segment of a known connection that comes in by the interface of its key has a mark: a number, or that it was let pass. One without
// was in the queue before the program knew the connection, or somebody has taken the mark away. Once a direction has shown a mark only
// the latter is possible; nothing is armed before both have. Of segments that lost their mark those that were let pass come first: no more than
// the program has counted, and nothing beyond the numbers that it had seen. Their count is taken back, because they are decided here and
// counted as what the queue brought.
//
// One that has the mark of those that were let pass and comes by the queue all the same is another such case: the rules in front of the
// queue do not exempt it, so that it is decided here.
//
// A peer may know how to make a segment that looks like that: where the host translates addresses, one that takes another way past the
// translation to the same connection. So the connection leaves the fast path, and with it all between these two hosts; that is given up
// only where many hosts show the same. What cannot
// be read is no evidence: the program may have found no ports where the queue's copy shows them, or the other way round.
func (f *fastWorker) met(sl *fastSlot, dir conntrack.Direction, p *conntrack.Progress) (changed bool) {
	switch {
	case f.kind == fastpath.MarkPunt:
		// Two processors may bring the segments of both directions to the queue in another order than they punted them: a number that
		// seems far ahead is a little behind, and the connection is armed after the greatest.
		if n := f.marks.Number(f.packet.Mark, sl.punt); n-sl.punt <= f.marks.Span()/2 {
			sl.punt = n
		}
		sl.seen |= 1 << dir
		return false
	case f.kind == fastpath.MarkInjected, f.packet.InDev != sl.dev[dir], f.segment.Defect != conntrack.DefectNone:
		return false
	case f.kind == fastpath.MarkNone && sl.seen&(1<<dir) == 0:
		if f.drains > sl.drains+1 { // what waited when it was installed has been received
			sl.strays[dir] = min(sl.strays[dir], 254) + 1
		}
		return false
	}
	if sl.lossy == fastLossNone {
		if !f.gate.whole(sl.dev[dir]) { // the program was not there to put a mark on it, and has not counted it
			return false
		}
		why := lostOnTheWay
		sl.lossy = fastLossOverwritten
		if f.kind == fastpath.MarkFast {
			sl.lossy, why = fastLossNotExempt, notExempt
		}
		f.gate.suspect(hostsOf(&sl.tuple), why)
	}
	f.counts.Lost++
	if sl.loose[dir] == 0 || !f.segment.End().LessEq(sl.end[dir]) || !f.segment.Ack.LessEq(sl.ack[dir]) { // a punted one, which was not counted
		return false
	}
	sl.loose[dir]--
	n := uint64(f.segment.Bytes)
	f.counts.Absorbed--
	f.counts.AbsorbedBytes -= n
	f.counts.Returned[0]++
	f.counts.Returned[1] += n
	p.Packets[dir]--
	p.Bytes[dir] -= n
	return true
}

// Why the fast path is given up.
const (
	lostOnTheWay = "marks do not stay on packets from ingress to the queue: some rule of the host's overwrites them"
	notExempt    = "segments that were let pass came by the queue all the same: the rules in front of the queue do not exempt their mark"
)
