package stats

import (
	"fmt"
	"math"
)

// RatioSequence watches one arm's own ratio (a share, a rate, a mean; none of its sums below 0) against a limit while units come and gain
// connections. It is for units what [Sequence] is for a difference, with the same boundary, burn-in and meaning. Units that fare badly
// together, as in an outage of a server, are not independent: unlike a difference of arms that meet the same outage, the arm's own
// figure is then above the limit because of the outage, and is said to be.
type RatioSequence struct {
	alpha, limit float64
	testRho      float64
	rho          float64
	p            float64
}

// NewRatioSequence makes a sequence of a two-sided confidence level (each side has half of the rest) and a limit above 0.
func NewRatioSequence(conf, limit float64) (*RatioSequence, error) {
	if err := checkConf(conf); err != nil {
		return nil, err
	}
	if !(limit > 0) || !finite(limit) {
		return nil, fmt.Errorf("%w: limit %v, expected above 0", ErrInput, limit)
	}
	return &RatioSequence{alpha: (1 - conf) / 2, limit: limit, p: 1}, nil
}

// Exceeds looks: the always-valid one-sided p-value of the ratio being at most the limit (the least of all looks so far; 0.5 and above
// say nothing). Residuals are taken at the limit, so that arms in which all units have the same figure are judged too.
func (s *RatioSequence) Exceeds(a *ClusterSums) (float64, error) {
	if err := enough(a, "the arm"); err != nil {
		return 0, err
	}
	if eff := a.effective(s.limit); eff < SequenceEvents {
		return 0, fmt.Errorf("%w: %d units are worth %.1f (few of them vary), expected at least %d", ErrNotEnough, a.Units, eff, SequenceEvents)
	}
	v := a.squares(s.limit)
	if s.testRho == 0 {
		s.testRho = startRatio * v
	}
	if sum := a.Num - s.limit*a.Den; sum > 0 {
		s.p = min(s.p, boundaryP(sum, v, s.testRho))
	}
	return s.p, nil
}

// ratioEvents is what [SequenceEvents] is for a difference: more, since there is no second arm to borrow a variance from.
const ratioEvents = 5

// Interval looks: the confidence sequence's interval of the ratio now. It needs units that differ.
func (s *RatioSequence) Interval(a *ClusterSums) (Interval, error) {
	if err := enough(a, "the arm"); err != nil {
		return Interval{}, err
	}
	r, n := a.Ratio(), float64(a.Units)
	v := a.squares(r) * n / (n - 1)
	if v == 0 {
		return Interval{}, fmt.Errorf("%w: all %d units have the same figure", ErrNoVariation, a.Units)
	}
	if eff := a.effective(r); eff < ratioEvents {
		return Interval{}, fmt.Errorf("%w: %d units are worth %.1f (few of them vary), expected at least %d", ErrNotEnough, a.Units, eff, ratioEvents)
	}
	if s.rho == 0 {
		s.rho = startRatio * v
	}
	half := boundary(v, s.rho, s.alpha) / a.Den
	i := Interval{Estimate: r, Lo: math.Max(0, r-half), Hi: r + half}
	if !finite(i.Hi) {
		return Interval{}, fmt.Errorf("%w: sums too large", ErrInput)
	}
	return i, nil
}
