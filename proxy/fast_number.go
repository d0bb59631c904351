package proxy

// numbered reports whether it can tell the number of the last segment handled. A mark has only the low bits of a number; the rest follows
// from the number before, unless so many in a row were lost on their way (in a queue that was full) that the bits came half round. Nothing
// of what has come since can tell then, for more may have been numbered while the batch at hand was decided than the bits can tell apart.
// So the connection stays frozen until nothing of it is under way, see turned.
func (f *fastWorker) numbered(n uint32, sl *fastSlot) bool {
	span := f.marks.Span()
	if sl.punt >= sl.newest && sl.punt-sl.newest < span/2 || sl.punt < sl.newest && sl.newest-sl.punt < span/2 {
		return true
	}
	snap, err := f.flows.Read(n)
	if err != nil {
		f.gate.standDown(fastOffBroken, err.Error())
		return false
	}
	sl.newest = snap.Punt
	if sl.punt <= sl.newest && sl.newest-sl.punt < span/2 {
		return true
	}
	f.await(n, sl)
	return false
}

// fastQuiet is how many times in a row the queue is found empty, and a connection's newest number unchanged, before all that was numbered is
// believed to be handled or lost. Once would do, but for a segment that was numbered and is not in the queue yet: another processor is just
// about to put it there.
const fastQuiet = 2

// await has it looked, at the end of each turn, whether anything of the connection is under way.
func (f *fastWorker) await(n uint32, sl *fastSlot) {
	if sl.quiet, sl.atTurn = 0, 0; !sl.awaited && len(f.awaited) < fastAwaits {
		sl.awaited = true
		f.awaited = append(f.awaited, n)
	}
}

// turned is called at the end of a turn that took so many packets. Where the queue held no more, and nothing of a connection was numbered for
// that long, nothing of it is under way: the last number is the last handled, whatever was lost before it, and the connection may pass.
func (f *fastWorker) turned(n int) {
	if f == nil || len(f.awaited) == 0 {
		return
	}
	for i := 0; i < len(f.awaited); {
		slot := f.awaited[i]
		if f.underWay(slot, n == batchSize) {
			i++
			continue
		}
		last := len(f.awaited) - 1
		f.awaited[i] = f.awaited[last]
		f.awaited = f.awaited[:last]
		f.arrived(slot)
	}
	f.sendLet()
}

// underWay reports whether something of an awaited connection may be under way. more says that the queue may hold more than the turn took.
func (f *fastWorker) underWay(slot uint32, more bool) bool {
	sl := f.slot(slot)
	if !sl.used || !sl.awaited { // another connection has its place
		return false
	}
	snap, err := f.flows.Read(slot)
	if err != nil {
		f.gate.standDown(fastOffBroken, err.Error())
		sl.awaited, sl.quiet = false, 0
		return false
	}
	if sl.quiet++; more || snap.Punt != sl.atTurn {
		sl.quiet = 0
	}
	sl.newest, sl.atTurn = snap.Punt, snap.Punt
	sl.awaited = sl.quiet < fastQuiet
	return sl.awaited
}

// arrived arms a connection of which nothing is under way any more.
func (f *fastWorker) arrived(slot uint32) {
	sl := f.slot(slot)
	if !sl.used || sl.quiet < fastQuiet || sl.armed && sl.punt == sl.newest {
		return
	}
	if sl.armed { // after another number than the newest, so in vain
		f.w.engine.StopFast(f.w.now, &sl.tuple)
	}
	sl.quiet, sl.punt = 0, sl.newest
	f.rearm(slot, sl)
}
