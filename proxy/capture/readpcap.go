package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Magic numbers of the classic format, as they read in the writer's byte order (draft-ietf-opsawg-pcap section 4). The last is
// Alexey Kuznetzov's patched libpcap of the 1990s, whose record headers are eight bytes longer; Wireshark reads it too.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34
)

const (
	pcapHeaderLen   = 24
	pcapRecordLen   = 16
	pcapModifiedLen = 24
)

// pcap reads the classic format. gopacket's reader is not used for it: it takes a file that is cut off right behind a record's
// header for a whole one, refuses records that captured more than they say was on the wire, and hides fractions of a second
// that are none.
type pcap struct {
	in        *input
	order     binary.ByteOrder
	perSecond uint32 // units of the second timestamp field
	link      LinkType
	record    int // bytes of a record's header
}

func newPcap(in *input) (*pcap, error) {
	h, err := in.take(pcapHeaderLen)
	p := &pcap{in: in, order: binary.LittleEndian, perSecond: 1e6, record: pcapRecordLen}
	if len(h) >= 4 && !p.magic(binary.LittleEndian.Uint32(h)) {
		p.order = binary.BigEndian
		if !p.magic(binary.BigEndian.Uint32(h)) {
			return nil, malformed("neither pcapng nor pcap: it begins with %x", h[:4])
		}
	}
	if err != nil {
		return nil, endInside(err, "the file header")
	}
	// The header's snap length is not taken: some writers put 0 or a value smaller than their packets there. The upper bits of
	// the link type carry the length of the frame check sequence.
	p.link = LinkType(p.order.Uint32(h[20:]) & 0xffff)
	return p, nil
}

// magic takes the file's variant from its magic number and reports whether there is one.
func (p *pcap) magic(m uint32) bool {
	switch m {
	case magicMicro:
	case magicNano:
		p.perSecond = 1e9
	case magicModified:
		p.record = pcapModifiedLen
	default:
		return false
	}
	return true
}

func (p *pcap) next(f *Frame) error {
	head, err := p.in.take(p.record)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return endInside(err, "a record's header")
	}
	seconds, fraction := p.order.Uint32(head), p.order.Uint32(head[4:])
	captured, orig := p.order.Uint32(head[8:]), p.order.Uint32(head[12:])
	if captured > MaxFrame {
		return malformed("record of %d captured bytes (limit %d)", captured, MaxFrame)
	}
	f.Time = time.Unix(int64(seconds), int64(fraction)*int64(1e9/p.perSecond)).UTC()
	if fraction >= p.perSecond {
		f.TimeDefect = fmt.Sprintf("%d/%d of a second", fraction, p.perSecond)
	}
	f.LinkType, f.OrigLen = p.link, int(max(orig, captured))
	if f.Data, err = p.in.take(int(captured)); err != nil {
		return endInside(err, fmt.Sprintf("a record, %d of whose %d bytes are there", len(f.Data), captured))
	}
	return nil
}

func (p *pcap) ready() bool {
	b := p.in.buffered()
	return len(b) >= p.record && uint64(p.record)+uint64(p.order.Uint32(b[8:])) <= uint64(len(b))
}

// endInside makes a file that ends inside something a malformed one; other errors stay what they are.
func endInside(err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w inside %s", ErrFormat, ErrCut, what)
	}
	return err
}
