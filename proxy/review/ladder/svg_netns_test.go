//go:build netns

package ladder

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestBrowserRenders opens a drawing in a browser, in both schemes, and looks at the picture: paper and ink, and each sign in its
// colour where it belongs. It needs no network namespace, but a browser, which the tier has.
func TestBrowserRenders(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	if err := everything().WriteSVG(&b, SVG{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ladder.svg")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	width, height := 0, 0
	if _, err := fmt.Sscanf(string(b.Bytes()[bytes.Index(b.Bytes(), []byte("viewBox")):]), "viewBox=\"0 0 %d %d\"", &width, &height); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		scheme                   string
		paper, drop, made, knows [3]uint8
	}{
		{"1", [3]uint8{0xff, 0xff, 0xff}, [3]uint8{0xb3, 0x26, 0x1e}, [3]uint8{0x6d, 0x3f, 0xc0}, [3]uint8{0xdb, 0xe9, 0xff}},
		{"0", [3]uint8{0x0f, 0x14, 0x19}, [3]uint8{0xff, 0x8a, 0x80}, [3]uint8{0xc9, 0xa7, 0xff}, [3]uint8{0x1d, 0x35, 0x57}},
	} {
		shot := filepath.Join(dir, "shot-"+c.scheme+".png")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		out, err := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
			"--blink-settings=preferredColorScheme="+c.scheme, "--user-data-dir="+filepath.Join(dir, "profile"), fmt.Sprintf("--window-size=%d,%d", width, height),
			"--screenshot="+shot, "file://"+file).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("chromium: %v\n%s", err, out)
		}
		f, err := os.Open(shot)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if size := img.Bounds().Size(); size != image.Pt(width, height) {
			t.Errorf("scheme %s: the picture is %v, the drawing %d by %d", c.scheme, size, width, height)
		}
		lane := func(i int) (int, int) { return firstParty + i*laneStep + 12, firstParty + (i+1)*laneStep - 12 }
		a0, a1 := lane(0)
		b0, b1 := lane(1)
		gateway := firstParty + laneStep
		for _, x := range []struct {
			what     string
			color    [3]uint8
			from, to int
			least    int
		}{
			{"paper", c.paper, 0, width, width * height / 2}, {"the dropped SYN", c.drop, a0, a1, 150}, {"the ACK that was made for the client", c.made, a0, a1, 100},
			{"the RST that was made for the server", c.made, b0, b1, 100}, {"the gateway's memory", c.knows, gateway - 4, gateway + 4, 500},
		} {
			if n := count(img, x.color, x.from, x.to); n < x.least {
				t.Errorf("scheme %s: %s: %d pixels of colour %x between %d and %d, want %d", c.scheme, x.what, n, x.color, x.from, x.to, x.least)
			}
		}
	}
}

// count returns how many pixels between two columns have a colour.
func count(img image.Image, color [3]uint8, from, to int) (n int) {
	for x := from; x < to; x++ {
		for y := range img.Bounds().Dy() {
			r, g, b, _ := img.At(x, y).RGBA()
			if [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)} == color {
				n++
			}
		}
	}
	return n
}
