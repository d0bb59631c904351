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
	"halfopen/policy"
)

// SaveStateFile writes a state file to path, mode 0600, whole or not at all.
func SaveStateFile(path string, meta StateMeta, flows iter.Seq[*policy.Saved]) error {
	err := writeAtomic(path, 0o600, func(f *os.File) error { return SaveState(f, meta, flows) })
	if err != nil {
		return fmt.Errorf("state file %s: %w", path, err)
	}
	return nil
}

// NewStateMeta describes a state saved now.
func NewStateMeta(clock Clock, version, rev string) StateMeta {
	return StateMeta{Saved: time.Now(), Instant: clock.Now(), BootID: readBootID(), Version: version, Rev: rev}
}

// LoadStateFile loads the file at path and takes it away: were it loaded a second time, after a crash, its sequence numbers
// would be those of long ago. It returns nil without an error where there is no file. A file that is no good is moved to
// path.bad; the error says why, and nothing of it is used.
func LoadStateFile(path string) (*State, error) {
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
	return st, nil
}

// Away returns how long ago the state was saved, by the monotonic clock where it is still the same one, else by the wall clock.
// One that went backwards counts as no time at all. The time counts as idle time of every flow.
func (m *StateMeta) Away(now conntrack.Instant, wall time.Time, bootID string) time.Duration {
	away := now.Sub(m.Instant)
	if m.BootID != bootID || m.BootID == "" || away < 0 { // a container may keep the boot id and yet have another clock
		away = max(wall.Sub(m.Saved), 0)
	}
	return min(away, maxAway)
}

// SavedAt returns the moment of saving on the running clock; it may lie before the clock's zero.
func (st *State) SavedAt(clock Clock) conntrack.Instant {
	now := clock.Now()
	return now - conntrack.Instant(st.Meta.Away(now, time.Now(), readBootID()))
}

// maxAway bounds how long a gateway can have been down: beyond it every timer has run out.
const maxAway = 10 * 365 * 24 * time.Hour

// readBootID returns the kernel's boot id, "" where it cannot be read.
func readBootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
