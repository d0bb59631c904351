package decisionlog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// maxLine is the longest line that a reader takes; longer ones are bad lines.
const maxLine = 1 << 20

// BadLine is a line that is no record: damaged, too long, or cut short when the
// process was killed.
type BadLine struct {
	File   string
	Line   int
	Offset int64
	Cut    bool // the file's last line, without its line feed
	Err    error
}

func (b *BadLine) Error() string {
	what := "bad line"
	if b.Cut {
		what = "last line cut short"
	}
	return fmt.Sprintf("%s:%d: %s: %v", b.File, b.Line, what, b.Err)
}

// Unwrap gives the reason.
func (b *BadLine) Unwrap() error { return b.Err }

// Read yields every record of a log in order: path is a directory (all its files,
// oldest first), a single file, or "-" for stdin. A line that is no record is
// yielded as a *BadLine error and reading goes on; any other error ends it. The
// event is reused: copy what must last beyond the next one.
func Read(path string) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		files := []string{path}
		if path != "-" {
			st, err := os.Stat(path)
			if err != nil {
				yield(nil, fmt.Errorf("decision log: %w", err))
				return
			}
			if st.IsDir() {
				if files, err = Files(path); err != nil {
					yield(nil, err)
					return
				}
			}
		}
		for _, f := range files {
			if !readFile(f, yield) {
				return
			}
		}
	}
}

func readFile(path string, yield func(*Event, error) bool) bool {
	if path == "-" {
		return readLines("stdin", os.Stdin, yield)
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true // retention was faster
	}
	if err != nil {
		return yield(nil, fmt.Errorf("decision log: %w", err))
	}
	defer f.Close()
	return readLines(path, f, yield)
}

// readLines yields the lines of one file; false means stop everything.
func readLines(name string, r io.Reader, yield func(*Event, error) bool) bool {
	br := bufio.NewReaderSize(r, maxLine)
	var e Event
	run, offset := "", int64(0)
	for n := 1; ; n++ {
		raw, err := br.ReadSlice('\n')
		bad := BadLine{File: name, Line: n, Offset: offset}
		offset += int64(len(raw))
		switch {
		case err == io.EOF && len(raw) == 0:
			return true
		case err == io.EOF:
			bad.Cut, bad.Err = true, io.ErrUnexpectedEOF
			return yield(nil, &bad)
		case errors.Is(err, bufio.ErrBufferFull):
			skipped, serr := skipLine(br)
			offset += skipped
			bad.Err = fmt.Errorf("longer than %d bytes", maxLine)
			if !yield(nil, &bad) || serr != nil {
				return serr != nil
			}
			continue
		case err != nil:
			return yield(nil, fmt.Errorf("decision log: %s: %w", name, err))
		}
		e = Event{File: name, Line: n, Offset: bad.Offset, Run: run, Raw: raw[:len(raw)-1]}
		if err := json.Unmarshal(raw, &e); err != nil {
			bad.Err = err
			if !yield(nil, &bad) {
				return false
			}
			continue
		}
		if e.Header != nil {
			run = e.Header.Run
			e.Run = run
		}
		if !yield(&e, nil) {
			return false
		}
	}
}

// skipLine reads to the end of an overlong line.
func skipLine(br *bufio.Reader) (n int64, err error) {
	for {
		raw, err := br.ReadSlice('\n')
		n += int64(len(raw))
		if !errors.Is(err, bufio.ErrBufferFull) {
			return n, err
		}
	}
}
