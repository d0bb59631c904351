package fastpath

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"halfopen/conntrack"
)

// TestLayout compares the values of the maps, as the committed object describes them, with the Go types that read and write them: names,
// offsets, sizes.
func TestLayout(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string][2]any{
		bpfMapKeys:    {mapKey{}, mapPlace{}},
		bpfMapArms:    {nil, mapArm{}},
		bpfMapFlows:   {nil, mapFlow{}},
		bpfMapWorkers: {nil, mapWorker{}},
		bpfMapStats:   {nil, mapStats{}},
	} {
		m := spec.Maps[name]
		if of[0] != nil {
			sameLayout(t, name, reflect.TypeOf(of[0]), m.Key)
		}
		sameLayout(t, name, reflect.TypeOf(of[1]), m.Value)
	}
	if n := len(mapStats{}.Punts); int(NumReasons) > n || ReasonFrozen < Reason(conntrack.NumFastPunts) {
		t.Errorf("reasons up to %d, the model's up to %d, with room for %d", NumReasons, conntrack.NumFastPunts, n)
	}
}

// sameLayout compares a Go struct with a C struct, and what is inside.
func sameLayout(t *testing.T, path string, g reflect.Type, c btf.Type) {
	t.Helper()
	c = btf.UnderlyingType(c)
	if size, err := btf.Sizeof(c); err != nil || uintptr(size) != g.Size() {
		t.Errorf("%s: %s has %d bytes, the program's %v has %d (%v)", path, g, g.Size(), c, size, err)
		return
	}
	s, ok := c.(*btf.Struct)
	if g.Kind() == reflect.Array && g.Elem().Kind() == reflect.Struct {
		sameLayout(t, path, g.Elem(), c.(*btf.Array).Type)
		return
	}
	if !ok || s.Name == "bpf_spin_lock" {
		return
	}
	if g.NumField() != len(s.Members) {
		t.Errorf("%s: %s has %d fields, the program's %s %d", path, g, g.NumField(), s.Name, len(s.Members))
		return
	}
	for i := range s.Members {
		f, m := g.Field(i), &s.Members[i]
		at := path + "." + f.Name
		if want := strings.ReplaceAll(m.Name, "_", ""); !strings.EqualFold(f.Name, want) || f.Offset != uintptr(m.Offset.Bytes()) {
			t.Errorf("%s at %d, in the program %s at %d", at, f.Offset, m.Name, m.Offset.Bytes())
		}
		sameLayout(t, at, f.Type, m.Type)
	}
}

// TestObjectHoldsNoPath: the object is the same wherever it is made.
func TestObjectHoldsNoPath(t *testing.T) {
	for _, word := range []string{"/home", "/tmp", "/work", "/root", "/usr"} {
		if strings.Contains(string(_BpfBytes), word) {
			t.Errorf("the object holds %q", word)
		}
	}
}
