package fastpath

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is an abstract socket, of which each network namespace has its own and which ends with the process that holds it, however
// that ends. Who holds it may take filters of our name for those of a dead process.
const lockName = "@halfopen-fastpath"

// lock makes this process the one that has a fast path in the calling thread's network namespace, or returns ErrInUse. The kernel lets
// anybody bind the name; who is no peer of ours (another user) keeps us from nothing.
func lock(log *slog.Logger) (io.Closer, error) {
	for tries := 0; ; tries++ {
		l, err := net.Listen("unix", lockName)
		if err == nil {
			go answer(l)
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("fast path: taking the lock %s: %w", lockName, err)
		}
		owner, err := holder()
		switch {
		case err == nil && peer(owner):
			return nil, fmt.Errorf("fast path: %w: that of %s", ErrInUse, processName(owner.Pid))
		case err == nil || tries >= 10:
			log.Warn("somebody who is no gateway holds the fast path's lock; nothing tells two gateways of this namespace apart now", "lock", lockName, "err", err)
			return io.NopCloser(nil), nil
		}
		time.Sleep(100 * time.Millisecond) // it ends just now
	}
}

// answer lets go of who asks, so that any number may.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Second) // no descriptors left
			continue
		}
		_ = c.Close()
	}
}

// holder asks who listens on the lock.
func holder() (*unix.Ucred, error) {
	c, err := net.DialTimeout("unix", lockName, time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return nil, e
	}
	return cred, err
}

// peer tells whether a process may be a gateway as this one is.
func peer(c *unix.Ucred) bool { return c.Uid == uint32(os.Geteuid()) }

// processName names a process for a message.
func processName(pid int32) string {
	if pid == 0 {
		return "a process of another container"
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if name := strings.TrimSpace(string(comm)); name != "" {
		return fmt.Sprintf("%s (pid %d)", name, pid)
	}
	return fmt.Sprintf("pid %d", pid)
}
