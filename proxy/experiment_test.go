package proxy

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
)

// halves is an experiment of clients in two equal arms: one as the gateway, one that drops every new connection.
const halves = `experiment:
  name: halves
  arms:
    - {name: control, weight: 50, policy: gateway}
    - {name: dropping, weight: 50, policy: drop.yaml}
`

// experimentDir writes an experiment with the policy drop.yaml beside it, and returns the experiment's file.
func experimentDir(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"exp.yaml": text, "drop.yaml": "preset: observe\non: {new: drop}\n", "limits.yaml": "preset: observe\nlimits: {flows: 7}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "exp.yaml")
}

func observePolicy(t *testing.T) *policy.Policy {
	t.Helper()
	p, err := LoadPolicy("observe", nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// loaded is the experiments of a text, after those of before.
func loaded(t *testing.T, text string, before *experiments) *experiments {
	t.Helper()
	set, pols, err := LoadExperiments(experimentDir(t, text), false, observePolicy(t))
	if err != nil {
		t.Fatal(err)
	}
	x, err := newExperiments(set, pols, before)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func utc(i conntrack.Instant) int64 { return int64(i) }

func TestLoadExperiments(t *testing.T) {
	pol := observePolicy(t)
	set, pols, err := LoadExperiments(experimentDir(t, strings.Replace(halves, "drop.yaml", "./drop.yaml", 1)), false, pol)
	if err != nil {
		t.Fatal(err)
	}
	a := set.Specs[0].Arms
	if len(pols) != 2 || pols[0] != nil || pols[1] == nil || a[0].Rev != pol.Rev() || a[0].Preset != "observe" || a[1].Rev != pols[1].Rev() || a[1].Rev == a[0].Rev {
		t.Errorf("%+v %v", a, pols)
	}
	for text, want := range map[string]string{
		strings.Replace(halves, "drop.yaml", "nowhere.yaml", 1):                                           "experiment halves, arm dropping: policy: open ",
		strings.Replace(halves, "drop.yaml", "exp.yaml", 1):                                               `arm dropping: ` + "",
		strings.Replace(halves, "weight: 50, policy: drop.yaml", "weight: 40, policy: drop.yaml", 1):      "weights whose sum is 90%",
		strings.Replace(halves, "policy: drop.yaml", `policy: "azure-lb-4min:enableTcpReset=perhaps"`, 1): "perhaps",
		"policy: observe\n" + halves: `unknown key "policy"`,
	} {
		if _, _, err := LoadExperiments(experimentDir(t, text), false, pol); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s\n%s", err, want, text)
		}
	}
	if _, _, err := LoadExperiments(filepath.Join(t.TempDir(), "none.yaml"), false, pol); err == nil {
		t.Error("a file that there is not")
	}
	for text, n := range map[string]int{"policy: observe\n" + halves: 1, "policy: observe": 0} {
		if set, _, err := LoadExperiments(experimentDir(t, text), true, pol); err != nil || len(set.Specs) != n {
			t.Errorf("%v, %v:\n%s", set, err, text)
		}
	}
}

func TestSharedKeys(t *testing.T) {
	pol := observePolicy(t)
	arm, problems := policy.Load("arm.yaml", []byte("preset: observe\ntimeouts: {established: 1m}\nlimits: {flows: 9}\nlog: {detail: packet}\nadopt: 0s\non: {new: drop}"), nil)
	if arm == nil {
		t.Fatal(problems)
	}
	if keys := SharedKeys(pol, arm); !slices.Equal(keys, []string{"limits.flows", "limits.embryonic", "adopt", "log.detail"}) {
		t.Error(keys)
	}
	if keys := SharedKeys(pol, pol); keys != nil {
		t.Error(keys)
	}
}

// TestArmNumbers: a number is one arm's for as long as the process lives, whatever reloads bring.
func TestArmNumbers(t *testing.T) {
	const other = `experiment:
- name: other
  match: {dst_port: 80}
  arms: [{name: first, weight: 50, policy: drop.yaml}, {name: second, weight: 50, policy: gateway}]
`
	one := loaded(t, halves, nil)
	if got := fmt.Sprintf("%q", one.names()); got != `["" "control" "dropping"]` {
		t.Error(got)
	}
	two := loaded(t, other, one)
	if got := fmt.Sprintf("%q", two.texts()); got != `["" "halves/control" "halves/dropping" "other/first" "other/" "other/second"]` {
		t.Error(got)
	}
	if two.pols[1] == nil || two.pols[0] != nil || two.pols[2] == nil || two.pols[3] == nil || two.pols[4] != nil {
		t.Errorf("what is gone keeps its policy: %v", two.pols)
	}
	three := loaded(t, halves, two) // comes again
	if three.numbers[armKey{"halves", "dropping"}] != 2 || len(three.keys) != 6 || three.specs[3] != nil || three.specs[2] == nil {
		t.Errorf("%v", three.keys)
	}
}

func TestSketch(t *testing.T) {
	for _, n := range []uint64{0, 1, 10, 1000, 9000, 20_000, 300_000} {
		var s sketch
		spec := &experiment.Spec{Salt: "sketch", Unit: experiment.UnitFlow}
		for i := range n {
			tu := conntrack.Tuple{Src: [16]byte{10: 0xff, 11: 0xff, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}}
			h := spec.UnitHash(&tu)
			s.add(h)
			s.add(h) // again is nothing new
		}
		if got := s.estimate(); math.Abs(float64(got)-float64(n)) > 4*0.0163*float64(n)+0.5 {
			t.Errorf("%d units: estimated %d", n, got)
		}
	}
}

// armsOf runs n clients' SYNs through an engine and returns how many of them each arm got.
func armsOf(x *experiments, n int, at conntrack.Instant) (counts [maxArmNumber + 1]int) {
	arms := x.arms(utc)
	for i := range n {
		tu := conntrack.Tuple{Src: [16]byte{10: 0xff, 11: 0xff, 12: 10, 14: byte(i >> 8), 15: byte(i)}, Dst: [16]byte{10: 0xff, 11: 0xff, 12: 11}, SrcPort: 50000, DstPort: 515}
		counts[arms.Assign(at, &tu)]++
	}
	return counts
}

// TestStopArm: a stopped arm's new connections are decided by the control's policy, under no name; other arms go on; reloads keep it
// so, also those between which the experiment is gone.
func TestStopArm(t *testing.T) {
	const text = `experiment:
  name: three
  arms:
    - {name: control, weight: 40, policy: drop.yaml}
    - {name: one, weight: 30, policy: observe}
    - {name: two, weight: 30, policy: gateway}
`
	x := loaded(t, text, nil)
	number := func(x *experiments, arm string) uint8 { return x.numbers[armKey{"three", arm}] }
	before := armsOf(x, 4000, 0)
	if before[0] != 0 || before[number(x, "")] != 0 || before[number(x, "one")] < 1000 {
		t.Fatal(before[:6])
	}
	for _, k := range []armKey{{"three", "control"}, {"three", "four"}, {"four", "one"}} {
		if stopped, err := x.stop(k.experiment, k.arm, ArmStop{}); err == nil || len(stopped) > 0 {
			t.Errorf("%v stopped", k)
		}
	}
	for n := 1; n >= 0; n-- { // the second time it is stopped already
		if stopped, err := x.stop("three", "one", ArmStop{Detail: "why"}); err != nil || len(stopped) != n {
			t.Fatal(stopped, err)
		}
	}
	check := func(x *experiments) {
		t.Helper()
		after := armsOf(x, 4000, 0)
		substitute := number(x, "")
		if after[number(x, "one")] != 0 || after[substitute] != before[number(x, "one")] || after[number(x, "control")] != before[number(x, "control")] || after[number(x, "two")] != before[number(x, "two")] {
			t.Errorf("before %v, after %v", before[:6], after[:6])
		}
		if x.pols[substitute-1] == nil || x.pols[substitute-1].Rev() != x.pols[number(x, "control")-1].Rev() || x.names()[substitute] != "" {
			t.Error("not by the control's policy, or not without a name")
		}
	}
	check(x)
	again := loaded(t, strings.Replace(text, "policy: observe", "policy: openbsd-pf", 1), x)
	check(again)
	gone := loaded(t, halves, again)
	back := loaded(t, text, gone)
	check(back)
	if stopped, err := back.stop("three", "", ArmStop{}); err != nil || !slices.Equal(stopped, []string{"control", "two"}) {
		t.Error(stopped, err)
	}
	if counts := armsOf(back, 4000, 0); counts[number(back, "")] != 4000 {
		t.Errorf("all of it is stopped: %v", counts[:6])
	}
	y := loaded(t, halves, nil) // whose control is the gateway's own policy
	if _, err := y.stop("halves", "dropping", ArmStop{}); err != nil {
		t.Fatal(err)
	}
	if counts := armsOf(y, 1000, 0); counts[2] != 0 || counts[0] < 400 || counts[1] < 400 {
		t.Error(counts[:4])
	}
}

// TestArmNumbersEnd: there are 255 numbers; what needs more is refused.
func TestArmNumbersEnd(t *testing.T) {
	var x *experiments
	pol := observePolicy(t)
	for round := range 3 {
		var b strings.Builder
		b.WriteString("experiment:\n")
		for i := range 50 {
			fmt.Fprintf(&b, "- {name: e%d-%d, match: {dst_port: %d}, arms: [{name: a%d, weight: 50, policy: gateway}, {name: b%d, weight: 50, policy: observe}]}\n", round, i, i, i, i)
		}
		set, pols, err := LoadExperiments(experimentDir(t, b.String()), false, pol)
		if err != nil {
			t.Fatal(err)
		}
		next, err := newExperiments(set, pols, x)
		if (err == nil) != (round < 2) {
			t.Fatalf("round %d: %v", round, err)
		}
		if err == nil {
			x = next
		}
	}
	if len(x.keys) != 201 {
		t.Error(len(x.keys))
	}
}
