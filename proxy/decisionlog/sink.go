package decisionlog

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/proxy/spool"
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
type dirSink struct{ *spool.Dir }

const (
	filePrefix = "decisions-"
	fileSuffix = ".jsonl"
	zstSuffix  = spool.ZstdSuffix
)

// openDir locks the directory (making it if needed) for one writer.
func openDir(opt *Options, header func(fileSeq uint64) []byte) (*dirSink, error) {
	var compress func(io.Writer, io.Reader) error
	if opt.Compress {
		compress = compressFinished
	}
	d, err := spool.Open(spool.Options{Dir: opt.Dir, Compress: compress, Grace: opt.Grace, Noun: "decision log", Prefix: filePrefix, Suffix: fileSuffix, MaxFileBytes: opt.MaxFileBytes,
		MaxTotalBytes: opt.MaxTotalBytes, MaxAge: opt.MaxAge, Header: header, Now: opt.Now, Logger: opt.Logger,
		Whole: func(buf []byte) int { return bytes.LastIndexByte(buf, '\n') + 1 }})
	if err != nil {
		return nil, err
	}
	return &dirSink{d}, nil
}

// compressFinished compresses a finished file, unless that has been done under its old name.
func compressFinished(dst io.Writer, src io.Reader) error {
	br := bufio.NewReaderSize(src, 64<<10)
	if head, _ := br.Peek(4); len(head) == 4 && isZstd(head) {
		return spool.ErrSkip
	}
	return Compress(dst, br)
}

func (s *dirSink) append(buf []byte) (int, error) {
	n, err := s.Append(buf)
	s.Turn()
	return n, err
}

func (s *dirSink) tick(now time.Time) { s.Tick(now) }
func (s *dirSink) close() error       { return s.Close() }

// Files lists a directory's log files, oldest first. Of a file that is there
// plain and compressed (it is being compressed) only the plain one counts.
func Files(dir string) ([]string, error) {
	files, err := spool.Files(dir, filePrefix, fileSuffix)
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	return files, nil
}
