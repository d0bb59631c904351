package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// shout stands for a compression that can be told from its source.
func shout(dst io.Writer, src io.Reader) error {
	b, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	_, err = dst.Write(bytes.ToUpper(b))
	return err
}

// until waits for what another goroutine is to do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: " + what)
		}
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range entries {
		_, number, _ := strings.Cut(e.Name(), "Z-")
		s = append(s, number)
	}
	return strings.Join(s, " ")
}

// fill appends one file's worth n times.
func fill(t *testing.T, d *Dir, n int) {
	t.Helper()
	for range n {
		if _, err := d.Append([]byte("a record, and one more\n")); err != nil {
			t.Fatal(err)
		}
		d.Turn()
	}
}

// Finished files are compressed, with their mode and time; the newest one never is. Those of an earlier run are, too, and what a kill has
// left half done goes: a piece of a compressed file, and a plain one beside its compressed one, which is made again from the plain.
func TestCompress(t *testing.T) {
	opt := lines(t.TempDir())
	d := mustOpen(t, opt)
	fill(t, d, 3)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := Files(opt.Dir, "p-", ".txt")
	want, err := os.ReadFile(files[0])
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	old := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	os.Chtimes(files[0], old, old)
	os.Chmod(files[0], 0o604)
	os.WriteFile(files[0]+ZstdSuffix, []byte("stale"), 0o600)
	os.WriteFile(files[1]+ZstdSuffix+tmpSuffix, []byte("torn"), 0o600)
	os.WriteFile(filepath.Join(opt.Dir, "p-20200101T000000.000Z-000009.txt"+ZstdSuffix+tmpSuffix), []byte("of a file that retention removed"), 0o600)
	opt.Compress, opt.Grace = shout, time.Millisecond
	d = mustOpen(t, opt)
	fill(t, d, 2)
	const all = "000001.txt.zst 000002.txt.zst 000003.txt.zst 000001.txt.zst 000002.txt"
	until(t, all, func() bool { return names(t, opt.Dir) == all })
	fill(t, d, 1)
	const more = "000001.txt.zst 000002.txt.zst 000003.txt.zst 000001.txt.zst 000002.txt.zst 000003.txt"
	until(t, more, func() bool { return names(t, opt.Dir) == more })
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(files[0] + ZstdSuffix)
	st, err := os.Stat(files[0] + ZstdSuffix)
	if err != nil || !bytes.Equal(got, bytes.ToUpper(want)) || !st.ModTime().Equal(old) || st.Mode().Perm() != 0o604 {
		t.Errorf("%v %v: %q", err, st, got)
	}
	if s := names(t, opt.Dir); s != more {
		t.Errorf("after closing: %s", s)
	}
}

// While both are there, readers see one; closing does not wait for the plain one to go, and leaves nothing half done.
func TestCompressBoth(t *testing.T) {
	opt := lines(t.TempDir())
	opt.Compress, opt.Grace = shout, time.Hour
	d := mustOpen(t, opt)
	fill(t, d, 2)
	const both = "000001.txt 000001.txt.zst 000002.txt"
	until(t, both, func() bool { return names(t, opt.Dir) == both })
	if got := contents(t, opt.Dir); len(got) != 2 || strings.ToUpper(got[0]) == got[0] {
		t.Errorf("%q", got)
	}
	// Retention counts both, and removes both.
	d.opt.MaxTotalBytes, d.opt.MaxFileBytes = 100, 40 // the three take 34 bytes each
	d.Tick(time.Now())
	if s := names(t, opt.Dir); s != "000002.txt" {
		t.Errorf("after retention: %s", s)
	}
	d.Close()
}

// A disk that fills up while a file is compressed: the log goes on, the plain file stays, nothing is left over, it is told once, and later
// it works.
func TestCompressDiskFull(t *testing.T) {
	opt := lines(t.TempDir())
	var log bytes.Buffer
	opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
	var full atomic.Bool
	var tries atomic.Int32
	full.Store(true)
	opt.Grace = time.Millisecond
	opt.Compress = func(dst io.Writer, src io.Reader) error {
		if tries.Add(1); full.Load() {
			io.WriteString(dst, "half of")
			return fmt.Errorf("write: %w", syscall.ENOSPC)
		}
		return shout(dst, src)
	}
	d := mustOpen(t, opt)
	for i := range 3 {
		fill(t, d, 1)
		until(t, "a try", func() bool { return int(tries.Load()) >= i && !strings.Contains(names(t, opt.Dir), tmpSuffix) })
	}
	if s := names(t, opt.Dir); s != "000001.txt 000002.txt 000003.txt" {
		t.Errorf("while full: %s", s)
	}
	full.Store(false)
	fill(t, d, 1)
	const all = "000001.txt.zst 000002.txt.zst 000003.txt.zst 000004.txt"
	until(t, all, func() bool { return names(t, opt.Dir) == all })
	d.Close()
	if n := strings.Count(log.String(), "cannot compress"); n != 1 || !strings.Contains(log.String(), "no space left") {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

// What the file system has left belongs to the log first.
func TestCompressNoRoom(t *testing.T) {
	opt := lines(t.TempDir())
	d := mustOpen(t, opt)
	fill(t, d, 2)
	d.Close()
	d.opt.Compress = func(io.Writer, io.Reader) error { t.Error("compressed"); return nil }
	c := newCompressor(d)
	c.free = func(string) (int64, error) { return 10, nil }
	files, _ := Files(opt.Dir, "p-", ".txt")
	if err := c.one(files[0]); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if s := names(t, opt.Dir); strings.Contains(s, tmpSuffix) {
		t.Error(s)
	}
}

// A file that retention removes while it is compressed does not come back; one that is to stay plain stays.
func TestCompressMeanwhile(t *testing.T) {
	opt := lines(t.TempDir())
	opt.Grace = time.Millisecond
	d := mustOpen(t, opt)
	fill(t, d, 2)
	d.Close()
	files, _ := Files(opt.Dir, "p-", ".txt")
	var tries atomic.Int32
	opt.Compress = func(dst io.Writer, src io.Reader) error {
		if tries.Add(1) == 1 {
			os.Remove(files[0])
			return shout(dst, src)
		}
		return fmt.Errorf("this one: %w", ErrSkip)
	}
	d = mustOpen(t, opt)
	fill(t, d, 1)
	until(t, "two tries", func() bool { return tries.Load() == 2 })
	d.Close()
	if s := names(t, opt.Dir); s != "000002.txt 000001.txt" || tries.Load() != 2 {
		t.Errorf("%s after %d tries", s, tries.Load())
	}
	if left, _ := filepath.Glob(filepath.Join(opt.Dir, "*"+tmpSuffix)); left != nil {
		t.Error(left)
	}
}
