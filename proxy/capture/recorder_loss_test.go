package capture

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"halfopen/proxy/decisionlog"
)

// disk is a fault that a test switches on: room bytes are taken, then ENOSPC.
type disk struct {
	mu   sync.Mutex
	full bool
	room int
}

func (d *disk) set(full bool, room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.room = full, room
}

func (d *disk) write(f *os.File, b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(b)
	if d.full {
		n = min(n, d.room)
		d.room -= n
	}
	n, err := f.Write(b[:n])
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

// A ring that filled up during a round is told of once: the next round must not wait for the tick.
func TestRecorderGoesOn(t *testing.T) {
	r := &Recorder{wake: make(chan struct{}, 1), opt: RecorderOptions{RingSize: 8}}
	p := r.Producer()
	for n, want := range map[int]int{0: 0, 1: 0, 3: 1} {
		for range n {
			if p.Record(Received, 0, nil, nil) == nil {
				t.Fatal("no room")
			}
			p.Push()
		}
		for len(r.wake) > 0 {
			<-r.wake // what pushing has told
		}
		if r.goOn(); len(r.wake) != want {
			t.Errorf("%d packets wait in a ring of %d: woken %d times, want %d", n, p.ring.Cap(), len(r.wake), want)
		}
		p.ring.Release(p.ring.Len())
	}
}

// What a full ring refused is told before the next packet, and at the end of the file; nothing else is lost.
func TestRingFull(t *testing.T) {
	dir, d := t.TempDir(), &disk{}
	opt := quiet(dir)
	opt.RingSize = 8
	r := startRecorder(t, opt, d)
	p := r.Producer()
	d.mu.Lock() // the writer stands still in the middle of its first write
	numbered(p, 1)
	stuck := make(chan struct{})
	go func() { r.Flush(); close(stuck) }()
	lost := 0
	for n := 2; lost < 5; n++ {
		if !numbered(p, n) {
			lost++
		}
	}
	d.mu.Unlock()
	<-stuck
	r.Flush()
	numbered(p, 100)
	r.Flush()
	d.mu.Lock()
	go r.Flush()
	for n := 101; lost < 8; n++ { // and nothing comes after these
		if !numbered(p, n) {
			lost++
		}
	}
	d.mu.Unlock()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f := readDir(t, dir)[0]
	var before uint64
	for _, fr := range f.frames {
		if fr.Options.PacketID == 100 {
			before = fr.Options.DropCount
		} else if fr.Options.DropCount != 0 {
			t.Errorf("packet %d: %d lost before it", fr.Options.PacketID, fr.Options.DropCount)
		}
	}
	if before != 5 {
		t.Errorf("%d lost before packet 100, want 5", before)
	}
	if len(f.stats) != 1 || f.stats[0].Dropped != 8 || f.stats[0].Received != uint64(len(f.frames)+8) {
		t.Errorf("statistics %+v of %d frames", f.stats, len(f.frames))
	}
	if c := r.Counters(); c.RingDropped != 8 || c.DiskDropped != 0 || c.Packets != uint64(len(f.frames)) {
		t.Errorf("counters %+v", c)
	}
}

// The disk is full for a while, in the middle of a packet: nothing is broken, nothing double, and the rest is counted.
func TestDiskFull(t *testing.T) {
	dir, d := t.TempDir(), &disk{}
	opt := quiet(dir)
	opt.RingSize = 64
	r := startRecorder(t, opt, d)
	p := r.Producer()
	n := 0
	put := func(count int) {
		for range count {
			n++
			numbered(p, n)
		}
	}
	put(10)
	r.Flush()
	d.set(true, 300) // two packets and a part
	put(10)
	r.Flush()
	c := r.Counters()
	if !c.Failing || c.Packets <= 10 || c.Packets >= 20 || c.DiskDropped != 0 {
		t.Fatalf("counters %+v", c)
	}
	if f := readFile(t, mustFiles(t, dir)[0]); f.err != nil || len(f.frames) != int(c.Packets) {
		t.Fatalf("full disk: %d frames, %v; want %d", len(f.frames), f.err, c.Packets)
	}
	put(100)
	r.Flush()
	d.set(false, 0)
	r.Flush()
	put(5)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f := readDir(t, dir)[0]
	last := uint64(0)
	for _, id := range ids(f.frames) {
		if id <= last {
			t.Fatalf("packet %d after %d", id, last)
		}
		last = id
	}
	c = r.Counters()
	if missing := uint64(n - len(f.frames)); c.DiskDropped != missing || c.RingDropped != 0 || c.Failing || f.stats[0].Dropped != missing || missing == 0 {
		t.Errorf("%d of %d packets missing, counters %+v, statistics %+v", missing, n, c, f.stats)
	}
}

func mustFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A start on a full disk is none the worse; a disk that stays full is an error at the end, with the number.
func TestDiskFullFromTheStart(t *testing.T) {
	dir, d := t.TempDir(), &disk{full: true, room: 20}
	r := startRecorder(t, quiet(dir), d)
	p := r.Producer()
	numbered(p, 1)
	r.Flush()
	if files := mustFiles(t, dir); len(files) != 0 || !r.Counters().Failing {
		t.Errorf("%v, %+v", files, r.Counters())
	}
	if err := r.Close(); err == nil || !strings.Contains(err.Error(), "1 packets were not written") {
		t.Errorf("error %v", err)
	}
	if c := r.Counters(); c.DiskDropped != 1 {
		t.Errorf("counters %+v", c)
	}
}

// Whatever the disk leaves of a write, the file stays whole: an interface whose declaration did not fit is declared again.
func TestDiskFullAtEveryByte(t *testing.T) {
	for room := 0; room < 900; room += 7 {
		dir, d := t.TempDir(), &disk{full: true, room: room}
		r := startRecorder(t, quiet(dir), d)
		p := r.Producer()
		numbered(p, 1)
		numbered(p, 2)
		k := p.Record(Emitted, 0, observer, ipv4)
		k.Note = Note{Verdict: Inject, ID: decisionlog.ID{Lo: 3}}
		p.Push()
		r.Flush()
		d.set(false, 0)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		f := readDir(t, dir)
		if len(f) != 1 || fmt.Sprint(ids(f[0].frames)) != "[1 2 3]" || len(f[0].stats) != 2 {
			t.Fatalf("room for %d bytes: %+v", room, f)
		}
	}
}
