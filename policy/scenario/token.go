package scenario

import (
	"strings"
	"time"
	"unicode/utf8"

	"halfopen/policy"
)

// token is a word of a line and its column in characters, from 1.
type token struct {
	text string
	col  int
	open bool // an opening < or quote without its end
}

// tokens splits a line at blanks. What stands between < and > is one word, and so is a value in double quotes.
func tokens(line string) []token {
	var out []token
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		t := token{col: utf8.RuneCountInString(line[:i]) + 1}
		start := i
		if line[i] == '<' {
			if n := strings.IndexByte(line[i:], '>'); n >= 0 {
				i += n + 1
			} else {
				i, t.open = len(line), true
			}
		} else {
			i, t.open = wordEnd(line, i)
		}
		t.text = line[start:i]
		out = append(out, t)
	}
	return out
}

// wordEnd returns where the word that begins at i ends, and whether it has a quote without its end.
func wordEnd(line string, i int) (int, bool) {
	for ; i < len(line) && line[i] != ' ' && line[i] != '\t'; i++ {
		if !strings.HasPrefix(line[i:], `="`) {
			continue
		}
		n := strings.IndexByte(line[i+2:], '"')
		if n < 0 {
			return len(line), true
		}
		i += n + 2
	}
	return i, false
}

// units are the units of durations, largest first.
func units() []struct {
	word string
	d    time.Duration
} {
	return []struct {
		word string
		d    time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond},
		{"us", time.Microsecond}, {"ns", 1}}
}

// parseDuration reads a duration with units, as policy files have it or as Go has it; at least 0.
func parseDuration(s string) (time.Duration, bool) {
	if d, err := policy.ParseDuration(s); err == nil && !strings.Contains(s, ".") {
		return d, true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0 && d <= maxWait
}

// parseWait reads the time of an event: a duration, or a plain number of seconds.
func parseWait(s string) (time.Duration, bool) {
	if s == "" || len(s) > 64 {
		return 0, false
	}
	if strings.Trim(s, "0123456789.") == "" && strings.Trim(s, ".") != "" {
		return parseDuration(s + "s")
	}
	return parseDuration(s)
}

// waitText is the time of an event in the largest unit, from hours down, in which it is whole.
func waitText(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	for _, u := range units()[1:] {
		if d%u.d == 0 {
			return itoa(int64(d/u.d)) + u.word
		}
	}
	return ""
}

// durationText is a duration as facts have it: whole numbers, largest unit first.
func durationText(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	var b strings.Builder
	b.WriteString(sign)
	for _, u := range units() {
		if n := d / u.d; n > 0 {
			b.WriteString(itoa(int64(n)) + u.word)
			d -= n * u.d
		}
	}
	return b.String()
}
