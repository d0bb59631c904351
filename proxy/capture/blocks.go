package capture

import (
	"encoding/binary"
	"time"
	"unicode/utf8"
)

// blocks appends pcapng blocks to a buffer, little endian, with timestamps in nanoseconds.
type blocks struct {
	b     []byte
	start int // of the block being built
}

// begin starts a block: type, and room for the length that end fills in.
func (w *blocks) begin(typ uint32) {
	w.start = len(w.b)
	w.u32(typ)
	w.u32(0)
}

// end closes the options (where none were begun the end marker is harmless) and sets both lengths.
func (w *blocks) end() {
	w.u16(optEnd)
	w.u16(0)
	total := uint32(len(w.b) - w.start + 4)
	w.u32(total)
	binary.LittleEndian.PutUint32(w.b[w.start+4:], total)
}

func (w *blocks) section(s Section) {
	w.begin(blockSection)
	w.u32(byteOrderMagic)
	w.u16(1) // major version
	w.u16(0) // minor version
	w.u32(0xffffffff)
	w.u32(0xffffffff) // section length: not given
	w.text(optComment, s.Comment)
	w.text(shbUserAppl, s.Application)
	w.end()
}

func (w *blocks) iface(i Interface) {
	w.begin(blockInterface)
	w.u16(uint16(i.LinkType))
	w.u16(0)
	w.u32(i.SnapLen)
	w.text(optComment, i.Comment)
	w.text(ifName, i.Name)
	w.text(ifDescription, i.Description)
	w.u16(ifTsResol)
	w.u16(1)
	w.padded([]byte{9}) // 10^-9 s
	w.end()
}

// beginPacket starts an enhanced packet block of an interface; options may follow, then end.
func (w *blocks) beginPacket(iface int, ns int64, data []byte, origLen int) {
	w.begin(blockEnhanced)
	w.u32(uint32(iface))
	w.stamp(ns)
	w.u32(uint32(len(data)))
	w.u32(uint32(max(origLen, len(data))))
	w.padded(data)
}

// numbers writes the options that are no text.
func (w *blocks) numbers(o *Options) {
	if o.Direction != Unknown {
		w.u16(epbFlags)
		w.u16(4)
		w.u32(uint32(o.Direction))
	}
	if o.DropCount != 0 {
		w.u64option(epbDropCount, o.DropCount)
	}
	if o.HasPacketID {
		w.u64option(epbPacketID, o.PacketID)
	}
	if o.HasQueue {
		w.u16(epbQueue)
		w.u16(4)
		w.u32(o.Queue)
	}
}

func (w *blocks) statistics(s *Statistics) {
	w.begin(blockStatistic)
	w.u32(uint32(s.Interface))
	w.stamp(s.Time.UnixNano())
	w.stampOption(isbStart, s.Start)
	w.stampOption(isbEnd, s.End)
	w.u64option(isbIfRecv, s.Received)
	w.u64option(isbIfDrop, s.Dropped)
	w.end()
}

// stamp writes a time as the format does: the upper half first, whatever the byte order.
func (w *blocks) stamp(ns int64) {
	w.u32(uint32(uint64(ns) >> 32))
	w.u32(uint32(ns))
}

// stampOption writes a time as an option; the zero time writes nothing.
func (w *blocks) stampOption(code uint16, t time.Time) {
	if t.IsZero() {
		return
	}
	w.u16(code)
	w.u16(8)
	w.stamp(t.UnixNano())
}

func (w *blocks) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *blocks) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }

func (w *blocks) u64option(code uint16, v uint64) {
	w.u16(code)
	w.u16(8)
	w.b = binary.LittleEndian.AppendUint64(w.b, v)
}

// pad pads to four bytes.
func (w *blocks) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// padded appends data and pads it. Blocks and options are multiples of four bytes, so the buffer's length tells the padding.
func (w *blocks) padded(data []byte) {
	w.b = append(w.b, data...)
	w.pad()
}

// text writes a text option, cut to what the format can carry; an empty text writes nothing.
func (w *blocks) text(code uint16, text string) {
	if text == "" {
		return
	}
	if len(text) > maxOption {
		n := maxOption
		for n > maxOption-utf8.UTFMax && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	w.u16(code)
	w.u16(uint16(len(text)))
	w.b = append(w.b, text...)
	w.pad()
}

// textBytes is text for a line that is not empty and, but for quoted words, ASCII.
func (w *blocks) textBytes(code uint16, text []byte) {
	text = text[:min(len(text), maxOption)]
	w.u16(code)
	w.u16(uint16(len(text)))
	w.padded(text)
}

// wholeBlocks is the length of the longest beginning of b, which begins with a block, that consists of whole blocks.
func wholeBlocks(b []byte) (n int) {
	for len(b)-n >= 12 {
		total := int(binary.LittleEndian.Uint32(b[n+4:]))
		if total < 12 || total > len(b)-n {
			break
		}
		n += total
	}
	return n
}
