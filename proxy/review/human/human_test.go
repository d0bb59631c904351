package human

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 400: "0.4 µs", 421 * time.Microsecond: "421 µs", 999600 * time.Nanosecond: "1 ms", 12340 * time.Microsecond: "12 ms",
		999600 * time.Microsecond: "1 s", 3596 * time.Millisecond: "3.6 s", 9960 * time.Millisecond: "10 s", 412 * time.Second: "412 s",
		95 * time.Minute: "95 min", time.Hour: "1 h", 8 * time.Hour: "8 h", 510 * time.Minute: "8.5 h", 72 * time.Hour: "3 days", -2 * time.Second: "-2 s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for s, want := range map[float64]string{0.0005: "500 µs", 1e300: "106752 days", -1e300: "-106752 days"} {
		if got := Seconds(s); got != want {
			t.Errorf("%v: %q, want %q", s, got, want)
		}
	}
	if got := Duration(math.MinInt64); got != "-106752 days" {
		t.Error(got)
	}
}

func TestCounts(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1 kB", 9240: "9.2 kB", 999499: "999 kB", 999500: "1 MB", 13e9: "13 GB", 1<<64 - 1: "18447 PB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if Count(1, "SYN") != "1 SYN" || Count(uint64(3), "SYN") != "3 SYNs" {
		t.Error("count")
	}
}

func TestWrap(t *testing.T) {
	lines := Wrap("a bb  ccc dddéddddéddé é", 5)
	if got := strings.Join(lines, "|"); got != "a bb|ccc|dddéd|dddéd|dé é" {
		t.Error(got)
	}
	if got := Wrap("ab", 0); strings.Join(got, "|") != "a|b" {
		t.Errorf("%q", got)
	}
	if got := Wrap("", 5); len(got) != 1 || got[0] != "" {
		t.Errorf("%q", got)
	}
}

func TestClean(t *testing.T) {
	if got := Clean("é a\x1b[31m\nb\u0085\u202e\u2067\u2028\xff"); got != "é a\ufffd[31m\ufffdb\ufffd\ufffd\ufffd\ufffd\ufffd" {
		t.Errorf("%q", got)
	}
}
