// Package human writes durations, counts and sizes for people. What it writes never decides anything.
package human

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Duration writes a time with two or three digits that mean something: 421 µs, 12 ms, 3.6 s, 412 s, 95 min, 1 h, 8 h, 3 days.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-max(d, -math.MaxInt64))
	case d == 0:
		return "0 s"
	case d < 999500*time.Nanosecond:
		return unit(d, time.Microsecond, "µs")
	case d < 999500*time.Microsecond:
		return unit(d, time.Millisecond, "ms")
	case d < 10*time.Minute:
		return unit(d, time.Second, "s")
	case d < 2*time.Hour && d.Round(time.Minute)%time.Hour != 0:
		return unit(d, time.Minute, "min")
	case d < 48*time.Hour:
		return unit(d, time.Hour, "h")
	}
	return unit(d, 24*time.Hour, "days")
}

// unit writes d in units, with a digit behind the point below ten.
func unit(d, u time.Duration, name string) string {
	n := float64(d) / float64(u)
	text := strconv.FormatFloat(n, 'f', 0, 64)
	if n < 9.95 {
		text = strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0")
	}
	return text + " " + name
}

// Seconds writes a number of seconds as [Duration] does.
func Seconds(s float64) string { return Duration(FromSeconds(s)) }

// FromSeconds returns a number of seconds as a duration, the longest there is where it is more.
func FromSeconds(s float64) time.Duration {
	const most = 9223372036 // 292 years
	return time.Duration(min(max(s, -most), most) * 1e9)
}

// Count writes a number with its noun, which takes an s unless the number is one.
func Count[N int | uint32 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Bytes writes a size in the units of 1000: 512 bytes, 9.2 kB, 13 MB.
func Bytes(n uint64) string {
	if n == 1 {
		return "1 byte"
	}
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, i := float64(n)/1000, 0
	for units := "kMGTP"; v >= 999.5 && i < len(units)-1; i++ {
		v /= 1000
	}
	text := strconv.FormatFloat(v, 'f', 0, 64)
	if v < 9.95 {
		text = strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	}
	return text + " " + "kMGTP"[i:i+1] + "B"
}

// Clean returns a text that somebody else wrote without what would steer a terminal or break a line.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, s)
}

// Wrap breaks a text at blanks into lines of at most width characters; a word longer than that is cut.
func Wrap(text string, width int) (lines []string) {
	width = max(width, 1)
	line, n := "", 0
	for _, w := range strings.Fields(text) {
		k := utf8.RuneCountInString(w)
		for ; k > width; k -= width {
			if n > 0 {
				lines = append(lines, line)
				line, n = "", 0
			}
			cut := len(string([]rune(w)[:width]))
			lines = append(lines, w[:cut])
			w = w[cut:]
		}
		if n > 0 && n+1+k > width {
			lines = append(lines, line)
			line, n = "", 0
		}
		if n > 0 {
			line, n = line+" ", n+1
		}
		line, n = line+w, n+k
	}
	return append(lines, line)
}
