package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"halfopen/conntrack"
	"halfopen/proxy/capture"
)

// reportOf is a replay's report as JSON, its log's records, and the annotated capture, without what a run has of its own.
func reportOf(t testing.TB, cfg ReplayConfig) (report string, records []string, packets []capture.Frame) {
	t.Helper()
	cfg.LogDir, cfg.PcapDir = filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "pcap")
	r, err := RunReplay(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	src, err := capture.Open(cfg.PcapDir)
	for err == nil {
		var f capture.Frame
		if f, err = src.Next(); err == nil {
			f.Options.Comments = nil // the log has the same, but for the ids
			packets = append(packets, f)
		}
	}
	return ownWords.ReplaceAllString(string(text), `"id"`), recordsOf(t, cfg.LogDir), packets
}

var ownWords = regexp.MustCompile(`"01[0-9A-Z]{8,}[^"]*"`)

func recordsOf(t testing.TB, dir string) (records []string) {
	t.Helper()
	var stats []string
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line = ownWords.ReplaceAllString(line, `"id"`)
		switch {
		case strings.Contains(line, `"event_type":"header"`), strings.Contains(line, `"event_type":"trailer"`):
		case strings.Contains(line, `"event_type":"stats"`): // it goes past the ring in which the others wait
			stats = append(stats, line)
		default:
			records = append(records, line)
		}
	}
	return append(records, stats...)
}

// Segments that are decoded many at a time are decided as those that somebody looks at one by one.
func TestReplayBatches(t *testing.T) {
	files, _ := collection(t)
	made := crossing(t)
	for i, file := range append(files, made, someNoted(t, made)) {
		if i%breadth != 0 && i < len(files) {
			continue
		}
		cfg := ReplayConfig{Capture: file, Policy: "lpd-case-2015", Shadows: []string{"cisco-asa"}}
		report, records, packets := reportOf(t, cfg)
		cfg.Frame = func(*ReplayFrame) error { return nil }
		single, each, one := reportOf(t, cfg)
		if report != single {
			t.Errorf("%s:\n%s", file, cmp.Diff(single, report))
		}
		if !slices.Equal(each, records) {
			t.Errorf("%s: the log\n%s", file, cmp.Diff(each, records))
		}
		if !reflect.DeepEqual(one, packets) {
			t.Errorf("%s: the packets\n%s", file, cmp.Diff(one, packets))
		}
	}
}

// crossing is a capture of many connections at a time, of which some are answered by the policy, some end by their timers between two frames
// of a batch, and some frames are none of TCP.
func crossing(t testing.TB) string {
	var all []captured
	add := func(at int, s *conntrack.Segment) {
		s.Len = uint32(at % 700)
		payload := bytes.Repeat([]byte{byte(at)}, int(s.Len)) // the file is longer than what is read of it at a time
		all = append(all, captured{packet: mustEncode(t, s, payload), at: time.Duration(at) * time.Second})
	}
	for n := range 300 {
		tu := tuple(fmt.Sprintf("10.1.0.%d:%d", n%10, 721+n%3), serverEnd)
		add(n*7, &conntrack.Segment{Tuple: tu, Flags: conntrack.SYN, Seq: conntrack.Seq(n * 1000), Window: 64240})
		if n%4 > 0 {
			add(n*7, &conntrack.Segment{Tuple: tu.Reverse(), Flags: conntrack.SYN | conntrack.ACK, Seq: 7, Ack: conntrack.Seq(n*1000 + 1), Window: 64240})
			add(n*7+1, &conntrack.Segment{Tuple: tu, Flags: conntrack.ACK, Seq: conntrack.Seq(n*1000 + 1), Ack: 8, Window: 64240})
		}
		if n%9 == 0 {
			all = append(all, captured{packet: []byte{1}, at: time.Duration(n*7) * time.Second})
		}
	}
	return writeFile(t, classic(capture.LinkRaw, all...))
}

// someNoted is the capture that a gateway would have written of another, with the notes of some packets only.
func someNoted(t testing.TB, of string) string {
	dir := filepath.Join(t.TempDir(), "pcap")
	if _, err := RunReplay(t.Context(), ReplayConfig{Capture: of, Policy: "openbsd-pf", PcapDir: dir}); err != nil {
		t.Fatal(err)
	}
	files, err := capture.Files(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	frames, err := capture.ReadAll(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := capture.NewWriter(&out, capture.Section{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(capture.Interface{Name: "eth0", LinkType: capture.LinkRaw}); err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		if f.Options.PacketID, f.Options.HasPacketID = 0, false; i/10%3 > 0 {
			f.Options.Comments = nil
		}
		if err := w.WritePacket(0, f.Time, f.Data, f.OrigLen, f.Options); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, out.Bytes())
}
