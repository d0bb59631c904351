package fastpath

import (
	"fmt"
	"math/bits"
)

// Marks are the values that a packet's mark has under the mask of --mark. A value is what stands there, shifted down: 0 nothing, 1 a
// packet that halfopen injected, 2 one that the program let pass, and from 3 on the low bits of a punt number. The zero value is of
// no use; make one with [NewMarks].
type Marks struct {
	mask  uint32
	shift int
	span  uint64
}

// MarkKind is what a mark says.
type MarkKind uint8

// Kinds of marks.
const (
	MarkNone     MarkKind = iota
	MarkInjected          // made by halfopen
	MarkFast              // passed and counted by the program
	MarkPunt              // of a known flow, but the engine has to decide it; [Marks.Number] tells which it is
)

// markBits is how many bits the mask needs: with fewer, thirteen numbers or less, a flow that two processors work on soon has more
// punted segments under way than the mark can tell apart.
const markBits = 4

// NewMarks returns the values under a mask. It wants at least four bits in a row.
func NewMarks(mask uint32) (Marks, error) {
	shift, width := bits.TrailingZeros32(mask), bits.OnesCount32(mask)
	if width < markBits || bits.Len32(mask) != shift+width {
		return Marks{}, fmt.Errorf("mark mask %#x: the fast path needs at least %d bits in a row", mask, markBits)
	}
	return Marks{mask: mask, shift: shift, span: 1<<width - uint64(MarkPunt)}, nil
}

// Kind returns what a packet's mark says.
func (m Marks) Kind(mark uint32) MarkKind { return MarkKind(min(m.value(mark), uint32(MarkPunt))) }

func (m Marks) value(mark uint32) uint32 { return mark & m.mask >> m.shift }

// Number returns the least punt number greater than after that a packet's mark can stand for. It means something for [MarkPunt] only.
func (m Marks) Number(mark uint32, after uint64) uint64 {
	low, next := uint64(m.value(mark)-uint32(MarkPunt)), after+1
	return next + (low+m.span-next%m.span)%m.span
}

// Span returns how far apart two punt numbers with the same mark are.
func (m Marks) Span() uint64 { return m.span }

// FastMark returns the mark, under the mask, of a packet that passed: what the rules let past the queue.
func (m Marks) FastMark() uint32 { return uint32(MarkFast) << m.shift }
