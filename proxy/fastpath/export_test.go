package fastpath

import (
	"time"

	"github.com/cilium/ebpf"

	"halfopen/conntrack"
)

// Bench is the program without an interface, for tests outside the package: BPF_PROG_TEST_RUN runs it on a packet.
type Bench struct{ objects *objects }

// skBuff is struct __sk_buff as far as a test sets or reads it.
type skBuff struct {
	Len, PktType, Mark, Queue, Protocol, VlanPresent, VlanTCI, VlanProto, Priority, Ingress, Ifindex, Index uint32
	CB                                                                                                      [5]uint32
	Rest                                                                                                    [27]uint32
	GSOSize                                                                                                 uint32
	Tail                                                                                                    [3]uint32
}

// BenchOptions are what a test's program differs by.
type BenchOptions struct {
	Clock    bool // the time comes with each packet, and the reason of a punt can be read
	Redirect bool
	Sums     bool // checksums are judged
	Blind    bool // as where the kernel's description of a packet cannot be read
}

// NewBench loads the program.
func NewBench(flows, workers int, mask uint32, opts BenchOptions) (*Bench, error) {
	o, err := loadObjects(loadOptions{Flows: flows, Workers: workers, MarkMask: mask, Redirect: opts.Redirect, noSums: !opts.Sums, test: opts.Clock, blind: opts.Blind})
	if err != nil {
		return nil, err
	}
	return &Bench{objects: o}, nil
}

// Close lets go of it.
func (b *Bench) Close() error { return b.objects.Close() }

// Flows returns a worker's slots.
func (b *Bench) Flows(worker int) *Flows { return b.objects.flows(worker) }

// Stats returns the counters.
func (b *Bench) Stats() (Stats, error) { return b.objects.stats() }

// SetEgress lists an interface for redirect.
func (b *Bench) SetEgress(ifindex uint32, on bool) error { return b.objects.setEgress(ifindex, on) }

// Program returns the program for a link header of so many bytes.
func (b *Bench) Program(link int) *ebpf.Program { return b.objects.program(link) }

// Run is one packet: what it comes with, and what became of it.
type Run struct {
	Frame   []byte // with its Ethernet header
	Out     []byte // with room for what the program made of it, or nil
	Ifindex uint32
	Mark    uint32
	GSOSize uint32
	Now     conntrack.Instant

	Verdict int32
	NewMark uint32
	Reason  Reason // of a punt
	Gone    bool   // the slot is another flow's, or nobody's
}

// Run runs the program on a packet. It is safe from any goroutine.
func (b *Bench) Run(r *Run) error {
	var out skBuff
	opts := ebpf.RunOptions{Data: r.Frame, DataOut: r.Out, ContextOut: &out,
		Context: &skBuff{Mark: r.Mark, Ifindex: r.Ifindex, GSOSize: r.GSOSize, CB: [5]uint32{uint32(r.Now), uint32(uint64(r.Now) >> 32)}}}
	v, err := b.objects.program(14).Run(&opts)
	r.Verdict, r.NewMark, r.Reason, r.Gone, r.Out = int32(v), out.Mark, Reason(out.CB[2]), out.CB[2] == 1<<32-1, opts.DataOut
	return err
}

// Time runs the program on a packet n times and returns what one turn took, by the kernel's reckoning.
func (b *Bench) Time(r *Run, n int) (time.Duration, error) {
	_, took, err := b.objects.program(14).Benchmark(r.Frame, n, nil)
	return took, err
}

// Stale enters a key of a flow that is gone from its slot, as a program finds it that looked it up before it went.
func (b *Bench) Stale(tu conntrack.Tuple, ifindex, slot uint32) error {
	k := (&Key{tu, ifindex}).encode()
	return b.objects.bpf.Keys.Put(&k, &mapPlace{Slot: slot, Tag: b.objects.arms.values[slot].Tag - 1})
}
