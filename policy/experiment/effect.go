package experiment

import (
	"math"
	"slices"

	"halfopen/policy/experiment/stats"
)

// fewUnits is how many units with anything in the numerator make a difference's usual approximation good enough: ten in each arm is the
// usual rule for shares.
const fewUnits = 20

// effects compares every arm with the control in every metric.
func (a *Accumulator) effects(r *Report) {
	for i := 1; i < len(a.spec.Arms); i++ {
		for m := range NumMetrics {
			e := Effect{Arm: a.spec.Arms[i].Name, Metric: m.String(), What: m.What(), Kind: m.Kind().String(), Unit: m.UnitWord(), AA: a.spec.Arms[i].AA,
				Descriptive: m.Descriptive()}
			a.compare(&e, i, m)
			r.Effects = append(r.Effects, e)
		}
	}
	adjust(r, false)
	adjust(r, true)
}

// adjust corrects the chances of the effects that decide for how many they are (Holm 1979); those of the A/A arms among themselves. What
// nothing was counted of is no test: that depends on no arm.
func adjust(r *Report, aa bool) {
	var p []float64
	var at []int
	for i := range r.Effects {
		e := &r.Effects[i]
		if e.AA == aa && !e.Descriptive && e.P != nil && e.Test != MethodNothing {
			p, at = append(p, *e.P), append(at, i)
		}
	}
	if len(p) == 0 {
		return
	}
	adjusted, err := stats.Holm(p)
	if err != nil {
		return
	}
	for k, i := range at {
		v := round(adjusted[k])
		e := &r.Effects[i]
		e.Adjusted = &v
		e.Found = adjusted[k] <= r.Alpha
		e.Small = e.Found && e.tooSmall()
	}
}

// A difference of a time matters to nobody where it is less than so many seconds and less than such a part of the control's figure.
const (
	leastTime  = 0.001
	leastShift = 0.01
)

// tooSmall says whether an effect on a time is certain and means nothing.
func (e *Effect) tooSmall() bool {
	if e.Kind != KindTime.String() || e.Control == nil {
		return false
	}
	known := false
	for _, d := range []*Estimate{e.Difference, e.P95, e.Sequence} {
		if d != nil && (math.Abs(d.Value) >= leastTime || math.Abs(d.Value) >= leastShift*e.Control.Value) {
			return false
		}
		known = known || d != nil
	}
	return known
}

// figureOf is an arm's figure; nil where the metric applies to none of its connections.
func figureOf(s sums) *Figure {
	if s.den == 0 {
		return nil
	}
	return &Figure{Value: round(s.num / s.den), Num: round(s.num), Den: round(s.den), Units: s.with, Any: s.any}
}

// show puts examples beside a figure.
func (f *Figure) show(all []Example) {
	if f != nil {
		f.Examples = all[:min(len(all), 3)]
	}
}

// compare fills in an effect of an experiment by unit.
func (a *Accumulator) compare(e *Effect, arm int, m Metric) {
	c1, c0 := a.arms[arm].clusters(m), a.control[arm].clusters(m)
	s1, s0 := sumsOf(c1), sumsOf(c0)
	e.Treated, e.Control = figureOf(s1), figureOf(s0)
	e.Treated.show(a.behind[arm][m])
	e.Control.show(a.behind[0][m])
	if e.Note = a.enough(e.Arm, s1.with, s0.with); e.Note != "" {
		if s1.with <= 1 {
			e.Treated = nil
		}
		if s0.with <= 1 {
			e.Control = nil
		}
		return
	}
	if a.opt.Loss.Flows > 0 && m.Kind() == KindShare {
		e.LossBound = lossBound(s1, s0, float64(a.opt.Loss.Flows))
	}
	if !a.opt.Final || !a.halts[arm].IsZero() { // who stops an arm early does so because of what is seen
		e.Test, e.Of = MethodSequence, "connections"
		a.looks.tell(a, e, arm, m)
		return
	}
	conf := 1 - a.opt.alpha()
	switch {
	case a.spec.Switchback != nil && s1.num+s0.num > 0:
		a.compareBlocks(e, arm, m, conf)
	case m.Kind() == KindTime:
		a.compareTimes(e, arm, m, conf)
	case s1.num == 0 && s0.num == 0:
		e.Test = MethodNothing
		e.few(c1, c0, s1, s0, m, conf)
		e.setP(1, nil)
	case s1.any+s0.any < fewUnits:
		e.few(c1, c0, s1, s0, m, conf)
	default:
		e.Test, e.Of = MethodRatio, "connections"
		d, p, err := stats.RatioDiff(c1, c0, conf)
		e.tested(d, p, err)
	}
}

// tested takes the answer of a test that gives a difference and a chance, or says why there is none.
func (e *Effect) tested(d stats.Interval, p float64, err error) {
	if err != nil {
		e.Note = err.Error()
		return
	}
	x := estimate(d)
	e.Difference = &x
	e.setP(p, nil)
}

// enough says why a metric has no numbers, "" where it has.
func (a *Accumulator) enough(arm string, n1, n0 int) string {
	switch control := a.spec.Arms[0].Name; {
	case n1 == 0 && n0 == 0:
		return "it applies to no connection"
	case n1 == 0:
		return "no unit of " + arm + " has it"
	case n0 == 0:
		return "no unit of " + control + " has it"
	case n1 == 1:
		return "one unit of " + arm + " alone has it: nothing can be said"
	case n0 == 1:
		return "one unit of " + control + " alone has it: nothing can be said"
	}
	return ""
}

func (e *Effect) setP(p float64, err error) {
	if err != nil {
		e.Note = err.Error()
		return
	}
	p = round(p)
	e.P = &p
}

// few compares figures of which there is little or nothing in the numerator. Of units with one connection each it is Fisher's exact test
// and Newcombe's interval; of other shares the interval and test that hold with few events; of ratios units with and without any are
// counted, since units, not connections, are what was drawn.
func (e *Effect) few(c1, c0 []stats.Cluster, s1, s0 sums, m Metric, conf float64) {
	alone := s1.single && s0.single && m.Kind() == KindShare
	var d stats.Interval
	var p float64
	var err error
	method := MethodFisherUnits
	switch e.Of = "connections"; {
	case m.Kind() == KindShare && !alone:
		method = MethodShare
		d, p, err = stats.ShareDiff(c1, c0, conf)
	default:
		if method = MethodFisher; !alone {
			method, e.Of = MethodFisherUnits, "units"
		}
		if p, err = stats.Fisher(s1.any, s1.with, s0.any, s0.with); err == nil {
			d, err = stats.Newcombe(s1.any, s1.with, s0.any, s0.with, conf)
		}
	}
	if e.Test == "" {
		e.Test = method
	}
	if err != nil {
		e.Note = err.Error()
		return
	}
	x := estimate(d)
	e.Difference = &x
	e.setP(p, nil)
}

// compareTimes tests times by rank and bounds the differences of their median and 95th percentile by drawing units again.
func (a *Accumulator) compareTimes(e *Effect, arm int, m Metric, conf float64) {
	v1, v0 := a.arms[arm].values(m), a.control[arm].values(m)
	e.Test, e.Of = MethodRankUnits, "connections"
	if single(v1) && single(v0) {
		e.Test = MethodRank
		t, err := stats.MannWhitney(flat(v1), flat(v0))
		e.setP(t.P, err)
		e.above = t.Superiority - 0.5
	} else {
		t, err := stats.ClusterRank(v1, v0, conf)
		e.setP(t.P, err)
		e.above = t.Superiority.Estimate - 0.5
	}
	e.Treated.Value, e.Control.Value = median(v1), median(v0)
	for _, q := range [...]struct {
		at  float64
		out **Estimate
	}{{0.5, &e.Difference}, {0.95, &e.P95}} {
		seed := stats.NewRNG(a.opt.Seed).Fork(uint64(arm)<<16 | uint64(m)<<8 | uint64(q.at*100)).Uint64()
		d, err := stats.QuantileDiff(a.drawn(v1), a.drawn(v0), q.at, conf, a.opt.resamples(), seed)
		if err != nil {
			if e.Note == "" {
				e.Note = err.Error()
			}
			continue
		}
		x := estimate(d)
		*q.out = &x
	}
}

// median is that of all values.
func median(units [][]float64) float64 {
	e, err := stats.NewECDF(units, 0.95)
	if err != nil {
		return 0
	}
	return round(e.Quantile(0.5))
}

// bootTimes is how many times a bootstrap draws from at most; of more, some units are drawn first. Its interval is then too wide, never
// too narrow.
const bootTimes = 20_000

// drawn is a sample of units with about bootTimes times in all.
func (a *Accumulator) drawn(units [][]float64) [][]float64 {
	n := 0
	for _, u := range units {
		n += len(u)
	}
	if n <= bootTimes {
		return units
	}
	want := max(int(float64(len(units))*bootTimes/float64(n)), 2)
	perm := stats.NewRNG(a.opt.Seed).Perm(len(units))[:want]
	slices.Sort(perm)
	out := make([][]float64, want)
	for i, k := range perm {
		out[i] = units[k]
	}
	return out
}

func single(units [][]float64) bool {
	return !slices.ContainsFunc(units, func(u []float64) bool { return len(u) != 1 })
}

func flat(units [][]float64) (out []float64) {
	for _, u := range units {
		out = append(out, u...)
	}
	return out
}

// compareBlocks fills in an effect of a switchback: blocks are compared, since units meet all arms.
func (a *Accumulator) compareBlocks(e *Effect, arm int, m Metric, conf float64) {
	e.Test, e.Of = MethodBlocks, "connections"
	e.tested(a.switchback(arm, m, conf))
}

// lossBound is between what a difference of shares lies, wherever the lost connections belong and however they went. Some of them may be in
// the log with another outcome than they had. To be one of these moves a share further than to be missing, so that all are taken for
// such first; the arm with fewer connections, in which each counts for more, has them before the other.
func lossBound(s1, s0 sums, lost float64) *Bound {
	return &Bound{round(-mostLost(s0, s1, lost)), round(mostLost(s1, s0, lost))}
}

// mostLost is the most that the share of up can be above that of down.
func mostLost(up, down sums, lost float64) float64 {
	a, b := up.den-up.num, down.num // that may really have gone the other way
	x, y := math.Min(a, lost), math.Min(b, lost)
	if up.den <= down.den {
		y = math.Min(b, lost-x)
	} else {
		x = math.Min(a, lost-y)
	}
	return (up.num+x)/up.den - (down.num-y)/down.den
}

// round keeps six digits: more would pretend, and the last ones differ between machines.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 5-math.Floor(math.Log10(math.Abs(v))))
	if math.IsInf(scale, 0) || scale == 0 {
		return v
	}
	return math.Round(v*scale) / scale
}
