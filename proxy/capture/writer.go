package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

// Writer writes pcapng, little endian, with nanosecond timestamps. It is not safe for concurrent use. It buffers: call Flush for a
// reader to see what was written.
type Writer struct {
	out    *bufio.Writer
	closer io.Closer // nil if the underlying writer cannot be closed
	blocks blocks    // the block being built, reused
	ifaces int       // of the present section
	err    error     // first write error; everything after it fails with the same
}

// NewWriter writes the section header to w (buffered). If w is an io.Closer, Writer.Close closes it.
func NewWriter(w io.Writer, section Section) (*Writer, error) {
	out := &Writer{out: bufio.NewWriterSize(w, 1<<16), blocks: blocks{b: make([]byte, 0, 4096)}}
	out.closer, _ = w.(io.Closer)
	return out, out.NewSection(section)
}

// NewSection ends the present section: interfaces are declared anew in the one that begins.
func (w *Writer) NewSection(section Section) error {
	w.ifaces = 0
	w.blocks.section(section)
	return w.send()
}

// AddInterface declares an interface and returns the number by which WritePacket names it in this section (0, 1, ...).
func (w *Writer) AddInterface(i Interface) (int, error) {
	if w.ifaces >= maxInterfaces {
		return 0, fmt.Errorf("capture: more than %d interfaces", maxInterfaces)
	}
	w.blocks.iface(i)
	if err := w.send(); err != nil {
		return 0, err
	}
	w.ifaces++
	return w.ifaces - 1, nil
}

// WritePacket writes one frame of interface iface. data is what was captured (at most MaxFrame bytes), origLen the length on the
// wire in bytes (taken as len(data) if smaller). data is not kept. A comment longer than the format can carry is cut.
func (w *Writer) WritePacket(iface int, t time.Time, data []byte, origLen int, o Options) error {
	if err := w.known(iface); err != nil {
		return err
	}
	if len(data) > MaxFrame {
		return fmt.Errorf("capture: frame of %d bytes (limit %d)", len(data), MaxFrame)
	}
	w.blocks.beginPacket(iface, t.UnixNano(), data, origLen)
	for _, c := range o.Comments {
		w.blocks.text(optComment, c)
	}
	w.blocks.numbers(&o)
	w.blocks.end()
	return w.send()
}

// WriteStatistics says how many packets an interface has had, and how many of them are not in the file.
func (w *Writer) WriteStatistics(s Statistics) error {
	if err := w.known(s.Interface); err != nil {
		return err
	}
	if s.Time.IsZero() {
		return errors.New("capture: statistics without a time")
	}
	w.blocks.statistics(&s)
	return w.send()
}

func (w *Writer) known(iface int) error {
	if iface < 0 || iface >= w.ifaces {
		return fmt.Errorf("capture: no interface %d (have %d)", iface, w.ifaces)
	}
	return nil
}

// send hands the block at hand to the buffer.
func (w *Writer) send() error {
	if w.err == nil {
		_, w.err = w.out.Write(w.blocks.b)
	}
	w.blocks.b = w.blocks.b[:0]
	return w.err
}

// Flush hands everything written so far to the underlying writer.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

// Close flushes, and closes the underlying writer if it is an io.Closer.
func (w *Writer) Close() error {
	err := w.Flush()
	if w.closer != nil {
		if cerr := w.closer.Close(); err == nil {
			err = cerr
		}
	}
	return err
}
