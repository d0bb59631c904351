package decisionlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const logName = "decisions-20261123T180136.000Z-000001.jsonl"

// manyLines is a log of n records of about 500 octets, numbered by flow id.
func manyLines(n int) []byte {
	var b []byte
	for i := range n {
		r := fullDecision()
		r.FlowID = uint64(i + 1)
		r.Decision.Would, r.Decision.Tombstone, r.Decision.Expected = Would{}, Tombstone{}, Expected{}
		b = append(r.AppendJSON(b), '\n')
	}
	return b
}

func compressedLog(t *testing.T, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Compress(&out, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// write puts a file into a directory of its own.
func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A compressed log reads as the plain one, by directory, by file and as a stream, made by us in frames or by others in one.
func TestReadCompressed(t *testing.T) {
	text := manyLines(6000)
	frames := compressedLog(t, text)
	enc, _ := zstd.NewWriter(nil)
	single := enc.EncodeAll(text, nil)
	var stream bytes.Buffer // without a content size in its header
	w, _ := zstd.NewWriter(&stream)
	w.Write(text)
	w.Close()
	skippable := append([]byte{0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}, frames...)
	if n := bytes.Count(frames, zstdMagic); n < 3 {
		t.Fatalf("%d frames: the test shows little", n)
	}
	for name, b := range map[string][]byte{"frames": frames, "single": single, "stream": stream.Bytes(), "skippable": skippable} {
		path := write(t, logName+".zst", b)
		for _, p := range []string{path, filepath.Dir(path)} {
			events, bad := readAll(t, p)
			if len(events) != 6000 || len(bad) != 0 || events[5999].FlowID != 6000 || events[5999].Line != 6000 {
				t.Errorf("%s: %d records, bad %v", name, len(events), bad)
			}
		}
		n := 0
		readLines("stdin", bytes.NewReader(b), func(e *Event, err error) bool {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			n++
			return true
		})
		if n != 6000 {
			t.Errorf("%s as a stream: %d records", name, n)
		}
	}
}

// While a file is being compressed it counts once.
func TestFilesPlainAndCompressed(t *testing.T) {
	text := manyLines(3)
	path := write(t, logName, text)
	other := filepath.Join(filepath.Dir(path), "decisions-20261123T180137.000Z-000002.jsonl.zst")
	for name, b := range map[string][]byte{path + ".zst": compressedLog(t, text), other: compressedLog(t, text)} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Files(filepath.Dir(path))
	if err != nil || len(files) != 2 || files[0] != path || files[1] != other {
		t.Errorf("%v, %v", files, err)
	}
	if a, b := Stem(path), Stem(path+".zst"); a != b || a != "decisions-20261123T180136.000Z-000001" {
		t.Errorf("stems %s and %s", a, b)
	}
	listed := path
	os.Remove(path) // compressed between the listing and the reading
	n := 0
	readFile(listed, func(*Event, error) bool { n++; return true })
	if n != 3 {
		t.Errorf("%d records of a file that was compressed meanwhile", n)
	}
}

// Reading goes on from any line, through the frame before it.
func TestOpenLinesAt(t *testing.T) {
	text := manyLines(6000)
	for name, b := range map[string][]byte{"plain": text, "compressed": compressedLog(t, text)} {
		path := write(t, logName, b)
		l, err := OpenLines(path, Position{})
		if err != nil {
			t.Fatal(err)
		}
		var frames []Frame
		var at []Position
		for {
			_, p, err := l.Next()
			if err == io.EOF {
				break
			}
			frames = append(frames, l.Frames()...)
			at = append(at, p)
		}
		l.Close()
		for _, i := range []int{0, 1, 2999, 5999} {
			p := at[i]
			for _, f := range frames {
				if f.Text <= p.Offset {
					p.Frame = f
				}
			}
			l, err := OpenLines(path, p)
			if err != nil {
				t.Fatal(err)
			}
			raw, from, err := l.Next()
			if err != nil || from.Line != i || !bytes.Contains(raw, fmt.Appendf(nil, `"flow_id":%d,`, i+1)) {
				t.Errorf("%s, line %d: %v %.80s", name, i, err, raw)
			}
			l.Close()
		}
		if name == "compressed" && (len(frames) < 3 || at[2999].Offset == 0) {
			t.Errorf("frames %v", frames)
		}
	}
}

// Of a damaged file everything outside the damaged frame is read, and the message names the frame.
func TestCompressedDamage(t *testing.T) {
	text := manyLines(6000)
	whole := compressedLog(t, text)
	second := bytes.Index(whole[4:], zstdMagic) + 4
	third := bytes.Index(whole[second+4:], zstdMagic) + second + 4
	firstFrame := 0
	for e, err := range Read(write(t, logName+".zst", whole[:second])) {
		if err != nil {
			t.Fatal(e, err)
		}
		firstFrame++
	}
	for name, c := range map[string]struct {
		damage func(b []byte) []byte
		want   string
		least  int
	}{
		"header": {func(b []byte) []byte { b[second] = 0; return b }, fmt.Sprintf("zstd frame at byte %d", second), firstFrame + 1000},
		"inside": {func(b []byte) []byte { clear(b[second+600 : third-600]); return b }, fmt.Sprintf("zstd frame at byte %d", second), firstFrame + 1000},
		"cut":    {func(b []byte) []byte { return b[:third-100] }, fmt.Sprintf("zstd frame at byte %d", second), firstFrame},
		"tail":   {func(b []byte) []byte { return append(b, "tail"...) }, fmt.Sprintf("zstd frame at byte %d", len(whole)), 6000},
	} {
		events, bad := readAll(t, write(t, logName+".zst", c.damage(bytes.Clone(whole))))
		if len(events) < c.least || name != "tail" && len(events) >= 6000 {
			t.Errorf("%s: %d records of 6000, want at least %d", name, len(events), c.least)
		}
		if len(bad) == 0 || !strings.Contains(bad[0].Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, bad, c.want)
		}
	}
	var failed error
	for _, err := range Read(write(t, logName+".zst", append(bytes.Clone(zstdMagic), "nonsense"...))) {
		failed = err
	}
	var bad *BadLine
	if !errors.As(failed, &bad) {
		t.Errorf("nonsense behind the magic number: %v", failed)
	}
}

func FuzzLines(f *testing.F) {
	text := manyLines(3)
	var out bytes.Buffer
	if err := Compress(&out, bytes.NewReader(text)); err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(out.Bytes())
	f.Add(append(out.Bytes(), out.Bytes()[:40]...))
	f.Add([]byte("\x50\x2a\x4d\x18\xff\xff\xff\xff"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, logName)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLines(path, Position{})
		if err != nil {
			return
		}
		defer l.Close()
		for range 2*len(b) + 8 { // a line or a frame takes an octet at least, and RLE blocks give no line feeds by themselves
			_, _, err := l.Next()
			var bad *BadLine
			if err == io.EOF || errors.As(err, &bad) && bad.Cut || err != nil && !errors.As(err, &bad) {
				return
			}
		}
		if len(b) < 1<<10 && !isZstd(append(b[:min(4, len(b))], 0, 0, 0, 0)[:4]) {
			t.Fatal("reading does not end")
		}
	})
}
