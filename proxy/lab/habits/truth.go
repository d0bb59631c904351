package habits

// Rate is a sum over connections, and how many there are.
type Rate struct {
	Num float64 `json:"num"`
	Den float64 `json:"den"`
}

// Value is the share; 0 where there is no connection.
func (r Rate) Value() float64 {
	if r.Den == 0 {
		return 0
	}
	return r.Num / r.Den
}

// Figures of a connection that a plan foretells, words of policy/experiment.
var figures = []struct {
	word string
	of   func(*Expected) bool
}{
	{"connect-failure", func(e *Expected) bool { return !e.Connects }},
	{"still-there", func(e *Expected) bool { return e.StillThere }},
	{"gave-up", func(e *Expected) bool { return e.GaveUp }},
}

// Metrics are the words of what a plan foretells.
func Metrics() (words []string) {
	for _, f := range figures {
		words = append(words, f.word)
	}
	return words
}

// Foretold is the number that a talk's first connection adds to a metric, 0 or 1. A second connection of a talk adds 0.
func (e *Expected) Foretold(metric string) float64 {
	for _, f := range figures {
		if f.word == metric && f.of(e) {
			return 1
		}
	}
	return 0
}

// Truth is what a plan foretells of a metric: its figure if every client met the one arm, and if every client met the other.
type Truth struct {
	Metric    string `json:"metric"`
	Control   Rate   `json:"control"`
	Treatment Rate   `json:"treatment"`
}

// Effect is the treatment's figure less the control's.
func (t *Truth) Effect() float64 { return t.Treatment.Value() - t.Control.Value() }

// Truths returns the true effects, the question's primary metric first.
func (q *Question) Truths(p *Plan) []Truth {
	control, treatment := q.Expect(p, &q.Control), q.Expect(p, &q.Treatment)
	var out []Truth
	for _, word := range Metrics() {
		t := Truth{word, rate(control, word), rate(treatment, word)}
		if word == q.Primary {
			out = append([]Truth{t}, out...)
		} else {
			out = append(out, t)
		}
	}
	return out
}

// rate sums up talks; a retry is a connection more.
func rate(es []Expected, metric string) (r Rate) {
	for i := range es {
		r.Num += es[i].Foretold(metric)
		r.Den++
		if es[i].Retried() {
			r.Den++
		}
	}
	return r
}
