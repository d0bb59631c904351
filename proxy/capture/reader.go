package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/gopacket/pcapgo"
)

// Frame is one captured frame. Data and Options.Comments belong to the caller.
type Frame struct {
	N         int // frame number as Wireshark counts, from 1
	Time      time.Time
	Interface string // name in the file, or "" where the format has none (pcap)
	LinkType  LinkType
	Data      []byte // what was captured
	OrigLen   int    // bytes on the wire
	Options   Options
}

// IP returns the IP packet inside the frame; see the function [IP].
func (f *Frame) IP() ([]byte, bool) { return IP(f.LinkType, f.Data) }

// source is one file format: pcap through pcapgo, or pcapng.
type source interface {
	next(f *Frame) error
}

// Reader reads frames from a pcap or pcapng file, plain or gzip-compressed; the format is told by the file's first bytes, not by
// its name. Lengths in the file are never trusted beyond MaxFrame. It is not safe for concurrent use.
type Reader struct {
	src   source
	close func() error
	n     int
}

// Open opens a capture file; "-" is standard input.
func Open(path string) (*Reader, error) {
	if path == "-" {
		return NewReader(os.Stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.close = f.Close
	return r, nil
}

// NewReader reads the file header from r. The errors that it returns wrap ErrFormat if r is no capture at all.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	head, err := br.Peek(4)
	if err != nil {
		return nil, malformed("no header (%v)", err)
	}
	if head[0] == 0x1f && head[1] == 0x8b {
		gz, err := gzip.NewReader(br)
		if err != nil {
			return nil, malformed("gzip: %v", err)
		}
		br = bufio.NewReaderSize(gz, 1<<16)
		if head, err = br.Peek(4); err != nil {
			return nil, malformed("no header inside gzip (%v)", err)
		}
	}
	var src source
	if binary.LittleEndian.Uint32(head) == blockSection {
		src, err = newPcapng(br)
	} else {
		src, err = newPcap(br)
	}
	if err != nil {
		return nil, err
	}
	return &Reader{src: src, close: func() error { return nil }}, nil
}

// Next returns the next frame, io.EOF after the last one, or an error that wraps ErrFormat where the file is damaged or cut off
// (the frames before it are good).
func (r *Reader) Next() (Frame, error) {
	var f Frame
	if err := r.src.next(&f); err != nil {
		return Frame{}, err
	}
	r.n++
	f.N = r.n
	return f, nil
}

// Close closes the file that Open opened.
func (r *Reader) Close() error { return r.close() }

// ReadAll reads a whole file into memory. Where the file is damaged it returns the frames before the damage and the error.
func ReadAll(path string) ([]Frame, error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var frames []Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
}

// pcap reads the classic format through gopacket.
type pcap struct {
	r    *pcapgo.Reader
	link LinkType
}

func newPcap(r io.Reader) (*pcap, error) {
	p, err := pcapgo.NewReader(r)
	if err != nil {
		return nil, malformed("neither pcapng nor pcap: %v", err)
	}
	// The header's own limit is not taken: some writers put 0 or a value smaller than their packets there, and damaged files a
	// value that would be allocated.
	p.SetSnaplen(MaxFrame)
	// The upper bits of the field carry the length of the frame check sequence.
	return &pcap{r: p, link: LinkType(uint32(p.LinkType()) & 0xffff)}, nil
}

func (p *pcap) next(f *Frame) error {
	data, ci, err := p.r.ReadPacketData()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return malformed("pcap record: %v", err)
	}
	f.Time, f.LinkType, f.Data, f.OrigLen = ci.Timestamp, p.link, data, ci.Length
	return nil
}
