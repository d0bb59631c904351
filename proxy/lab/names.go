package lab

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where named namespaces are kept (ip-netns(8)); ours can therefore be entered with "ip netns exec" while a lab runs.
const netnsDir = "/run/netns"

// uniqueName returns the common part of the names of a new topology's namespaces, or of a scratch directory's: ho<pid>.<start>.<random>, to which -<role> is added.
func uniqueName() (string, error) {
	start, err := startTime(os.Getpid())
	if err != nil {
		return "", fmt.Errorf("lab: own start time: %w", err)
	}
	return fmt.Sprintf("ho%d.%s.%08x", os.Getpid(), strconv.FormatUint(start, 36), rand.Uint32()), nil
}

// startTime returns a process's start in clock ticks since boot (proc_pid_stat(5), field 22). Together with the pid it names a
// process for good: pids are used again.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name, field 2, may hold spaces and parentheses: fields are counted from behind it.
	_, rest, ok := strings.Cut(string(b[max(strings.LastIndexByte(string(b), ')'), 0):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, errors.New("unexpected format of /proc/PID/stat")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// ourName matches uniqueName's result with a role.
var ourName = regexp.MustCompile(`^ho([0-9]+)\.([0-9a-z]+)\.[0-9a-f]{8}-[a-z]+$`)

// owner takes pid and start time out of a namespace's name; ok is false if the name is not one of ours.
func owner(name string) (pid int, start uint64, ok bool) {
	m := ourName.FindStringSubmatch(name)
	if m == nil {
		return 0, 0, false
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, 0, false
	}
	start, err = strconv.ParseUint(m[2], 36, 64)
	return pid, start, err == nil
}

// RemoveStale removes what labs left behind whose process no longer lives (killed with -9): their namespaces and scratch directories. Those
// of living labs, and everything that is not a lab's, stay. It returns the names removed.
func RemoveStale() []string {
	var removed []string
	for _, place := range []struct {
		dir    string
		remove func(path string) error
	}{{netnsDir, removeNamed}, {os.TempDir(), removeScratch}} {
		entries, err := os.ReadDir(place.dir)
		if err != nil {
			continue // no such directory, nothing left in it
		}
		for _, e := range entries {
			pid, start, ok := owner(e.Name())
			if !ok {
				continue
			}
			if now, err := startTime(pid); err == nil && now == start {
				continue // its owner lives
			}
			if err := place.remove(filepath.Join(place.dir, e.Name())); err != nil {
				slog.Warn("lab: what a killed lab left stays", "name", e.Name(), "err", err)
				continue
			}
			removed = append(removed, e.Name())
		}
	}
	return removed
}

// newScratch makes a directory for a run's small short-lived files. Its path is short, because a socket's path may not exceed 107
// bytes (unix(7)), and every user may pass through it, because the lab's daemons do not stay root.
func newScratch() (string, error) {
	name, err := uniqueName()
	if err != nil {
		return "", err
	}
	path := filepath.Join(os.TempDir(), name+"-scratch")
	if err := os.Mkdir(path, 0o711); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	return path, nil
}

// removeScratch removes a scratch directory, if it is this user's: the place is everybody's.
func removeScratch(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() {
		return errors.New("somebody else's")
	}
	return os.RemoveAll(path)
}

// removeNamed takes a namespace's name away; the kernel frees the namespace when its last process and socket are gone.
func removeNamed(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return os.Remove(path)
}

// newNamed makes a namespace with a name and leaves the calling thread, which must be locked, inside it.
func newNamed(name string) (netns.NsHandle, error) {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return netns.None(), err
	}
	if err := shareDir(); err != nil {
		return netns.None(), err
	}
	return netns.NewNamed(name)
}

// shareDir makes the directory a shared mount of its own, exactly as ip-netns(8) does at its first use. If it were left to ip, a later
// "ip netns add" would do it on top of our mounts and hide them.
func shareDir() error {
	err := unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", netnsDir, err)
		}
		err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", netnsDir, err)
	}
	return nil
}
