package proxy

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/capture"
	"halfopen/proxy/review"
)

// collection returns the captures to replay: those in the directory that HALFOPEN_CAPTURES names, else those that stand beside the
// checkout, else a few that are made here. A directory that was named must be there.
func collection(t testing.TB) (files []string, dir string) {
	t.Helper()
	dir, named := os.LookupEnv("HALFOPEN_CAPTURES")
	if !named {
		dir = filepath.Join("..", "..", "shared", "captures")
		if _, err := os.Stat(dir); err != nil {
			t.Logf("no captures at %s: a synthetic set stands in", dir)
			return synthetic(t), ""
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pcap*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures in %s (%v)", dir, err)
	}
	return files, dir
}

// synthetic makes captures of what the collection holds: both formats, cut and compressed files, mid-stream and odd segments.
func synthetic(t testing.TB) (files []string) {
	t.Helper()
	c, v6 := conversation(t, clientEnd, serverEnd), conversation(t, "[2001:db8::1]:721", "[2001:db8::9]:515")
	odd := [][]byte{}
	for _, f := range []conntrack.Flags{0, conntrack.SYN | conntrack.FIN, conntrack.RST, conntrack.FIN | conntrack.ACK, 0x1ff} {
		odd = append(odd, mustEncode(t, &conntrack.Segment{Tuple: tuple("10.0.0.9:9", serverEnd), Flags: f, Seq: 7, Ack: 9, Window: 1}, []byte("x")))
	}
	short := append([]byte(nil), c[3][:28]...) // an IP header and half a TCP header
	binary.BigEndian.PutUint16(short[2:], 28)
	all := frames(append(append(append(append(c, v6...), odd...), redial(t)...), short, nil)...)
	plain := classic(capture.LinkRaw, all...)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	zw.Write(plain)
	zw.Close()
	for _, data := range [][]byte{plain, zipped.Bytes(), plain[:len(plain)/2], classic(capture.LinkRaw, all[3:]...), classic(capture.LinkEthernet, all...)} {
		files = append(files, writeFile(t, data))
	}
	return append(files, ng(t, all, nil, capture.LinkRaw))
}

// Every capture replays under every preset, each frame is explained once, and what only watches changes nothing.
func TestCapturesUnderEveryPreset(t *testing.T) {
	files, _ := collection(t)
	for _, preset := range policy.Presets() {
		t.Run(preset, func(t *testing.T) {
			t.Parallel()
			for _, file := range files {
				cfg := ReplayConfig{Capture: file, Policy: preset}
				if preset == "observe" {
					cfg.Shadows = policy.Presets()
				}
				got := mustReplay(t, cfg)
				whole, _ := capture.ReadAll(file)
				if got.Packets != len(whole) {
					t.Errorf("%s: %d frames, the file has %d", file, got.Packets, len(whole))
				}
				if preset == "observe" && (got.Verdicts["forward"] != got.TCP || got.Injected != 0 || got.Counterfactual.Flows != 0) {
					t.Errorf("%s: observe does %v, injects %d", file, got.Verdicts, got.Injected)
				}
			}
		})
	}
}

// Each capture's log is whole: what its records say they explain is what was decided.
func TestCapturesLogged(t *testing.T) {
	files, _ := collection(t)
	for i, file := range files {
		if i%breadth != 0 {
			continue
		}
		dir := filepath.Join(t.TempDir(), "log")
		got := mustReplay(t, ReplayConfig{Capture: file, Policy: "lpd-case-2015", LogDir: dir})
		rep, err := review.Verify(dir)
		if err != nil || !rep.OK || len(rep.Runs) != 1 {
			t.Fatalf("%s: %v %+v", file, err, rep)
		}
		if n := rep.Runs[0].Explained; n.Decisions+n.Counted+n.Suppressed != uint64(got.TCP) {
			t.Errorf("%s: the log explains %+v of %d", file, n, got.TCP)
		}
	}
}

// indexed is a line of the collection's index: packets, TCP packets, connections.
type indexed [3]int

var indexLine = regexp.MustCompile(`(?m)^\| (\S+) \| \d+ \| (\d+) \| (\d+) \| (\d+) \|`)

// The collection's index says what tshark counts in each file. Where the number of connections differs, docs/replay.md says why.
func TestCapturesIndex(t *testing.T) {
	files, dir := collection(t)
	if dir == "" { // the synthetic set has no index; what is in it is known
		got := mustReplay(t, ReplayConfig{Capture: files[0]})
		if got.Packets != 33 || got.TCP != 32 || got.Flows != 5 {
			t.Errorf("%d frames, %d TCP, %d flows", got.Packets, got.TCP, got.Flows)
		}
		return
	}
	text, err := os.ReadFile(filepath.Join(dir, "INDEX.md"))
	if err != nil {
		t.Fatal(err)
	}
	index := map[string]indexed{}
	for _, m := range indexLine.FindAllStringSubmatch(string(text), -1) {
		var n indexed
		for i := range n {
			n[i], _ = strconv.Atoi(m[2+i])
		}
		index[m[1]] = n
	}
	differences := documented(t)
	for _, file := range files {
		name, _ := filepath.Rel(dir, file)
		want, ok := index[name]
		if !ok {
			t.Errorf("%s is not in the index", name)
			continue
		}
		got := mustReplay(t, ReplayConfig{Capture: file})
		if got.Packets != want[0] || got.TCP != want[1] {
			t.Errorf("%s: %d frames, %d TCP; the index says %d, %d", name, got.Packets, got.TCP, want[0], want[1])
		}
		if d, ok := differences[name]; got.Flows != want[2] && (!ok || d != [2]int{want[2], got.Flows}) {
			t.Errorf("%s: %d connections, the index says %d; docs/replay.md does not explain that", name, got.Flows, want[2])
		}
	}
	for name, d := range differences {
		if _, ok := index[name]; !ok || d[0] == d[1] {
			t.Errorf("docs/replay.md explains %s, where there is nothing to explain", name)
		}
	}
}

var differenceLine = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\d+) \\| (\\d+) \\| \\S")

// documented returns the differences that docs/replay.md explains: connections by tshark, and by us.
func documented(t testing.TB) map[string][2]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "replay.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][2]int{}
	for _, m := range differenceLine.FindAllStringSubmatch(string(text), -1) {
		theirs, _ := strconv.Atoi(m[2])
		ours, _ := strconv.Atoi(m[3])
		out[m[1]] = [2]int{theirs, ours}
	}
	if len(out) == 0 && strings.Contains(string(text), "tcp.stream") {
		t.Error("no table of differences in docs/replay.md")
	}
	return out
}
