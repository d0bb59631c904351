package decisionlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// MaxLine is the longest line that a reader takes, in bytes; longer ones are bad lines.
const MaxLine = 1 << 20

// BadLine is a line that is no record: damaged, too long, or cut short when the
// process was killed.
type BadLine struct {
	File   string
	Line   int
	Offset int64 // of its first byte; in a compressed file, in the text
	Cut    bool  // the file's last line, without its line feed
	Err    error
}

func (b *BadLine) Error() string {
	what := "bad line"
	if b.Cut {
		what = "last line cut short"
	}
	return fmt.Sprintf("%s:%d: %s: %v (byte %d)", b.File, b.Line, what, b.Err, b.Offset)
}

// Unwrap gives the reason.
func (b *BadLine) Unwrap() error { return b.Err }

// Read yields every record of a log in order: path is a directory (all its files,
// oldest first), a single file, or "-" for stdin; plain or compressed with zstd. A line that is no record is
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
	l, err := OpenLines(path, Position{})
	if errors.Is(err, os.ErrNotExist) {
		return true // retention was faster
	}
	if err != nil {
		return yield(nil, err)
	}
	defer l.Close()
	return l.events(yield)
}

// readLines yields the records of a stream.
func readLines(name string, r io.Reader, yield func(*Event, error) bool) bool {
	l, err := newLineStream(name, r)
	if err != nil {
		return yield(nil, err)
	}
	defer l.Close()
	return l.events(yield)
}

// events yields the records of one file; false means stop everything.
func (l *Lines) events(yield func(*Event, error) bool) bool {
	var e Event
	run := ""
	for {
		raw, at, err := l.Next()
		var bad *BadLine
		switch {
		case err == io.EOF:
			return true
		case errors.As(err, &bad):
			if !yield(nil, bad) {
				return false
			}
			if bad.Cut {
				return true
			}
			continue
		case err != nil:
			return yield(nil, err)
		}
		e = Event{File: l.name, Line: at.Line + 1, Offset: at.Offset, Run: run, Raw: raw}
		if err := json.Unmarshal(raw, &e); err != nil {
			if !yield(nil, &BadLine{File: l.name, Line: at.Line + 1, Offset: at.Offset, Err: err}) {
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
