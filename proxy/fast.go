package proxy

import (
	"bytes"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/fastpath"
	"halfopen/proxy/nfqueue"
)

// A worker with a fast path gives settled connections to a program in the kernel, which judges their further segments by the engine's own
// rules, counts them and lets them past the queue (package fastpath). Whatever the program does not let pass of such a connection it
// punts: the connection is frozen in both directions, and the segment comes by the queue with a number. The worker takes over what the
// program has seen before it decides the segment (the engine asks, by [policy.FastPath]), and at the end of the batch it arms the
// connection again with the number of the last punted segment that it has handled. The program takes that for an order only while no
// later segment was punted. So there is one truth about a connection at any time: the program's while it is armed, the table's while it
// is not.

const (
	fastAfter     = 8         // packets of a connection after which it is worth while to give it to the fast path
	fastWants     = 32        // connections that one batch gives to it at most
	fastLooks     = 8         // connections looked at for one that makes room
	fastPage      = 1 << 10   // slots that are kept in one piece
	fastUnfit     = 1 << 12   // connections remembered that the fast path is not for
	fastStrays    = 64        // segments without a mark after which a connection's keys are believed not to match
	fastLossy     = 16        // of so many connections one may lose marks before the fast path is given up
	fastWitnesses = 2         // pairs of hosts, none of them in two, that must have lost marks before
	fastNamed     = 16        // of the pairs that do, so many are named
	fastUnsettled = 16        // batches in a row that bring of a connection what policy has an interest in, after which it leaves the fast path
	fastRelease   = batchSize // connections that one turn takes off the fast path when it is given up
	fastFullRest  = 10 * 1e6  // nanoseconds between two searches for room
)

// fastFlows are the slots of one worker in the kernel: [fastpath.Flows], or what stands for it in tests.
type fastFlows interface {
	Beat(now conntrack.Instant)
	Bump()
	Install(keys [2]fastpath.Key) (slot uint32, err error)
	Arm(slot uint32, punt uint64, st *conntrack.Fast, r *conntrack.FastRules)
	Read(slot uint32) (fastpath.Snapshot, error)
	Freeze(slot uint32) (fastpath.Snapshot, error)
	Remove(slot uint32) error
}

// fastWorker is a worker's side of the fast path. It belongs to the worker's thread but for flows.Bump.
type fastWorker struct {
	w     *Worker
	flows fastFlows
	gate  *fastGate
	marks fastpath.Marks

	pages   []*[fastPage]fastSlot // by slot
	live    []uint32              // slots in use, in no order
	hand    int                   // in live: where the search for room goes on
	listed  []uint32              // slots that the batch at hand has met and that are to be armed again at its end, each once
	wants   []fastWant            // connections that may be given to the fast path at its end
	unfit   *simplelru.LRU[uint64, struct{}]
	shut    *simplelru.LRU[hosts, fastLoss] // hosts between which marks are lost
	lulls   []lull
	awaited []uint32          // slots of which it is looked for whether anything is under way
	letGo   bool              // verdicts of a lull that has ended wait for the next flush
	news    uint64            // of the interfaces, as of when unfit was last emptied
	rest    conntrack.Instant // no search for room before this

	// The packet at hand, from arrive on.
	packet  *nfqueue.Packet
	segment *conntrack.Segment
	kind    fastpath.MarkKind
	keep    *lull // in which it waits for its verdict

	drains uint64 // how many batches have taken all that the queue held
	counts fastCounts
	state  conntrack.Fast // handed to Arm; here because a local would be on the heap
	rules  conntrack.FastRules
}

// fastSlot is what the worker knows of a connection on the fast path.
type fastSlot struct {
	tuple          conntrack.Tuple   // original direction
	dev            [2]uint32         // interface by which each direction comes in
	packets, bytes [2]uint64         // the program's totals as taken over
	loose          [2]uint64         // of the packets since it was last armed: those that did not come by the queue for want of their mark
	base           [2]uint64         // packets when it was last armed
	end, ack       [2]conntrack.Seq  // what the program had seen of each direction when it was last stopped
	punt           uint64            // number of the last punted segment that was handled
	newest         uint64            // number of the last punted segment as last read
	atTurn         uint64            // the same as of the end of the last turn, while it is awaited
	looked         uint64            // packets and number when the search for room last came by
	drains         uint64            // how many batches had taken all when it was installed
	rest           conntrack.Instant // no lull before this
	at             int32             // place in live
	strays         [2]uint8          // segments without a mark before the first with one, by direction, up to 255
	seen           uint8             // bit 1<<dir: a punted segment of that direction has come
	unsettled      uint8             // batches in a row that left it unsettled
	vain           uint8             // batches in a row after which it was armed in vain, up to 255
	ways           uint8             // bit 1<<dir: data of that direction has come meanwhile
	lullTwice      uint8             // how often the length of its next lull is doubled
	lulled         bool              // it has one
	awaited        bool              // it is in awaited
	quiet          uint8             // how often in a row nothing of it was found to be under way
	used           bool
	lossy          fastLoss // why what the program says of it is lost on the way to the queue
	armed          bool     // as far as we know: the program may have punted since
	listed         bool
	settled        bool // the last step says that policy has no interest in the next segment
	data           bool // the batch at hand holds back the verdict of a segment that must not be overtaken
	over           bool // it is not established any more
}

// fastWant is a connection that may be given to the fast path.
type fastWant struct {
	tuple   conntrack.Tuple // of the segment, whose direction of the entry is dir
	in, out uint32
	dir     conntrack.Direction
}

// fastCounts are what a worker has counted of its fast path. They only grow, but for Flows and Kept.
type fastCounts struct {
	Flows     uint64 // installed now
	Installed uint64
	Armed     uint64                // connections armed
	Absorbed  uint64                // packets taken over, without those taken back
	Full      uint64                // connections that found no room
	Evicted   uint64                // connections that made room
	Lost      uint64                // segments that came by the queue without the mark that the program gives
	Lulls     uint64                // how often a connection's acknowledgments waited so that it came back
	Kept      [numFastLosses]uint64 // pairs of hosts whose connections stay on the queue, the last 4096 of each worker
	// What conservation needs beside: the bytes of Absorbed, and the packets and bytes that were counted as passed but came by the queue.
	AbsorbedBytes uint64
	Returned      [2]uint64
}

// add adds another worker's.
func (c *fastCounts) add(o *fastCounts) {
	c.Flows += o.Flows
	c.Installed += o.Installed
	c.Armed += o.Armed
	c.Absorbed += o.Absorbed
	c.Full += o.Full
	c.Evicted += o.Evicted
	c.Lost += o.Lost
	c.Lulls += o.Lulls
	for why, n := range o.Kept {
		c.Kept[why] += n
	}
	c.AbsorbedBytes += o.AbsorbedBytes
	c.Returned[0] += o.Returned[0]
	c.Returned[1] += o.Returned[1]
}

// newFastWorker gives the worker a fast path. It must come before the engine is made.
func newFastWorker(w *Worker, flows fastFlows, marks fastpath.Marks, gate *fastGate) *fastWorker {
	f := &fastWorker{w: w, flows: flows, marks: marks, gate: gate, listed: make([]uint32, 0, batchSize), wants: make([]fastWant, 0, fastWants)}
	f.unfit, _ = simplelru.NewLRU[uint64, struct{}](fastUnfit, nil) // fails for sizes below 1 only
	f.shut, _ = simplelru.NewLRU(fastUnfit, func(_ hosts, why fastLoss) { f.counts.Kept[why]-- })
	return f
}

// keepOnQueue lets the connections between these hosts stay on the queue from now on. What was seen of them first stays the reason.
func (f *fastWorker) keepOnQueue(ends hosts, why fastLoss) {
	if _, known := f.shut.Get(ends); !known {
		f.shut.Add(ends, why)
		f.counts.Kept[why]++
	}
}

// hosts are the two ends of a connection, whichever began it.
type hosts [2][16]byte

func hostsOf(tu *conntrack.Tuple) hosts {
	if bytes.Compare(tu.Src[:], tu.Dst[:]) > 0 {
		return hosts{tu.Dst, tu.Src}
	}
	return hosts{tu.Src, tu.Dst}
}

// slot returns a slot's place.
func (f *fastWorker) slot(n uint32) *fastSlot { return &f.pages[n/fastPage][n%fastPage] }

// take makes a place for a slot.
func (f *fastWorker) take(n uint32) *fastSlot {
	for int(n/fastPage) >= len(f.pages) {
		f.pages = append(f.pages, nil)
	}
	if f.pages[n/fastPage] == nil {
		f.pages[n/fastPage] = new([fastPage]fastSlot)
	}
	sl := f.slot(n)
	*sl = fastSlot{used: true, at: int32(len(f.live))}
	f.live = append(f.live, n)
	f.counts.Flows = uint64(len(f.live))
	return sl
}

// forget gives a slot back.
func (f *fastWorker) forget(n uint32) {
	sl := f.slot(n)
	if !sl.used {
		return
	}
	f.endLull(n, sl, false)
	f.sendLet()
	last := f.live[len(f.live)-1]
	f.live[sl.at] = last
	f.slot(last).at = sl.at
	f.live = f.live[:len(f.live)-1]
	f.counts.Flows = uint64(len(f.live))
	sl.used = false
	if err := f.flows.Remove(n); err != nil {
		f.gate.standDown(fastOffBroken, err.Error())
	}
}

// bump freezes all connections of the worker at once: something changes by which their segments may be decided otherwise. It is nothing
// without a fast path.
func (f *fastWorker) bump() {
	if f != nil {
		f.flows.Bump()
	}
}

// beat is the worker's sign of life, once a turn. Without it the program lets nothing pass.
func (f *fastWorker) beat(now conntrack.Instant) {
	if f == nil {
		return
	}
	f.flows.Beat(now)
	f.endLulls(now)
	if f.w.abandoned.Load() { // the thread hung, and its queue is another's: nothing of its table may be let pass any more
		f.flows.Bump()
	}
	if f.gate.down.Load() {
		f.clear()
	}
}

// arrive takes note of a packet before the engine decides it.
func (f *fastWorker) arrive(p *nfqueue.Packet, s *conntrack.Segment) {
	f.packet, f.segment, f.kind = p, s, f.marks.Kind(p.Mark)
}

// stepped takes note of what became of the packet.
func (f *fastWorker) stepped(out *policy.Outcome) {
	p, s := f.packet, f.segment
	f.packet, f.segment = nil, nil
	if out.Slot != 0 {
		sl := f.slot(out.Slot)
		sl.settled = out.Settled
		sl.over = out.After != conntrack.Established
		if s.Len > 0 || !out.Counted {
			sl.data = true
		}
		if s.Len > 0 {
			sl.ways |= 1 << out.Dir
		}
		if sl.lulled {
			f.meet(out.Slot, sl, s, out)
		}
		if !sl.listed {
			sl.listed = true
			f.listed = append(f.listed, out.Slot)
		}
		return
	}
	if !out.Settled || out.Packets < fastAfter || p.Hook != hookForward || len(f.wants) == fastWants || f.w.now < f.rest || f.gate.down.Load() {
		return
	}
	if p.InDev == 0 || p.OutDev == 0 || f.unfit.Len() > 0 && f.unfit.Contains(out.Flow) {
		return
	}
	for i := range f.wants {
		if f.wants[i].tuple == s.Tuple {
			return
		}
	}
	f.wants = append(f.wants, fastWant{tuple: s.Tuple, in: p.InDev, out: p.OutDev, dir: out.Dir})
}

// hookForward is the netfilter hook of forwarded packets (NF_INET_FORWARD).
const hookForward = 2
