package policy

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// maxDuration is the longest duration that a policy may name.
const maxDuration = 3650 * day

const day = 24 * time.Hour

// durationUnits are the units of durations, largest first.
var durationUnits = [...]struct {
	word string
	d    time.Duration
}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

var errDuration = errors.New("policy: no duration")

// ParseDuration reads a duration of a policy file: whole or decimal numbers with the units d, h, m, s and ms, largest
// first and each at most once, as 30s, 2h4m, 1.5s or 5d. It is at least 0 and at most 3650 days.
func ParseDuration(s string) (time.Duration, error) {
	if s == "" || len(s) > 64 {
		return 0, errDuration
	}
	var sum time.Duration
	next := 0
	for s != "" {
		n := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if n <= 0 {
			return 0, errDuration
		}
		number := s[:n]
		s = s[n:]
		u := len(s)
		if i := strings.IndexFunc(s, func(r rune) bool { return r >= '0' && r <= '9' || r == '.' }); i >= 0 {
			u = i
		}
		d, err := scaled(number, s[:u], &next)
		if err != nil {
			return 0, err
		}
		s = s[u:]
		if sum += d; sum > maxDuration {
			return 0, errDuration
		}
	}
	return sum, nil
}

// scaled returns a number in a unit that must not come before durationUnits[*next].
func scaled(number, unit string, next *int) (time.Duration, error) {
	for i := *next; i < len(durationUnits); i++ {
		u := durationUnits[i]
		if u.word != unit {
			continue
		}
		*next = i + 1
		if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
			if whole > int64(maxDuration/u.d) {
				return 0, errDuration
			}
			return time.Duration(whole) * u.d, nil
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil || strings.HasPrefix(number, ".") || strings.HasSuffix(number, ".") || f > float64(maxDuration/u.d) {
			return 0, errDuration
		}
		return time.Duration(f * float64(u.d)).Round(time.Microsecond), nil
	}
	return 0, errDuration
}

// FormatDuration returns a duration as a policy file has it: 2h4m, 5d, 0s. ParseDuration reads it back.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	for i, u := range durationUnits {
		n := d / u.d
		rest := d % u.d
		if i == len(durationUnits)-1 && rest != 0 {
			b.WriteString(strconv.FormatFloat(float64(d)/float64(u.d), 'f', -1, 64) + u.word)
			break
		}
		if n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + u.word)
		}
		d = rest
	}
	return b.String()
}
