package proxy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
)

// LoadExperiments reads a file of experiments and the policies of their arms, and notes the policies' revisions in the specs. Policies
// are by the arms' numbers less one; nil stands for gateway, the policy that the gateway enforces. With inConfig the file is one of
// `run --config`, and without the key experiment there are none. The error lists every problem.
func LoadExperiments(file string, inConfig bool, gateway *policy.Policy) (*experiment.Set, []*policy.Policy, error) {
	data, err := readExperiments(file)
	if err != nil {
		return nil, nil, fmt.Errorf("experiment: %w", err)
	}
	parse := experiment.Parse
	if inConfig {
		parse = experiment.ParseConfig
	}
	set, problems := parse(file, data)
	if len(problems) > 0 {
		return nil, nil, problems
	}
	if set == nil {
		return experiment.NewSet(file), nil, nil
	}
	pols, err := loadArms(set, gateway)
	return set, pols, err
}

// readExperiments reads a file, of one that is too large only as much as shows that.
func readExperiments(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, policy.MaxFileSize+1))
}

// loadArms loads the policies of a set's arms, each once.
func loadArms(set *experiment.Set, gateway *policy.Policy) ([]*policy.Policy, error) {
	var errs []error
	loaded := map[string]*policy.Policy{experiment.GatewayPolicy: gateway}
	var pols []*policy.Policy
	for _, a := range set.Arms() {
		p, ok := loaded[a.PolicyRef]
		if !ok {
			var err error
			if p, err = policy.Open(a.PolicyRef, os.ReadFile); err != nil {
				errs = append(errs, fmt.Errorf("experiment %s, arm %s: %w", a.Spec.Name, a.Arm.Name, err))
			}
			loaded[a.PolicyRef] = p
		}
		if p != nil {
			a.Arm.Preset, a.Arm.Rev = p.Preset(), p.Rev()
		}
		if a.PolicyRef == experiment.GatewayPolicy {
			p = nil
		}
		pols = append(pols, p)
	}
	return pols, errors.Join(errs...)
}

// SharedKeys returns in which keys of a policy file an arm's policy differs from the gateway's without effect, because connections of all
// arms share one table, one log and one clock.
func SharedKeys(gateway, arm *policy.Policy) []string {
	var keys []string
	for _, d := range policy.Diff(gateway, arm) {
		top, _, _ := strings.Cut(d.Key, ".")
		switch top {
		case "limits", "on_full", "adaptive", "evict_above", "log", "adopt", "reload":
			keys = append(keys, d.Key)
		}
	}
	return keys
}

// armKey names an arm for as long as a process lives: arms' names are unique in a file, but a later file may give one to another
// experiment. One with no arm stands for the experiment's control policy without its name (see experiments.stop).
type armKey struct{ experiment, arm string }

// String is the key's text in state files.
func (k armKey) String() string { return k.experiment + "/" + k.arm }

// maxArmNumber is the highest number that an entry of the table can hold.
const maxArmNumber = 255

// experiments says which arm a connection belongs to, and what decides it. The engines' numbers of arms are not those of the set: once
// given, a number stays its arm's for as long as the process lives, so that connections keep their arm over reloads. Two things of it change:
// its routes, which any goroutine may read, and what is stopped, which only who holds the gateway's reloading and mu both may write.
type experiments struct {
	set     *experiment.Set
	pols    []*policy.Policy // by number less one; nil is the gateway's
	keys    []armKey         // by number; none of number 0
	numbers map[armKey]uint8
	stopped map[armKey]ArmStop                            // by arm, the control too where all of the experiment was stopped
	specs   []*experiment.Spec                            // by number; nil where the experiment is gone
	counts  []*armCounts                                  // by number
	routes  atomic.Pointer[[experiment.MaxArms + 1]uint8] // by an arm's number in the set: the engines' number of what its new connections get
}

// newExperiments numbers the arms of a set whose policies are by their numbers in it, after those of before (nil for none).
func newExperiments(set *experiment.Set, pols []*policy.Policy, before *experiments) (*experiments, error) {
	x := &experiments{set: set, keys: make([]armKey, 1), counts: make([]*armCounts, 1), numbers: map[armKey]uint8{}, stopped: map[armKey]ArmStop{}}
	if before != nil {
		x.keys, x.pols, x.counts = slices.Clone(before.keys), slices.Clone(before.pols), slices.Clone(before.counts)
		x.numbers = maps.Clone(before.numbers)
		x.stopped = maps.Clone(before.stopped)
	}
	x.specs = make([]*experiment.Spec, len(x.keys))
	for i, a := range set.Arms() {
		ok := x.put(armKey{a.Spec.Name, a.Arm.Name}, pols[i], a.Spec)
		if a.Arm == &a.Spec.Arms[0] && pols[i] != nil {
			ok = ok && x.put(armKey{a.Spec.Name, ""}, pols[i], a.Spec)
		}
		if !ok {
			return nil, fmt.Errorf("experiment: more than %d arms since the gateway's start, and connections may have each of them: restart it", maxArmNumber)
		}
	}
	x.reroute()
	return x, nil
}

// put gives an arm its policy, and a number if it has none. It is not ok where there are no more numbers.
func (x *experiments) put(k armKey, pol *policy.Policy, s *experiment.Spec) (ok bool) {
	n, ok := x.numbers[k]
	if !ok {
		if len(x.keys) > maxArmNumber {
			return false
		}
		n = uint8(len(x.keys))
		x.numbers[k] = n
		x.keys, x.pols, x.specs, x.counts = append(x.keys, k), append(x.pols, nil), append(x.specs, nil), append(x.counts, new(armCounts))
	}
	x.pols[n-1], x.specs[n] = pol, s
	return true
}

// reroute says what new connections get.
func (x *experiments) reroute() {
	var routes [experiment.MaxArms + 1]uint8
	for _, a := range x.set.Arms() {
		k := armKey{a.Spec.Name, a.Arm.Name}
		if _, stopped := x.stopped[k]; stopped { // without a number of its own the control's policy is the gateway's
			k.arm = ""
		}
		routes[a.Number] = x.numbers[k]
	}
	x.routes.Store(&routes)
}

// arms returns what an engine needs; wall converts its instants to Unix nanoseconds.
func (x *experiments) arms(wall func(conntrack.Instant) int64) policy.Arms {
	if x == nil || len(x.keys) == 1 {
		return policy.Arms{}
	}
	return policy.Arms{Policies: x.pols, Assign: func(now conntrack.Instant, tu *conntrack.Tuple) uint8 {
		return x.routes.Load()[x.set.Assign(time.Unix(0, wall(now)), tu)]
	}}
}

// names returns the arms' names by number, as records have them.
func (x *experiments) names() []string {
	if x == nil || len(x.keys) == 1 {
		return nil
	}
	names := make([]string, len(x.keys))
	for i, k := range x.keys {
		names[i] = k.arm
	}
	return names
}

// texts returns the arms' names by number, as state files have them.
func (x *experiments) texts() []string {
	if x == nil || len(x.keys) == 1 {
		return nil
	}
	texts := make([]string, len(x.keys))
	for i, k := range x.keys[1:] {
		texts[i+1] = k.String()
	}
	return texts
}

// numbersOf returns by the numbers of a state file those that the same arms have here, 0 for an arm that is none any more: its flows are
// the gateway's.
func (x *experiments) numbersOf(texts []string) (numbers [maxArmNumber + 1]uint8) {
	if x == nil {
		return numbers
	}
	for i, text := range texts {
		if name, arm, ok := strings.Cut(text, "/"); ok && i < len(numbers) {
			numbers[i] = x.numbers[armKey{name, arm}]
		}
	}
	return numbers
}

// policies returns the policies of the arms, each once, without the gateway's.
func (x *experiments) policies() []*policy.Policy {
	if x == nil {
		return nil
	}
	var out []*policy.Policy
	seen := map[string]bool{}
	for _, p := range x.pols {
		if p != nil && !seen[p.Rev()] {
			seen[p.Rev()] = true
			out = append(out, p)
		}
	}
	return out
}
