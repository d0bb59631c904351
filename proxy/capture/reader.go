package capture

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Frame is one captured frame.
type Frame struct {
	N    int // frame number as Wireshark counts, from 1
	Time time.Time
	// TimeDefect says what is wrong with the timestamp in the file, "" as a rule. Time is then what can be made of it, between
	// 1970 and 2262.
	TimeDefect string

	Interface   string // name in the file, or "" where the format has none (pcap)
	InterfaceID int    // its number in its section, 0 where the format has none
	LinkType    LinkType
	Data        []byte // what was captured
	OrigLen     int    // bytes on the wire
	Options     Options
}

// IP returns the IP packet inside the frame; see the function [IP].
func (f *Frame) IP() ([]byte, bool) { return IP(f.LinkType, f.Data) }

// InOut returns the frame's direction at the interface where it was captured: epb_flags's (pcapng), or what a Linux cooked
// header says (4: sent by the host that captured it). Unknown where the file has neither.
func (f *Frame) InOut() Direction {
	var kind uint16
	switch {
	case f.Options.Direction != Unknown:
		return f.Options.Direction
	case f.LinkType == LinkSLL && len(f.Data) >= 16:
		kind = binary.BigEndian.Uint16(f.Data)
	case f.LinkType == LinkSLL2 && len(f.Data) >= 20:
		kind = uint16(f.Data[10])
	default:
		return Unknown
	}
	if kind == cookedOutgoing {
		return Outbound
	}
	return Inbound
}

// cookedOutgoing is the packet type of a cooked header (PACKET_OUTGOING) of what the capturing host has sent.
const cookedOutgoing = 4

// source is one file format: pcap or pcapng. What next puts into f.Data is valid until its next call.
type source interface {
	next(f *Frame) error
	ready() bool // next would begin with a frame, and needs to read nothing for it
}

// Reader reads frames from a pcap or pcapng file, plain or gzip-compressed; the format is told by the file's first bytes, not by
// its name. Lengths in the file are never trusted beyond MaxFrame. It is not safe for concurrent use.
type Reader struct {
	src    source
	name   string // of the file, "" for a stream
	close  func() error
	raw    *counter // what was read of the file as it is
	plain  *input   // the file as its format's reader sees it
	offset int64    // where the present record begins
	zipped bool
	n      int
	later  []string // files of a directory that come after this one
	before int64    // bytes of those that came before it
}

// counter counts the bytes that pass through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// Open opens a capture file; "-" is standard input. Of a directory it reads the annotated captures one after the other, as one.
func Open(path string) (*Reader, error) {
	if path == "-" {
		return NewReader(os.Stdin)
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return openDir(path)
	}
	return openFile(path)
}

func openFile(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.close, r.name = f.Close, path
	return r, nil
}

// NewReader reads the file header from r. The errors that it returns wrap ErrFormat if r is no capture at all.
func NewReader(r io.Reader) (*Reader, error) {
	out := &Reader{raw: &counter{r: r}, close: func() error { return nil }}
	if err := out.open(); err != nil {
		return nil, fmt.Errorf("at byte 0: %w", err)
	}
	return out, nil
}

// open tells the file's format and reads its header.
func (r *Reader) open() error {
	in := newInput(r.raw)
	head, err := in.peek(4)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("capture: %w", err)
	case len(head) == 0:
		return malformed("the file is empty")
	}
	if len(head) > 1 && head[0] == 0x1f && head[1] == 0x8b {
		gz, err := gzip.NewReader(bufio.NewReaderSize(in, 1<<16))
		if err != nil {
			return malformed("gzip: %v", err)
		}
		r.zipped = true
		in = newInput(gz)
		if head, err = in.peek(4); len(head) == 0 {
			return malformed("nothing inside gzip (%v)", err)
		}
	}
	r.plain = in
	if len(head) == 4 && binary.LittleEndian.Uint32(head) == blockSection {
		r.src, err = newPcapng(r.plain)
	} else {
		r.src, err = newPcap(r.plain)
	}
	return err
}

// Next returns the next frame, io.EOF after the last one, or an error that wraps ErrFormat where the file is damaged or cut off
// (the frames before it are good). Its Data and Options.Comments belong to the caller.
func (r *Reader) Next() (Frame, error) {
	var f Frame
	if err := r.Read(&f); err != nil {
		return Frame{}, err
	}
	f.Data = bytes.Clone(f.Data)
	return f, nil
}

// Read is [Reader.Next] for whoever reads a capture larger than memory: it puts the frame into f, whose Data is valid until the next call
// before which [Reader.Ready] was false.
// An error tells the file's name and the byte at which the record that it is about begins.
func (r *Reader) Read(f *Frame) error {
	for {
		r.offset = r.plain.n
		*f = Frame{}
		err := r.src.next(f)
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) {
			if more, err := r.NextFile(); !more || err != nil {
				return cmp.Or(err, io.EOF)
			}
			continue
		}
		if r.zipped && !errors.Is(err, ErrFormat) {
			err = malformed("gzip: %v", err)
		}
		return fmt.Errorf("%s: %w", r.Place(), err)
	}
	r.n++
	f.N = r.n
	return nil
}

// Ready reports whether the next frame lies in memory already, whole. Then the next call of Read need not wait for the file, and leaves the
// Data of the frames before that frame as it is.
func (r *Reader) Ready() bool { return r.src.ready() }

// openDir opens the annotated captures of a directory.
func openDir(path string) (*Reader, error) {
	files, err := Files(path)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: %w", path, malformed("the directory holds no %s*%s", packetPrefix, packetSuffix))
	}
	r := &Reader{later: files, raw: &counter{}, close: func() error { return nil }}
	_, err = r.NextFile()
	return r, err
}

// NextFile leaves the present file of a directory, be it damaged, for the one after it. It is false where there is none. One that was
// removed meanwhile is left out.
func (r *Reader) NextFile() (bool, error) {
	for len(r.later) > 0 {
		path := r.later[0]
		r.later = r.later[1:]
		next, err := openFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		next.later, next.n, next.before = r.later, r.n, r.before+r.raw.n
		err = r.close()
		*r = *next
		return true, err
	}
	return false, nil
}

// Place names the record that was last read: the file and the byte at which the record begins, of the decompressed data where the
// file is compressed.
func (r *Reader) Place() string {
	place := fmt.Sprintf("at byte %d", r.offset)
	if r.zipped {
		place += " of the decompressed data"
	}
	if r.name != "" {
		place = r.name + ": " + place
	}
	return place
}

// Position returns how many bytes of the file have been taken from it so far, as it is on disk.
func (r *Reader) Position() int64 { return r.before + r.raw.n }

// Section returns what the header of the section says that the last frame stands in; of a pcap file nothing.
func (r *Reader) Section() Section {
	if ng, ok := r.src.(*pcapng); ok {
		return ng.current
	}
	return Section{}
}

// InterfaceAt returns the interface with that number in the section that the last frame stands in, and false where there is none.
func (r *Reader) InterfaceAt(id int) (Interface, bool) {
	if ng, ok := r.src.(*pcapng); ok && id >= 0 && id < len(ng.ifaces) {
		return ng.ifaces[id].Interface, true
	}
	return Interface{}, false
}

// Statistics returns what statistics blocks have said so far of the interfaces of the present section, the last word on each.
func (r *Reader) Statistics() (all []Statistics) {
	if ng, ok := r.src.(*pcapng); ok {
		for i := range ng.ifaces {
			if ng.ifaces[i].hasStats {
				all = append(all, ng.ifaces[i].stats)
			}
		}
	}
	return all
}

// Format returns "pcap" or "pcapng", with ".gz" where the file is compressed.
func (r *Reader) Format() string {
	format := "pcap"
	if _, ok := r.src.(*pcapng); ok {
		format = "pcapng"
	}
	if r.zipped {
		format += ".gz"
	}
	return format
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
