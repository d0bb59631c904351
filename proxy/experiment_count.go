package proxy

import (
	"math"
	"math/bits"
	"sync/atomic"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
)

// armCounts is what a gateway counts of one arm. Any goroutine reads; workers add.
type armCounts struct {
	flows atomic.Uint64 // connections that began
	units sketch        // of those
}

// sketchBits is how many bits of a hash choose a register: with 4096 of them the estimate is off by 1.6 % (one standard deviation).
const sketchBits = 12

// sketch estimates how many different hashes it was shown, in 16 KiB for any number of them: HyperLogLog (Flajolet, Fusy, Gandouet and
// Meunier 2007), with 64-bit hashes, which need no correction for large numbers.
type sketch struct {
	registers [1 << sketchBits]atomic.Uint32
}

// add shows it a hash.
func (s *sketch) add(hash uint64) {
	r := &s.registers[hash>>(64-sketchBits)]
	rank := uint32(bits.LeadingZeros64(hash<<sketchBits|1<<(sketchBits-1)) + 1)
	for old := r.Load(); rank > old && !r.CompareAndSwap(old, rank); old = r.Load() {
	}
}

// estimate returns how many different hashes there were.
func (s *sketch) estimate() uint64 {
	const m = 1 << sketchBits
	sum, empty := 0.0, 0
	for i := range s.registers {
		rank := s.registers[i].Load()
		sum += math.Ldexp(1, -int(rank))
		if rank == 0 {
			empty++
		}
	}
	n := 0.7213 / (1 + 1.079/m) * m * m / sum
	if n <= 2.5*m && empty > 0 { // few: by the empty registers
		n = m * math.Log(m/float64(empty))
	}
	return uint64(math.Round(n))
}

// began counts a connection that began. It allocates nothing.
func (x *experiments) began(ev *policy.FlowEvent) {
	e := &ev.Entry
	if x == nil || ev.Kind != policy.FlowNew || e.Arm == 0 || int(e.Arm) >= len(x.counts) || x.specs[e.Arm] == nil {
		return
	}
	tu := fromClient(e)
	c := x.counts[e.Arm]
	c.flows.Add(1)
	c.units.add(x.specs[e.Arm].UnitHash(&tu))
}

// fromClient returns an entry's tuple as its arm was assigned by it: from the client. Which end of an adopted connection that is its ports
// tell, unless a SYN/ACK was the first segment seen, whose sender is the server.
func fromClient(e *conntrack.Entry) conntrack.Tuple {
	if e.Flags&conntrack.EntryPickedUp != 0 && (e.HistoryN == 0 || e.History[0] != 'h') {
		return experiment.FromClient(e.Tuple)
	}
	return e.Tuple
}

// ArmCounters is what a gateway counted of one arm of an experiment since its start.
type ArmCounters struct {
	Experiment, Arm string
	Units           uint64 // about: to 1.6 % (one standard deviation)
	Flows           uint64
	Stopped         bool // it gets no new ones
}

// counters returns the numbers of all arms.
func (x *experiments) counters() []ArmCounters {
	if x == nil {
		return nil
	}
	var out []ArmCounters
	for i, k := range x.keys {
		if k.arm != "" {
			_, stopped := x.stopped[k]
			out = append(out, ArmCounters{k.experiment, k.arm, x.counts[i].units.estimate(), x.counts[i].flows.Load(), stopped})
		}
	}
	return out
}
