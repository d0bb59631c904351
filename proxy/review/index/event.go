package index

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"halfopen/proxy/decisionlog"
)

// Event reads the record at a place of the log. Line is not set: the index does not number lines.
func (x *Index) Event(ctx context.Context, at Cursor) (*decisionlog.Event, error) {
	for e, err := range x.Events(ctx, []Cursor{at}) {
		if err != nil {
			return nil, err
		}
		e.Raw = append([]byte(nil), e.Raw...)
		return e, nil
	}
	return nil, fmt.Errorf("index: no record at %s", at)
}

// Events reads the records at several places, in the order given; neighbours are read in one go. Each Event is new, its Raw is
// valid until the next one. A record that cannot be read (its file is gone) is yielded as an error, and reading goes on.
func (x *Index) Events(ctx context.Context, at []Cursor) iter.Seq2[*decisionlog.Event, error] {
	return func(yield func(*decisionlog.Event, error) bool) {
		r := &reader{x: x}
		defer r.close()
		for _, c := range at {
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if !yield(r.event(c)) {
				return
			}
		}
	}
}

// reader reads lines of the log by their place.
type reader struct {
	x    *Index
	stem string
	path string
	run  string
	id   int64
	size int64    // of the text that is indexed
	file *os.File // plain
	buf  []byte
	// Compressed: a stretch of text around the last line.
	text []byte
	from int64
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

func (r *reader) event(c Cursor) (*decisionlog.Event, error) {
	raw, err := r.line(c)
	if err != nil {
		return nil, fmt.Errorf("index: record at %s: %w", c, err)
	}
	e := &decisionlog.Event{File: r.path, Offset: c.Offset, Run: r.run, Raw: raw}
	if err := json.Unmarshal(raw, e); err != nil {
		return nil, fmt.Errorf("index: record at %s: %w", c, err)
	}
	return e, nil
}

func (r *reader) line(c Cursor) ([]byte, error) {
	if r.stem != c.Stem {
		if err := r.enter(c.Stem); err != nil {
			return nil, err
		}
	}
	if r.file != nil {
		return r.plain(c.Offset)
	}
	if i := c.Offset - r.from; i >= 0 && i < int64(len(r.text)) {
		if end := bytes.IndexByte(r.text[i:], '\n'); end >= 0 {
			return r.text[i : i+int64(end)], nil
		}
	}
	return r.compressed(c.Offset)
}

// enter looks a file up and opens it.
func (r *reader) enter(stem string) error {
	r.close()
	r.stem, r.text = "", nil
	var name string
	var compressed bool
	err := r.x.read.QueryRow("SELECT f.id, f.name, f.compressed, f.bytes, ifnull(r.run, '') FROM files f LEFT JOIN runs r ON r.id = f.run WHERE f.stem = ?", stem).
		Scan(&r.id, &name, &compressed, &r.size, &r.run)
	if errors.Is(err, sql.ErrNoRows) {
		return errors.New("the file is not in the index")
	}
	if err != nil {
		return err
	}
	r.path = filepath.Join(r.x.dir, name)
	if !compressed {
		if r.file, err = os.Open(r.path); errors.Is(err, os.ErrNotExist) {
			r.path, err = r.path+".zst", nil // compressed since
		}
	}
	if err == nil {
		r.stem = stem
	}
	return err
}

// plain reads a line of a plain file.
func (r *reader) plain(at int64) ([]byte, error) {
	for want := 2048; ; want *= 4 {
		if cap(r.buf) < want {
			r.buf = make([]byte, want)
		}
		n, err := r.file.ReadAt(r.buf[:want], at)
		if end := bytes.IndexByte(r.buf[:n], '\n'); end >= 0 {
			return r.buf[:end], nil
		}
		if err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if n > decisionlog.MaxLine {
			return nil, fmt.Errorf("no line of up to %d bytes begins there", decisionlog.MaxLine)
		}
	}
}

// stretchMax bounds the text of a compressed file that is kept for the next line.
const stretchMax = 4 << 20

// compressed reads a line of a compressed file, and with it the frame that it is in.
func (r *reader) compressed(at int64) ([]byte, error) {
	var frame decisionlog.Frame
	q := r.x.read
	err := q.QueryRow("SELECT text, at FROM frames WHERE file = ? AND text <= ? ORDER BY text DESC LIMIT 1", r.id, at).Scan(&frame.Text, &frame.File)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	end := r.size
	err = q.QueryRow("SELECT text FROM frames WHERE file = ? AND text > ? ORDER BY text LIMIT 1", r.id, at).Scan(&end)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	from := frame.Text
	if end-from > stretchMax { // somebody else's frames: only what is behind the line
		from, end = at, min(end, at+decisionlog.MaxLine)
	}
	r.text, err = decisionlog.ReadText(r.path, decisionlog.Position{Offset: from, Frame: frame}, end-from)
	r.from = from
	i := at - from
	if i < 0 || i >= int64(len(r.text)) {
		return nil, errors.Join(err, errors.New("the text ends before"))
	}
	n := bytes.IndexByte(r.text[i:], '\n')
	if n < 0 {
		return nil, errors.New("the line has no end")
	}
	return r.text[i : i+int64(n)], nil
}
