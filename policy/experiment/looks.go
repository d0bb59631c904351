package experiment

import "halfopen/policy/experiment/stats"

// looks are what may be looked at while an experiment runs. A sequence's boundary is fixed by its first look, so looks are taken as
// connections come, in the order in which they come: the same log gives the same sequences, and a longer one goes on with them.
type looks struct {
	n     int
	next  int
	seqs  [][NumMetrics]*stats.Sequence // by arm
	said  [][NumMetrics]saying
	ratio *stats.SequentialSRM
}

// saying is what a sequence said last.
type saying struct {
	interval stats.Interval
	p        float64 // the least of all looks
	above    float64 // the difference at the look that p is of
	err      error
}

// Looks begin at so many connections, and come again after a tenth more.
const firstLook = 50

func newLooks(a *Accumulator) looks {
	n := len(a.spec.Arms)
	l := looks{next: firstLook, seqs: make([][NumMetrics]*stats.Sequence, n), said: make([][NumMetrics]saying, n)}
	for i := 1; i < n; i++ {
		for m := range NumMetrics {
			if s, err := stats.NewSequence(1 - a.opt.alpha()); err == nil {
				l.seqs[i][m] = s
			}
		}
	}
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = float64(a.spec.Arms[i].Weight)
	}
	l.ratio, _ = stats.NewSequentialSRM(weights) // nil where there is no second arm
	return l
}

// taken counts a connection, and looks when it is time.
func (l *looks) taken(a *Accumulator) {
	if l.n++; l.n >= l.next {
		l.look(a)
		l.next = l.n + l.n/10
	}
}

func (l *looks) look(a *Accumulator) {
	for i := 1; i < len(l.seqs); i++ {
		for m, s := range l.seqs[i] {
			x := &l.said[i][m]
			before := x.p
			x.interval, x.p, x.err = s.Diff(&a.arms[i].sums[m], &a.control[i].sums[m])
			if x.err == nil && (x.p < before || x.above == 0) {
				x.above = x.interval.Estimate
			}
			if x.err != nil {
				x.p = before
			}
		}
	}
	if l.ratio != nil && a.spec.Switchback == nil {
		_, _ = l.ratio.Observe(a.dealt) // counts never sink
	}
}

// tell fills in what the sequence says now.
func (l *looks) tell(a *Accumulator, e *Effect, arm int, m Metric) {
	x := &l.said[arm][m]
	if x.err != nil {
		e.Note = x.err.Error()
		return
	}
	s := estimate(x.interval)
	e.Sequence = &s
	e.setP(x.p, nil)
	e.above = x.above
}

// srm is the always-valid chance of the units' counts.
func (l *looks) srm() float64 {
	if l.ratio == nil {
		return 1
	}
	return l.ratio.P()
}

// unitCounts are the units of each arm, of a switchback the blocks.
func (a *Accumulator) unitCounts() []int {
	n := make([]int, len(a.arms))
	for i := range a.arms {
		n[i] = a.arms[i].units
	}
	return n
}
