package decisionlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Frame is where a zstd frame begins: in the text of its file, and in the file, both in bytes.
type Frame struct{ Text, File int64 }

// FrameError is damage in a compressed file: a frame that cannot be read, or what stands in a frame's place.
type FrameError struct {
	At  int64 // byte of the file where the frame begins
	Err error
}

func (e *FrameError) Error() string { return fmt.Sprintf("zstd frame at byte %d: %v", e.At, e.Err) }

// Unwrap gives the reason.
func (e *FrameError) Unwrap() error { return e.Err }

const (
	// frameText is how much text a frame holds at least: the price of reading one line.
	frameText = 1 << 20
	// maxWindow bounds the memory that a frame may ask for (RFC 8878 section 3.1.1.1.2 asks for 8 MiB to be supported).
	maxWindow = 64 << 20
)

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd} // RFC 8878 section 3.1.1

// Compress writes the log that src gives in plain as zstd: frames of about 1 MiB of text, each ending with a line and readable
// by itself, so that a line in the middle of a file is found without what stands before it. Together they are one stream to
// zstd(1) and any other reader.
func Compress(dst io.Writer, src io.Reader) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(frameText))
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	defer enc.Close()
	br := bufio.NewReaderSize(src, 64<<10)
	var text, out []byte
	for {
		line, err := br.ReadSlice('\n')
		text = append(text, line...)
		end := err == io.EOF
		if err != nil && !end && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("decision log: %w", err)
		}
		if len(text) > 0 && (end || len(text) >= frameText && err == nil) {
			out = enc.EncodeAll(text, out[:0])
			if _, err := dst.Write(out); err != nil {
				return fmt.Errorf("decision log: %w", err)
			}
			text = text[:0]
		}
		if end {
			return nil
		}
	}
}

// frameReader reads the text of a compressed file frame by frame. A damaged frame gives what it holds and then a *FrameError;
// the next Read goes on with the next frame.
type frameReader struct {
	f      io.ReaderAt
	size   int64
	dec    *zstd.Decoder
	at     int64 // where the current frame begins
	end    int64 // and ends
	open   bool
	text   int64   // read so far
	starts []Frame // of the frames begun so far
}

func newFrameReader(f io.ReaderAt, size int64, from Frame) (*frameReader, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return &frameReader{f: f, size: size, dec: dec, at: from.File, end: from.File, text: from.Text}, nil
}

func (z *frameReader) close() { z.dec.Close() }

// Read implements io.Reader.
func (z *frameReader) Read(p []byte) (int, error) {
	for {
		if !z.open {
			if err := z.next(); err != nil {
				return 0, err
			}
		}
		n, err := z.dec.Read(p)
		z.text += int64(n)
		switch {
		case err == io.EOF:
			z.open = false
			if n == 0 {
				continue
			}
			return n, nil
		case err != nil:
			z.open = false
			z.resync()
			return n, &FrameError{z.at, err}
		case n > 0:
			return n, nil
		}
	}
}

// resync finds the frame behind a damaged one, whose own headers may lead astray.
func (z *frameReader) resync() {
	var b [4]byte
	if n, _ := z.f.ReadAt(b[:], z.end); n == len(b) && isZstd(b[:]) {
		return
	}
	z.end = nextMagic(z.f, z.at+1, z.size)
}

// next opens the next frame.
func (z *frameReader) next() error {
	z.at = z.end
	if z.at >= z.size {
		return io.EOF
	}
	end, skippable, err := frameEnd(z.f, z.at, z.size)
	if err != nil {
		bad := z.at
		z.end = nextMagic(z.f, z.at+1, z.size)
		return &FrameError{bad, err}
	}
	z.end = end
	if skippable {
		return z.next()
	}
	if err := z.dec.Reset(io.NewSectionReader(z.f, z.at, min(end, z.size)-z.at)); err != nil {
		z.resync()
		return &FrameError{z.at, err}
	}
	z.open = true
	z.starts = append(z.starts, Frame{z.text, z.at})
	return nil
}

// frameEnd walks a frame's headers, without decompressing (RFC 8878 section 3.1.1).
func frameEnd(f io.ReaderAt, at, size int64) (end int64, skippable bool, err error) {
	var buf [zstd.HeaderMaxSize]byte
	n, rerr := f.ReadAt(buf[:], at)
	if rerr != nil && rerr != io.EOF {
		return 0, false, rerr
	}
	var h zstd.Header
	if err := h.Decode(buf[:n]); err != nil {
		return 0, false, err
	}
	end = at + int64(h.HeaderSize)
	if h.Skippable {
		return end + int64(h.SkippableSize), true, nil
	}
	for last := false; !last; {
		if end >= size {
			return end, false, nil // cut: the decoder gives what there is
		}
		var b [4]byte
		if _, err := f.ReadAt(b[:3], end); err != nil {
			return size, false, nil
		}
		head := binary.LittleEndian.Uint32(b[:])
		last = head&1 != 0
		end += 3
		if head>>1&3 == 1 { // RLE: one octet, repeated
			end++
		} else {
			end += int64(head >> 3)
		}
	}
	if h.HasCheckSum {
		end += 4
	}
	return end, false, nil
}

// nextMagic finds where the next frame may begin, or the end of the file.
func nextMagic(f io.ReaderAt, at, size int64) int64 {
	buf := make([]byte, 64<<10)
	for at < size {
		n, _ := f.ReadAt(buf, at)
		if i := bytes.Index(buf[:n], zstdMagic); i >= 0 {
			return at + int64(i)
		}
		if n < len(buf) {
			break
		}
		at += int64(n - len(zstdMagic) + 1)
	}
	return size
}
