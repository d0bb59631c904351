package proxy

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"halfopen/conntrack"
	"halfopen/policy"
)

// What lies outside Go's heap must hold no pointer: the collector would not see it.
func TestPiecesHaveNoPointers(t *testing.T) {
	m := reflect.TypeFor[conntrack.Memory]()
	for i := range m.NumMethod() {
		piece := m.Method(i).Type.Out(0).Elem()
		if path := pointerIn(piece, piece.Name()); path != "" {
			t.Error(path)
		}
		if piece.Align() > conntrack.PieceAlign || piece.Size() > 1<<20 {
			t.Errorf("%v: aligned to %d, %d bytes", piece, piece.Align(), piece.Size())
		}
	}
	if pointerIn(reflect.TypeFor[[3]struct{ a, b *int }](), "x") == "" || pointerIn(reflect.TypeFor[struct{ s string }](), "x") == "" {
		t.Error("a pointer is not found")
	}
}

// pointerIn returns where in a type there is a pointer, "" for nowhere.
func pointerIn(t reflect.Type, path string) string {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return ""
	case reflect.Array:
		return pointerIn(t.Elem(), path+"[]")
	case reflect.Struct:
		for f := range t.NumField() {
			if found := pointerIn(t.Field(f).Type, path+"."+t.Field(f).Name); found != "" {
				return found
			}
		}
		return ""
	}
	return path + " is a " + t.Kind().String()
}

// An engine remembers the same wherever its table lies, and the table moves on to memory of its own when it has outgrown the heap's part.
func TestTableOutsideTheHeap(t *testing.T) {
	var words bytes.Buffer
	s := &shared{slog: slog.New(slog.NewTextHandler(&words, nil))}
	memory := s.tableMemory().(tableMemory)
	pol, err := LoadPolicy("observe", nil)
	if err != nil {
		t.Fatal(err)
	}
	const flows = 60_000
	apart := policy.NewEngine(policy.EngineConfig{Policy: pol, NoAdopt: true, Seed: 3, Memory: memory})
	heap := policy.NewEngine(policy.EngineConfig{Policy: pol, NoAdopt: true, Seed: 3})
	segment := func(i int) *conntrack.Segment {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1024)
		dst := netip.MustParseAddrPort("192.0.2.1:80")
		if i%5 == 0 {
			src = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 1024)
			dst = netip.MustParseAddrPort("[2001:db8::1]:80")
		}
		return &conntrack.Segment{Tuple: conntrack.MakeTuple(src, dst), Flags: conntrack.SYN, Window: 1000, Seq: conntrack.Seq(i), Bytes: 60}
	}
	now := conntrack.Instant(time.Hour)
	for i := range flows {
		if i%5000 == 0 { // the next page is prepared meanwhile, as it is beside a worker that waits for packets
			time.Sleep(time.Millisecond)
		}
		a, b := apart.Step(now, segment(i)).Finding, heap.Step(now, segment(i)).Finding
		if a != b || a != conntrack.New {
			t.Fatalf("flow %d: %v outside the heap, %v in it", i, a, b)
		}
	}
	if memory.arena.Size() == 0 || words.Len() > 0 {
		t.Errorf("%d bytes outside the heap after %d connections; %s", memory.arena.Size(), flows, words.String())
	}
	for i := range flows {
		if f := apart.Step(now.Add(time.Second), segment(i)).Finding; f != conntrack.SynRetransmit {
			t.Fatalf("flow %d again: %v", i, f)
		}
	}
	now = now.Add(24 * time.Hour)
	for apart.Next() <= now {
		apart.Advance(now, 256, func(*policy.TimeEvent) {})
	}
	if apart.Len() != 0 {
		t.Errorf("%d connections left", apart.Len())
	}
	if p := memory.Flows(); p == nil || uintptr(unsafe.Pointer(p))%conntrack.PieceAlign != 0 {
		t.Errorf("a piece at %p", p)
	}
}

// That the kernel refuses memory is said once, however many tables there are.
func TestNoTableMemoryIsSaidOnce(t *testing.T) {
	var words bytes.Buffer
	s := &shared{slog: slog.New(slog.NewTextHandler(&words, nil))}
	for range 3 {
		s.noTableMemory(errors.New("mapping 64 bytes: cannot allocate memory"))
	}
	if got := words.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "huge pages") || !strings.Contains(got, "cannot allocate memory") {
		t.Error(got)
	}
}
