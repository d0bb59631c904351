package spool

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options say how a [Dir] names, fills and keeps its files.
type Options struct {
	Dir    string // made if missing
	Noun   string // what the files are, for errors and messages: "decision log"
	Prefix string // names are Prefix, UTC time, "-", number within the run, Suffix
	Suffix string

	MaxFileBytes  int64         // a file is followed by the next at this size; 0 = 64 MiB; at most a quarter of MaxTotalBytes
	MaxTotalBytes int64         // the oldest files beyond this are removed; 0 = 1 GiB; negative: no limit
	MaxAge        time.Duration // files not written to for longer are removed; 0 = no limit

	// Header is the beginning of the run's file number fileSeq, from 1. A file without a whole one does not stay.
	Header func(fileSeq uint64) []byte
	// Trailer is the end of a file that is full or closed, nil for none. It may be missing: after a crash, or on a full disk.
	Trailer func() []byte
	// Whole is the length of the longest beginning of buf that consists of whole records: a write that failed in between is cut back to
	// there.
	Whole func(buf []byte) int
	// Compress writes as zstd what src gives, nil for no compression. Files that are finished, those of earlier runs too, are then
	// replaced by compressed ones, in a goroutine of its own that takes a quarter of one processor. It returns the errors of dst and src
	// wrapped, and ErrSkip for a file that is to stay plain.
	Compress func(dst io.Writer, src io.Reader) error
	// Grace is how long a plain file stays beside the whole compressed one; 0 = 2 s. It is to be longer than a reader takes to list the
	// directory, which in several steps could pass the one before it is there and the other after it is gone.
	Grace time.Duration

	Now    func() time.Time
	Logger *slog.Logger
}

// Dir writes files into a directory. It belongs to one goroutine. One process writes to a directory: it is locked.
type Dir struct {
	// Write writes to a file: (*os.File).Write, but in tests of a failing disk.
	Write func(*os.File, []byte) (int, error)

	opt     Options
	lock    *os.File // the directory, locked
	file    *os.File // nil: the next Append opens one
	path    string   // changed under mu
	size    int64    // of whole records in file
	fileSeq uint64
	last    string // name of the newest file

	mu       sync.Mutex  // path and what names the directory has, against the compressor
	compress *compressor // nil: none, or no file yet
}

// fileTime is the time in a file's name.
const fileTime = "20060102T150405.000Z"

// Open locks the directory (making it if needed) for one writer. It fails where the directory cannot be made, written to or locked. No
// file exists before the first Append.
func Open(opt Options) (*Dir, error) {
	opt.fill()
	if err := os.MkdirAll(opt.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Noun, err)
	}
	f, err := os.Open(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opt.Noun, err)
	}
	d := &Dir{opt: opt, lock: f, Write: (*os.File).Write}
	if err := d.take(); err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

func (o *Options) fill() {
	if o.MaxTotalBytes == 0 {
		o.MaxTotalBytes = 1 << 30
	}
	if o.MaxFileBytes <= 0 {
		o.MaxFileBytes = 64 << 20
	}
	if o.MaxTotalBytes > 0 {
		o.MaxFileBytes = min(o.MaxFileBytes, max(o.MaxTotalBytes/4, 1))
	}
	if o.Grace <= 0 {
		o.Grace = grace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// take locks the directory and finds the newest file in it.
func (d *Dir) take() error {
	if err := unix.Access(d.opt.Dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: directory %s is not writable: %w", d.opt.Noun, d.opt.Dir, err)
	}
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s: another process writes to %s", d.opt.Noun, d.opt.Dir)
		}
		return fmt.Errorf("%s: lock %s: %w", d.opt.Noun, d.opt.Dir, err)
	}
	files, err := Files(d.opt.Dir, d.opt.Prefix, d.opt.Suffix)
	if err != nil {
		return fmt.Errorf("%s: %w", d.opt.Noun, err)
	}
	if len(files) > 0 {
		d.last = filepath.Base(files[len(files)-1])
	}
	return nil
}

// Begin opens the next file where none is open, as Append does: for records that depend on the file that they stand in.
func (d *Dir) Begin() error {
	if d.file != nil {
		return nil
	}
	return d.next()
}

// Append writes buf, which consists of whole records, and says how many bytes of it, whole records only, are in place; the rest counts as
// not written.
func (d *Dir) Append(buf []byte) (int, error) {
	if err := d.Begin(); err != nil {
		return 0, err
	}
	return d.put(buf)
}

// Turn ends the open file where it has reached its size, so that the next Append opens another. It is to be called after each Append, once
// what the trailer tells is known.
func (d *Dir) Turn() {
	if d.file != nil && d.size >= d.opt.MaxFileBytes {
		d.finish()
	}
}

// put writes into the open file and cuts off a record that got there in part. If even that fails the file is left behind: what follows
// goes to a new one.
func (d *Dir) put(buf []byte) (int, error) {
	n, err := d.Write(d.file, buf)
	if n == len(buf) && err == nil {
		d.size += int64(n)
		return n, nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	whole := d.opt.Whole(buf[:n])
	d.size += int64(whole)
	if n > whole {
		if terr := d.file.Truncate(d.size); terr != nil {
			d.opt.Logger.Warn(d.opt.Noun+": file ends in a broken record", "file", d.path, "error", terr)
			d.closeFile()
		}
	}
	return whole, err
}

// next opens the next file and writes its header. A file without a whole header is removed again.
func (d *Dir) next() error {
	now := d.opt.Now().UTC().Truncate(time.Millisecond) // as exact as names are
	if t, ok := NameTime(d.last, d.opt.Prefix, d.opt.Suffix); ok && !now.After(t) {
		now = t.Add(time.Millisecond) // names sort by time even if the clock steps back
	}
	name := fmt.Sprintf("%s%s-%06d%s", d.opt.Prefix, now.Format(fileTime), d.fileSeq+1, d.opt.Suffix)
	path := filepath.Join(d.opt.Dir, name)
	f, err := d.create(path)
	if err != nil {
		return fmt.Errorf("%s: %w", d.opt.Noun, err)
	}
	d.file, d.size = f, 0
	h := d.opt.Header(d.fileSeq + 1)
	if n, err := d.put(h); n < len(h) {
		d.closeFile()
		os.Remove(path)
		return fmt.Errorf("%s: %w", d.opt.Noun, err)
	}
	d.fileSeq++
	d.last = name
	d.retain(now)
	if d.opt.Compress != nil {
		if d.compress == nil {
			d.compress = newCompressor(d)
			go d.compress.loop()
		}
		d.compress.finished() // the one before
	}
	return nil
}

// create makes a file, which from then on is the one that must not be compressed.
func (d *Dir) create(path string) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
	if err == nil {
		d.path = path
	}
	return f, err
}

// finish ends the open file as one that is complete.
func (d *Dir) finish() {
	if d.file != nil && d.opt.Trailer != nil {
		if _, err := d.put(d.opt.Trailer()); err != nil {
			d.opt.Logger.Warn(d.opt.Noun+": the end of a file is missing", "file", d.path, "error", err)
		}
	}
	d.closeFile()
}

func (d *Dir) closeFile() {
	if d.file == nil {
		return
	}
	if err := d.file.Close(); err != nil {
		d.opt.Logger.Warn(d.opt.Noun+": close", "file", d.path, "error", err)
	}
	d.file = nil
}

// Tick does what time asks for: files beyond the age go.
func (d *Dir) Tick(now time.Time) { d.retain(now) }

// Close ends the open file, makes it durable and gives the directory back.
func (d *Dir) Close() error {
	var err error
	if d.file != nil {
		f := d.file
		if d.opt.Trailer != nil {
			_, err = d.put(d.opt.Trailer())
		}
		if d.file == f {
			err = errors.Join(err, f.Sync())
		}
	}
	d.closeFile()
	d.stopCompressing()
	return errors.Join(err, d.lock.Close())
}

func (d *Dir) stopCompressing() {
	if d.compress != nil {
		d.compress.stop()
		d.compress = nil
	}
}

// Unlock gives the directory back and leaves the open file as it is, as a process does that is killed. It is for tests of that.
func (d *Dir) Unlock() error {
	d.stopCompressing()
	return d.lock.Close()
}

// retain removes the oldest files beyond the size or the age, never the newest.
func (d *Dir) retain(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	files, err := Files(d.opt.Dir, d.opt.Prefix, d.opt.Suffix)
	if err != nil {
		d.opt.Logger.Warn(d.opt.Noun+": retention", "error", err)
		return
	}
	sizes := make([]int64, len(files))
	modified := make([]time.Time, len(files))
	var total int64
	for i, f := range files {
		if st, err := os.Stat(f); err == nil {
			sizes[i], modified[i] = st.Size(), st.ModTime()
		}
		if f != d.path && !strings.HasSuffix(f, ZstdSuffix) {
			if st, err := os.Stat(f + ZstdSuffix); err == nil { // both are there for a while
				sizes[i] += st.Size()
			}
		}
		total += sizes[i]
	}
	for i := 0; i < len(files)-1 && files[i] != d.path; i++ {
		big := d.opt.MaxTotalBytes > 0 && total+d.opt.MaxFileBytes > d.opt.MaxTotalBytes
		old := d.opt.MaxAge > 0 && now.Sub(modified[i]) > d.opt.MaxAge
		if !big && !old {
			return
		}
		if err := remove(files[i]); err != nil {
			d.opt.Logger.Warn(d.opt.Noun+": retention", "error", err)
			return
		}
		total -= sizes[i]
		d.opt.Logger.Debug(d.opt.Noun+": removed", "file", files[i], "too_old", old, "too_big", big)
	}
}

// remove removes a file, and first what it was compressed to, so that never a removed file comes back.
func remove(path string) error {
	if !strings.HasSuffix(path, ZstdSuffix) {
		if err := os.Remove(path + ZstdSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Remove(path)
}

// ZstdSuffix stands behind the suffix of a file that was compressed after it was full.
const ZstdSuffix = ".zst"

// Files lists the files of a directory whose names a [Dir] with this prefix and suffix gives, oldest first. Of a file that is there
// plain and compressed (it is being compressed) only the plain one counts.
func Files(dir, prefix, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if _, ok := NameTime(e.Name(), prefix, suffix); ok && e.Type().IsRegular() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(out) // a plain file before its compressed twin
	return slices.CompactFunc(out, func(a, b string) bool { return strings.TrimSuffix(a, ZstdSuffix) == strings.TrimSuffix(b, ZstdSuffix) }), nil
}

// NameTime is the time in a file's name, compressed or not: when it was opened. It is false for a name that no [Dir] gives.
func NameTime(name, prefix, suffix string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(name, ZstdSuffix), prefix)
	if !ok || !strings.HasSuffix(rest, suffix) || len(rest) < len(fileTime)+1 {
		return time.Time{}, false
	}
	t, err := time.Parse(fileTime, rest[:len(fileTime)])
	return t, err == nil
}
