//go:build netns

package fastpath

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Commands of bpf(2).
const (
	bpfProgLoad   = 5
	bpfBTFLoad    = 18
	bpfLinkCreate = 28
	bpfAny        = -1
)

func init() {
	refusing := func(name string, before func() error) {
		children[name] = func() error {
			if err := before(); err != nil {
				return err
			}
			return tryOpen()
		}
	}
	refusing("no bpf", func() error { return refuse(bpfAny, unix.ENOSYS) })
	refusing("forbidden", func() error { return refuse(bpfAny, unix.EPERM) })
	refusing("no BTF", func() error { return refuse(bpfBTFLoad, unix.EINVAL) })
	refusing("no program", func() error { return refuse(bpfProgLoad, unix.EINVAL) })
	refusing("no TCX", func() error { return refuse(bpfLinkCreate, unix.EINVAL) })
	refusing("no capabilities", func() error { return keepCaps(unix.CAP_NET_RAW) })
	refusing("no CAP_BPF", func() error { return keepCaps(unix.CAP_NET_ADMIN) })
	refusing("no CAP_NET_ADMIN", func() error { return keepCaps(unix.CAP_BPF, unix.CAP_PERFMON) })
	refusing("no CAP_PERFMON", func() error { return keepCaps(unix.CAP_BPF, unix.CAP_NET_ADMIN) })
	refusing("enough capabilities", func() error { return keepCaps(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON) })
}

// tryOpen opens the real fast path and says what came of it, and what kind of error it is.
func tryOpen() error {
	p, err := Open(Options{Flows: 16, Workers: 1, MarkMask: 0xff000000, Logger: new(lines).logger()})
	if err == nil {
		fmt.Printf("%s on %s\n", p.Hook(), p.Interfaces())
		return p.Close()
	}
	for _, kind := range []error{ErrUnsupported, ErrPrivilege, ErrInUse} {
		if errors.Is(err, kind) {
			fmt.Printf("[%v] ", kind)
		}
	}
	return err
}

// refuse makes the kernel answer a command of bpf() with an errno in all threads, as a kernel without it does.
func refuse(cmd int, errno unix.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_BPF},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // the first argument
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(cmd)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if cmd == bpfAny {
		filter[3] = unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return e
	}
	if _, _, e := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return e
	}
	return nil
}

// keepCaps leaves all threads these capabilities only.
func keepCaps(keep ...int) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, c := range keep {
		data[c/32].Effective |= 1 << (c % 32)
		data[c/32].Permitted |= 1 << (c % 32)
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
		return e
	}
	return nil
}

// TestRefused opens the real fast path where the kernel or the privileges do not allow it.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	for _, c := range []struct {
		child string
		says  []string
		good  bool
	}{
		{child: "no bpf", says: []string{"[" + ErrUnsupported.Error() + "]", "it has no bpf() (CONFIG_BPF_SYSCALL)"}},
		{child: "forbidden", says: []string{"[" + ErrPrivilege.Error() + "]", "although the capabilities are held", "seccomp"}},
		{child: "no BTF", says: []string{"[" + ErrUnsupported.Error() + "]", "BTF", "this is Linux "}},
		{child: "no program", says: []string{"loading the programs"}},
		{child: "no capabilities", says: []string{"[" + ErrPrivilege.Error() + "]", "it lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN (run as root"}},
		{child: "no CAP_BPF", says: []string{"[" + ErrPrivilege.Error() + "]", "it lacks CAP_BPF, CAP_PERFMON (run"}},
		{child: "no CAP_NET_ADMIN", says: []string{"[" + ErrPrivilege.Error() + "]", "it lacks CAP_NET_ADMIN (run"}},
		{child: "no CAP_PERFMON", says: []string{"[" + ErrPrivilege.Error() + "]", "without CAP_PERFMON"}},
		{child: "no TCX", says: []string{"clsact on [inside]"}, good: true},
		{child: "enough capabilities", says: []string{"TCX on [inside]"}, good: true},
	} {
		t.Run(c.child, func(t *testing.T) {
			check(t, enterGateway(w))
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childVariable+"="+c.child)
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.good {
				t.Errorf("ended with %v", err)
			}
			for _, s := range c.says {
				if !strings.Contains(string(out), s) {
					t.Errorf("says %s\nwant %s", out, s)
				}
			}
			if n := strings.Count(strings.TrimSpace(string(out)), "\n"); n > 0 {
				t.Errorf("says it in %d lines: %s", n+1, out)
			}
			if q := tc(t, "qdisc show dev inside"); len(hanging(t, "inside")) > 0 || strings.Contains(q, "clsact") {
				t.Errorf("left behind: %v %s", hanging(t, "inside"), q)
			}
		})
	}
}

// TestKernelWithout has what a kernel of today cannot be made to refuse.
func TestKernelWithout(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	programs, drop, err := markers()
	check(t, err)
	defer drop()
	try := func(change func(*attacher)) error {
		p, err := Open(Options{programs: programs, kernel: change})
		if p != nil {
			t.Error("a path beside an error")
		}
		return err
	}
	noTCX := func(a *attacher) {
		a.tcx = func(link.TCXOptions) (link.Link, error) { return nil, fmt.Errorf("tcx: %w", ebpf.ErrNotSupported) }
	}
	err = try(func(a *attacher) {
		noTCX(a)
		a.add = func(netlink.Filter) error { return unix.ENOENT }
	})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "no bpf filters (CONFIG_NET_CLS_BPF)") || !strings.Contains(err.Error(), "no TCX either (Linux 6.6)") {
		t.Errorf("neither TCX nor clsact: %v", err)
	}
	err = try(func(a *attacher) { a.tcx = func(link.TCXOptions) (link.Link, error) { return nil, unix.EPERM } })
	if !errors.Is(err, ErrPrivilege) {
		t.Errorf("attaching forbidden: %v", err)
	}
	_, err = Open(Options{load: func(loadOptions) (*objects, error) { return nil, fmt.Errorf("map flows: map create: %w", unix.ENOMEM) }})
	if err == nil || !strings.Contains(err.Error(), "not enough memory for the maps; take fewer flows") {
		t.Errorf("no memory for the maps: %v", err)
	}
	if q := tc(t, "qdisc show dev inside"); strings.Contains(q, "clsact") {
		t.Errorf("a failed start left %s", q)
	}
	check(t, open(t, Options{}).Close()) // neither is the lock
}

// TestOneRefuses: an interface whose qdisc does not take our filter stays on the queue, and the others have theirs.
func TestOneRefuses(t *testing.T) {
	w := newWorld(t)
	w.cable(t, "inside")
	w.cable(t, "shared")
	tc(t, "qdisc add dev shared ingress_block 22 clsact")
	var log lines
	p := open(t, Options{hook: hookClsact, Logger: log.logger()})
	if p.Attached(indexOf(t, "shared")) || !p.Attached(indexOf(t, "inside")) || !log.contain("interface=shared") || !log.contain("a shared block?") {
		t.Errorf("attached to %v; the log says %s", p.Interfaces(), log.text.String())
	}
	_, err := Open(Options{hook: hookClsact, Interfaces: []string{"shared"}})
	if !errors.Is(err, ErrInUse) {
		t.Errorf("beside another: %v", err)
	}
	check(t, p.Close())
	if _, err := Open(Options{hook: hookClsact, Interfaces: []string{"shared"}, Logger: log.logger(), programs: p.programs}); err == nil || !strings.Contains(err.Error(), "attaching the program to shared") {
		t.Errorf("with nothing but an interface that refuses: %v", err)
	}
}

// TestVerifierRefuses: a refusal is told in a line, and the whole of it where somebody looks closely.
func TestVerifierRefuses(t *testing.T) {
	_, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "wild", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, 0), asm.LoadMem(asm.R0, asm.R2, 0, asm.Word), asm.Return(),
	}})
	var log lines
	err = explain("loading the programs", fmt.Errorf("program wild: %w", err), log.logger())
	want := "its verifier refuses the program: R2 invalid mem access 'scalar'"
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v\nwant %s", err, want)
	}
	if !log.contain("r0 = *(u32 *)(r2 +0)") {
		t.Errorf("the log says %s", log.text.String())
	}
}
