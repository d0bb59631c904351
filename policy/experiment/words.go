package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// nouns are the metrics in a sentence: what rises or falls, in the plural or not, and what an arm does that makes it worse.
var nouns = [NumMetrics]struct {
	noun   string
	plural bool
	harm   harm
}{
	ConnectFailure: {"connect failures", true, breaks},
	ConnectTime:    {"the time to connect", false, slows},
	ResponseTime:   {"the time to the first response", false, slows},
	SYNRetransmit:  {"SYN retransmissions", true, slows},
	RetryRate:      {"connections that had to be tried again", true, slows},
	GaveUpRate:     {"connections given up", true, breaks},
	ResetRate:      {"the gateway's resets", true, breaks},
	StillThere:     {"connections forgotten while in use", true, breaks},
	StallTime:      {"the time stalled", false, slows},
	Retransmission: {"retransmissions", true, slows},
	Unrecovered:    {"interventions without recovery", true, breaks},
	RecoveryTime:   {"the time to recovery", false, slows},
}

// harm is what a worse metric means for users.
type harm uint8

const (
	slows harm = iota
	breaks
)

// rank orders metrics by what they mean for users, the worst first.
var rank = [...]Metric{GaveUpRate, ConnectFailure, StillThere, RetryRate, ResetRate, ConnectTime, StallTime, SYNRetransmit, ResponseTime, Retransmission}

// Ranked returns the metrics that decide, by what they mean for users, the worst first.
func Ranked() []Metric { return rank[:] }

// Noun is the metric in a sentence.
func (m Metric) Noun() string { return nouns[m].noun }

// Descriptive says whether the metric compares connections that the arm itself has selected (those with an intervention): it describes,
// and decides nothing.
func (m Metric) Descriptive() bool { return m == Unrecovered || m == RecoveryTime }

// String returns the word in reports.
func (k Kind) String() string { return [...]string{"share", "time", "ratio"}[k] }

// rises is the verb of a change.
func (m Metric) rises(up bool) string {
	verb := "rise"
	if !up {
		verb = "fall"
	}
	if !nouns[m].plural {
		verb += "s"
	}
	return verb
}

// digits writes a number with three digits that mean something.
func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0"
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	case a >= 0.1:
		return trim(strconv.FormatFloat(v, 'f', 2, 64))
	}
	if a < 0.0001 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return trim(strconv.FormatFloat(v, 'f', 1-int(math.Floor(math.Log10(a))), 64))
}

func trim(s string) string { return strings.TrimRight(strings.TrimRight(s, "0"), ".") }

// seconds writes a time.
func seconds(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0 s"
	case a < 0.001:
		return digits(v*1e6) + " µs"
	case a < 1:
		return digits(v*1e3) + " ms"
	case a < 600:
		return digits(v) + " s"
	}
	return digits(v/60) + " min"
}

// FormatFigure writes a figure of a metric for people: a share in percent, a time with its unit.
func (m Metric) FormatFigure(v float64) string {
	switch {
	case m.Kind() == KindShare && v < 1 && v >= 0.9995: // not all of it
		return "> 99.9 %"
	case m.Kind() == KindShare:
		return digits(100*v) + " %"
	case m.UnitWord() == "s":
		return seconds(v)
	}
	return digits(v)
}

// FormatDifference writes a difference of figures, without sign where it has none: shares differ by points.
func (m Metric) FormatDifference(v float64) string {
	switch {
	case m.Kind() == KindShare:
		return digits(100 * v)
	case m.UnitWord() == "s":
		return seconds(v)
	}
	return digits(v)
}

// FormatDifference writes one of the effect's differences for people, without the word behind it.
func (e *Effect) FormatDifference(v float64) string {
	m, _ := ParseMetric(e.Metric)
	if e.Of == "units" {
		m = ConnectFailure // a share, whatever the metric
	}
	return m.FormatDifference(v)
}

// Points is the word behind a difference of the effect.
func (e *Effect) Points() string {
	m, _ := ParseMetric(e.Metric)
	switch {
	case e.Of == "units":
		return " points of the units"
	case m.Kind() == KindTime && e.Test == MethodSequence:
		return " on average"
	case m.Kind() == KindTime:
		return " in the median"
	}
	return m.points()
}

// points is the word behind a difference.
func (m Metric) points() string {
	switch {
	case m.Kind() == KindShare:
		return " points"
	case m.Kind() == KindRatio && m == Retransmission:
		return " a packet"
	case m.Kind() == KindRatio:
		return " a connection"
	}
	return ""
}

// change tells a difference in words: connect failures rise by 2.1 points (1.4 to 2.9). Of times it is that of the median, or where this does
// not go the way of the ranks, which were tested, of the 95th percentile; of neither there is no number.
func (m Metric) change(e *Effect) string {
	up, points := e.Up(), e.Points()
	what := m.Noun() + " " + m.rises(up)
	if e.Of == "units" {
		what = "units with " + strings.TrimPrefix(m.Noun(), "the ") + map[bool]string{true: " rise", false: " fall"}[up]
	}
	d := e.deciding()
	switch {
	case d.goes(up):
	case e.Test == MethodSequence:
		return what + ", as an earlier look showed"
	case e.P95.goes(up):
		d, points = e.P95, " in the 95th percentile"
	default:
		return what + " by ranks"
	}
	v, lo, hi := d.Value, d.Lo, d.Hi
	if v < 0 {
		v, lo, hi = -v, -hi, -lo
	}
	return fmt.Sprintf("%s by %s%s (%s to %s)", what, e.FormatDifference(v), points, e.FormatDifference(lo), e.FormatDifference(hi))
}

// goes says whether an estimate is there and a rise, or a fall.
func (d *Estimate) goes(up bool) bool { return d != nil && d.Value != 0 && d.Value > 0 == up }

// list joins words: a, b and c.
func list(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
