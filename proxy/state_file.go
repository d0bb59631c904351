package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	"halfopen/conntrack"
)

// SaveStateFile writes a state file to path, mode 0600, whole or not at all.
func SaveStateFile(path string, meta StateMeta, entries iter.Seq2[*conntrack.Entry, string]) error {
	err := writeAtomic(path, 0o600, func(f *os.File) error { return SaveState(f, meta, entries) })
	if err != nil {
		return fmt.Errorf("state file %s: %w", path, err)
	}
	return nil
}

// NewStateMeta describes a state saved now.
func NewStateMeta(clock Clock, version, rev string) StateMeta {
	return StateMeta{Saved: time.Now(), Instant: clock.Now(), BootID: readBootID(), Version: version, Rev: rev}
}

// LoadStateFile loads the file at path, moves its times to the running clock and takes the file away: were it loaded a second
// time, after a crash, its sequence numbers would be those of long ago. It returns nil without an error where there is no
// file. A file that is no good is moved to path.bad; the error says why, and nothing of it is used.
func LoadStateFile(path string, clock Clock) (*State, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	defer func() { _ = f.Close() }()
	st, err := LoadState(f)
	if err != nil {
		err = fmt.Errorf("state file %s: %w", path, err)
		if errors.Is(err, ErrStateCorrupt) || errors.Is(err, ErrStateVersion) {
			return nil, errors.Join(err, os.Rename(path, path+".bad"))
		}
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("state file: %w; not used, because it could not be taken away", err)
	}
	st.Rebase(clock.Now(), time.Now(), readBootID())
	return st, nil
}

// Rebase moves all times to the clock that shows now, and returns how long the gateway was down. That time counts as idle
// time. Under the same boot the monotonic clock has gone on; otherwise the wall clock says how long it was, and one that went
// backwards counts as no time at all.
func (st *State) Rebase(now conntrack.Instant, wall time.Time, bootID string) time.Duration {
	m := &st.Meta
	down := now.Sub(m.Instant)
	if m.BootID != bootID || m.BootID == "" || down < 0 { // a container may keep the boot id and yet have another clock
		down = max(wall.Sub(m.Saved), 0)
		down = min(down, maxDown)
	}
	shift := now.Sub(m.Instant) - down
	for i := range st.Entries {
		e := &st.Entries[i].Entry
		e.Created, e.LastSeen, e.Refreshed = e.Created.Add(shift), e.LastSeen.Add(shift), e.Refreshed.Add(shift)
		if e.Deadline != conntrack.Never {
			e.Deadline = e.Deadline.Add(shift)
		}
	}
	m.Instant, m.BootID = m.Instant.Add(shift), bootID
	return down
}

// maxDown bounds how long a gateway can have been down: beyond it every timer has run out.
const maxDown = 10 * 365 * 24 * time.Hour

// readBootID returns the kernel's boot id, "" where it cannot be read.
func readBootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
