//go:build netns

package fastpath

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	children["doctor where it is forbidden"] = func() error {
		if err := refuse(bpfAny, unix.EPERM); err != nil {
			return err
		}
		return printAnswers()
	}
	children["doctor without BTF"] = func() error {
		if err := refuse(bpfBTFLoad, unix.EINVAL); err != nil {
			return err
		}
		return printAnswers()
	}
	children["doctor"] = printAnswers
}

func printAnswers() error {
	for _, a := range Probe() {
		fmt.Printf("%v %s: %s\n", a.OK, a.Name, a.Found)
		if (a.Means == "") != a.OK {
			fmt.Printf("%s: %q follows\n", a.Name, a.Means)
		}
	}
	return nil
}

// answers runs Probe in a process of its own.
func answers(t *testing.T, name string) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestProbe asks on a kernel that has everything, on some that have not, and beside fast paths that live and that died.
func TestProbe(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	before := tc(t, "qdisc show") + run(t, "ip", "link")
	got := answers(t, "doctor")
	good := []string{"true bpf(): allowed", "true bpf maps: all kinds", "true BTF: accepted", "true bpf helpers: all there",
		"true bpf helpers of redirect: all there", "true fast path's program: accepted by the verifier", "true fast path's hook: TCX", "true short way out: nothing that it would go past",
		"true fast path: none runs"}
	if !slices.Equal(got, good) {
		t.Errorf("answers\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(good, "\n"))
	}
	if after := tc(t, "qdisc show") + run(t, "ip", "link"); after != before || len(hanging(t, "inside")) > 0 {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	has := func(name string, want ...string) {
		t.Helper()
		got := answers(t, name)
		for _, s := range want {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, s) }) {
				t.Errorf("%s: answers\n%s\nwant %s", name, strings.Join(got, "\n"), s)
			}
		}
	}
	has("doctor where it is forbidden", "false bpf(): fast path: making a map: "+ErrPrivilege.Error(), "true fast path: none runs")
	has("doctor without BTF", "true bpf(): allowed", "false BTF: ", "false fast path's program: ", "true fast path's hook: TCX")
	ip(t, "rule add fwmark 1 lookup 100")
	has("doctor", "false short way out: there is a routing rule by mark")
	cmd := child(t, "tcx")
	has("doctor", fmt.Sprintf("(pid %d), on inside (TCX)", cmd.Process.Pid))
	kill(cmd)
	has("doctor", "true fast path: none runs")
	cmd = child(t, "clsact")
	has("doctor", fmt.Sprintf("(pid %d), on inside (clsact)", cmd.Process.Pid))
	kill(cmd)
	has("doctor", "false fast path: left by a dead process on inside (clsact)")
}
