package lab

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How a load is counted: between two instants, each counter with the time at which it was read. The load's own threads want every processor
// all the while, so that a moment's wait for one, or for a socket that is in use, would be a good part of a short load.

// counter is read twice, in the beginning and in the end of what is counted.
type counter func() error

// timed counts a load that runs already: once a tenth of the span is over, in which congestion windows open, it reads the counter, and again
// when the span is over.
func (b *bench) timed(load string, pid int, span time.Duration, read counter) (u usage, err error) {
	err = urgent(func() error {
		sleep(span / 10)
		stop := b.watched(load, pid)
		before, err := readUsage(pid)
		err = errors.Join(err, read())
		sleep(span)
		after, err2 := readUsage(pid)
		err = errors.Join(err, err2, read())
		stop()
		u = after.sub(before)
		return err
	})
	return u, err
}

// urgent runs f on a thread of its own that goes before all others of its kind (nice -20, setpriority(2)), where that is allowed.
func urgent(f func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends, and its priority with it
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
		errc <- f()
	}()
	return <-errc
}

// sleep sleeps in the kernel: Go's timers wait for a thread that looks at them.
func sleep(d time.Duration) {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// carried is what the receiving end of a transfer has carried.
type carried struct {
	at                       time.Time
	bytes, segments, packets uint64
}

// carriedBy reads the kernel's counters of a connection (TCP_INFO, tcp(7)): payload and data segments received, and all segments of either
// end; the pieces of super-packets counted. It waits while the socket is in use, as a sender's is nearly always.
func carriedBy(fd int) (carried, error) {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return carried{}, fmt.Errorf("lab: TCP_INFO: %w", err)
	}
	return carried{time.Now(), i.Bytes_received, uint64(i.Data_segs_in), uint64(i.Segs_in) + uint64(i.Segs_out)}, nil
}

// count counts what receivers get, from the first call to the second.
func (r *streamed) count(receivers []int) counter {
	first := map[int]carried{}
	return func() error {
		for _, fd := range receivers {
			c, err := carriedBy(fd)
			if err != nil {
				return err
			}
			if f, again := first[fd]; again {
				s := c.at.Sub(f.at).Seconds()
				r.bytes += float64(c.bytes-f.bytes) / s
				r.segments += float64(c.segments-f.segments) / s
				r.packets += float64(c.packets-f.packets) / s
			}
			first[fd] = c
		}
		return nil
	}
}

// count counts good connections.
func (r *connected) count(good *atomic.Int64) counter {
	var at time.Time
	var was int64
	return func() error {
		now, n := time.Now(), good.Load()
		if !at.IsZero() {
			r.good = float64(n-was) / now.Sub(at).Seconds()
		}
		at, was = now, n
		return nil
	}
}
