package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// takeLock waits until no other process is indexing. The kernel lets go of the lock of a process that dies.
func (x *Index) takeLock(ctx context.Context) (unlock func(), err error) {
	if x.lock == nil {
		return func() {}, nil
	}
	fd := int(x.lock.Fd())
	told := false
	for start := time.Now(); ; {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { unix.Flock(fd, unix.LOCK_UN) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("index: lock %s: %w", x.lock.Name(), err)
		}
		if !told && time.Since(start) > time.Second {
			told = true
			x.opt.Warn("index: another process is indexing this log; waiting for it")
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("index: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
