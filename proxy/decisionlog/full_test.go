//go:build netns

package decisionlog

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A real file system without room: a small tmpfs in a mount namespace of the
// test's own. Another file fills it, the log goes on, the other file goes away,
// and the log has every line whole and every message explained. Files are compressed
// all the while, which must neither take the log's room nor lose what it reads.
func TestFullFileSystem(t *testing.T) {
	const env = "DECISIONLOG_TEST_TMPFS"
	if dir := os.Getenv(env); dir != "" {
		onTmpfs(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullFileSystem$", "-test.v")
	cmd.Env = append(os.Environ(), env+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func onTmpfs(t *testing.T, mount string) {
	if err := syscall.Mount("hotmpfs", mount, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(mount, "log")
	w := open(t, Options{Dir: dir, RingSize: 128, MaxFileBytes: 16 << 10, Retry: time.Millisecond, Compress: true, Grace: time.Millisecond})
	p := w.Producer(1)
	put := func(from, to int) {
		for i := from; i < to; i++ {
			p.Put(decision(p, "r", int64(i+1)))
			if i%32 == 0 {
				w.Flush()
			}
		}
		w.Flush()
	}
	put(0, 100)
	fill, err := os.Create(filepath.Join(mount, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 4096; n > 0; {
		if _, err := fill.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	put(100, 1000)
	if c := w.Counters(); !c.Failing || c.DiskDropped == 0 {
		t.Fatalf("the disk is full, counters %+v", c)
	}
	if _, bad := readAll(t, dir); len(bad) > 0 {
		t.Errorf("while full: bad %v", bad)
	}
	fill.Close()
	os.Remove(fill.Name())
	put(1000, 1100)
	waitFor(t, func() bool {
		plain, _ := filepath.Glob(filepath.Join(dir, "*"+fileSuffix))
		packed, _ := filepath.Glob(filepath.Join(dir, "*"+zstSuffix))
		return len(plain) == 1 && len(packed) > 1
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	events, bad := readAll(t, dir)
	if s := sum(events); s.Sum() != 1100 || s.Gaps == 0 || s.Upper != 0 || len(bad) > 0 {
		t.Errorf("tally %+v, bad %v", s, bad)
	}
}
