package capture

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"
	"time"
)

// samples are files of every format, each with a record that is longer than the input's buffer.
func samples(t *testing.T) map[string][]byte {
	var long bytes.Buffer
	w, err := NewWriter(&long, Section{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(Interface{Name: "eth0", LinkType: LinkRaw}); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		data := bytes.Repeat([]byte{byte(i)}, 3+i*(MaxFrame-3)/5)
		if err := w.WritePacket(0, time.Unix(int64(i), 5), data, 0, Options{Comments: []string{"a"}, Direction: Inbound}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"long": long.Bytes(), "sample": writeSample(t), "big-endian": bigEndianFile(), "pcap": classicFile(MaxFrame)}
}

// classicFile is a pcap file with a short frame and one of n bytes.
func classicFile(n int) []byte {
	b := []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0}
	for i, n := range []int{2, n} {
		b = append(b, byte(i), 0, 0, 0, 7, 0, 0, 0, byte(n), byte(n>>8), byte(n>>16), 0, byte(n), byte(n>>8), byte(n>>16), 0)
		b = append(b, bytes.Repeat([]byte{0x45 + byte(i)}, n)...)
	}
	return b
}

// all reads every frame, and the error that ends them.
func all(r io.Reader) (frames []Frame, places []string, err error) {
	in, err := NewReader(r)
	for err == nil {
		var f Frame
		if f, err = in.Next(); err == nil {
			frames = append(frames, f)
		}
		places = append(places, in.Place())
	}
	return frames, places, err
}

// However little a reader hands out at a time, and wherever it ends, the frames and the last word are the same.
func TestReaderInPieces(t *testing.T) {
	for name, file := range samples(t) {
		whole := 0
		for _, n := range []int{len(file), len(file) - 1, len(file) - 40, len(file) / 2, len(file) / 3, 60, 30, 23, 9, 8, 7, 3, 1, 0} {
			if n > len(file) || n < 0 {
				continue
			}
			frames, places, err := all(bytes.NewReader(file[:n]))
			if n == len(file) {
				if whole = len(frames); whole < 2 || !errors.Is(err, io.EOF) {
					t.Fatalf("%s: %d frames, %v", name, whole, err)
				}
			} else if len(frames) > whole {
				t.Errorf("%s cut at %d: %d frames of %d", name, n, len(frames), whole)
			}
			for kind, r := range map[string]io.Reader{
				"halves":        iotest.HalfReader(bytes.NewReader(file[:n])),
				"bytes":         iotest.OneByteReader(bytes.NewReader(file[:n])),
				"data with EOF": iotest.DataErrReader(bytes.NewReader(file[:n])),
			} {
				got, at, gotErr := all(r)
				if !reflect.DeepEqual(got, frames) || !reflect.DeepEqual(at, places) || gotErr.Error() != err.Error() {
					t.Errorf("%s cut at %d in %s: %d frames, %v %v; want %d, %v %v", name, n, kind, len(got), at, gotErr, len(frames), places, err)
				}
			}
		}
	}
}

// A reader that fails is believed, after what it gave.
func TestReaderFails(t *testing.T) {
	broken := errors.New("broken")
	file := writeSample(t)
	want, _, _ := all(bytes.NewReader(file))
	got, _, err := all(io.MultiReader(bytes.NewReader(file), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !reflect.DeepEqual(got, want) {
		t.Errorf("%d frames, %v; want %d", len(got), err, len(want))
	}
	if _, _, err := all(io.MultiReader(bytes.NewReader(file[:20]), silent{})); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that returns nothing: %v", err)
	}
}

// silent is a reader that neither reads nor says why.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// The frame of Next stays what it was while the file is read on.
func TestNextBelongsToTheCaller(t *testing.T) {
	file := samples(t)["long"]
	frames, _, _ := all(bytes.NewReader(file))
	for i, f := range frames {
		if !bytes.Equal(f.Data, bytes.Repeat([]byte{byte(i)}, len(f.Data))) {
			t.Errorf("frame %d was written over", f.N)
		}
	}
}

// A file that grows can be read on behind its end.
func TestReaderGoesOn(t *testing.T) {
	file := classicFile(100)
	var grows bytes.Buffer
	grows.Write(file[:len(file)-116]) // all but the second record
	r, err := NewReader(&grows)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if f, err := r.Next(); err != nil || f.N != n+1 {
			t.Fatalf("frame %d, %v", f.N, err)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("behind the end: %v", err)
		}
		if n == 0 {
			grows.Write(file[len(file)-116:])
		}
	}
}

// counting counts the calls of a reader.
type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(b []byte) (int, error) {
	c.n++
	return c.r.Read(b)
}

// pieces is a reader of pieces that end anywhere in a record.
type pieces struct {
	r    io.Reader
	size int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.size)]) }

// A frame that is ready needs no reading, and those before it stay as they are.
func TestReady(t *testing.T) {
	for name, file := range samples(t) {
		want, _, _ := all(bytes.NewReader(file))
		for kind, cut := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "pieces of 41": func(r io.Reader) io.Reader { return pieces{r, 41} }, "pieces of 150": func(r io.Reader) io.Reader { return pieces{r, 150} }, "halves": iotest.HalfReader, "bytes": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
		} {
			file := &counting{r: cut(bytes.NewReader(file))}
			r, err := NewReader(file)
			if err != nil {
				t.Fatal(err)
			}
			ready, from := 0, 0 // frames that were, and the first of those that stay
			frames := []Frame{}
			for err == nil {
				reads, is := file.n, r.Ready()
				if !is {
					from = len(frames)
				}
				var f Frame
				if err = r.Read(&f); err == nil {
					frames = append(frames, f)
				}
				if is {
					ready++
				}
				if is && (err != nil || file.n != reads) {
					t.Fatalf("%s in %s: frame %d was ready, and took %d reads (%v)", name, kind, len(frames), file.n-reads, err)
				}
				for i := from; i < len(frames); i++ {
					if !bytes.Equal(frames[i].Data, want[i].Data) {
						t.Fatalf("%s in %s: frame %d was written over when %d was read", name, kind, i+1, len(frames))
					}
				}
			}
			if len(frames) != len(want) || kind == "whole" && ready == 0 || kind == "bytes" && ready > 0 {
				t.Errorf("%s in %s: %d frames of %d, %d were ready", name, kind, len(frames), len(want), ready)
			}
		}
	}
}

// What only looks like a frame is not ready, or Read says what is wrong with it.
func TestNotReady(t *testing.T) {
	file := writeSample(t)
	for at := range file {
		damaged := bytes.Clone(file)
		damaged[at] ^= 0xff
		r, err := NewReader(bytes.NewReader(damaged))
		for err == nil {
			was := r.Position()
			is := r.Ready()
			var f Frame
			if err = r.Read(&f); is && r.Position() != was {
				t.Fatalf("byte %d: the file was read for a frame that was ready", at)
			}
			if is && errors.Is(err, io.EOF) && !errors.Is(err, ErrFormat) {
				t.Fatalf("byte %d: the end was ready", at)
			}
		}
	}
}
