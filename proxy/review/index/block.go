package index

import (
	"encoding/binary"
	"errors"
)

// blockMax is how many records a block holds: a connection's number takes two octets.
const blockMax = 32768

// shape is a record's combination of words (their numbers) and of what else takes few values. A block holds few different ones.
type shape struct {
	event, kind, verdict, reason        uint32
	rule, preset, rev, arm              uint32
	before, after, flags, reply, replyP uint32 // replyP: what was made for the other end
	bits                                uint32
	shadows                             uint32 // those that disagree
}

// shapeWords is how many numbers a shape has.
const shapeWords = 15

// Bits of shape.bits.
const (
	bitSwapped  = 1 << iota // the source is the higher of the connection's ends
	bitToServer             // direction
	bitToClient
)

func (s *shape) list() [shapeWords]*uint32 {
	return [...]*uint32{&s.event, &s.kind, &s.verdict, &s.reason, &s.rule, &s.preset, &s.rev, &s.arm,
		&s.before, &s.after, &s.flags, &s.reply, &s.replyP, &s.bits, &s.shadows}
}

// block is a block being filled.
type block struct {
	id     int64 // 0: not in the table yet
	file   int64
	offset int64
	lo, hi int64 // times

	shapes   []shape
	shapeAt  map[shape]uint16
	conns    []conn
	connAt   map[connKey]uint16
	shapeOf  []uint16
	connOf   []uint16
	times    []int64
	offsets  []int64
	changed  bool
	lastConn connKey // and its number: neighbours often share it
	lastAt   uint16
}

func newBlock(file, offset int64) *block {
	return &block{file: file, offset: offset, shapeAt: make(map[shape]uint16), connAt: make(map[connKey]uint16)}
}

// add appends a record; the connection's row may be set later in conns.
func (b *block) add(s *shape, c *connKey, hash uint32, time, offset int64) (connNumber uint16) {
	sn, ok := b.shapeAt[*s]
	if !ok {
		sn = uint16(len(b.shapes))
		b.shapes = append(b.shapes, *s)
		b.shapeAt[*s] = sn
	}
	cn := b.lastAt
	if len(b.conns) == 0 || *c != b.lastConn {
		if cn, ok = b.connAt[*c]; !ok {
			cn = uint16(len(b.conns))
			b.conns = append(b.conns, conn{connKey: *c, hash: hash})
			b.connAt[*c] = cn
		}
		b.lastConn, b.lastAt = *c, cn
	}
	if len(b.times) == 0 {
		b.lo, b.hi = time, time
	}
	b.lo, b.hi = min(b.lo, time), max(b.hi, time)
	b.shapeOf = append(b.shapeOf, sn)
	b.connOf = append(b.connOf, cn)
	b.times = append(b.times, time)
	b.offsets = append(b.offsets, offset)
	b.changed = true
	return cn
}

var errDamaged = errors.New("index: a block is damaged")

// Columns of a block, as table columns numbers them.
const (
	colShape = iota
	colConn
	colTime
	colOffset
	colConns
	colMinutes
	numColumns
	columnBits = 3 // id = block<<columnBits | column
)

// column encodes a column.
func (b *block) column(which int) []byte {
	switch which {
	case colShape:
		return encodeNumbers(b.shapeOf, len(b.shapes))
	case colConn:
		return encodeNumbers(b.connOf, len(b.conns))
	case colTime:
		return encodeDeltas(b.times, b.lo)
	case colOffset:
		return encodeDeltas(b.offsets, b.offset)
	case colMinutes:
		return encodeMinutes(b.countMinutes(), floorDiv(b.lo, minuteNS))
	}
	out := make([]byte, 0, len(b.conns)*28)
	for i := range b.conns {
		out = b.conns[i].encode(out)
	}
	return out
}

// encodeNumbers writes numbers below limit, in one octet each if that suffices, else in two.
func encodeNumbers(ns []uint16, limit int) []byte {
	if limit <= 256 {
		out := make([]byte, len(ns))
		for i, n := range ns {
			out[i] = byte(n)
		}
		return out
	}
	out := make([]byte, 0, 2*len(ns))
	for _, n := range ns {
		out = binary.LittleEndian.AppendUint16(out, n)
	}
	return out
}

// decodeNumbers reads n numbers below limit into buf.
func decodeNumbers(data []byte, n, limit int, buf []uint16) ([]uint16, error) {
	width := 2
	if limit <= 256 {
		width = 1
	}
	if len(data) != n*width {
		return nil, errDamaged
	}
	if cap(buf) < n {
		buf = make([]uint16, n)
	}
	buf = buf[:n]
	bad := false
	if width == 1 {
		for i, c := range data {
			buf[i] = uint16(c)
			bad = bad || int(c) >= limit
		}
	} else {
		for i := range buf {
			v := binary.LittleEndian.Uint16(data[2*i:])
			buf[i] = v
			bad = bad || int(v) >= limit
		}
	}
	if bad {
		return nil, errDamaged
	}
	return buf, nil
}

// encodeDeltas writes each value's difference from the one before as a signed varint; the first one's from base.
func encodeDeltas(vs []int64, base int64) []byte {
	out := make([]byte, 0, 3*len(vs))
	for _, v := range vs {
		out = binary.AppendVarint(out, v-base)
		base = v
	}
	return out
}

// decodeDeltas reads n values into buf.
func decodeDeltas(data []byte, n int, base int64, buf []int64) ([]int64, error) {
	if cap(buf) < n {
		buf = make([]int64, n)
	}
	buf = buf[:n]
	at := 0
	for i := range buf {
		if at+4 <= len(data) { // the common lengths, without the general loop
			b0, b1, b2, b3 := uint64(data[at]), uint64(data[at+1]), uint64(data[at+2]), uint64(data[at+3])
			var u uint64
			switch {
			case b0 < 0x80:
				u, at = b0, at+1
			case b1 < 0x80:
				u, at = b0&0x7f|b1<<7, at+2
			case b2 < 0x80:
				u, at = b0&0x7f|b1&0x7f<<7|b2<<14, at+3
			case b3 < 0x80:
				u, at = b0&0x7f|b1&0x7f<<7|b2&0x7f<<14|b3<<21, at+4
			default:
				goto general
			}
			base += int64(u>>1) ^ -int64(u&1)
			buf[i] = base
			continue
		}
	general:
		d, m := binary.Varint(data[at:])
		if m <= 0 {
			return nil, errDamaged
		}
		at += m
		base += d
		buf[i] = base
	}
	if at < len(data) {
		return nil, errDamaged
	}
	return buf, nil
}

// encodeShapes writes a block's shapes: their count, then each one's numbers.
func encodeShapes(shapes []shape) []byte {
	out := binary.AppendUvarint(nil, uint64(len(shapes)))
	for i := range shapes {
		for _, p := range shapes[i].list() {
			out = binary.AppendUvarint(out, uint64(*p))
		}
	}
	return out
}

func decodeShapes(data []byte) ([]shape, error) {
	n, m := binary.Uvarint(data)
	if m <= 0 || n > blockMax {
		return nil, errDamaged
	}
	data = data[m:]
	out := make([]shape, n)
	for i := range out {
		for _, p := range out[i].list() {
			v, m := binary.Uvarint(data)
			if m <= 0 {
				return nil, errDamaged
			}
			*p = uint32(v)
			data = data[m:]
		}
	}
	return out, nil
}

func decodeConns(data []byte, buf []conn) ([]conn, error) {
	buf = buf[:0]
	for len(data) > 0 {
		var c conn
		var ok bool
		if data, ok = c.decode(data); !ok {
			return nil, errDamaged
		}
		buf = append(buf, c)
	}
	return buf, nil
}
