package decisionlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Position is a place in a log file, between two lines. The zero value is its beginning.
type Position struct {
	Line   int   // lines before it
	Offset int64 // bytes of text before it; in a compressed file, of the text
	Frame  Frame // compressed: a frame that begins at or before it
}

// Lines reads one log file line by line, plain or compressed with zstd, from any position.
type Lines struct {
	name   string
	br     *bufio.Reader
	file   *os.File     // nil: not ours to close
	frames *frameReader // nil: plain
	stream *zstd.Decoder
	pos    Position // of the next line
}

// OpenLines opens a file at a position. The file is compressed if it begins as zstd does, whatever its name. A plain file that is not
// there any more is looked for compressed: its text is the same, and so are places in it. An error that satisfies
// errors.Is(err, os.ErrNotExist) may mean that retention was faster.
func OpenLines(path string, from Position) (*Lines, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(path, fileSuffix) {
		var zerr error
		if f, zerr = os.Open(path + zstSuffix); !errors.Is(zerr, os.ErrNotExist) {
			err = zerr
		}
	}
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	l := &Lines{name: path, file: f, pos: from}
	if err := l.start(from); err != nil {
		f.Close()
		return nil, fmt.Errorf("decision log: %s: %w", path, err)
	}
	return l, nil
}

func (l *Lines) start(from Position) error {
	st, err := l.file.Stat()
	if err != nil {
		return err
	}
	if !compressed(l.file) {
		if _, err := l.file.Seek(from.Offset, io.SeekStart); err != nil && from.Offset > 0 {
			return err
		}
		l.br = bufio.NewReaderSize(l.file, MaxLine)
		return nil
	}
	if l.frames, err = newFrameReader(l.file, st.Size(), from.Frame); err != nil {
		return err
	}
	l.br = bufio.NewReaderSize(l.frames, MaxLine)
	var damage *FrameError
	for skip := from.Offset - from.Frame.Text; skip > 0; {
		n, err := l.br.Discard(int(min(skip, MaxLine)))
		skip -= int64(n)
		if errors.As(err, &damage) {
			continue // it was told when the lines before were read
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Compressed reports whether a file begins as a zstd file does, whatever its name.
func Compressed(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("decision log: %w", err)
	}
	defer f.Close()
	return compressed(f), nil
}

// compressed reports whether a file begins as a zstd file does.
func compressed(f io.ReaderAt) bool {
	var b [4]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == len(b) && isZstd(b[:])
}

// isZstd knows the magic numbers of frames and of skippable frames.
func isZstd(b []byte) bool {
	return string(b) == string(zstdMagic) || b[0]>>4 == 5 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18
}

// newLineStream reads a stream's lines, plain or compressed.
func newLineStream(name string, r io.Reader) (*Lines, error) {
	l := &Lines{name: name, br: bufio.NewReaderSize(r, MaxLine)}
	if head, _ := l.br.Peek(4); len(head) == 4 && isZstd(head) {
		dec, err := zstd.NewReader(l.br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("decision log: %s: %w", name, err)
		}
		l.stream, l.br = dec, bufio.NewReaderSize(dec, MaxLine)
	}
	return l, nil
}

// Close closes the file.
func (l *Lines) Close() error {
	if l.frames != nil {
		l.frames.close()
	}
	if l.stream != nil {
		l.stream.Close()
	}
	if l.file != nil {
		return l.file.Close()
	}
	return nil
}

// Position is the place of the next line: behind the last one that Next returned, and before a last line cut short.
func (l *Lines) Position() Position { return l.pos }

// Frames lists where the frames read so far begin, in order; none in a plain file. The caller may clear what it has taken.
func (l *Lines) Frames() []Frame {
	if l.frames == nil {
		return nil
	}
	starts := l.frames.starts
	l.frames.starts = nil
	return starts
}

// Next returns the next line without its line feed, and where it stands. It is valid until the next call. A *BadLine is a line
// that is none (too long, in a damaged frame, or cut short at the file's end) and reading may go on; io.EOF is the end, any other
// error ends reading too.
func (l *Lines) Next() (raw []byte, at Position, err error) {
	raw, err = l.br.ReadSlice('\n')
	at = l.pos
	if err == nil {
		l.advance(len(raw))
		return raw[:len(raw)-1], at, nil
	}
	bad := &BadLine{File: l.name, Line: at.Line + 1, Offset: at.Offset}
	var damage *FrameError
	switch {
	case err == io.EOF && len(raw) == 0:
		return nil, at, io.EOF
	case err == io.EOF:
		bad.Cut, bad.Err = true, io.ErrUnexpectedEOF
		return nil, at, bad
	case errors.Is(err, bufio.ErrBufferFull):
		n, rest := len(raw), error(nil)
		skipped := int64(0)
		skipped, rest = skipLine(l.br)
		bad.Err = fmt.Errorf("longer than %d bytes", MaxLine)
		l.advance(n + int(skipped))
		if rest != nil && rest != io.EOF && !errors.As(rest, &damage) {
			return nil, at, fmt.Errorf("decision log: %s: %w", l.name, rest)
		}
		return nil, at, bad
	case errors.As(err, &damage):
		l.pos.Offset += int64(len(raw))
		if len(raw) > 0 {
			l.pos.Line++
		}
		bad.Err = damage
		return nil, at, bad
	}
	return nil, at, fmt.Errorf("decision log: %s: %w", l.name, err)
}

func (l *Lines) advance(n int) {
	l.pos.Line++
	l.pos.Offset += int64(n)
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

// Stem is a log file's name without directory, .jsonl and .zst: what stays the same when the file is compressed.
func Stem(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	name = strings.TrimSuffix(name, zstSuffix)
	return strings.TrimSuffix(name, fileSuffix)
}

// ReadText reads n bytes of a file's text, plain or compressed, from a position. Where the text ends before, or is damaged, it
// returns what there is and an error that is io.ErrUnexpectedEOF or wraps a *FrameError.
func ReadText(path string, from Position, n int64) ([]byte, error) {
	l, err := OpenLines(path, from)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	buf := make([]byte, n)
	got, err := io.ReadFull(l.br, buf)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("decision log: %s: %w", path, err)
	}
	return buf[:got], err
}
