package decisionlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sink takes whole lines.
type sink interface {
	// append writes buf, which ends with a line feed, and says how many bytes of
	// it, whole lines only, are in place; the rest counts as not written.
	append(buf []byte) (int, error)
	// tick does what time asks for (age limits).
	tick(now time.Time)
	close() error
}

// streamSink writes to a stream that cannot be cut back, such as stdout.
type streamSink struct {
	w      io.Writer
	own    *os.File // to close; nil if the stream is the caller's
	header func(fileSeq uint64) []byte
	begun  bool
	cut    bool // the stream ends inside a line
}

func (s *streamSink) append(buf []byte) (int, error) {
	pre := 0
	if !s.begun {
		h := s.header(1)
		pre, buf = len(h), slices.Concat(h, buf)
	}
	if s.cut {
		pre, buf = pre+1, slices.Concat([]byte{'\n'}, buf) // the broken line stands alone
	}
	n, err := s.w.Write(buf)
	if n > 0 && s.cut {
		s.cut = false
	}
	whole := bytes.LastIndexByte(buf[:n], '\n') + 1
	s.cut = s.cut || whole < n
	s.begun = s.begun || whole > 0
	return max(whole-pre, 0), err
}

func (s *streamSink) tick(time.Time) {}

func (s *streamSink) close() error {
	if s.own != nil {
		return s.own.Close()
	}
	return nil
}

// openStream prepares a stream. The process's own stdout is written through a
// second descriptor: the Go runtime ends a process whose descriptor 1 is a broken
// pipe (os/signal, "SIGPIPE"), and a log's reader that goes away must not take the
// gateway with it.
func openStream(w io.Writer) (*streamSink, error) {
	f, ok := w.(*os.File)
	if !ok || f != os.Stdout {
		return &streamSink{w: w}, nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("decision log: stdout: %w", err)
	}
	own := os.NewFile(uintptr(fd), "stdout")
	return &streamSink{w: own, own: own}, nil
}

// dirSink writes files into a directory, rotates them and keeps them to a size
// and an age.
type dirSink struct {
	opt     *Options
	lock    *os.File // the directory, locked
	header  func(fileSeq uint64) []byte
	file    *os.File // nil: the next append opens one
	path    string
	size    int64 // of whole lines in file
	fileSeq uint64
	last    string // name of the newest file
	write   func(*os.File, []byte) (int, error)
}

const (
	filePrefix = "decisions-"
	fileSuffix = ".jsonl"
	fileTime   = "20060102T150405.000Z"
)

// openDir locks the directory (making it if needed) for one writer.
func openDir(opt *Options) (*dirSink, error) {
	if err := os.MkdirAll(opt.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	f, err := os.Open(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	if err := unix.Access(opt.Dir, unix.W_OK|unix.X_OK); err != nil {
		f.Close()
		return nil, fmt.Errorf("decision log: directory %s is not writable: %w", opt.Dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("decision log: another process writes to %s", opt.Dir)
		}
		return nil, fmt.Errorf("decision log: lock %s: %w", opt.Dir, err)
	}
	return &dirSink{opt: opt, lock: f, write: (*os.File).Write}, nil
}

func (s *dirSink) append(buf []byte) (int, error) {
	if s.file == nil {
		if err := s.open(); err != nil {
			return 0, err
		}
	}
	n, err := s.put(buf)
	if s.file != nil && s.size >= s.opt.MaxFileBytes {
		s.closeFile()
	}
	return n, err
}

// put writes into the open file and cuts off a line that got there in part. If
// even that fails the file is left behind: what follows goes to a new one.
func (s *dirSink) put(buf []byte) (int, error) {
	n, err := s.write(s.file, buf)
	if n == len(buf) && err == nil {
		s.size += int64(n)
		return n, nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	whole := bytes.LastIndexByte(buf[:n], '\n') + 1
	s.size += int64(whole)
	if n > whole {
		if terr := s.file.Truncate(s.size); terr != nil {
			s.opt.Logger.Warn("decision log: file ends in a broken line", "file", s.path, "error", terr)
			s.closeFile()
		}
	}
	return whole, err
}

// open makes the next file and writes its header line. A file without a whole
// header is removed again.
func (s *dirSink) open() error {
	now := s.opt.Now().UTC().Truncate(time.Millisecond) // as exact as names are
	if t, ok := nameTime(s.last); ok && !now.After(t) {
		now = t.Add(time.Millisecond) // names sort by time even if the clock steps back
	}
	name := fmt.Sprintf("%s%s-%06d%s", filePrefix, now.Format(fileTime), s.fileSeq+1, fileSuffix)
	path := filepath.Join(s.opt.Dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	s.file, s.path, s.size = f, path, 0
	h := s.header(s.fileSeq + 1)
	if n, err := s.put(h); n < len(h) {
		s.closeFile()
		os.Remove(path)
		return fmt.Errorf("decision log: %w", err)
	}
	s.fileSeq++
	s.last = name
	s.retain(now)
	return nil
}

func (s *dirSink) closeFile() {
	if s.file == nil {
		return
	}
	if err := s.file.Close(); err != nil {
		s.opt.Logger.Warn("decision log: close", "file", s.path, "error", err)
	}
	s.file = nil
}

func (s *dirSink) tick(now time.Time) { s.retain(now) }

func (s *dirSink) close() error {
	var err error
	if s.file != nil {
		err = s.file.Sync()
	}
	s.closeFile()
	return errors.Join(err, s.lock.Close())
}

// retain removes the oldest files beyond the size or the age, never the newest.
func (s *dirSink) retain(now time.Time) {
	files, err := Files(s.opt.Dir)
	if err != nil {
		s.opt.Logger.Warn("decision log: retention", "error", err)
		return
	}
	sizes := make([]int64, len(files))
	modified := make([]time.Time, len(files))
	var total int64
	for i, f := range files {
		if st, err := os.Stat(f); err == nil {
			sizes[i], modified[i] = st.Size(), st.ModTime()
			total += st.Size()
		}
	}
	for i := 0; i < len(files)-1 && files[i] != s.path; i++ {
		big := s.opt.MaxTotalBytes > 0 && total+s.opt.MaxFileBytes > s.opt.MaxTotalBytes
		old := s.opt.MaxAge > 0 && now.Sub(modified[i]) > s.opt.MaxAge
		if !big && !old {
			return
		}
		if err := os.Remove(files[i]); err != nil {
			s.opt.Logger.Warn("decision log: retention", "error", err)
			return
		}
		total -= sizes[i]
		s.opt.Logger.Debug("decision log: removed", "file", files[i], "too_old", old, "too_big", big)
	}
}

// Files lists a directory's log files, oldest first.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	var out []string
	for _, e := range entries {
		if _, ok := nameTime(e.Name()); ok && e.Type().IsRegular() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// nameTime is the time in a log file's name.
func nameTime(name string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(name, filePrefix)
	if !ok || !strings.HasSuffix(rest, fileSuffix) || len(rest) < len(fileTime)+1 {
		return time.Time{}, false
	}
	t, err := time.Parse(fileTime, rest[:len(fileTime)])
	return t, err == nil
}
