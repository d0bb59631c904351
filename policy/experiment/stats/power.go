package stats

import (
	"fmt"
	"math"
)

// Baseline is what past traffic, of one policy, says of a metric: all that a plan needs.
type Baseline struct {
	Ratio float64 // the figure: the sum of numerators over that of denominators
	// Variance is the sampling variance of Ratio over all the units of the log, clustered by unit.
	Variance float64
	Units    int
	Days     float64 // how long the log is
	// Growth is how precision grows with time: the variance over t days is Variance (Days/t)^Growth. 1 where all traffic is new units or
	// a unit's connections have nothing in common; 0 where the units are all known after a short while and differ for good. It is
	// measured between the log's first half and the whole, and beyond the log's length it is a guess that things go on like that.
	Growth float64
	Share  bool // the figure is a share: its variance goes with p(1-p)
}

// NewBaseline makes a baseline from the sums by unit over a whole log of so many days, and over its first half alone.
func NewBaseline(half, whole []Cluster, days float64, share bool) (Baseline, error) {
	if !(days > 0) || !finite(days) {
		return Baseline{}, fmt.Errorf("%w: a log of %v days", ErrInput, days)
	}
	w, err := ratioOf("the log", whole)
	if err != nil {
		return Baseline{}, err
	}
	h, err := ratioOf("the first half of the log", half)
	if err != nil {
		return Baseline{}, err
	}
	if w.variance <= 0 || h.variance <= 0 {
		return Baseline{}, fmt.Errorf("%w: all units of the log have the same figure", ErrNoVariation)
	}
	if share && !(w.r > 0 && w.r < 1) {
		return Baseline{}, fmt.Errorf("%w: a share of %v, expected between 0 and 1", ErrInput, w.r)
	}
	growth := math.Log2(h.variance / w.variance)
	return Baseline{Ratio: w.r, Variance: w.variance, Units: w.units, Days: days, Growth: min(1, max(0, growth)), Share: share}, nil
}

// Design is an experiment that is being planned. Power refers to the two-sided test of the difference of two ratios ([RatioDiff]).
type Design struct {
	Control, Treatment float64 // shares of all units, from the arms' weights and the traffic share; more than 0, together at most 1
	Alpha              float64 // of the test, such as 0.05
	// Comparisons is over how many metrics and arms Holm's method keeps Alpha. The plan is for the least of the p-values, which must be
	// below Alpha/Comparisons; once others are found, less is needed.
	Comparisons int
	Power       float64 // such as 0.8: the chance to find an effect that is there
}

func (d *Design) check(b *Baseline) error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", ErrInput, what, v) }
	switch {
	case !(d.Control > 0 && d.Treatment > 0 && d.Control+d.Treatment <= 1+1e-9):
		return bad("arms' shares of the units", [2]float64{d.Control, d.Treatment})
	case !(d.Alpha > 0 && d.Alpha < 1):
		return bad("alpha", d.Alpha)
	case d.Comparisons < 1:
		return bad("number of comparisons", d.Comparisons)
	case !(d.Power > d.Alpha && d.Power < 1):
		return bad("power", d.Power)
	case !(b.Variance > 0 && b.Days > 0 && b.Growth >= 0 && b.Growth <= 1 && finite(b.Ratio)):
		return bad("baseline", *b)
	}
	return nil
}

// z is how many standard errors the difference must be from 0.
func (d *Design) z() float64 { return NormQuantile(1 - d.Alpha/float64(d.Comparisons)/2) }

// variance is that of the difference after days, if the treatment's figure is the baseline's plus effect. Of a share the treatment's
// part changes with p(1-p); else both arms are taken to vary alike.
func (d *Design) variance(b *Baseline, effect, days float64) float64 {
	treatment := 1.0
	if b.Share {
		p := b.Ratio + effect
		treatment = max(0, p*(1-p)) / (b.Ratio * (1 - b.Ratio))
	}
	return b.Variance * math.Pow(b.Days/days, b.Growth) * (1/d.Control + treatment/d.Treatment)
}

// power is the chance to find the effect after days.
func (d *Design) power(b *Baseline, effect, days float64) float64 {
	shift := effect / math.Sqrt(d.variance(b, effect, days))
	return NormCDF(shift-d.z()) + NormCDF(-shift-d.z())
}

// PowerOf is the chance that an effect (a difference in the figure, of either sign) is found in an experiment of so many days.
func (d Design) PowerOf(b Baseline, effect, days float64) (float64, error) {
	if err := d.check(&b); err != nil {
		return 0, err
	}
	if !(days > 0) || !finite(days) || !finite(effect) || b.Share && !(b.Ratio+effect >= 0 && b.Ratio+effect <= 1) {
		return 0, fmt.Errorf("%w: an effect of %v on %v in %v days", ErrInput, effect, b.Ratio, days)
	}
	return d.power(&b, effect, days), nil
}

// MDE is the smallest increase and the smallest decrease (as a positive number) of the figure that an experiment of so many days finds
// with the design's power. It is 0 where no possible change would be found: nothing sinks below 0, and no share rises above 1.
func (d Design) MDE(b Baseline, days float64) (up, down float64, err error) {
	if err := d.check(&b); err != nil {
		return 0, 0, err
	}
	if !(days > 0) || !finite(days) {
		return 0, 0, fmt.Errorf("%w: %v days", ErrInput, days)
	}
	return d.smallest(&b, days, 1), d.smallest(&b, days, -1), nil
}

func (d *Design) smallest(b *Baseline, days, sign float64) float64 {
	most := math.Inf(1)
	switch {
	case b.Share && sign > 0:
		most = 1 - b.Ratio
	case b.Share || sign < 0 && b.Ratio >= 0:
		most = b.Ratio // no figure sinks below 0
	}
	enough := func(effect float64) bool { return d.power(b, sign*effect, days) >= d.Power }
	hi := min(most, math.Sqrt(d.variance(b, 0, days)))
	for !enough(hi) {
		if hi == most {
			return 0
		}
		hi = min(most, 2*hi)
	}
	lo := 0.0
	for range 60 {
		if mid := (lo + hi) / 2; enough(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi
}

// DaysFor is how long an experiment must run to find the effect with the design's power. It is [ErrNotEnough] where precision does not
// grow enough for that in a hundred times the log's length.
func (d Design) DaysFor(b Baseline, effect float64) (float64, error) {
	if _, err := d.PowerOf(b, effect, b.Days); err != nil {
		return 0, err
	}
	most := 100 * b.Days
	if effect == 0 || d.power(&b, effect, most) < d.Power {
		return 0, fmt.Errorf("%w: an effect of %v is not found in %.4g days", ErrNotEnough, effect, most)
	}
	lo, hi := 0.0, most
	for range 60 {
		if mid := (lo + hi) / 2; d.power(&b, effect, mid) >= d.Power {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, nil
}
