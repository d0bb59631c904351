package experiment

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"halfopen/policy"
)

// liveMetrics returns the metrics that can be judged while an experiment runs: those that a gateway knows when a connection ends, without
// what came after it, and of which a sum is meant.
func liveMetrics() []string {
	var words []string
	for m := range NumMetrics {
		if LiveMetric(m) {
			words = append(words, m.String())
		}
	}
	return words
}

func (d *decoder) name(v policy.Value) string {
	name := d.doc.Text(v, "a name")
	if name != "" && (len(name) > maxName || !namePattern.MatchString(name)) {
		d.doc.Problem(v, "the name "+policy.Quote(name), "at most 64 small letters and digits, with single hyphens between words")
		return ""
	}
	return name
}

func (d *decoder) salt(v policy.Value) string {
	const expected = "a text of 1 to 64 bytes without control characters"
	salt := d.doc.Text(v, expected)
	if len(salt) > maxSalt || strings.ContainsFunc(salt, unicode.IsControl) {
		d.doc.Wrong(v, expected)
	}
	return salt
}

// percent reads a percentage in hundredths of a percent: more than 0 and at most 100%.
func (d *decoder) percent(v policy.Value) int {
	text, ok := v.Scalar()
	n, good := parsePercent(text)
	if !ok || !good || n == 0 {
		d.doc.Wrong(v, "a percentage from 0.01 to 100, with at most two decimals")
		return 0
	}
	return n
}

// parsePercent reads a percentage with at most two decimals, with or without the sign, as hundredths: 0 to 10,000.
func parsePercent(s string) (n int, ok bool) {
	whole, decimals, dot := strings.Cut(strings.TrimSuffix(s, "%"), ".")
	if dot && (decimals == "" || len(decimals) > 2) || len(whole) > 3 {
		return 0, false
	}
	for len(decimals) < 2 {
		decimals += "0"
	}
	w, err1 := strconv.ParseUint(whole, 10, 16)
	f, err2 := strconv.ParseUint(decimals, 10, 16)
	n = int(w)*100 + int(f)
	return n, err1 == nil && err2 == nil && n <= perHundred
}

// PercentText writes hundredths of a percent as a percentage: 50%, 12.5%, 0.01%.
func PercentText(n int) string { return percentText(n) + "%" }

// percentText writes hundredths of a percent as a percentage without its sign: 50, 12.5, 0.01.
func percentText(n int) string { return strconv.FormatFloat(float64(n)/100, 'f', -1, 64) }

func (d *decoder) time(v policy.Value) time.Time {
	text, ok := v.Scalar()
	t, err := time.Parse(time.RFC3339, text)
	if !ok || err != nil {
		d.doc.Wrong(v, "a time with its zone such as 2026-12-01T08:00:00Z")
		return time.Time{}
	}
	if y := t.Year(); y < 1970 || y > 2200 { // what fits in an Instant
		d.doc.Wrong(v, "a time from 1970 to 2200")
		return time.Time{}
	}
	return t.UTC()
}

func (d *decoder) seed(v policy.Value) uint64 {
	text, ok := v.Scalar()
	n, err := strconv.ParseUint(text, 10, 53) // a number that JSON's readers keep
	if !ok || err != nil {
		d.doc.Wrong(v, "a whole number from 0 to 9007199254740991")
	}
	return n
}

func (d *decoder) metric(v policy.Value) (Metric, bool) {
	text, _ := v.Scalar()
	if m, ok := ParseMetric(text); ok && !LiveMetric(m) {
		d.doc.Problem(v, "a limit on "+text, "a metric that can be judged while an experiment runs: "+policy.OneOf("", liveMetrics())+" ("+text+" is known only afterwards, from the log)")
		return m, false
	}
	i := d.doc.Word(v, liveMetrics())
	if i < 0 {
		return 0, false
	}
	m, _ := ParseMetric(liveMetrics()[i])
	return m, true
}

func (d *decoder) alpha(v policy.Value) float64 {
	text, ok := v.Scalar()
	a, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil || !(a > 0 && a <= maxAlpha) {
		d.doc.Wrong(v, "a chance of more than 0 and at most 0.5, for example 0.01")
		return 0
	}
	return a
}

// amount reads an amount of a metric: of seconds a duration, else a percentage or a plain number.
func (d *decoder) amount(v policy.Value, m Metric, absolute bool) float64 {
	text, ok := v.Scalar()
	a, good := parseAmount(text, m)
	expected := "a percentage such as 2%, or a number"
	switch {
	case m.UnitWord() == "s":
		expected = "a duration such as 500ms or 2s"
	case m.Kind() == KindShare:
		expected = "a percentage such as 2%, or a number from 0 to 1"
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && !good && n >= 0 {
		switch {
		case m.UnitWord() == "s":
			expected += " (did you mean " + policy.Quote(text+"s") + "?)"
		case m.Kind() == KindShare && n <= 100:
			expected += " (did you mean " + policy.Quote(text+"%") + "?)"
		}
	}
	switch {
	case !ok || !good:
		d.doc.Wrong(v, expected)
		return 0
	case absolute && a == 0:
		d.doc.Wrong(v, "more than 0: a limit of nothing is crossed by the first connection that counts")
	}
	return a
}

func parseAmount(s string, m Metric) (a float64, ok bool) {
	if m.UnitWord() == "s" {
		d, err := policy.ParseDuration(s)
		return d.Seconds(), err == nil
	}
	number, percent := strings.CutSuffix(s, "%")
	if strings.ContainsAny(number, "xXpPnNiI_") { // hexadecimal, infinities and what else Go calls a number
		return 0, false
	}
	a, err := strconv.ParseFloat(number, 64)
	if percent {
		a /= 100
	}
	return a, err == nil && !math.Signbit(a) && (a <= 1 || m.Kind() != KindShare && a <= 1e9)
}
