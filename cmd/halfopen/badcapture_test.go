package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/proxy/capture"
)

// pcapOf turns the redial capture into the older format: raw IP, a frame a second.
func pcapOf(t *testing.T, frames []capture.Frame, link uint32) (data []byte, records []int) {
	t.Helper()
	le := binary.LittleEndian
	for _, v := range []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, link} {
		data = le.AppendUint32(data, v)
	}
	for i := range frames {
		records = append(records, len(data))
		f := &frames[i]
		for _, v := range []uint32{uint32(f.Time.Unix()), 0, uint32(len(f.Data)), uint32(len(f.Data))} {
			data = le.AppendUint32(data, v)
		}
		data = append(data, f.Data...)
	}
	return data, records
}

// blocksOf returns where the blocks of a pcapng file begin.
func blocksOf(data []byte) (at []int) {
	for i := 0; i+8 <= len(data); i += int(binary.LittleEndian.Uint32(data[i+4:])) {
		at = append(at, i)
	}
	return at
}

// A capture that is damaged anywhere, in either format: the words say what, in which file and where; the summary tells of every frame
// that could be read; the status is 1.
func TestReplayVerbReportsWhatWasReadable(t *testing.T) {
	ng, err := os.ReadFile(redialCapture(t))
	if err != nil {
		t.Fatal(err)
	}
	frames, err := capture.ReadAll(redialCapture(t))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	old, records := pcapOf(t, frames, uint32(capture.LinkRaw))
	unknown, _ := pcapOf(t, frames, 147)
	blocks := blocksOf(ng) // section, interface, five packets
	change := func(data []byte, at int, v uint32) []byte {
		data = bytes.Clone(data)
		le.PutUint32(data[at:], v)
		return data
	}
	mixed := bytes.Clone(ng)
	le.PutUint16(mixed[blocks[1]+8:], 147)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, _ = zw.Write(old)
	_ = zw.Close()
	late := change(old, records[4], uint32(frames[4].Time.AddDate(30, 0, 0).Unix()))
	for _, c := range []struct {
		name    string
		data    []byte
		packets int // read
		tcp     int // decided
		want    string
	}{
		{"pcap, cut inside a record", old[:records[3]+20], 3, 3, fmt.Sprintf("at byte %d: capture: malformed file: cut off inside a record", records[3])},
		{"pcap, cut inside a record's header", old[:records[3]+5], 3, 3, fmt.Sprintf("at byte %d: capture: malformed file: cut off inside a record's header", records[3])},
		{"pcap, an absurd length", change(old, records[2]+8, 1<<31-1), 2, 2, fmt.Sprintf("at byte %d: capture: malformed file: ", records[2])},
		{"pcap, header only", old[:24], 0, 0, "holds no frames"},
		{"pcap, a link type that nobody knows", unknown, 5, 0, "at byte 24: frame 1: link type 147 (link-147) is not supported; its frames are skipped"},
		{"pcap, another century", late, 5, 5, fmt.Sprintf("at byte %d: frame 5: timestamp ", records[4])},
		{"pcap, a fraction of more than a second", change(old, records[1]+4, 1e6), 5, 5, fmt.Sprintf("at byte %d: frame 2: timestamp makes no sense", records[1])},
		{"pcapng, cut inside a block", ng[:blocks[5]+30], 3, 3, fmt.Sprintf("at byte %d: capture: malformed file: cut off inside a block", blocks[5])},
		{"pcapng, an absurd length", change(ng, blocks[4]+4, 1<<31-4), 2, 2, fmt.Sprintf("at byte %d: capture: malformed file: block of type 0x6 and length 2147483644", blocks[4])},
		{"pcapng, two lengths that differ", change(ng, blocks[5]-4, 8), 2, 2, fmt.Sprintf("at byte %d: capture: malformed file: block length", blocks[4])},
		{"pcapng, more data than its block", change(ng, blocks[4]+20, 60000), 2, 2, fmt.Sprintf("at byte %d: capture: malformed file: packet of 60000 bytes", blocks[4])},
		{"pcapng, an interface that was not declared", change(ng, blocks[6]+8, 9), 4, 4, fmt.Sprintf("at byte %d: capture: malformed file: packet of interface 9", blocks[6])},
		{"pcapng, no frames", ng[:blocks[2]], 0, 0, "holds no frames"},
		{"pcapng, a link type that nobody knows", mixed, 5, 0, "link type 147 (link-147) is not supported"},
		{"pcapng, a time beyond 2262", change(ng, blocks[6]+12, 1<<31), 5, 5, fmt.Sprintf("at byte %d: frame 5: timestamp makes no sense", blocks[6])},
		{"gzip, cut", zipped.Bytes()[:zipped.Len()-15], -1, -1, "of the decompressed data: capture: malformed file: "},
	} {
		path := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, words, status := runVerb("replay", path, "-o", "json", "--frames")
		var got struct {
			Packets, TCP int
			Findings     map[string]int
			Frames       []struct{ Verdict string }
			Problems     []struct{ Text string }
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Errorf("%s: %v in\n%s", c.name, err, out)
			continue
		}
		if status != 1 || !strings.Contains(words, path+": ") || !strings.Contains(words, c.want) || strings.Count(words, "\n") != 1 || len(got.Problems) != 1 {
			t.Errorf("%s: status %d, %q; want %q", c.name, status, words, c.want)
		}
		sum := 0
		for _, n := range got.Findings {
			sum += n
		}
		if c.packets >= 0 && (got.Packets != c.packets || got.TCP != c.tcp) || sum != got.TCP || len(got.Frames) != got.Packets {
			t.Errorf("%s: %+v; want %d packets, %d of them TCP", c.name, got, c.packets, c.tcp)
		}
		if text, _, status := runVerb("replay", path); status != 1 || c.packets > 0 && !strings.Contains(text, fmt.Sprint(c.packets)) {
			t.Errorf("%s: as text: status %d\n%s", c.name, status, text)
		}
	}
}

// Of several scenario files each is played, whatever is wrong with the others.
func TestTestVerbGoesOn(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const head = "policy observe\nflow c 10.0.0.1:1 s 10.0.0.2:2\n"
	good := file("good.scn", head+"+0 c > s S 0:0(0) => forward/new\n")
	other := file("other.scn", head+"+0 c > s S 0:0(0) => drop/new\n")
	bad := file("bad.scn", head+"+0 c > s S 0:5(4)\n+1 c > s Q 0:0(0)\n")
	lost := file("lost.scn", "policy nowhere.yaml\nflow c 10.0.0.1:1 s 10.0.0.2:2\n+0 c > s S 0:0(0)\n")
	noise := file("noise.scn", "\x00\xff\xfe")
	none, folder := filepath.Join(dir, "none.scn"), dir
	out, words, status := runVerb("test", bad, none, other, folder, lost, noise, good)
	for _, want := range []string{
		"FAIL  " + bad + "\n", bad + `:3:12: the range "0:5(4)": 0:5 is 5 long`, bad + `:4:10: the flags "Q"`,
		"FAIL  " + other + "\n", other + ":3:22: got forward/new, expected drop/new",
		"FAIL  " + lost + "\n", "nowhere.yaml",
		"FAIL  " + noise + "\n", "no UTF-8 text",
		"ok    " + good + "  1 decisions",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if status != 1 || !strings.Contains(words, none) || !strings.Contains(words, "no such file") || !strings.Contains(words, "is a directory") {
		t.Errorf("status %d, %q", status, words)
	}
}
