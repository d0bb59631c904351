package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strings"
	"time"
)

// pcapng reads the newer format. gopacket's NgReader is not used for it: it drops the per-packet options, slices option values
// without looking at their length and allocates whatever length the file claims.
type pcapng struct {
	in      *input
	swapped bool // the section is written big-endian
	current Section
	ours    bool          // this program wrote the section
	ifaces  []ngInterface // of the current section
	body    []byte        // the current block's body, where it lies in the input
}

// ngInterface is an interface with its clock.
type ngInterface struct {
	Interface
	number    int    // in its section
	perSecond uint64 // ticks
	offset    int64  // seconds
	stats     Statistics
	hasStats  bool
}

func newPcapng(in *input) (*pcapng, error) {
	p := &pcapng{in: in}
	typ, err := p.readBlock()
	if err != nil {
		return nil, asFormat(err)
	}
	if typ != blockSection {
		return nil, malformed("first block is of type %#x", typ)
	}
	return p, p.section()
}

// asFormat makes a file that ends inside a block a malformed one.
func asFormat(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w inside a block", ErrFormat, ErrCut)
	}
	return err
}

// The words of a section are in its writer's byte order.

func (p *pcapng) u16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if p.swapped {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (p *pcapng) u32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if p.swapped {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func (p *pcapng) u64(b []byte) uint64 {
	v := binary.LittleEndian.Uint64(b)
	if p.swapped {
		v = bits.ReverseBytes64(v)
	}
	return v
}

// readBlock takes one whole block and makes p.body its body (without type and lengths). At the end of the file it returns io.EOF.
func (p *pcapng) readBlock() (typ uint32, err error) {
	head := p.in.buffered()
	if len(head) < 8 {
		if head, err = p.in.peek(8); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, asFormat(err)
		}
	}
	least := uint32(12)
	if binary.LittleEndian.Uint32(head) == blockSection { // the type is a palindrome: readable before the order is known
		if head, err = p.in.peek(12); err != nil {
			return 0, asFormat(err)
		}
		least = 16
		switch {
		case binary.LittleEndian.Uint32(head[8:]) == byteOrderMagic:
			p.swapped = false
		case binary.BigEndian.Uint32(head[8:]) == byteOrderMagic:
			p.swapped = true
		default:
			return 0, malformed("bad byte order mark %x", head[8:12])
		}
	}
	typ = p.u32(head)
	total := p.u32(head[4:])
	if total < least || total%4 != 0 || total > maxBlock {
		return 0, malformed("block of type %#x and length %d", typ, total)
	}
	block, err := p.in.take(int(total))
	if err != nil {
		return 0, asFormat(err)
	}
	if trailer := p.u32(block[total-4:]); trailer != total {
		return 0, malformed("block length %d at its start, %d at its end", total, trailer)
	}
	p.body = block[8 : total-4]
	return typ, nil
}

func (p *pcapng) next(f *Frame) error {
	for {
		typ, err := p.readBlock()
		if err != nil {
			return err
		}
		switch typ {
		case blockSection:
			err = p.section()
		case blockInterface:
			err = p.iface()
		case blockStatistic:
			p.statistics()
		case blockEnhanced:
			return p.enhanced(f)
		case blockPacket:
			return p.obsolete(f)
		case blockSimple:
			return p.simple(f)
		}
		if err != nil {
			return err
		}
	}
}

func (p *pcapng) ready() bool {
	b := p.in.buffered()
	if len(b) < 8 {
		return false
	}
	switch p.u32(b) {
	case blockEnhanced, blockPacket, blockSimple:
		return uint64(p.u32(b[4:])) <= uint64(len(b))
	}
	return false
}

func (p *pcapng) section() error {
	p.ifaces = p.ifaces[:0]
	if len(p.body) < 16 {
		return malformed("section header of %d bytes", len(p.body))
	}
	if major := p.u16(p.body[4:]); major != 1 {
		return malformed("pcapng version %d", major)
	}
	p.current = Section{}
	// No frame needs these words: damage among them is no reason to give the file up.
	_ = p.options(p.body[16:], func(code uint16, v []byte) {
		switch code {
		case optComment:
			p.current.Comment = addLine(p.current.Comment, v)
		case shbUserAppl:
			p.current.Application = string(v)
		}
	})
	p.ours = strings.HasPrefix(p.current.Application, application)
	return nil
}

// addLine joins the comments of a block.
func addLine(text string, line []byte) string {
	if text == "" {
		return string(line)
	}
	return text + "\n" + string(line)
}

func (p *pcapng) iface() error {
	if len(p.body) < 8 {
		return malformed("interface block of %d bytes", len(p.body))
	}
	if len(p.ifaces) >= maxInterfaces {
		return malformed("more than %d interfaces", maxInterfaces)
	}
	i := ngInterface{perSecond: 1e6, number: len(p.ifaces)}
	i.LinkType = LinkType(p.u16(p.body))
	i.SnapLen = p.u32(p.body[4:])
	err := p.options(p.body[8:], func(code uint16, v []byte) {
		switch {
		case code == optComment:
			i.Comment = addLine(i.Comment, v)
		case code == ifName:
			i.Name = string(v)
		case code == ifDescription:
			i.Description = string(v)
		case code == ifTsResol && len(v) >= 1:
			i.perSecond = ticks(v[0])
		case code == ifTsOffset && len(v) >= 8:
			i.offset = int64(p.u64(v))
		}
	})
	if i.perSecond == 0 {
		return malformed("interface %q: timestamp resolution out of range", i.Name)
	}
	p.ifaces = append(p.ifaces, i)
	return err
}

// statistics takes over an interface statistics block; the last one of an interface counts. One that is damaged says nothing.
func (p *pcapng) statistics() {
	if len(p.body) < 12 {
		return
	}
	id := p.u32(p.body)
	i, err := p.interfaceAt(id)
	if err != nil {
		return
	}
	at := func(v []byte) time.Time {
		t, _ := i.time(p.u32(v), p.u32(v[4:]))
		return t
	}
	st := Statistics{Interface: int(id), Time: at(p.body[4:])}
	_ = p.options(p.body[12:], func(code uint16, v []byte) {
		if len(v) < 8 {
			return
		}
		switch code {
		case isbStart:
			st.Start = at(v)
		case isbEnd:
			st.End = at(v)
		case isbIfRecv:
			st.Received = p.u64(v)
		case isbIfDrop:
			st.Dropped = p.u64(v)
		}
	})
	i.stats, i.hasStats = st, true
}

// ticks returns ticks per second for an if_tsresol octet, 0 if it does not fit.
func ticks(resol byte) uint64 {
	exp := resol & 0x7f
	if resol&0x80 != 0 {
		if exp > 63 {
			return 0
		}
		return 1 << exp
	}
	if exp > 19 {
		return 0
	}
	n := uint64(1)
	for range exp {
		n *= 10
	}
	return n
}

// maxSeconds is the last second that an int64 of nanoseconds since 1970 holds (in 2262).
const maxSeconds = math.MaxInt64/1_000_000_000 - 1

// time converts a timestamp of the interface, and says what is wrong with it, "" as a rule.
func (i *ngInterface) time(high, low uint32) (t time.Time, defect string) {
	sec, ns := i.split(uint64(high)<<32 | uint64(low))
	if sec > maxSeconds || i.offset > maxSeconds || i.offset < -maxSeconds || int64(sec)+i.offset > maxSeconds || int64(sec)+i.offset < 0 {
		return time.Unix(0, 0).UTC(), fmt.Sprintf("%d seconds, moved by %d", sec, i.offset)
	}
	return time.Unix(int64(sec)+i.offset, int64(ns)).UTC(), ""
}

// split returns the seconds and nanoseconds of a timestamp. The usual resolutions are divided by as constants.
func (i *ngInterface) split(ts uint64) (sec, ns uint64) {
	switch i.perSecond {
	case 1e9:
		return ts / 1e9, ts % 1e9
	case 1e6:
		return ts / 1e6, ts % 1e6 * 1e3
	}
	hi, lo := bits.Mul64(ts%i.perSecond, 1e9)
	ns, _ = bits.Div64(hi, lo, i.perSecond) // hi < perSecond, since ts%perSecond < perSecond and 1e9 < 2^64
	return ts / i.perSecond, ns
}

func (p *pcapng) interfaceAt(id uint32) (*ngInterface, error) {
	if uint64(id) >= uint64(len(p.ifaces)) {
		return nil, malformed("packet of interface %d (section has %d)", id, len(p.ifaces))
	}
	return &p.ifaces[id], nil
}

func (p *pcapng) enhanced(f *Frame) error {
	if len(p.body) < 20 {
		return malformed("packet block of %d bytes", len(p.body))
	}
	b := p.body
	i, err := p.interfaceAt(p.u32(b))
	if err != nil {
		return err
	}
	f.Time, f.TimeDefect = i.time(p.u32(b[4:]), p.u32(b[8:]))
	rest, err := p.data(f, i, b[20:], p.u32(b[12:]), p.u32(b[16:]))
	if err != nil || len(rest) == 0 {
		return err
	}
	return p.options(rest, func(code uint16, v []byte) {
		o := &f.Options
		switch {
		case code == optComment:
			o.Comments = append(o.Comments, string(v))
		case code == epbFlags && len(v) == 4:
			o.Direction = Direction(p.u32(v) & 3)
		case code == epbDropCount && len(v) == 8:
			o.DropCount = p.u64(v)
		case code == epbPacketID && len(v) == 8:
			o.PacketID, o.HasPacketID = p.u64(v), true
		case code == epbQueue && len(v) == 4:
			o.Queue, o.HasQueue = p.u32(v), true
		}
	})
}

func (p *pcapng) obsolete(f *Frame) error {
	if len(p.body) < 20 {
		return malformed("packet block of %d bytes", len(p.body))
	}
	b := p.body
	i, err := p.interfaceAt(uint32(p.u16(b)))
	if err != nil {
		return err
	}
	f.Time, f.TimeDefect = i.time(p.u32(b[4:]), p.u32(b[8:]))
	_, err = p.data(f, i, b[20:], p.u32(b[12:]), p.u32(b[16:]))
	return err
}

func (p *pcapng) simple(f *Frame) error {
	if len(p.body) < 4 {
		return malformed("simple packet block of %d bytes", len(p.body))
	}
	i, err := p.interfaceAt(0)
	if err != nil {
		return err
	}
	orig := p.u32(p.body)
	captured := orig
	if i.SnapLen != 0 {
		captured = min(captured, i.SnapLen)
	}
	captured = min(captured, uint32(len(p.body)-4))
	_, err = p.data(f, i, p.body[4:], captured, orig)
	return err
}

// data fills the frame from a packet block's body and returns what follows the padded packet: the options.
func (p *pcapng) data(f *Frame, i *ngInterface, body []byte, captured, orig uint32) ([]byte, error) {
	if captured > MaxFrame || uint64(captured) > uint64(len(body)) {
		return nil, malformed("packet of %d bytes in a block with room for %d", captured, len(body))
	}
	f.Interface, f.InterfaceID, f.LinkType = i.Name, i.number, i.LinkType
	f.Data = body[:captured:captured]
	f.OrigLen = int(max(orig, captured))
	return body[min(int(captured+3)&^3, len(body)):], nil
}

// options calls visit for each option; the value is valid during the call only.
func (p *pcapng) options(b []byte, visit func(code uint16, value []byte)) error {
	for len(b) >= 4 {
		code, n := p.u16(b), int(p.u16(b[2:]))
		if code == optEnd {
			return nil
		}
		b = b[4:]
		if n > len(b) {
			return malformed("option %d of %d bytes in a block with room for %d", code, n, len(b))
		}
		visit(code, b[:n])
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}
