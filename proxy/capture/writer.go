package capture

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Writer writes one pcapng section, little endian, with nanosecond timestamps. It is not safe for concurrent use. It buffers: call
// Flush for a reader to see what was written.
type Writer struct {
	out    *bufio.Writer
	closer io.Closer // nil if the underlying writer cannot be closed
	block  []byte    // the block being built, reused
	ifaces int
	err    error // first write error; everything after it fails with the same
}

// NewWriter writes the section header to w (buffered). If w is an io.Closer, Writer.Close closes it.
func NewWriter(w io.Writer, section Section) (*Writer, error) {
	out := &Writer{out: bufio.NewWriterSize(w, 1<<16), block: make([]byte, 0, 4096)}
	out.closer, _ = w.(io.Closer)

	out.begin(blockSection)
	out.u32(byteOrderMagic)
	out.u16(1) // major version
	out.u16(0) // minor version
	out.u32(0xffffffff)
	out.u32(0xffffffff) // section length: not given
	out.textOption(optComment, section.Comment)
	out.textOption(shbUserAppl, section.Application)
	return out, out.end()
}

// AddInterface declares an interface and returns the number by which WritePacket names it (0, 1, ...).
func (w *Writer) AddInterface(i Interface) (int, error) {
	if w.ifaces >= maxInterfaces {
		return 0, fmt.Errorf("capture: more than %d interfaces", maxInterfaces)
	}
	w.begin(blockInterface)
	w.u16(uint16(i.LinkType))
	w.u16(0)
	w.u32(i.SnapLen)
	w.textOption(ifName, i.Name)
	w.textOption(ifDescription, i.Description)
	w.option(ifTsResol, []byte{9}) // 10^-9 s
	if err := w.end(); err != nil {
		return 0, err
	}
	w.ifaces++
	return w.ifaces - 1, nil
}

// WritePacket writes one frame of interface iface. data is what was captured (at most MaxFrame bytes), origLen the length on the
// wire in bytes (taken as len(data) if smaller). data is not kept.
func (w *Writer) WritePacket(iface int, t time.Time, data []byte, origLen int, o Options) error {
	if iface < 0 || iface >= w.ifaces {
		return fmt.Errorf("capture: no interface %d (have %d)", iface, w.ifaces)
	}
	if len(data) > MaxFrame {
		return fmt.Errorf("capture: frame of %d bytes (limit %d)", len(data), MaxFrame)
	}
	ns := uint64(t.UnixNano())
	w.begin(blockEnhanced)
	w.u32(uint32(iface))
	w.u32(uint32(ns >> 32))
	w.u32(uint32(ns))
	w.u32(uint32(len(data)))
	w.u32(uint32(max(origLen, len(data))))
	w.padded(data)
	for _, c := range o.Comments {
		w.textOption(optComment, c)
	}
	if o.Direction != Unknown {
		w.option(epbFlags, binary.LittleEndian.AppendUint32(nil, uint32(o.Direction)))
	}
	if o.HasPacketID {
		w.option(epbPacketID, binary.LittleEndian.AppendUint64(nil, o.PacketID))
	}
	if o.HasQueue {
		w.option(epbQueue, binary.LittleEndian.AppendUint32(nil, o.Queue))
	}
	return w.end()
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

// begin starts a block: type, and room for the length that end fills in.
func (w *Writer) begin(typ uint32) {
	w.block = w.block[:0]
	w.u32(typ)
	w.u32(0)
}

// end closes the options (if any were begun the end marker is due; it is harmless where none was), sets both lengths and writes.
func (w *Writer) end() error {
	if w.err != nil {
		return w.err
	}
	w.u16(optEnd)
	w.u16(0)
	total := uint32(len(w.block) + 4)
	w.u32(total)
	binary.LittleEndian.PutUint32(w.block[4:], total)
	_, w.err = w.out.Write(w.block)
	return w.err
}

func (w *Writer) u16(v uint16) { w.block = binary.LittleEndian.AppendUint16(w.block, v) }
func (w *Writer) u32(v uint32) { w.block = binary.LittleEndian.AppendUint32(w.block, v) }

// padded appends data and pads it to four bytes.
func (w *Writer) padded(data []byte) {
	w.block = append(w.block, data...)
	for len(w.block)%4 != 0 {
		w.block = append(w.block, 0)
	}
}

func (w *Writer) option(code uint16, value []byte) {
	w.u16(code)
	w.u16(uint16(len(value)))
	w.padded(value)
}

// textOption writes a text, cut to what the format can carry; an empty text writes nothing.
func (w *Writer) textOption(code uint16, text string) {
	if text == "" {
		return
	}
	if len(text) > maxOption {
		text = text[:maxOption]
	}
	w.u16(code)
	w.u16(uint16(len(text)))
	w.padded([]byte(text))
}
