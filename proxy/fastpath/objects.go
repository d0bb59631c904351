package fastpath

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// loadOptions is what the program is made with.
type loadOptions struct {
	Redirect       bool
	Flows, Workers int // at most so many; each worker has its part of the flows
	MarkMask       uint32

	noSums bool // no checksum is judged, for frames that have none
	test   bool // the clock comes with the packet, and the reason to punt goes with it
	blind  bool // as where the kernel's description of a packet cannot be read
}

// objects are the programs and maps in the kernel.
type objects struct {
	bpf     bpfObjects
	arms    shared[mapArm]
	workers shared[mapWorker]
	near    shared[uint64] // of egress; 0: none
	per     int            // flows of a worker
	marks   Marks
}

// loadObjects brings programs and maps into the kernel. What the kernel answers is in the error as cilium/ebpf gives it.
func loadObjects(opts loadOptions) (*objects, error) {
	marks, err := NewMarks(opts.MarkMask)
	if err != nil {
		return nil, err
	}
	workers := max(opts.Workers, 1)
	per := opts.Flows / workers
	if per < 1 || opts.Flows > 1<<24 {
		return nil, fmt.Errorf("%d flows for %d workers: at least one for each, and at most %d", opts.Flows, workers, 1<<24)
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	var cache *btf.Cache
	var summed place
	if !opts.blind {
		cache = btf.NewCache()
		summed = summedOf(cache)
	}
	flows := uint32(per * workers)
	spec.Maps[bpfMapKeys].MaxEntries = 2 * flows
	spec.Maps[bpfMapArms].MaxEntries = flows + 1 // slot 0 is none
	spec.Maps[bpfMapFlows].MaxEntries = flows + 1
	if opts.Redirect {
		spec.Maps[bpfMapWays].MaxEntries = flows + 1
	}
	spec.Maps[bpfMapWorkers].MaxEntries = uint32(workers)
	for name, value := range map[string]any{bpfVarMarkMask: marks.mask, bpfVarMarkShift: uint32(marks.shift), bpfVarMarkSpan: uint32(marks.span),
		bpfVarRedirects: truth(opts.Redirect), bpfVarSums: truth(!opts.noSums), bpfVarTest: truth(opts.test),
		bpfVarSummedByte: summed.byte, bpfVarSummedBit: summed.bit} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	o := &objects{per: per, marks: marks}
	if err := spec.LoadAndAssign(&o.bpf, &ebpf.CollectionOptions{Cache: cache}); err != nil {
		return nil, err
	}
	if o.arms, err = share[mapArm](o.bpf.Arms); err == nil {
		o.workers, err = share[mapWorker](o.bpf.Workers)
	}
	if err == nil {
		o.near, err = share[uint64](o.bpf.NearEgress)
	}
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

func truth(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// program returns the program for packets whose link header has headerLen bytes: 14 (Ethernet) or 0.
func (o *objects) program(headerLen int) *ebpf.Program {
	if headerLen == 0 {
		return o.bpf.HalfopenL3
	}
	return o.bpf.HalfopenL2
}

// setEgress says whether --fastpath redirect may send segments out of an interface: one that frames them as Ethernet does. One call at a
// time. The map egress has them all; a place in near is the last one's that came to it.
func (o *objects) setEgress(ifindex uint32, ethernet bool) error {
	near := &o.near.values[int(ifindex)%len(o.near.values)]
	if ethernet {
		if err := o.bpf.Egress.Put(ifindex, uint32(1)); err != nil {
			return err
		}
		atomic.StoreUint64(near, uint64(ifindex))
		return nil
	}
	atomic.CompareAndSwapUint64(near, uint64(ifindex), 0)
	err := o.bpf.Egress.Delete(ifindex)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// Close lets go of programs and maps. The kernel frees them once nothing is attached. No [Flows] may be in use any more.
func (o *objects) Close() error {
	return errors.Join(o.arms.close(), o.workers.close(), o.near.close(), o.bpf.Close())
}
