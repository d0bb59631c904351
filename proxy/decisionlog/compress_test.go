package decisionlog

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// count reads a log and fails unless it holds the decisions from 1 on, each once and in order. It says how many.
func count(t *testing.T, dir string) (n uint64) {
	t.Helper()
	for e, err := range Read(dir) {
		if err != nil {
			if b, ok := err.(*BadLine); ok && b.Cut {
				continue
			}
			t.Fatal(err)
		}
		if e.Decision != nil {
			if n++; e.FlowID != n {
				t.Fatalf("%s:%d: record %d where %d is due", e.File, e.Line, e.FlowID, n)
			}
		}
	}
	return n
}

func numbered(p *Producer, n uint64) *Record {
	r := decision(p, "r", int64(n))
	r.FlowID = n
	return r
}

// Readers that race the rotation and the compression of what they read, in a listing of the directory or with a file open, see each
// record once.
func TestReadWhileCompressing(t *testing.T) {
	dir := t.TempDir()
	w := open(t, Options{Dir: dir, MaxFileBytes: 8 << 10, Compress: true, Grace: 20 * time.Millisecond})
	p := w.Producer(1)
	put := func(from, to uint64) {
		for n := from; n <= to; n++ {
			for !p.Put(numbered(p, n)) {
				t.Fatal("lost")
			}
		}
		w.Flush()
	}
	put(1, 90)
	put(91, 100)
	files, err := Files(dir)
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	held, err := OpenLines(files[0], Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	_, second, _ := held.Next()
	second = held.Position()
	const steps, each = 20, 100
	for i := range uint64(steps) {
		put(100+i*each+1, 100+(i+1)*each)
		if n := count(t, dir); n != 100+(i+1)*each {
			t.Fatalf("%d records are read, %d were written", n, 100+(i+1)*each)
		}
	}
	waitFor(t, func() bool {
		plain, _ := filepath.Glob(filepath.Join(dir, "*"+fileSuffix))
		return len(plain) == 1
	})
	if n := count(t, dir); n != 100+steps*each {
		t.Errorf("%d records when all is compressed", n)
	}
	// The file that was open is read to its end, and the old name and place lead into the compressed one.
	again, err := OpenLines(files[0], second)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for n := 0; ; n++ {
		a, _, aerr := held.Next()
		b, _, berr := again.Next()
		if string(a) != string(b) || (aerr == nil) != (berr == nil) {
			t.Fatalf("line %d: %q, %v; %q, %v", n, a, aerr, b, berr)
		}
		if aerr != nil {
			if n < 10 {
				t.Errorf("%d lines", n)
			}
			break
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, dir); n != 100+steps*each {
		t.Errorf("%d records when it is closed", n)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain")
		}
	}
}

// A gateway that is killed while it compresses, before the compressed file is whole and while both are there: no record is lost or
// double, and the next run finishes it.
func TestKilledWhileCompressing(t *testing.T) {
	const env = "DECISIONLOG_TEST_COMPRESS"
	if dir := os.Getenv(env); dir != "" {
		compressUntilKilled(t, dir)
		return
	}
	for _, at := range []string{"*.tmp", "*" + zstSuffix} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileCompressing$")
		cmd.Env = append(os.Environ(), env+"="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, at))
			return found != nil
		})
		cmd.Process.Kill()
		cmd.Wait()
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		n := count(t, dir)
		if n == 0 {
			t.Fatal("nothing was written")
		}
		w := open(t, Options{Dir: dir, Compress: true, Grace: time.Millisecond})
		if f := w.Previous().File; !strings.HasSuffix(f, fileSuffix) {
			t.Errorf("the last file of the killed run is %s", f)
		}
		p := w.Producer(1)
		p.Put(numbered(p, n+1))
		w.Flush()
		waitFor(t, func() bool {
			plain, _ := filepath.Glob(filepath.Join(dir, "*"+fileSuffix))
			rest, _ := filepath.Glob(filepath.Join(dir, "*.tmp"))
			return len(plain) == 1 && rest == nil
		})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := count(t, dir); got != n+1 {
			t.Errorf("%d records after the kill with %q, then %d", n, left, got)
		}
	}
}

// compressUntilKilled fills a file, and another; the first is compressed meanwhile.
func compressUntilKilled(t *testing.T, dir string) {
	w := open(t, Options{Dir: dir, MaxFileBytes: 2 << 20, Compress: true, Grace: time.Hour, RingSize: 1 << 14})
	p := w.Producer(1)
	for n := uint64(1); n <= 40000; n++ { // bounded, should nobody kill it
		if p.ring.Len() > p.ring.Cap()/2 {
			w.Flush()
		}
		if !p.Put(numbered(p, n)) {
			t.Fatal("lost")
		}
	}
	w.Flush()
	time.Sleep(20 * time.Second)
}
