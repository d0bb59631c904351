//go:build netns

package oracle

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// How much a run compares, and how well the two must agree.
const (
	wantFlows    = 30000
	wantSegments = 300000
	batchFlows   = 1000
	agreement    = 0.999
)

// TestKernelAgrees sends seeded random segments through the kernel's connection tracking and through linux-default, and compares
// what becomes of each: INVALID there, dropped here. ORACLE_SEED and ORACLE_FLOWS choose another run.
func TestKernelAgrees(t *testing.T) {
	seed, flows := uint64(1), wantFlows
	if v, err := strconv.ParseUint(os.Getenv("ORACLE_SEED"), 10, 64); err == nil {
		seed = v
	}
	if v, err := strconv.Atoi(os.Getenv("ORACLE_FLOWS")); err == nil {
		flows = v
	}
	k, e := newKernel(t), newEngine(t)
	var sum tally
	ports := portSource{}
	for n := 0; n < flows; n += batchFlows {
		var batch []*flow
		for i := n; i < min(n+batchFlows, flows); i++ {
			batch = append(batch, newFlow(seed, uint64(i)))
		}
		if err := compare(k, e, batch, rand.New(rand.NewPCG(seed, uint64(n)^1<<63)), &ports, &sum); err != nil {
			t.Fatalf("seed %d, flows from %d: %v", seed, n, err)
		}
	}
	sum.report(t, k, e, &ports, seed)
	if flows == wantFlows && sum.segments < wantSegments {
		t.Errorf("%d segments, want %d", sum.segments, wantSegments)
	}
}

// portSource deals out pairs of ports, each once.
type portSource struct{ n int }

func (p *portSource) next() [2]uint16 {
	p.n++
	return [2]uint16{uint16(1024 + p.n%60000), uint16(1 + p.n/60000)}
}

// interleave returns the flows' segments in an order in which each flow keeps its own.
func interleave(flows []*flow, r *rand.Rand) []step {
	var order []step
	at := make([]int, len(flows))
	for i, f := range flows {
		for range f.segs {
			order = append(order, step{f, i})
		}
	}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i := range order {
		n := order[i].i
		order[i].i = at[n]
		at[n]++
	}
	return order
}

// compare runs a batch of flows through both and adds to the tally.
func compare(k *kernel, e *engine, flows []*flow, r *rand.Rand, ports *portSource, sum *tally) error {
	steps := interleave(flows, r)
	var verdicts []verdict
	var states map[conntrack.Tuple]held
	var err error
	for range 3 { // a machine that is busy with other things may drop packets or take too long; the ports of each try are new
		for _, f := range flows {
			f.ports = ports.next()
		}
		if verdicts, states, err = k.batch(steps); err == nil {
			break
		}
		sum.again = append(sum.again, err.Error())
	}
	if err != nil {
		return err
	}
	parted := map[*flow]bool{}
	for i, s := range steps {
		res := e.step(s.f, s.i)
		sum.segments++
		if verdicts[i] == invalid {
			sum.invalid++
		}
		if res.drop == (verdicts[i] == invalid) {
			continue
		}
		sum.differ++
		sum.add(className(verdicts[i].String(), res, &s.f.segs[s.i]), s.f, s.i, !parted[s.f])
		parted[s.f] = true
	}
	for _, f := range flows {
		sum.flows++
		theirs := kernelState(states, f)
		ours := e.state(f)
		if ours != theirs {
			sum.ends++
			sum.add(fmt.Sprintf("at the end the kernel holds %s, ours %s", theirs, ours), f, len(f.segs)-1, !parted[f])
			continue
		}
		if name := timerDiffers(states, e, f); name != "" {
			sum.timers++
			sum.add(name, f, len(f.segs)-1, !parted[f])
		}
	}
	return nil
}

// report prints the figures, and each class of difference with a shrunken flow as a scenario.
func (t *tally) report(tb testing.TB, k *kernel, e *engine, ports *portSource, seed uint64) {
	tb.Helper()
	agreed := 1 - float64(t.differ)/float64(t.segments)
	tb.Logf("seed %d: %d segments over %d flows, %d INVALID to the kernel; agreement on INVALID %.4f %% (%d differ); state at the end %.4f %% (%d flows differ, %d more by their timer)",
		seed, t.segments, t.flows, t.invalid, 100*agreed, t.differ, 100*(1-float64(t.ends)/float64(t.flows)), t.ends, t.timers)
	for _, why := range t.again {
		tb.Logf("a batch was played again: %s", why)
	}
	for i, c := range t.sorted() {
		if i >= maxClasses {
			tb.Logf("(%d more classes)", len(t.classes)-i)
			break
		}
		if c.first == 0 {
			tb.Logf("%d x %s, only after an earlier difference", c.count, c.name)
			continue
		}
		tb.Logf("%d x %s, %d times first\n%s", c.count, c.name, c.first, shrink(k, e, ports, c))
	}
	if n := t.differ + t.ends + t.timers; n > 0 && release() == exact {
		tb.Errorf("%d differences on Linux %s, and docs/oracle.md knows of none", n, exact)
	}
	if agreed < agreement {
		tb.Errorf("agreement %.4f %%, want %.1f %%", 100*agreed, 100*agreement)
	}
}

const maxClasses = 25

// exact is the release of Linux whose every verdict is met.
const exact = "6.18"

// release returns the running kernel's version without patch level.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}
