package proxy

import (
	"bytes"
	"os"
	"testing"

	"halfopen/proxy/capture"
)

// Whatever a file holds, the replay ends, and what it says of the frames adds up.
func FuzzReplay(f *testing.F) {
	for _, path := range synthetic(f) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src, err := capture.NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		out := &replayed{}
		cfg := &ReplayConfig{Capture: "fuzz", Policy: "openbsd-pf", Shadows: []string{"observe"}, Frame: func(f *ReplayFrame) error {
			one := *f
			one.Segment = nil
			out.frames = append(out.frames, one)
			return nil
		}}
		r, err := newReplay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if out.Replay, err = r.run(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		out.conserved(t)
	})
}
