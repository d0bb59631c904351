package fastpath

import "testing"

func TestMarks(t *testing.T) {
	for _, mask := range []uint32{0, 1, 0x7, 0x0f0e0000, 0x80000001, 0xe0000000} {
		if m, err := NewMarks(mask); err == nil {
			t.Errorf("mask %#x: got %+v, expected an error", mask, m)
		}
	}
	for _, c := range []struct {
		mask, fast uint32
		span       uint64
	}{{0xff000000, 0x02000000, 253}, {0xf, 2, 13}, {0x00f0, 0x20, 13}, {0xffffffff, 2, 1<<32 - 3}, {0x1f0, 0x20, 29}} {
		m, err := NewMarks(c.mask)
		if err != nil {
			t.Fatal(err)
		}
		if m.FastMark() != c.fast || m.Span() != c.span {
			t.Errorf("mask %#x: fast %#x, span %d; expected %#x, %d", c.mask, m.FastMark(), m.Span(), c.fast, c.span)
		}
		unit := c.mask & -c.mask
		for _, k := range []struct {
			mark uint32
			kind MarkKind
		}{{0, MarkNone}, {^c.mask, MarkNone}, {unit, MarkInjected}, {unit | ^c.mask, MarkInjected}, {c.fast, MarkFast}, {3 * unit, MarkPunt}, {c.mask, MarkPunt}} {
			if got := m.Kind(k.mark); got != k.kind {
				t.Errorf("mask %#x: mark %#x is %d, expected %d", c.mask, k.mark, got, k.kind)
			}
		}
		// The number comes back from its mark as long as less than a span of others came between.
		for after := uint64(0); after < 3*min(m.Span(), 100); after++ {
			for _, ahead := range []uint64{1, 2, min(m.Span(), 300) - 1, m.Span()} {
				number := after + ahead
				mark := (uint32(number%m.Span()) + uint32(MarkPunt)) * unit
				if got := m.Number(mark|^c.mask, after); got != number {
					t.Fatalf("mask %#x: mark %#x after %d is %d, expected %d", c.mask, mark, after, got, number)
				}
			}
		}
	}
}
