package stats

import (
	"fmt"
	"math"
)

// How much a sequence wants before it says anything, and what it does about small numbers. The worlds of seq_world_test.go hold with
// these: rare events, heavy tails, few units, uneven arms.
const (
	// SequenceUnits is the least number of units in each arm.
	SequenceUnits = 10
	// SequenceEvents is the least effective number of units in each arm: the number of units over the kurtosis of what they contribute.
	// It is about the number of events where events are rare, and the number of units that matter where a few have most of the sum.
	SequenceEvents = 2
	// shrinkage is the weight, in effective units, of the pooled variance in an arm's.
	shrinkage = 10
	// startRatio is the mixture's variance over that of the data at the first word: the boundary is widest in standard errors at the
	// start, where the normal approximation is worst, and tightest at about ten times as many data.
	startRatio = 2
)

// boundary is the one-sided normal-mixture boundary of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic
// confidence sequences" (Annals of Statistics 49(2), 2021; equation 10 of arXiv 1810.08240): a Brownian motion in variance time v ever
// exceeds
//
//	sqrt(2 (v + rho) log(sqrt((v + rho) / rho) / (2 alpha) + 1))
//
// with probability at most alpha.
func boundary(v, rho, alpha float64) float64 {
	return math.Sqrt(2 * (v + rho) * math.Log(math.Sqrt((v+rho)/rho)/(2*alpha)+1))
}

// boundaryP is the alpha whose boundary passes through s >= 0, at most 0.5: an always-valid one-sided p-value.
func boundaryP(s, v, rho float64) float64 {
	return min(0.5, math.Sqrt((v+rho)/rho)/2/math.Expm1(s*s/(2*(v+rho))))
}

// Sequence is a confidence sequence for the difference of two arms' ratios, each a sum over units over another (a share of connections,
// a mean, a rate), while units come and gain connections: with probability conf all intervals of all looks together contain what they
// estimate, so that one may look at any time and stop for any reason.
//
// It is asymptotic in the number of units, in the sense of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
// theory and asymptotic confidence sequences" (arXiv 2103.06476): the units' linearised residuals num - ratio den, summed, are compared
// with the boundary of a Brownian motion whose time is the sum of their squares at each look (cluster-robust variance). A unit enters
// when it is first seen and its residual is a running sum. Units are independent; within a unit the past and the future may depend on
// each other as they like as long as they are not negatively correlated (a unit that has fared badly fares no better than others from
// then on, on average): the path is then at least as strongly correlated with its own past as Brownian motion in that time, and by
// Slepian's inequality crosses a one-sided boundary at most as often. The interval is made of two such sides.
//
// Until each arm has [SequenceUnits] units and [SequenceEvents] effective ones it says nothing (ErrNotEnough). An arm's variance is at
// least a mean of its own and of both arms' pooled, weighted by the arm's effective number of units against 10, lest an arm that by chance had few events
// be believed to have little variance.
type Sequence struct {
	alpha float64 // of a side
	rho   float64 // 0 until the first word
	p     float64
}

// NewSequence makes a sequence of a confidence level in (0, 1), such as 0.95.
func NewSequence(conf float64) (*Sequence, error) {
	if err := checkConf(conf); err != nil {
		return nil, err
	}
	return &Sequence{alpha: (1 - conf) / 2, p: 1}, nil
}

// Diff looks: the interval of treatment's ratio minus control's now, and the always-valid two-sided p-value of no difference (the least
// of all looks so far).
func (s *Sequence) Diff(a1, a0 *ClusterSums) (Interval, float64, error) {
	if err := enough(a1, "treatment"); err != nil {
		return Interval{}, 0, err
	}
	if err := enough(a0, "control"); err != nil {
		return Interval{}, 0, err
	}
	den := a1.Den + a0.Den
	pooled := (a1.Num + a0.Num) / den
	units := float64(a1.Units + a0.Units)
	second := (a1.squares(pooled) + a0.squares(pooled)) / units
	if second == 0 {
		return Interval{}, 0, fmt.Errorf("%w: all units of both arms have the same figure", ErrNoVariation)
	}
	kurtosis := max(1, (a1.fourths(pooled)+a0.fourths(pooled))/units/(second*second))
	if eff := float64(min(a1.Units, a0.Units)) / kurtosis; eff < SequenceEvents {
		return Interval{}, 0, fmt.Errorf("%w: %d and %d units are worth %.1f in the smaller arm (few of them vary), expected at least %d",
			ErrNotEnough, a1.Units, a0.Units, eff, SequenceEvents)
	}
	// The sum of residuals, each arm's weighted by the other's share of the denominator, is the difference times den1 den0 / den.
	w1, w0 := a0.Den/den, a1.Den/den
	v := w1*w1*a1.variance(second, kurtosis) + w0*w0*a0.variance(second, kurtosis)
	scale := a1.Den * a0.Den / den
	if s.rho == 0 {
		s.rho = startRatio * v
	}
	diff := a1.Ratio() - a0.Ratio()
	half := boundary(v, s.rho, s.alpha) / scale
	i := Interval{Estimate: diff, Lo: diff - half, Hi: diff + half}
	if !finite(i.Lo) || !finite(i.Hi) {
		return Interval{}, 0, fmt.Errorf("%w: sums too large", ErrInput)
	}
	s.p = min(s.p, 2*boundaryP(math.Abs(diff*scale), v, s.rho))
	return i, s.p, nil
}

// enough refuses an arm with too few units.
func enough(a *ClusterSums, arm string) error {
	if a.Units < SequenceUnits || !(a.Den > 0) {
		return fmt.Errorf("%w: %d units in %s, expected at least %d", ErrNotEnough, a.Units, arm, SequenceUnits)
	}
	return nil
}

// variance is the variance of the arm's sum of residuals; second and kurtosis are of both arms' units around the common ratio.
func (s *ClusterSums) variance(second, kurtosis float64) float64 {
	n := float64(s.Units)
	own := s.squares(s.Ratio()) * n / (n - 1)
	eff := n / kurtosis
	return max(own, (eff*own+shrinkage*n*second)/(eff+shrinkage))
}

// effective is the number of units over the kurtosis of their residuals at a ratio; 0 where they have none.
func (s *ClusterSums) effective(r float64) float64 {
	second := s.squares(r)
	if second == 0 {
		return 0
	}
	return min(float64(s.Units), second*second/s.fourths(r))
}
