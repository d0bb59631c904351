package proxy

import (
	"errors"

	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// begin says how many packets of the batch at hand there are.
func (f *fastWorker) begin(n int) {
	if f == nil {
		return
	}
	if n < batchSize {
		f.drains++
	}
}

// decided is called when all packets of a batch are decided and their verdicts have not left. What it arms are the connections of which
// nothing waits but bare acknowledgments.
//
// A verdict is carried out within the system call that sends it, up to the receiver's answer, which comes in while the connection is still
// frozen: a connection that never pauses would be armed too late each time, for ever. In such a connection all data that may be under way
// sits in the queue, and once it has left, what comes next are acknowledgments alone; armed before those leave, the connection passes all
// that they set off. What a later segment overtakes then is an acknowledgment, which says less than the later one. Data waits: it is
// never overtaken.
func (f *fastWorker) decided() {
	if f == nil {
		return
	}
	kept := f.listed[:0]
	for _, n := range f.listed {
		sl := f.slot(n)
		switch {
		case !sl.used:
			sl.listed = false
		case sl.data:
			kept = append(kept, n)
		default:
			f.rearm(n, sl)
		}
	}
	f.listed = kept
}

// flushed is called when the verdicts of a batch have left.
func (f *fastWorker) flushed() {
	if f == nil {
		return
	}
	for _, n := range f.listed {
		if sl := f.slot(n); sl.used {
			f.rearm(n, sl)
		} else {
			sl.listed = false
		}
	}
	f.listed = f.listed[:0]
	f.sendLet()
	if news := f.gate.news(); news != f.news { // what did not fit the interfaces may fit them now
		f.news = news
		f.unfit.Purge()
	}
	for i := range f.wants {
		f.install(&f.wants[i])
	}
	f.wants = f.wants[:0]
}

// rearm lets the connection pass again, where it may.
func (f *fastWorker) rearm(n uint32, sl *fastSlot) {
	sl.listed, sl.data = false, false
	switch {
	case sl.over:
		f.release(n)
		return
	case sl.lossy != fastLossNone:
		f.keepOnQueue(hostsOf(&sl.tuple), sl.lossy)
		f.reject(n, sl)
		return
	case sl.armed, f.gate.down.Load():
		return
	case sl.seen != 3:
		f.doubt(n, sl)
		return
	case !sl.settled:
		if sl.unsettled++; sl.unsettled == fastUnsettled {
			f.release(n)
		}
		return
	case !f.numbered(n, sl):
		sl.vainly()
		f.rearmed(n, sl)
		return
	}
	sl.unsettled = 0
	var e *conntrack.Entry
	var why conntrack.FastWhy
	f.state, f.rules, e, why = f.w.engine.ArmFast(f.w.now, &sl.tuple)
	switch {
	case e == nil || e.FastSlot != n: // what a call of the engine since the step has ended
		return
	case why == conntrack.FastPolicy, why == conntrack.FastState, why == conntrack.FastClosing:
		f.release(n)
		return
	case why != conntrack.FastReady:
		return
	}
	sl.armed, sl.base, sl.loose = true, sl.packets, [2]uint64{}
	f.counts.Armed++
	f.flows.Arm(n, sl.punt, &f.state, &f.rules)
	f.rearmed(n, sl)
}

// doubt takes a connection off the fast path whose segments come without a mark. Where the program has punted some, their marks are lost
// on the way; where not, they come in otherwise than its keys say.
func (f *fastWorker) doubt(n uint32, sl *fastSlot) {
	if max(sl.strays[0], sl.strays[1]) < fastStrays {
		return
	}
	snap, err := f.flows.Read(n)
	if err != nil {
		f.gate.standDown(fastOffBroken, err.Error())
		return
	}
	switch whole := f.gate.whole(sl.dev[0]) && f.gate.whole(sl.dev[1]); {
	case !whole: // no wonder then
	case sl.seen == 0 && snap.Punt > sl.newest:
		f.keepOnQueue(hostsOf(&sl.tuple), fastLossOverwritten)
		f.gate.suspect(hostsOf(&sl.tuple), "marks do not come from ingress to the queue: some rule of the host's overwrites them")
	}
	f.reject(n, sl)
}

// reject takes a connection off the fast path for good.
func (f *fastWorker) reject(n uint32, sl *fastSlot) {
	if e := f.w.engine.Find(f.w.now, &sl.tuple); e != nil {
		f.unfit.Add(e.ID, struct{}{})
	}
	f.release(n)
}

// release takes a connection off the fast path, with what was seen of it taken over.
func (f *fastWorker) release(n uint32) {
	sl := f.slot(n)
	f.w.engine.SetSlot(&sl.tuple, 0)
	f.forget(n)
}

// install gives a connection to the fast path. It begins frozen, and is armed once a punted segment of each direction has come.
func (f *fastWorker) install(want *fastWant) {
	_, _, e, why := f.w.engine.ArmFast(f.w.now, &want.tuple)
	if e == nil || e.FastSlot != 0 || why != conntrack.FastReady || f.diverted(&e.Tuple) {
		return
	}
	tuple, id := e.Tuple, e.ID
	keys, fit := f.keys(want, tuple)
	if !fit || f.shut.Len() > 0 && f.shut.Contains(hostsOf(&tuple)) {
		f.unfit.Add(id, struct{}{})
		return
	}
	n, snap, err := f.admit(keys)
	if errors.Is(err, fastpath.ErrFull) {
		f.gate.sayFull()
		if !f.evict() {
			f.counts.Full++
			f.rest = f.w.now + fastFullRest
			return
		}
		n, snap, err = f.admit(keys)
	}
	switch {
	case errors.Is(err, fastpath.ErrFull):
		f.counts.Full++
		return
	case errors.Is(err, fastpath.ErrKnown): // two connections of the table that look alike where they come in
		f.unfit.Add(id, struct{}{})
		return
	case err != nil:
		f.gate.standDown(fastOffBroken, err.Error())
		return
	}
	sl := f.take(n)
	sl.tuple, sl.drains, sl.punt, sl.newest, sl.packets, sl.bytes = tuple, f.drains, snap.Punt, snap.Punt, snap.Packets, snap.Bytes
	for dir := range keys {
		sl.dev[dir] = keys[dir].Ifindex
	}
	f.counts.Installed++
	f.gate.trust()
	if !f.w.engine.SetSlot(&tuple, n) {
		f.forget(n)
	}
}

// admit installs a connection, and reads where the program's counters stand.
func (f *fastWorker) admit(keys [2]fastpath.Key) (n uint32, snap fastpath.Snapshot, err error) {
	if n, err = f.flows.Install(keys); err == nil {
		snap, err = f.flows.Read(n)
	}
	return n, snap, err
}

// diverted reports whether a segment of the connection is on its way through the second queue, or held there.
func (f *fastWorker) diverted(tu *conntrack.Tuple) bool {
	back := tu.Reverse()
	for i := range f.w.diverts {
		if d := &f.w.diverts[i].tuple; *d == *tu || *d == back {
			return true
		}
	}
	for _, h := range f.w.held {
		if h.seg.Tuple == *tu || h.seg.Tuple == back {
			return true
		}
	}
	return false
}

// keys returns how both directions of a connection look where they come in: before the host translates their destination. A packet of
// the other direction that leaves is translated to the addresses that this one comes with, the other way round. They are not fit where
// an interface has no program, or where it cannot be told how the host translates.
func (f *fastWorker) keys(want *fastWant, tuple conntrack.Tuple) (keys [2]fastpath.Key, fit bool) {
	var dev [2]uint32
	dev[want.dir], dev[want.dir.Other()] = want.in, want.out
	for dir, tu := range [2]conntrack.Tuple{tuple, tuple.Reverse()} {
		if !f.gate.attached(dev[dir]) {
			return keys, false
		}
		wire, err := f.w.translator.Wire(tu.Reverse(), conntrack.Direction(dir).Other())
		if err != nil {
			return keys, false
		}
		keys[dir] = fastpath.Key{Tuple: wire.Reverse(), Ifindex: dev[dir]}
	}
	return keys, true
}

// evict makes room for a connection: the first that was idle since the last search came by. Few are looked at, each with a system call.
func (f *fastWorker) evict() bool {
	for range min(fastLooks, len(f.live)) {
		if f.hand++; f.hand >= len(f.live) {
			f.hand = 0
		}
		n := f.live[f.hand]
		sl := f.slot(n)
		if sl.listed {
			continue
		}
		snap, err := f.flows.Read(n)
		if err != nil {
			f.gate.standDown(fastOffBroken, err.Error())
			return false
		}
		if seen := snap.Packets[0] + snap.Packets[1] + snap.Punt; seen != sl.looked {
			sl.looked = seen
			continue
		}
		f.counts.Evicted++
		f.release(n)
		return true
	}
	return false
}

// clear takes connections off a fast path that is given up, some at a time.
func (f *fastWorker) clear() {
	for range min(fastRelease, len(f.live)) {
		f.release(f.live[len(f.live)-1])
	}
}

// clearing reports whether there is more to clear.
func (f *fastWorker) clearing() bool { return f != nil && len(f.live) > 0 && f.gate.down.Load() }
