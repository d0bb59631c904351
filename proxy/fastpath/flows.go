package fastpath

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// Errors of [Flows.Install].
var (
	ErrFull  = errors.New("the fast path is full")
	ErrKnown = errors.New("the fast path knows a flow of this key")
)

// Flows are the slots of one worker. The worker's thread alone calls the methods, but for [Flows.Bump]. It calls [Flows.Beat] before
// anything is armed, and again at least each second, or the program punts everything of its flows.
type Flows struct {
	objects *objects
	number  uint32     // of the worker
	worker  *mapWorker // shared with the program
	first   uint32     // its first slot
	epoch   uint64     // as Beat last saw it
	free    []uint32   // slots, the last is the next
	slots   []slot

	key   uint32 // of the map flows; here so that a look-up allocates nothing
	value mapFlow
}

// slot is what only this side knows of one.
type slot struct {
	keys           [2]mapKey
	packets, bytes [2]uint64 // the slot's counters when the flow was installed
	armed          uint64    // what was last written to arm.armed but for 0; 0 when the flow was not armed yet
	generation     uint32    // of armed, so that no two are alike
	used           bool
}

// Snapshot is a flow at one moment.
type Snapshot struct {
	Fast           conntrack.Fast // after the last segment that passed, else as it was armed; zero before that
	Packets, Bytes [2]uint64      // passed since it was installed, by direction
	Punt           uint64         // number of the last segment that was punted
	// Armed: a segment may pass as far as the flow is concerned; the worker's beat and epoch may say otherwise.
	Armed bool
	// Met: a segment has come since the flow was last armed, and was judged by what it was armed with.
	Met bool
}

// flows returns the slots of a worker, numbered from 0.
func (o *objects) flows(worker int) *Flows {
	f := &Flows{objects: o, number: uint32(worker), worker: &o.workers.values[worker], first: uint32(1 + worker*o.per),
		free: make([]uint32, o.per), slots: make([]slot, o.per)}
	for i := range f.free {
		f.free[i] = f.first + uint32(o.per-1-i)
	}
	return f
}

// Beat says that the worker was alive at now, by CLOCK_MONOTONIC, and takes note of its epoch: what is armed from now on counts
// until the next [Flows.Bump].
func (f *Flows) Beat(now conntrack.Instant) {
	f.epoch = atomic.LoadUint64(&f.worker.Epoch)
	atomic.StoreInt64((*int64)(&f.worker.Beat), int64(now))
}

// Bump freezes all flows of the worker at once, and those too that it arms before its next Beat. It is safe from any goroutine.
func (f *Flows) Bump() { atomic.AddUint64(&f.worker.Epoch, 1) }

// Len returns how many flows are installed, Cap how many can be.
func (f *Flows) Len() int { return len(f.slots) - len(f.free) }

// Cap returns how many flows can be installed.
func (f *Flows) Cap() int { return len(f.slots) }

// Install makes a flow known, by how its original and its reply direction look where they come in. It begins frozen: all of its
// segments are punted. Slots count from 1. The error wraps [ErrFull], or [ErrKnown] where one of the keys is another flow's.
func (f *Flows) Install(keys [2]Key) (uint32, error) {
	if len(f.free) == 0 {
		return 0, ErrFull
	}
	n := f.free[len(f.free)-1]
	a, s := f.at(n)
	*s = slot{generation: s.generation, keys: [2]mapKey{keys[0].encode(), keys[1].encode()}}
	tag := a.Tag
	*a = mapArm{Tag: tag, Worker: f.number}
	if keys[1].Tuple == keys[0].Tuple.Reverse() {
		a.Flags = armRedirect // else the host translates, which a segment that is sent out here would not see
	}
	before, err := f.Read(n)
	if err != nil {
		return 0, err
	}
	s.packets, s.bytes = before.Packets, before.Bytes
	for dir := range s.keys {
		err := f.objects.bpf.Keys.Update(&s.keys[dir], &mapPlace{Slot: n, Tag: tag, Dir: uint32(dir)}, ebpf.UpdateNoExist)
		if err == nil {
			continue
		}
		if dir == 1 {
			atomic.StoreUint32(&a.Tag, tag+1)
			err = errors.Join(err, f.objects.bpf.Keys.Delete(&s.keys[0]))
		}
		return 0, keys[dir].refused(err)
	}
	f.free = f.free[:len(f.free)-1]
	s.used = true
	return n, nil
}

// refused puts into words why the kernel did not take a key. That it has no memory for one at the moment passes, as a full map does.
func (k *Key) refused(err error) error {
	switch {
	case errors.Is(err, ebpf.ErrKeyExist):
		return fmt.Errorf("%w (%s on interface %d)", ErrKnown, k.Tuple, k.Ifindex)
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("install %s: %w", k.Tuple, err)
}

// at returns the two halves of a slot.
func (f *Flows) at(n uint32) (*mapArm, *slot) { return &f.objects.arms.values[n], &f.slots[n-f.first] }

// Arm lets segments of a frozen flow pass from now on, judged by r, with st as what they are held against; unless a later segment than
// number punt was punted. A flow is frozen when it is new, after [Flows.Freeze], and after a segment was punted; nothing else may
// be armed.
func (f *Flows) Arm(n uint32, punt uint64, st *conntrack.Fast, r *conntrack.FastRules) {
	a, s := f.at(n)
	a.freeze()
	a.Rules, a.Start, a.Epoch = *r, *st, f.epoch
	s.generation++
	s.armed = uint64(s.generation)<<32 | uint64(uint32(punt))
	atomic.StoreUint64(&a.Armed, s.armed)
}

// Read returns the flow as it is. The look-up takes the lock under which the program changes it.
func (f *Flows) Read(n uint32) (Snapshot, error) {
	a, s := f.at(n)
	armed := atomic.LoadUint64(&a.Armed)
	f.key = n
	if err := f.objects.bpf.Flows.LookupWithFlags(&f.key, &f.value, ebpf.LookupLock); err != nil {
		return Snapshot{}, fmt.Errorf("read slot %d of the fast path: %w", n, err)
	}
	v := &f.value
	snap := Snapshot{Fast: v.State, Punt: v.Punt, Armed: armed != 0 && uint32(armed) == uint32(v.Punt)}
	if v.Loaded != s.armed {
		snap.Fast = a.Start // the program has not looked at it yet
	} else {
		snap.Met = s.armed != 0
	}
	for dir := range snap.Packets {
		snap.Packets[dir], snap.Bytes[dir] = v.Packets[dir]-s.packets[dir], v.Bytes[dir]-s.bytes[dir]
	}
	return snap, nil
}

// Freeze stops the flow: nothing of it passes afterwards until it is armed again. It returns the flow as it is then.
func (f *Flows) Freeze(n uint32) (Snapshot, error) {
	a, _ := f.at(n)
	a.freeze()
	return f.Read(n)
}

// Remove forgets the flow. Its segments are left alone from now on, and its slot may be another flow's next.
func (f *Flows) Remove(n uint32) error {
	a, s := f.at(n)
	if !s.used {
		return fmt.Errorf("slot %d of the fast path is not in use", n)
	}
	a.freeze()
	atomic.StoreUint32(&a.Tag, a.Tag+1) // a program that has looked up a key already finds that the flow is gone
	err := errors.Join(f.forget(&s.keys[0]), f.forget(&s.keys[1]))
	s.used = false
	f.free = append(f.free, n)
	return err
}

// forget deletes a key.
func (f *Flows) forget(k *mapKey) error {
	if err := f.objects.bpf.Keys.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove a key from the fast path: %w", err)
	}
	return nil
}
