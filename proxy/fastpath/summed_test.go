package fastpath

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestPlaceOf(t *testing.T) {
	for _, c := range []struct {
		at, size btf.Bits
		big      bool
		want     place
	}{
		{1029, 2, false, place{128, 5}}, // Linux 6.18, amd64
		{1029, 2, true, place{128, 1}},
		{1024, 2, false, place{128, 0}},
		{1024, 2, true, place{128, 6}},
		{1030, 2, true, place{128, 0}},
		{1031, 2, false, place{}}, // in two bytes
	} {
		if got := placeOf(c.at, c.size, c.big); got != c.want {
			t.Errorf("%d bits at %d, big-endian %v: %+v, want %+v", c.size, c.at, c.big, got, c.want)
		}
	}
}

func TestBitsOf(t *testing.T) {
	u8 := &btf.Int{Name: "unsigned char", Size: 1}
	headers := &btf.Struct{Members: []btf.Member{{Name: "nohdr", Type: u8, BitfieldSize: 1}, {Name: "ip_summed", Type: u8, Offset: 13, BitfieldSize: 2}}}
	union := &btf.Union{Members: []btf.Member{{Type: headers}, {Name: "headers", Type: headers}}}
	members := []btf.Member{
		{Name: "ip_summed_not", Type: u8},
		{Name: "named", Type: headers, Offset: 8}, // what a named one has is not the struct's own
		{Type: union, Offset: 1000},
	}
	if at, size, ok := bitsOf(members, "ip_summed"); at != 1013 || size != 2 || !ok {
		t.Errorf("bit %d, %d bits, %v; want 1013, 2, true", at, size, ok)
	}
	if _, _, ok := bitsOf(members, "ip_summoned"); ok {
		t.Error("found what is not there")
	}
}
