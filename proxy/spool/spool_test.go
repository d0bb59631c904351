package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRing(t *testing.T) {
	wake := make(chan struct{}, 1)
	r := NewRing[int](7, wake)
	if r.Cap() != 8 || r.Len() != 0 {
		t.Fatalf("capacity %d, length %d", r.Cap(), r.Len())
	}
	put := func(v int) bool {
		slot := r.Slot()
		if slot == nil {
			return false
		}
		*slot = v
		r.Push()
		return true
	}
	for round := range 5 { // past the end of the array and around
		for i := range 8 {
			if !put(round*100 + i) {
				t.Fatalf("no room for value %d", i)
			}
			if woken := len(wake) == 1; woken != (i >= 1) {
				t.Errorf("after %d of 8: woken %t", i+1, woken)
			}
		}
		if put(-1) || r.Len() != 8 {
			t.Errorf("a ninth value fits, length %d", r.Len())
		}
		<-wake
		for i := range 8 {
			if got := *r.At(i); got != round*100+i {
				t.Errorf("value %d is %d", i, got)
			}
		}
		r.Release(3)
		if got := *r.At(0); got != round*100+3 || r.Len() != 5 {
			t.Errorf("after a release of 3: %d, length %d", got, r.Len())
		}
		r.Release(5)
	}
}

// What is staged may still be changed, and is seen with the next Push, or when it is published.
func TestRingStage(t *testing.T) {
	wake := make(chan struct{}, 1)
	r := NewRing[int](4, wake)
	first := r.Slot()
	*first = 1
	r.Stage()
	*r.Slot() = 2
	r.Stage()
	if r.Len() != 0 {
		t.Errorf("%d values seen that are only staged", r.Len())
	}
	*first = 10
	*r.Slot() = 3
	r.Push()
	if r.Len() != 3 || *r.At(0) != 10 || *r.At(1) != 2 || *r.At(2) != 3 || len(wake) != 1 {
		t.Errorf("%d values, %d %d %d, woken %d times", r.Len(), *r.At(0), *r.At(1), *r.At(2), len(wake))
	}
	*r.Slot() = 4
	r.Stage()
	if r.Slot() != nil {
		t.Error("a fifth value fits beside one that is staged")
	}
	r.Publish()
	r.Publish()
	if r.Len() != 4 || *r.At(3) != 4 {
		t.Errorf("%d values", r.Len())
	}
}

// Two goroutines: every value arrives once, in order.
func TestRingBetweenGoroutines(t *testing.T) {
	const n = 20_000
	wake := make(chan struct{}, 1)
	r := NewRing[int](64, wake)
	go func() {
		for i := 0; i < n; {
			if slot := r.Slot(); slot != nil {
				*slot = i
				r.Push()
				i++
			} else {
				time.Sleep(time.Microsecond)
			}
		}
	}()
	for next := 0; next < n; {
		for k := r.Len(); k > 0; k-- {
			if got := *r.At(0); got != next {
				t.Fatalf("value %d, want %d", got, next)
			}
			r.Release(1)
			next++
		}
	}
}

// lines are options for a directory whose records are lines.
func lines(dir string) Options {
	return Options{Dir: dir, Noun: "test", Prefix: "p-", Suffix: ".txt", MaxFileBytes: 20, MaxTotalBytes: -1, Logger: slog.New(slog.DiscardHandler),
		Header:  func(seq uint64) []byte { return fmt.Appendf(nil, "head %d\n", seq) },
		Trailer: func() []byte { return []byte("tail\n") },
		Whole:   func(b []byte) int { return bytes.LastIndexByte(b, '\n') + 1 }}
}

func mustOpen(t *testing.T, opt Options) *Dir {
	t.Helper()
	d, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.lock.Close() })
	return d
}

// contents are the files' texts, oldest first.
func contents(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := Files(dir, "p-", ".txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

func TestDirTurns(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, lines(dir))
	for i := range 5 {
		if i == 2 {
			if err := d.Begin(); err != nil { // opens what Append would
				t.Fatal(err)
			}
		}
		if n, err := d.Append(fmt.Appendf(nil, "line %d\n", i)); n != 7 || err != nil {
			t.Fatal(n, err)
		}
		d.Turn()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"head 1\nline 0\nline 1\ntail\n", "head 2\nline 2\nline 3\ntail\n", "head 3\nline 4\ntail\n"}
	if got := contents(t, dir); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A write that fails in between leaves whole records, and what follows goes on behind them.
func TestDirCutsBack(t *testing.T) {
	dir := t.TempDir()
	opt := lines(dir)
	opt.MaxFileBytes = 1000
	d := mustOpen(t, opt)
	d.Write = func(f *os.File, b []byte) (int, error) {
		if len(b) > 15 {
			n, _ := f.Write(b[:15])
			return n, syscall.ENOSPC
		}
		return f.Write(b)
	}
	if n, err := d.Append([]byte("line 0\nline 1\nline 2\n")); n != 14 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d bytes in place, %v; want 14", n, err)
	}
	if n, err := d.Append([]byte("line 2\n")); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir); len(got) != 1 || got[0] != "head 1\nline 0\nline 1\nline 2\ntail\n" {
		t.Errorf("%q", got)
	}
}

// A file without a whole header does not stay, and the next attempt has its number.
func TestDirWithoutHeader(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, lines(dir))
	d.Write = func(*os.File, []byte) (int, error) { return 3, syscall.ENOSPC }
	if n, err := d.Append([]byte("line\n")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d, %v", n, err)
	}
	if got := contents(t, dir); len(got) != 0 {
		t.Errorf("%q stayed", got)
	}
	d.Write = (*os.File).Write
	if _, err := d.Append([]byte("line\n")); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "head 1\n") {
		t.Errorf("%q", got)
	}
}

// Names sort by time though the clock steps back, also from one run to the next.
func TestDirNames(t *testing.T) {
	dir := t.TempDir()
	opt := lines(dir)
	opt.MaxFileBytes = 1
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	opt.Now = func() time.Time { now = now.Add(-time.Hour); return now }
	for range 2 {
		d := mustOpen(t, opt)
		for range 3 {
			if _, err := d.Append([]byte("x\n")); err != nil {
				t.Fatal(err)
			}
			d.Turn()
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Files(dir, "p-", ".txt")
	if err != nil || len(files) != 6 {
		t.Fatal(files, err)
	}
	var seqs []string
	for _, f := range files {
		seqs = append(seqs, strings.TrimSuffix(f[strings.LastIndexByte(f, '-')+1:], ".txt"))
	}
	if got := strings.Join(seqs, " "); got != "000001 000002 000003 000001 000002 000003" {
		t.Errorf("order %s", got)
	}
}

// The oldest files go: beyond the total, and beyond the age; files of others stay.
func TestDirRetention(t *testing.T) {
	dir := t.TempDir()
	opt := lines(dir)
	opt.MaxTotalBytes = 100 // a quarter is a file's: 25
	alien := filepath.Join(dir, "p-notes.txt")
	if err := os.WriteFile(alien, bytes.Repeat([]byte{'x'}, 500), 0o600); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, opt)
	for i := range 20 {
		if _, err := d.Append(fmt.Appendf(nil, "line %02d\n", i)); err != nil {
			t.Fatal(err)
		}
		d.Turn()
	}
	got := contents(t, dir)
	total := 0
	for _, c := range got {
		total += len(c)
	}
	if total > 100 || len(got) < 3 || !strings.Contains(got[len(got)-1], "line 19") {
		t.Errorf("%d bytes in %d files: %q", total, len(got), got)
	}
	if _, err := os.Stat(alien); err != nil {
		t.Error(err)
	}
	d.opt.MaxAge = time.Hour
	d.Tick(time.Now().Add(2 * time.Hour))
	if got := contents(t, dir); len(got) != 1 {
		t.Errorf("beyond the age, and still there: %q", got)
	}
}

func TestDirIsLocked(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, lines(dir))
	if _, err := Open(lines(dir)); err == nil || !strings.Contains(err.Error(), "another process writes to "+dir) {
		t.Errorf("error %v", err)
	}
	if err := d.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, lines(dir)).Close(); err != nil {
		t.Errorf("given back, and still locked: %v", err)
	}
}

func TestDirThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(lines(file)); err == nil || !strings.HasPrefix(err.Error(), "test: ") || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v", err)
	}
}
