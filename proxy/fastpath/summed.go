package fastpath

import (
	"encoding/binary"

	"github.com/cilium/ebpf/btf"
)

// place is where a field of a few bits is in a struct of the kernel's.
type place struct {
	byte uint32 // offset; 0 for a place that is not known, as nothing that is looked for comes first in its struct
	bit  uint32 // of that byte, from the least one
}

// summedOf finds out where the kernel has struct sk_buff's ip_summed, which says who has to do with the checksum. A program cannot read it by
// the stable interface, but by the kernel's own types since Linux 6.2 (bpf_cast_to_kern_ctx). Where that is missing, or the types
// (CONFIG_DEBUG_INFO_BTF), the place is zero, and the program finds out otherwise.
func summedOf(kernel *btf.Cache) place {
	spec, err := kernel.Kernel()
	if err != nil {
		return place{}
	}
	var cast *btf.Func
	var buff *btf.Struct
	if spec.TypeByName("bpf_cast_to_kern_ctx", &cast) != nil || spec.TypeByName("sk_buff", &buff) != nil {
		return place{}
	}
	at, size, ok := bitsOf(buff.Members, "ip_summed")
	if !ok || size != 2 {
		return place{}
	}
	return placeOf(at, size, binary.NativeEndian.Uint16([]byte{0, 1}) == 1)
}

// placeOf tells where bits are by their offset: little-endian machines count from the least bit of a byte, others from the greatest
// (BTF_MEMBER_BITFIELD_SIZE). Bits that are not all in one byte have no place.
func placeOf(at, size btf.Bits, bigEndian bool) place {
	bit := at % 8
	if bit+size > 8 {
		return place{}
	}
	if bigEndian {
		bit = 8 - bit - size
	}
	return place{uint32(at / 8), uint32(bit)}
}

// bitsOf looks for a member of a struct, also in unnamed structs and unions within.
func bitsOf(members []btf.Member, name string) (at, size btf.Bits, ok bool) {
	for _, m := range members {
		if m.Name == name {
			return m.Offset, m.BitfieldSize, true
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch t := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if at, size, ok := bitsOf(inner, name); ok {
			return m.Offset + at, size, true
		}
	}
	return 0, 0, false
}
