package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// Two sections, the second with an interface of the same number: each frame is of its own section.
func TestSectionsInterfacesStatistics(t *testing.T) {
	var buf bytes.Buffer
	at := time.Unix(1700000000, 5).UTC()
	first, second := Section{Comment: "one", Application: "halfopen 1"}, Section{Comment: "two\nlines"}
	w, err := NewWriter(&buf, first)
	if err != nil {
		t.Fatal(err)
	}
	a := Interface{Name: "a", Description: "d", Comment: "c", LinkType: LinkRaw, SnapLen: 256}
	b := Interface{Name: "b", LinkType: LinkIPv4}
	stats := Statistics{Interface: 0, Time: at, Start: at.Add(-time.Hour), End: at.Add(-time.Second), Received: 1 << 40, Dropped: 7}
	add := func(i Interface) error { _, err := w.AddInterface(i); return err }
	for _, err := range []error{
		add(a), w.WritePacket(0, at, ipv4, 0, Options{DropCount: 3}), w.WriteStatistics(Statistics{Time: at}), w.WriteStatistics(stats),
		w.NewSection(second), add(b), w.WritePacket(0, at, ipv4, 0, Options{}), w.Flush(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WritePacket(1, at, ipv4, 0, Options{}); err == nil {
		t.Error("the first section's interface in the second: no error")
	}
	if err := w.WriteStatistics(Statistics{Interface: 1, Time: at}); err == nil {
		t.Error("statistics of an interface that the section lacks: no error")
	}
	if err := w.WriteStatistics(Statistics{}); err == nil {
		t.Error("statistics of no time: no error")
	}

	r, err := NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Next()
	if i, ok := r.InterfaceAt(f.InterfaceID); err != nil || r.Section() != first || !ok || i != a || f.Options.DropCount != 3 {
		t.Errorf("first frame %+v, %v, of %+v, %+v", f, err, r.Section(), i)
	}
	if _, ok := r.InterfaceAt(1); ok {
		t.Error("an interface that is not there")
	}
	f, err = r.Next()
	if i, ok := r.InterfaceAt(f.InterfaceID); err != nil || r.Section() != second || !ok || i != b || len(r.Statistics()) != 0 {
		t.Errorf("second frame %+v, %v, of %+v, %+v", f, err, r.Section(), i)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
}

func TestStatisticsReadBack(t *testing.T) {
	var buf bytes.Buffer
	at := time.Unix(1700000000, 5).UTC()
	want := []Statistics{{Interface: 0, Time: at, Start: at.Add(-time.Hour), End: at.Add(-time.Second), Received: 1 << 40, Dropped: 7}}
	w, _ := NewWriter(&buf, Section{})
	_, err := w.AddInterface(Interface{LinkType: LinkRaw})
	if err := errors.Join(err, w.WriteStatistics(Statistics{Time: at, Received: 1}), w.WriteStatistics(want[0]), w.Flush()); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(buf.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.Statistics()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What nobody needs to read a frame does not keep anybody from reading it.
func TestDamagedWordsAboutASection(t *testing.T) {
	le := binary.LittleEndian
	block := func(typ uint32, body ...byte) []byte {
		b := le.AppendUint32(le.AppendUint32(nil, typ), uint32(len(body)+12))
		return le.AppendUint32(append(b, body...), uint32(len(body)+12))
	}
	shb := append(le.AppendUint32(nil, byteOrderMagic), 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)
	file := bytes.Join([][]byte{
		block(blockSection, append(shb, 1, 0, 200, 0)...), // a comment of 200 bytes, and none there
		block(blockStatistic, 0, 0, 0, 0),
		block(blockStatistic, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), // of no interface
		block(blockInterface, 101, 0, 0, 0, 0, 0, 0, 0),
		block(blockStatistic, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 0, 1, 1, 0, 0), // a count of two bytes
		block(blockSimple, append([]byte{20, 0, 0, 0}, ipv4...)...),
	}, nil)
	if frames, err := drainReader(t, file); err != nil || len(frames) != 1 {
		t.Errorf("%d frames, %v", len(frames), err)
	}
}

// A text that the format cannot carry is cut between two letters.
func TestLongComment(t *testing.T) {
	var buf bytes.Buffer
	w, _ := NewWriter(&buf, Section{Comment: "x" + strings.Repeat("ä", maxOption)})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Section().Comment; len(c) < maxOption-1 || !utf8.ValidString(c) {
		t.Errorf("comment of %d bytes", len(c))
	}
}
