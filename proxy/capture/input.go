package capture

import (
	"errors"
	"io"
)

// input is a file as the formats read it: bytes are handed out where they lie in its buffer, so that a record costs no call of the system and no
// copy of its own.
type input struct {
	r    io.Reader
	buf  []byte
	from int // what was read of the file and not consumed is buf[from:to]
	to   int
	err  error // the reader's last word, until it is passed on
	n    int64 // bytes consumed
}

// inputSize is how much of the file an input reads at a time. Records that are longer make its buffer grow as far as there are bytes for them.
const inputSize = 1 << 17

func newInput(r io.Reader) *input { return &input{r: r, buf: make([]byte, inputSize)} }

// take consumes n bytes and returns them, valid until the next call. As with [io.ReadFull] the error is io.EOF where there is nothing
// more and io.ErrUnexpectedEOF where there is less; what there is of it is returned, and consumed.
func (in *input) take(n int) ([]byte, error) {
	b, err := in.peek(n)
	in.from += len(b)
	in.n += int64(len(b))
	return b, err
}

// peek is take without consuming anything.
func (in *input) peek(n int) ([]byte, error) {
	if in.to-in.from < n {
		if err := in.fill(n); err != nil {
			return in.buf[in.from:in.to], err
		}
	}
	return in.buf[in.from : in.from+n], nil
}

// buffered returns what needs no reading, without consuming it.
func (in *input) buffered() []byte { return in.buf[in.from:in.to] }

// fill reads until there are n bytes.
func (in *input) fill(n int) error {
	in.to = copy(in.buf, in.buf[in.from:in.to])
	in.from = 0
	for empty := 0; in.to < n; {
		if err := in.err; err != nil {
			in.err = nil // a file that is still written may have more by the next call
			if in.to > 0 && errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		if in.to == len(in.buf) {
			in.buf = append(in.buf, make([]byte, len(in.buf))...)
		}
		var got int
		got, in.err = in.r.Read(in.buf[in.to:])
		in.to += got
		if empty++; got > 0 {
			empty = 0
		} else if in.err == nil && empty == maxEmpty {
			in.err = io.ErrNoProgress
		}
	}
	return nil
}

// maxEmpty is how often in a row a reader may return nothing without saying why, as in package bufio.
const maxEmpty = 100

// Read hands out what lies in the buffer, for a reader of the whole file such as gzip's.
func (in *input) Read(b []byte) (int, error) {
	if _, err := in.peek(1); err != nil {
		return 0, err
	}
	n := copy(b, in.buf[in.from:in.to])
	in.from += n
	in.n += int64(n)
	return n, nil
}
