package nfqueue

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The tables of the network namespace of the calling thread.
const (
	procQueues  = "/proc/thread-self/net/netfilter/nfnetlink_queue"
	procNetlink = "/proc/thread-self/net/netlink"
)

// ProcStats is the kernel's own view of one bound queue (seq_show in nfnetlink_queue.c).
type ProcStats struct {
	Queue       uint16
	PortID      uint32 // netlink port of the socket that owns the queue
	Waiting     uint32 // packets without a verdict
	CopyMode    uint8  // 0 nothing, 1 metadata, 2 packet
	CopyRange   uint32
	QueueDrops  uint32 // dropped because the queue was full; not counted with fail-open
	SocketDrops uint32 // dropped because the socket's buffer was full; not counted with fail-open
	LastID      uint32 // the id given last
}

// ReadProc returns the queues bound in the calling thread's network namespace. Only root may read the table. A kernel
// without NFQUEUE gives [ErrUnsupported].
func ReadProc() ([]ProcStats, error) {
	b, err := os.ReadFile(procQueues)
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("nfqueue: %w: there is no %s", ErrUnsupported, procQueues)
	}
	if err != nil {
		return nil, fmt.Errorf("nfqueue: reading the kernel's queue table: %w", err)
	}
	return parseProc(b)
}

// AnyBound reports whether a queue with a number from first to last is bound in the calling thread's network namespace,
// as far as the table can be read.
func AnyBound(first, last uint16) bool {
	all, _ := ReadProc() // unreadable: nobody can tell before Open does
	return slices.ContainsFunc(all, func(st ProcStats) bool { return st.Queue >= first && st.Queue <= last })
}

// parseProc reads lines of: queue, port, waiting, mode, range, queue drops, socket drops, last id, a constant 1.
func parseProc(b []byte) ([]ProcStats, error) {
	var all []ProcStats
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("nfqueue: the kernel's queue table has a line of %d fields: %q", len(f), line)
		}
		var v [8]uint32
		for i := range v {
			n, err := strconv.ParseUint(f[i], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("nfqueue: the kernel's queue table: field %d of %q: %w", i+1, line, err)
			}
			v[i] = uint32(n)
		}
		all = append(all, ProcStats{Queue: uint16(v[0]), PortID: v[1], Waiting: v[2], CopyMode: uint8(v[3]),
			CopyRange: v[4], QueueDrops: v[5], SocketDrops: v[6], LastID: v[7]})
	}
	return all, nil
}

// Kernel returns the kernel's view of this queue; ok is false when the queue is bound no longer or by somebody else.
// It works from every thread.
func (q *Queue) Kernel() (st ProcStats, ok bool, err error) {
	if q.proc == nil {
		return st, false, fmt.Errorf("nfqueue: queue %d: %s could not be opened", q.cfg.Number, procQueues)
	}
	b, err := io.ReadAll(io.NewSectionReader(q.proc, 0, 1<<20))
	if err != nil {
		return st, false, fmt.Errorf("nfqueue: reading the kernel's queue table: %w", err)
	}
	all, err := parseProc(b)
	for _, st := range all {
		if st.Queue == q.cfg.Number {
			return st, st.PortID == q.portID, err
		}
	}
	return st, false, err
}

// Alive reports whether the kernel still sends this queue's packets here. When it does not, Close and Open anew. A table
// that cannot be read counts as alive, with the error.
func (q *Queue) Alive() (bool, error) {
	_, ok, err := q.Kernel()
	return ok || err != nil, err
}

// TailLoss returns how many messages the kernel lost behind the last one received. It is only meaningful when Recv has
// just returned nothing; Stats.LostIDs counts the same messages as soon as another one arrives.
func (q *Queue) TailLoss() (uint32, error) {
	st, ok, err := q.Kernel()
	if err != nil || !ok {
		return 0, err
	}
	return st.LastID - q.last, nil
}

// queueOwner describes who is bound to a queue, as well as /proc tells: a port, and the process behind it.
func queueOwner(number uint16) (string, bool) {
	all, err := ReadProc()
	if err != nil {
		return "", false
	}
	for _, st := range all {
		if st.Queue != number {
			continue
		}
		desc := fmt.Sprintf("netlink port %d", st.PortID)
		if pid, comm, ok := portProcess(st.PortID); ok {
			desc = fmt.Sprintf("%s (pid %d, netlink port %d)", comm, pid, st.PortID)
		}
		return desc, true
	}
	return "", false
}

// portProcess finds the process that holds the netfilter netlink socket with a port, by the socket's inode.
func portProcess(port uint32) (pid int, comm string, ok bool) {
	inode, ok := socketInode(port)
	if !ok {
		return 0, "", false
	}
	want := "socket:[" + inode + "]"
	dirs, _ := filepath.Glob("/proc/[0-9]*/fd")
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // gone, or not ours to see
		}
		for _, e := range entries {
			if link, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || link != want {
				continue
			}
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(dir), "comm"))
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
			return pid, string(bytes.TrimSpace(name)), true
		}
	}
	return 0, "", false
}

// socketInode looks a port up in the namespace's netlink sockets: sk, protocol, port, groups, ..., inode.
func socketInode(port uint32) (string, bool) {
	f, err := os.Open(procNetlink)
	if err != nil {
		return "", false
	}
	defer f.Close()
	const netfilter = "12" // NETLINK_NETFILTER
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) >= 10 && w[1] == netfilter && w[2] == strconv.FormatUint(uint64(port), 10) {
			return w[9], true
		}
	}
	return "", false
}
