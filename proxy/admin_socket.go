package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adminSocket is a listening unix socket and the file that names it.
type adminSocket struct {
	path     string
	listener net.Listener
	info     os.FileInfo // to tell our file from another's at the same path
}

// maxSocketPath is what fits into a sockaddr_un (unix(7)), its final zero byte not counted.
const maxSocketPath = 107

// listenAdmin makes the socket, mode 0600 from the first moment on. Two gateways that start at once take turns by a lock on
// the directory.
func listenAdmin(path string) (*adminSocket, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin: socket path %s has %d bytes; at most %d fit", path, len(path), maxSocketPath)
	}
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("admin: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	defer func() { _ = lock.Close() }() // and with it the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("admin: lock on %s: %w", dir, err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	var inner error
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// bind gives the file the socket's own mode (unix_bind_bsd in net/unix/af_unix.c), so there is no moment at which others
		// could connect.
		err := c.Control(func(fd uintptr) { inner = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, inner)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // by then the path may be another's
	s := &adminSocket{path: path, listener: l}
	if s.info, err = os.Lstat(path); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("admin: %w", err)
	}
	return s, nil
}

// removeStale removes a socket that nobody serves. Anything else at the path is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("admin: %s exists and is no socket; it stays as it is", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		defer func() { _ = conn.Close() }()
		return fmt.Errorf("admin: socket %s is in use by process %s: another gateway runs; choose another path with --admin", path, peerProcess(conn))
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("admin: socket %s exists, and whether somebody serves it cannot be told: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin: removing the stale socket: %w", err)
	}
	return nil
}

// peerProcess names the process at the other end of a unix connection.
func peerProcess(c net.Conn) string {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "unknown"
	}
	name := "unknown"
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			name = fmt.Sprint(cred.Pid)
		}
	})
	return name
}

// remove takes the socket's file away, if it is still this one. The listener must still be open: it keeps the file's inode number
// from being given to another.
func (s *adminSocket) remove() error {
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, s.info) {
		return nil
	}
	if err == nil {
		err = os.Remove(s.path)
	}
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}
