package fastpath

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Why there is no fast path; errors of Open wrap one of these where the reason is one of them.
var (
	ErrUnsupported = errors.New("the kernel lacks what a fast path needs")
	ErrPrivilege   = errors.New("a fast path needs privileges that are missing")
	ErrInUse       = errors.New("another fast path runs in this network namespace")
)

// explain turns an error of bpf() into words: what was tried, which of the sentinels it is, what the operator can do. A refusal by
// the verifier is told by its last line; the whole log goes to the logger at its debug level.
func explain(what string, err error, log *slog.Logger) error {
	var refused *ebpf.VerifierError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnsupported), errors.Is(err, ErrPrivilege), errors.Is(err, ErrInUse):
		return fmt.Errorf("fast path: %s: %w", what, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && !errors.As(err, &refused):
		return fmt.Errorf("fast path: %s: %w: %s", what, ErrPrivilege, whyRefused())
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("fast path: %s: %w: it has no bpf() (CONFIG_BPF_SYSCALL)", what, ErrUnsupported)
	case errors.As(err, &refused):
		if !holds(unix.CAP_PERFMON) {
			return fmt.Errorf("fast path: %s: %w: without CAP_PERFMON (before Linux 5.8: CAP_SYS_ADMIN) the verifier refuses the program: %s",
				what, ErrPrivilege, lastWord(refused))
		}
		if log.Enabled(context.Background(), slog.LevelDebug) {
			log.Debug("the verifier's log", "program", what, "log", strings.Join(refused.Log, "\n"))
		}
		return fmt.Errorf("fast path: %s: %w: its verifier refuses the program: %s (the whole log is told at debug level)",
			what, ErrUnsupported, lastWord(refused))
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("fast path: %s: %w (this is Linux %s): %w", what, ErrUnsupported, release(), err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("fast path: %s: not enough memory for the maps; take fewer flows, or raise the cgroup's memory limit: %w", what, err)
	}
	return fmt.Errorf("fast path: %s: %w", what, err)
}

// lastWord is the line of a verifier's log that says what is wrong: the last one that is not statistics.
func lastWord(e *ebpf.VerifierError) string {
	for i := len(e.Log) - 1; i >= 0; i-- {
		line := strings.TrimSpace(e.Log[i])
		switch {
		case line == "", strings.HasPrefix(line, "processed "), strings.HasPrefix(line, "verification time "), strings.HasPrefix(line, "stack depth "):
			continue
		}
		return line
	}
	return e.Cause.Error()
}

// whyRefused says what is missing where the kernel answers "operation not permitted".
func whyRefused() string {
	var lack []string
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if !holds(c.bit) {
			lack = append(lack, c.name)
		}
	}
	switch {
	case len(lack) > 0:
		return "it lacks " + strings.Join(lack, ", ") + " (run as root; before Linux 5.8 CAP_SYS_ADMIN takes the place of the first two)"
	case lockdown() == "confidentiality":
		return "bpf() is restricted by kernel lockdown (confidentiality)"
	}
	return "bpf() is refused although the capabilities are held: a seccomp filter or security module (a container's?) forbids it, or, " +
		"before Linux 5.11, RLIMIT_MEMLOCK is too low"
}

// holds tells whether this thread has a capability; CAP_SYS_ADMIN has always covered what CAP_BPF and CAP_PERFMON stand for now.
func holds(c int) bool {
	caps := effectiveCaps()
	return caps&(1<<c) != 0 || c != unix.CAP_NET_ADMIN && caps&(1<<unix.CAP_SYS_ADMIN) != 0
}

// effectiveCaps is this thread's set; 0 where it cannot be read.
func effectiveCaps() uint64 {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&head, &data[0]) != nil {
		return 0
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
}

// lockdown is the mode of kernel lockdown, "" where there is none: the file reads "none [integrity] confidentiality".
func lockdown() string {
	b, _ := os.ReadFile("/sys/kernel/security/lockdown")
	_, rest, _ := strings.Cut(string(b), "[")
	mode, _, _ := strings.Cut(rest, "]")
	return mode
}

// release is the running kernel's version as uname tells it.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}
