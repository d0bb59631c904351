//go:build netns

package proxy

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The number of connections is tshark's, which numbers them in tcp.stream; differences are in docs/replay.md. tshark counts frames
// too, so that no reader of ours is judged by itself.
func TestCapturesAgainstTshark(t *testing.T) {
	files, dir := collection(t)
	differences := documented(t)
	for _, file := range files {
		name, err := filepath.Rel(dir, file)
		if dir == "" || err != nil {
			name = filepath.Base(file)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			frames, streams := tsharkStreams(t, file)
			got := mustReplay(t, ReplayConfig{Capture: file})
			if got.Packets != frames {
				t.Errorf("%d frames, tshark reads %d", got.Packets, frames)
			}
			if d, ok := differences[name]; got.Flows != streams && (!ok || d != [2]int{streams, got.Flows}) {
				t.Errorf("%d connections, tshark finds %d; docs/replay.md does not explain that", got.Flows, streams)
			}
		})
	}
}

// tsharkStreams counts frames and TCP streams. A damaged file is read as far as it goes.
func tsharkStreams(t *testing.T, file string) (frames, streams int) {
	t.Helper()
	out, err := exec.Command("tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.number", "-e", "tcp.stream").Output()
	if err != nil && len(out) == 0 {
		t.Fatalf("tshark -r %s: %v", file, err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		frames++
		_, numbers, _ := strings.Cut(strings.TrimSpace(line), "\t")
		for _, n := range strings.Split(numbers, ",") {
			if n != "" {
				seen[n] = true
			}
		}
	}
	return frames, len(seen)
}
