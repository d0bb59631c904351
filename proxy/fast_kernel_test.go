package proxy

import (
	"halfopen/conntrack"
	"halfopen/proxy/fastpath"
)

// fastKernel stands for the program in the kernel and its maps, without a kernel: flows are judged by the model that the program is a
// transcription of. A test lets packets come in by ingress, and what gets no FAST mark goes to the worker's queue.
type fastKernel struct {
	marks  fastpath.Marks
	places int                          // flows that have room
	keys   map[fastpath.Key]kernelPlace // by how they come in
	flows  map[uint32]*kernelFlow
	last   uint32 // slot
	epoch  uint64
	seen   uint64            // epoch as of the last Beat
	beat   conntrack.Instant // the last
	passed uint64
	bytes  uint64 // of these
	punts  int
	reads  int
	busy   bool // whoever reads is too late: another segment is numbered by then, and lost
}

type kernelPlace struct {
	slot uint32
	dir  conntrack.Direction
}

type kernelFlow struct {
	keys           [2]fastpath.Key
	armed, loaded  bool
	punt, after    uint64
	epoch          uint64
	state, start   conntrack.Fast
	rules          conntrack.FastRules
	packets, bytes [2]uint64
}

func newFastKernel(places int) *fastKernel {
	marks, err := fastpath.NewMarks(DefaultMark)
	if err != nil {
		panic(err)
	}
	return &fastKernel{marks: marks, places: places, keys: map[fastpath.Key]kernelPlace{}, flows: map[uint32]*kernelFlow{}}
}

func (k *fastKernel) Beat(now conntrack.Instant) { k.beat, k.seen = now, k.epoch }
func (k *fastKernel) Bump()                      { k.epoch++ }

func (k *fastKernel) Install(keys [2]fastpath.Key) (uint32, error) {
	if len(k.flows) == k.places {
		return 0, fastpath.ErrFull
	}
	for _, key := range keys {
		if _, known := k.keys[key]; known {
			return 0, fastpath.ErrKnown
		}
	}
	k.last++
	k.flows[k.last] = &kernelFlow{keys: keys}
	for dir, key := range keys {
		k.keys[key] = kernelPlace{k.last, conntrack.Direction(dir)}
	}
	return k.last, nil
}

func (k *fastKernel) Arm(n uint32, punt uint64, st *conntrack.Fast, r *conntrack.FastRules) {
	f := k.flows[n]
	if f.armed && f.after == f.punt {
		panic("an armed flow is armed")
	}
	f.armed, f.loaded, f.after, f.epoch, f.start, f.rules = true, false, punt, k.seen, *st, *r
}

func (k *fastKernel) Read(n uint32) (fastpath.Snapshot, error) {
	k.reads++
	f := k.flows[n]
	if k.busy {
		f.punt++
	}
	s := fastpath.Snapshot{Fast: f.state, Packets: f.packets, Bytes: f.bytes, Punt: f.punt, Armed: f.armed && f.after == f.punt, Met: f.loaded}
	if !f.loaded {
		s.Fast = f.start
	}
	return s, nil
}

func (k *fastKernel) Freeze(n uint32) (fastpath.Snapshot, error) {
	s, err := k.Read(n)
	k.flows[n].armed = false
	return s, err
}

func (k *fastKernel) Remove(n uint32) error {
	for _, key := range k.flows[n].keys {
		delete(k.keys, key)
	}
	delete(k.flows, n)
	return nil
}

// ingress is what the program does about a packet that comes in by an interface, and returns the mark that the packet leaves with.
func (k *fastKernel) ingress(now conntrack.Instant, ifindex uint32, s *conntrack.Segment) (mark uint32) {
	place, known := k.keys[fastpath.Key{Tuple: s.Tuple, Ifindex: ifindex}]
	if !known {
		return 0
	}
	f := k.flows[place.slot]
	if f.armed && f.after == f.punt && f.epoch == k.epoch && now.Sub(k.beat) <= 1e9 {
		if !f.loaded {
			f.loaded, f.state = true, f.start
		}
		if f.state.Pass(&f.rules, now, place.dir, s) == conntrack.FastPassed {
			f.packets[place.dir]++
			f.bytes[place.dir] += uint64(s.Bytes)
			k.passed++
			k.bytes += uint64(s.Bytes)
			return k.marks.FastMark()
		}
	}
	f.punt++
	k.punts++
	shift := k.marks.FastMark() / 2
	return uint32(3+f.punt%k.marks.Span()) * shift
}
