package hugepage

import (
	"errors"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

type piece [100 << 10]byte

var errNone = errors.New("none")

// eventually waits until something is so that another goroutine brings about.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// take takes a piece, waiting until one is ready.
func take(t *testing.T, a *Arena) (p *piece) {
	t.Helper()
	eventually(t, "no piece", func() bool { p = Take[piece](a); return p != nil })
	return p
}

// Pieces are zeroed, aligned, and nobody else's, over the end of a region too; no more is ready ahead than is said.
func TestPiecesAreApart(t *testing.T) {
	a := New(Config{Failed: func(err error) { t.Error(err) }})
	n := regionSize/len(piece{}) + 20
	pieces := make([]*piece, n)
	for i := range pieces {
		pieces[i] = take(t, a)
		p := pieces[i]
		if uintptr(unsafe.Pointer(p))%alignment != 0 {
			t.Fatalf("a piece at %p", p)
		}
		for at := 0; at < len(p); at += 512 {
			if p[at] != 0 {
				t.Fatalf("piece %d is not zeroed at %d: %d", i, at, p[at])
			}
			p[at] = byte(i%255) + 1
		}
		p[len(p)-1] = byte(i%255) + 1
	}
	for i, p := range pieces {
		if p[0] != byte(i%255)+1 || p[len(p)/512*512-512] != byte(i%255)+1 || p[len(p)-1] != byte(i%255)+1 {
			t.Fatalf("piece %d was written by another", i)
		}
	}
	eventually(t, "it prepares for ever", func() bool { return !a.busy.Load() })
	used := int64(n) * int64(len(piece{}))
	if size := a.Size(); size < used || size > used+a.lead()+2*pageSize || a.lead() > maxLead {
		t.Errorf("%d bytes in memory of which %d are used", size, used)
	}
	if Total() < a.Size() {
		t.Errorf("%d bytes in all, %d here", Total(), a.Size())
	}
	runtime.KeepAlive(a)
}

// The first pieces come from the heap, and whoever wants no more than these costs no huge page.
func TestSmallOwnersStayOnTheHeap(t *testing.T) {
	a := New(Config{Small: 4 << 20})
	size := int64(len(piece{}))
	n := int64(0)
	for ; (n+1)*size < 4<<20-minLead; n++ {
		if Take[piece](a) != nil {
			t.Fatalf("a piece after %d bytes", n*size)
		}
	}
	if a.busy.Load() || a.Size() != 0 {
		t.Errorf("%d bytes in memory after %d on the heap", a.Size(), n*size)
	}
	for ; n*size < 4<<20; n++ {
		if Take[piece](a) != nil {
			t.Fatalf("a piece after %d bytes", n*size)
		}
	}
	eventually(t, "nothing is ready when the heap's part ends", func() bool { return a.Size() > 0 })
	take(t, a)
}

// Who takes faster than pages are prepared is not kept waiting.
func TestTakeDoesNotWait(t *testing.T) {
	a := New(Config{})
	a.busy.Store(true) // as if a page took for ever
	if Take[piece](a) != nil {
		t.Error("a piece of nothing")
	}
	a.busy.Store(false)
	first := take(t, a)
	eventually(t, "busy", func() bool { return !a.busy.Load() })
	a.busy.Store(true)
	n := int64(1)
	for Take[piece](a) != nil {
		n++
	}
	if got := n * int64(len(piece{})); got > a.Size() || got+int64(len(piece{})) <= a.Size() {
		t.Errorf("%d bytes taken of %d", got, a.Size())
	}
	a.busy.Store(false)
	if take(t, a) == first {
		t.Error("a piece twice")
	}
}

// Where the kernel has none it is said once, and the heap does from then on.
func TestNoMemory(t *testing.T) {
	said := make(chan error, 10)
	a := New(Config{Failed: func(err error) { said <- err }})
	a.reserve = func() (unsafe.Pointer, error) { return nil, errNone }
	for range 100 {
		if Take[piece](a) != nil {
			t.Fatal("a piece of nothing")
		}
		eventually(t, "busy", func() bool { return !a.busy.Load() })
	}
	if err := <-said; err != errNone || len(said) > 0 {
		t.Errorf("%v, and %d more words", err, len(said))
	}
}

// Memory goes back when nobody holds the Arena, and not while somebody does.
func TestMemoryGoesBackWithTheArena(t *testing.T) {
	a := New(Config{})
	p := take(t, a)
	eventually(t, "busy", func() bool { return !a.busy.Load() })
	for range 3 {
		runtime.GC()
	}
	time.Sleep(10 * time.Millisecond)
	m, size := a.mapped, a.Size()
	if p[0] = 1; m.bytes() != size {
		t.Errorf("%d bytes in memory of %d", m.bytes(), size)
	}
	runtime.KeepAlive(a)
	a, p = nil, nil
	eventually(t, "memory did not go back", func() bool { runtime.GC(); return m.bytes() == 0 })
}

func (m *mapped) bytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size
}

func TestJudge(t *testing.T) {
	for text, ok := range map[string]bool{"[always] madvise never\n": true, "always [madvise] never\n": true, "always madvise [never]\n": false, "": false, "yes\n": false} {
		if got, found := judge(text); got != ok || found == "" {
			t.Errorf("%q: %v, %q", text, got, found)
		}
	}
	if name, ok, found, means := Probe(); name == "" || found == "" || ok != (means == "") {
		t.Errorf("%q %v %q %q", name, ok, found, means)
	}
}
