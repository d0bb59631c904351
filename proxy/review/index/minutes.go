package index

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// minuteCount is how many records of a block fall into a minute (Unix time / 60) with a shape.
type minuteCount struct {
	minute int64
	shape  uint16
	n      uint32
}

// countMinutes counts the block's records by minute and shape.
func (b *block) countMinutes() []minuteCount {
	type key struct {
		minute int64
		shape  uint16
	}
	at := make(map[key]int)
	var out []minuteCount
	for i, t := range b.times {
		k := key{floorDiv(t, minuteNS), b.shapeOf[i]}
		j, ok := at[k]
		if !ok {
			j = len(out)
			at[k] = j
			out = append(out, minuteCount{minute: k.minute, shape: k.shape})
		}
		out[j].n++
	}
	slices.SortFunc(out, func(a, b minuteCount) int {
		return cmp.Or(cmp.Compare(a.minute, b.minute), cmp.Compare(a.shape, b.shape))
	})
	return out
}

// encodeMinutes writes counts that are in order: the minute's distance from the one before (the first one's from base), the shape, the
// count.
func encodeMinutes(counts []minuteCount, base int64) []byte {
	var out []byte
	for _, c := range counts {
		out = binary.AppendUvarint(out, uint64(c.minute-base))
		out = binary.AppendUvarint(out, uint64(c.shape))
		out = binary.AppendUvarint(out, uint64(c.n))
		base = c.minute
	}
	return out
}

func decodeMinutes(data []byte, base int64, shapes int, buf []minuteCount) ([]minuteCount, error) {
	buf = buf[:0]
	for len(data) > 0 {
		var v [3]uint64
		for i := range v {
			var m int
			if v[i], m = binary.Uvarint(data); m <= 0 {
				return nil, errDamaged
			}
			data = data[m:]
		}
		base += int64(v[0])
		if v[1] >= uint64(shapes) || v[2] == 0 || v[2] > blockMax {
			return nil, errDamaged
		}
		buf = append(buf, minuteCount{base, uint16(v[1]), uint32(v[2])})
	}
	return buf, nil
}
