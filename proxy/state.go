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
)

// A state file is what a gateway remembered when it stopped:
//
//	magic, version (2 bytes), length of the meta object (4), the meta object (JSON)
//	records: 'R' length (2) name        names the next rule: the first is 1, 0 stands for none
//	         'E' entry (entrySize)      one connection; see state_entry.go
//	trailer: 'Z' number of entries (8), CRC-32C of everything before the sum (4)
//
// Numbers are little-endian. A file counts as a whole or not at all: nothing of it is used before the sum was right.
const (
	stateMagic   = "halfopen state\n"
	stateVersion = 1

	recordRule  = 'R'
	recordEntry = 'E'
	recordEnd   = 'Z'

	stateMetaLimit    = 1 << 20 // bytes of the meta object
	stateRuleLimit    = 1 << 16 // names of rules
	stateEntriesLimit = 1 << 25 // entries; more than any gateway's tables hold
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
	Saved   time.Time         `json:"saved"`      // wall clock
	Instant conntrack.Instant `json:"instant"`    // the same moment by the monotonic clock, nanoseconds
	BootID  string            `json:"boot_id"`    // of the kernel whose monotonic clock that is
	Version string            `json:"version"`    // of the program
	Rev     string            `json:"policy_rev"` // of the policy in force
}

// SavedEntry is a connection from a state file. Rule is the name of the rule that governed it, "" for none; Entry's Rule,
// Epoch, Timers and Counted mean nothing outside the engine that it came from and are reset.
type SavedEntry struct {
	Entry conntrack.Entry
	Rule  string
}

// State is a loaded state file.
type State struct {
	Meta    StateMeta
	Entries []SavedEntry
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SaveState writes a state file. The entries come with the names of their rules; they are read, not kept.
func SaveState(w io.Writer, meta StateMeta, entries iter.Seq2[*conntrack.Entry, string]) error {
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

	rules := map[string]uint16{"": 0}
	var n uint64
	for e, rule := range entries {
		index, ok := rules[rule]
		if !ok && len(rules) < stateRuleLimit && len(rule) < stateRuleLimit { // beyond that, rules are matched anew
			index = uint16(len(rules))
			rules[rule] = index
			buf = append(buf[:0], recordRule)
			buf = binary.LittleEndian.AppendUint16(buf, uint16(len(rule)))
			put(append(buf, rule...))
		}
		buf = appendEntry(append(buf[:0], recordEntry), e, index)
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
	buf [entrySize]byte
}

// take reads n bytes, at most entrySize. They are valid until the next call.
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
	rules := []string{""}
	for {
		kind, err := d.take(1)
		if err != nil {
			return nil, err
		}
		switch kind[0] {
		case recordRule:
			b, err := d.take(2)
			if err != nil {
				return nil, err
			}
			name, err := d.text(int(binary.LittleEndian.Uint16(b)))
			if err != nil {
				return nil, err
			}
			if len(rules) == stateRuleLimit {
				return nil, fmt.Errorf("%w: more than %d rules", ErrStateCorrupt, stateRuleLimit)
			}
			rules = append(rules, string(name))
		case recordEntry:
			b, err := d.take(entrySize)
			if err != nil {
				return nil, err
			}
			if len(st.Entries) == stateEntriesLimit {
				return nil, fmt.Errorf("%w: more than %d entries", ErrStateCorrupt, stateEntriesLimit)
			}
			st.Entries = append(st.Entries, SavedEntry{})
			saved := &st.Entries[len(st.Entries)-1]
			rule, err := parseEntry(b, &saved.Entry)
			if err != nil || int(rule) >= len(rules) {
				return nil, fmt.Errorf("%w: entry %d is impossible: %w", ErrStateCorrupt, len(st.Entries), err)
			}
			saved.Rule = rules[rule]
		case recordEnd:
			return st, d.trailer(len(st.Entries))
		default:
			return nil, fmt.Errorf("%w: unknown record %q after %d entries", ErrStateCorrupt, kind, len(st.Entries))
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

// trailer checks the number of entries and the sum.
func (d *stateReader) trailer(entries int) error {
	b, err := d.take(8)
	if err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint64(b); n != uint64(entries) {
		return fmt.Errorf("%w: %d entries, but it says %d", ErrStateCorrupt, entries, n)
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
