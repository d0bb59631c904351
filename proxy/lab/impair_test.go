package lab

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseImpairment(t *testing.T) {
	im, err := ParseImpairment("loss=2.5%, duplicate=1%,reorder=3%,delay=20ms,latency=4ms,seed=7")
	want := Impairment{Loss: 0.025, Duplicate: 0.01, Reorder: 0.03, Delay: 20 * time.Millisecond, Latency: 4 * time.Millisecond, Seed: 7}
	if err != nil || im != want {
		t.Errorf("%+v, %v", im, err)
	}
	if again, err := ParseImpairment(im.String()); err != nil || again != im {
		t.Errorf("%s: %+v, %v", im, again, err)
	}
	if im, err := ParseImpairment("loss=1%"); err != nil || im.Delay != defaultDelay || im.Seed != 1 {
		t.Errorf("%+v, %v", im, err)
	}
	for text, says := range map[string]string{
		"":                                 `"" is not NAME=VALUE`,
		"loss":                             `"loss" is not NAME=VALUE`,
		"loss=2":                           "percentage",
		"loss=-1%":                         "0% to 100%",
		"loss=101%":                        "0% to 100%",
		"loss=NaN%":                        "0% to 100%",
		"loss=%":                           "percentage",
		"jitter=1ms":                       "want loss, duplicate, reorder, delay, latency or seed",
		"delay=0s":                         "out of range",
		"delay=1h":                         "out of range",
		"latency=-1ms":                     "out of range",
		"delay=5":                          "missing unit",
		"loss=1%,seed=-1":                  "seed",
		"seed=1,seed=99999999999999999999": "out of range",
	} {
		if _, err := ParseImpairment(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one that says %q", text, err, says)
		}
	}
}

// The same seed makes the same fates, each direction has its own, and each rate is what it says.
func TestDice(t *testing.T) {
	im := Impairment{Loss: 0.02, Duplicate: 0.01, Reorder: 0.03, Delay: 4 * time.Millisecond, Seed: 42}
	one, same, other := newDice(im, 0), newDice(im, 0), newDice(im, 1)
	const n = 100000
	var lost, twice, late, differ int
	for range n {
		f := one.throw()
		if f != same.throw() {
			t.Fatal("the same seed made another fate")
		}
		if f != other.throw() {
			differ++
		}
		switch f.n {
		case 0:
			lost++
		case 2:
			twice++
		}
		if f.copies[0] > 0 {
			late++
		}
		for i, d := range f.copies {
			if d != 0 && (d < im.Delay/10 || d > im.Delay) || i >= f.n && d != 0 {
				t.Fatalf("fate %+v", f)
			}
		}
	}
	for _, c := range []struct {
		what string
		got  int
		want float64
	}{{"lost", lost, im.Loss}, {"twice", twice, im.Duplicate * (1 - im.Loss)}, {"late", late, im.Reorder * (1 - im.Loss)}} {
		if p := float64(c.got) / n; math.Abs(p-c.want) > c.want/10 {
			t.Errorf("%s: %.4f, want %.4f", c.what, p, c.want)
		}
	}
	if differ == 0 {
		t.Error("both directions have the same fates")
	}
	if f := newDice(Impairment{Seed: 1}, 0).throw(); f != (fate{n: 1}) {
		t.Errorf("no impairment: %+v", f)
	}
}
