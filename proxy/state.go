package proxy

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// A state file is what a gateway remembered when it stopped:
//
//	magic, version (2 bytes), length of the meta object (4), the meta object (JSON)
//	records: 'T' timeouts (8 each)      the next set of timeouts, numbered from 0
//	         'E' flow (flowSize)        one connection; see state_entry.go
//	trailer: 'Z' number of flows (8), CRC-32C of everything before the sum (4)
//
// Numbers are little-endian. A file counts as a whole or not at all: nothing of it is used before the sum was right.
const (
	stateMagic   = "halfopen state\n"
	stateVersion = 6

	recordTimeouts = 'T'
	recordFlow     = 'E'
	recordEnd      = 'Z'

	stateMetaLimit  = 1 << 20 // bytes of the meta object
	stateSetsLimit  = 1 << 16 // sets of timeouts
	stateFlowsLimit = 1 << 25 // flows; more than any gateway's tables hold
)

// What can be wrong with a state file; errors of [LoadState] wrap one of these.
var (
	// ErrStateCorrupt: the file is cut short, damaged, or no state file.
	ErrStateCorrupt = errors.New("damaged or cut short")
	// ErrStateVersion: another version of halfopen wrote the file.
	ErrStateVersion = errors.New("written in another version of the format")
)

// StateMeta says when and by whom a state was saved.
type StateMeta struct {
	Saved   time.Time         `json:"saved"`          // wall clock
	Instant conntrack.Instant `json:"instant"`        // the same moment by the monotonic clock, nanoseconds
	BootID  string            `json:"boot_id"`        // of the kernel whose monotonic clock that is
	Version string            `json:"version"`        // of the program
	Rev     string            `json:"policy_rev"`     // of the policy in force
	Arms    []string          `json:"arms,omitempty"` // EXPERIMENT/ARM of the arms that flows have, by number; of arm 0, which has none, too
}

// State is a loaded state file.
type State struct {
	Meta  StateMeta
	Flows []policy.Saved // their instants are relative to when they were saved
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SaveState writes a state file. The flows are read, not kept. Flows beyond 65536 sets of timeouts are left out; a policy has
// one set for each rule.
func SaveState(w io.Writer, meta StateMeta, flows iter.Seq[*policy.Saved]) error {
	sum := crc32.New(castagnoli)
	out := bufio.NewWriterSize(w, 1<<16)
	put := func(b []byte) { // bufio keeps the first error for Flush
		_, _ = sum.Write(b)
		_, _ = out.Write(b)
	}
	doc, err := json.Marshal(&meta)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	buf := append([]byte(stateMagic), 0, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint16(buf[len(stateMagic):], stateVersion)
	binary.LittleEndian.PutUint32(buf[len(stateMagic)+2:], uint32(len(doc)))
	put(append(buf, doc...))

	sets := map[conntrack.Timeouts]uint16{}
	var n uint64
	for f := range flows {
		set, ok := sets[f.Timeouts]
		if !ok {
			if len(sets) == stateSetsLimit {
				continue
			}
			set = uint16(len(sets))
			sets[f.Timeouts] = set
			buf = append(buf[:0], recordTimeouts)
			for _, d := range f.Timeouts {
				buf = binary.LittleEndian.AppendUint64(buf, uint64(d))
			}
			put(buf)
		}
		buf = appendFlow(append(buf[:0], recordFlow), &f.Entry, set)
		put(buf)
		n++
	}
	put(binary.LittleEndian.AppendUint64(append(buf[:0], recordEnd), n))
	_, _ = out.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	if err := out.Flush(); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// LoadState reads a state file. It returns the whole state or an error, never a part.
func LoadState(r io.Reader) (*State, error) {
	d := stateReader{in: bufio.NewReaderSize(r, 1<<16), sum: crc32.New(castagnoli)}
	st, err := d.load()
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return st, nil
}

// stateReader reads a file and sums what it reads.
type stateReader struct {
	in  *bufio.Reader
	sum hash.Hash32
	buf [flowSize]byte
}

// take reads n bytes, at most flowSize. They are valid until the next call.
func (d *stateReader) take(n int) ([]byte, error) {
	b := d.buf[:n]
	if _, err := io.ReadFull(d.in, b); err != nil {
		return nil, readError(err)
	}
	_, _ = d.sum.Write(b)
	return b, nil
}

// text reads n bytes of any number up to the caller's bound.
func (d *stateReader) text(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(d.in, b); err != nil {
		return nil, readError(err)
	}
	_, _ = d.sum.Write(b)
	return b, nil
}

// readError tells a short file from one that cannot be read.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrStateCorrupt)
	}
	return err
}

func (d *stateReader) load() (*State, error) {
	st := &State{}
	if err := d.header(&st.Meta); err != nil {
		return nil, err
	}
	var sets []conntrack.Timeouts
	for {
		kind, err := d.take(1)
		if err != nil {
			return nil, err
		}
		switch kind[0] {
		case recordTimeouts:
			b, err := d.take(8 * int(conntrack.NumStates))
			if err != nil {
				return nil, err
			}
			if len(sets) == stateSetsLimit {
				return nil, fmt.Errorf("%w: more than %d sets of timeouts", ErrStateCorrupt, stateSetsLimit)
			}
			set, err := parseTimeouts(b)
			if err != nil {
				return nil, fmt.Errorf("%w: set %d of timeouts is impossible: %w", ErrStateCorrupt, len(sets), err)
			}
			sets = append(sets, set)
		case recordFlow:
			b, err := d.take(flowSize)
			if err != nil {
				return nil, err
			}
			if len(st.Flows) == stateFlowsLimit {
				return nil, fmt.Errorf("%w: more than %d flows", ErrStateCorrupt, stateFlowsLimit)
			}
			st.Flows = append(st.Flows, policy.Saved{})
			f := &st.Flows[len(st.Flows)-1]
			set, err := parseFlow(b, &f.Entry)
			if err == nil && int(set) >= len(sets) {
				err = errors.New("timeouts")
			}
			if err != nil {
				return nil, fmt.Errorf("%w: flow %d is impossible: %w", ErrStateCorrupt, len(st.Flows), err)
			}
			f.Timeouts = sets[set]
		case recordEnd:
			return st, d.trailer(len(st.Flows))
		default:
			return nil, fmt.Errorf("%w: unknown record %q after %d flows", ErrStateCorrupt, kind, len(st.Flows))
		}
	}
}

// header reads up to the first record.
func (d *stateReader) header(meta *StateMeta) error {
	b, err := d.take(len(stateMagic))
	if err != nil {
		return err
	}
	if string(b) != stateMagic {
		return fmt.Errorf("%w: it does not begin as a state file", ErrStateCorrupt)
	}
	if b, err = d.take(6); err != nil {
		return err
	}
	if v := binary.LittleEndian.Uint16(b); v != stateVersion {
		return fmt.Errorf("%w: %d, this program knows %d", ErrStateVersion, v, stateVersion)
	}
	n := binary.LittleEndian.Uint32(b[2:])
	if n > stateMetaLimit {
		return fmt.Errorf("%w: a header of %d bytes", ErrStateCorrupt, n)
	}
	if b, err = d.text(int(n)); err != nil {
		return err
	}
	if err := json.Unmarshal(b, meta); err != nil {
		return fmt.Errorf("%w: header: %w", ErrStateCorrupt, err)
	}
	if !saneInstant(meta.Instant) {
		return fmt.Errorf("%w: header: instant %d", ErrStateCorrupt, meta.Instant)
	}
	return nil
}

// trailer checks the number of flows and the sum.
func (d *stateReader) trailer(flows int) error {
	b, err := d.take(8)
	if err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint64(b); n != uint64(flows) {
		return fmt.Errorf("%w: %d flows, but it says %d", ErrStateCorrupt, flows, n)
	}
	want := d.sum.Sum32()
	if b, err = d.take(4); err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint32(b); got != want {
		return fmt.Errorf("%w: checksum %08x, but it says %08x", ErrStateCorrupt, want, got)
	}
	if _, err := d.in.ReadByte(); err == nil {
		return fmt.Errorf("%w: it goes on after its end", ErrStateCorrupt)
	}
	return nil
}
