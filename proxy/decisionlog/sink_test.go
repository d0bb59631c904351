package decisionlog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// clock is a settable time.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

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
	if !d.full || len(b) <= d.room {
		if d.full {
			d.room -= len(b)
		}
		return f.Write(b)
	}
	n, _ := f.Write(b[:d.room])
	d.room = 0
	return n, syscall.ENOSPC
}

// openOn opens a log whose writes go through d. It must be called before any put.
func openOn(t *testing.T, d *disk, opt Options) *Writer {
	w := open(t, opt)
	w.sink.(*dirSink).Write = d.write
	return w
}

// The disk is full for a while, in the middle of a line: no line is broken, no
// record twice, and what did not fit into the ring is one exact gap.
func TestDiskFull(t *testing.T) {
	dir, d := t.TempDir(), &disk{}
	w := openOn(t, d, Options{Dir: dir, RingSize: 64, Retry: time.Hour})
	p := w.Producer(1)
	put := func(from, to int) {
		for i := from; i < to; i++ {
			p.Put(decision(p, "r", int64(i+1)))
		}
	}
	put(0, 10)
	w.Flush()
	line := len(decision(p, "r", 1).AppendJSON(nil)) + 1
	p.seq--
	d.set(true, 2*line+line/2)
	put(10, 20) // two whole lines get through, and half of a third
	w.Flush()
	if c := w.Counters(); !c.Failing || c.Records != 12 || c.DiskDropped != 0 {
		t.Fatalf("counters %+v", c)
	}
	events, bad := readAll(t, dir)
	if len(bad) > 0 || sum(events).Decisions != 12 {
		t.Fatalf("full disk: %+v, bad %v", sum(events), bad)
	}
	put(20, 200) // 8 wait in the ring, 56 more fit
	w.Flush()
	d.set(false, 0)
	w.Flush() // forced: the disk has room again
	put(200, 210)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	events, bad = readAll(t, dir)
	s := sum(events)
	if len(bad) > 0 || s.Decisions != 12+64+10 || s.Gaps != 210-s.Decisions {
		t.Errorf("tally %+v, bad %v", s, bad)
	}
	gaps, last := 0, int64(0)
	for _, e := range events {
		if e.Gap != nil {
			gaps++
			if e.Gap.Where != GapDisk || e.Gap.Bound != BoundExact || e.Gap.Records["decision"] != 124 || e.Gap.Reasons["r"] != 124 ||
				e.Gap.From.UnixNano() != 77 || e.Gap.To.UnixNano() != 200 {
				t.Errorf("gap %+v", e.Gap)
			}
		}
		if e.Decision != nil {
			if e.Timestamp.UnixNano() <= last {
				t.Fatalf("record %d after %d", e.Timestamp.UnixNano(), last)
			}
			last = e.Timestamp.UnixNano()
		}
	}
	if c := w.Counters(); gaps != 1 || c.DiskDropped != 124 || c.RingDropped != 0 || c.Failing {
		t.Errorf("%d gaps, counters %+v", gaps, c)
	}
}

// While the disk is full no attempt is made before Retry, and a start on a full
// disk is none the worse: no file, no error, and nothing lost later.
func TestStartOnFullDisk(t *testing.T) {
	dir, d := t.TempDir(), &disk{}
	c := &clock{t: time.Unix(1e9, 0)}
	w := openOn(t, d, Options{Dir: dir, Now: c.now, Retry: time.Second})
	d.set(true, 20) // not even the header
	w.Put(decision(w.control, "r", 1))
	w.Flush()
	if files, err := Files(dir); err != nil || len(files) != 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	d.set(false, 0)
	time.Sleep(3 * w.opt.Flush) // the ticker comes by, Retry has not passed
	if n := w.Counters().Records; n != 0 {
		t.Fatalf("%d records before the time", n)
	}
	c.add(2 * time.Second)
	for end := time.Now().Add(20 * time.Second); w.Counters().Records == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not written after Retry")
		}
	}
	events, bad := readAll(t, dir)
	if len(events) != 2 || events[0].Header == nil || events[0].Header.FileSeq != 1 || len(bad) > 0 {
		t.Errorf("%d events, bad %v", len(events), bad)
	}
}

// Close on a disk that stays full says what is lost.
func TestCloseOnFullDisk(t *testing.T) {
	d := &disk{}
	w := openOn(t, d, Options{Dir: t.TempDir()})
	d.set(true, 0)
	w.Put(decision(w.control, "r", 1))
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "1 records were not written") {
		t.Errorf("close: %v", err)
	}
}

// Where the broken line cannot be cut off, a new file follows and the old one is
// read but for that line.
func TestUncuttableFile(t *testing.T) {
	dir, broken := t.TempDir(), false
	w := open(t, Options{Dir: dir})
	w.sink.(*dirSink).Write = func(f *os.File, b []byte) (int, error) {
		if broken {
			broken = false
			n, _ := f.Write(b[:len(b)-5])
			f.Close() // Truncate fails from here on
			return n, io.ErrUnexpectedEOF
		}
		return f.Write(b)
	}
	w.Put(decision(w.control, "r", 1))
	w.Flush()
	broken = true
	w.Put(decision(w.control, "r", 2))
	w.Put(decision(w.control, "r", 3))
	w.Flush()
	w.Flush()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := Files(dir)
	events, bad := readAll(t, dir)
	if len(files) != 2 || sum(events).Decisions != 3 || len(bad) != 1 || !bad[0].Cut {
		t.Errorf("files %v, tally %+v, bad %v", files, sum(events), bad)
	}
}

// A stream that ends inside a line goes on with a new one.
func TestStreamCut(t *testing.T) {
	var out bytes.Buffer
	broken := false
	w := open(t, Options{Dir: "-", Stdout: writerFunc(func(b []byte) (int, error) {
		if broken {
			broken = false
			n, _ := out.Write(b[:len(b)-5])
			return n, syscall.EAGAIN
		}
		return out.Write(b)
	})})
	w.Put(decision(w.control, "r", 1))
	w.Flush()
	broken = true
	w.Put(decision(w.control, "r", 2))
	w.Flush()
	w.Put(decision(w.control, "r", 3))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got Tally
	bad := 0
	readLines("out", &out, func(e *Event, err error) bool {
		if err != nil {
			bad++
		} else {
			got.Add(e.Tally())
		}
		return true
	})
	if got.Decisions != 3 || bad != 1 {
		t.Errorf("tally %+v, %d bad lines", got, bad)
	}
}

func TestRotationAndRetention(t *testing.T) {
	dir := t.TempDir()
	c := &clock{t: time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)}
	other := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(other, []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := open(t, Options{Dir: dir, Now: c.now, MaxFileBytes: 2000, MaxTotalBytes: 20000})
	for i := range 500 {
		w.Put(decision(w.control, "r", int64(i+1)))
		if i%5 == 0 {
			w.Flush()
		}
		if i == 250 {
			c.add(-time.Hour) // names still sort in the order of writing
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := Files(dir)
	if err != nil || len(files) < 5 {
		t.Fatalf("files %v, %v", files, err)
	}
	var total int64
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	if total > 20000 {
		t.Errorf("%d bytes kept", total)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	events, bad := readAll(t, dir)
	var s Tally
	seq := events[0].Header.FileSeq
	if seq < 2 {
		t.Errorf("retention removed nothing: the first file is %d", seq)
	}
	s = events[0].Header.Before // stands for what was removed
	for _, e := range events {
		if h := e.Header; h != nil {
			if h.FileSeq != seq || h.Before != s {
				t.Errorf("file %d says %+v before it, were %+v (file %d)", h.FileSeq, h.Before, s, seq)
			}
			seq++
		}
		s.Add(e.Tally())
	}
	if s.Decisions != 500 || len(bad) > 0 {
		t.Errorf("tally %+v, bad %v", s, bad)
	}
}

// Runs that begin within one millisecond, or with the clock set back, still make
// names that differ and sort in order.
func TestNamesSort(t *testing.T) {
	dir := t.TempDir()
	c := &clock{t: time.Date(2026, 11, 23, 18, 0, 0, 1_900_000, time.UTC)}
	var runs []string
	for i := range 5 {
		w := open(t, Options{Dir: dir, Now: c.now})
		w.Put(decision(w.control, "r", 1))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, w.Run())
		if i == 3 {
			c.add(-time.Minute)
		}
	}
	events, _ := readAll(t, dir)
	var got []string
	for _, e := range events {
		if e.Header != nil {
			got = append(got, e.Run)
		}
	}
	if !slices.Equal(got, runs) {
		t.Errorf("runs %v, written in the order %v", got, runs)
	}
}

func TestRetentionByAge(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "decisions-20200101T000000.000Z-000001.jsonl")
	if err := os.WriteFile(old, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	w := open(t, Options{Dir: dir, MaxAge: 24 * time.Hour})
	if _, err := os.Stat(old); err != nil {
		t.Fatal("removed before the first record: crash accounting may need it")
	}
	w.Put(decision(w.control, "r", 1))
	w.Flush()
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("old file: %v", err)
	}
	if files, _ := Files(dir); len(files) != 1 {
		t.Errorf("files %v", files)
	}
}
