package stats

import (
	"errors"
	"fmt"
	"math"
)

// Errors. Functions wrap them with what is missing and where; the text is fit for a report.
var (
	// ErrNotEnough: too few units, values or trials for the method. More data helps.
	ErrNotEnough = errors.New("not enough data")
	// ErrNoVariation: nothing varies, so that no uncertainty can be estimated. It does not mean that the arms are equal for certain.
	ErrNoVariation = errors.New("no variation")
	// ErrInput: numbers that cannot be: a share above one, a weight below zero, NaN, infinity.
	ErrInput = errors.New("bad input")
)

// Interval is an estimate with its confidence interval. All three are finite, and Lo <= Hi.
type Interval struct{ Estimate, Lo, Hi float64 }

// Contains says whether v lies in the closed interval.
func (i Interval) Contains(v float64) bool { return i.Lo <= v && v <= i.Hi }

// Neg returns the interval of the opposite sign: of control minus treatment.
func (i Interval) Neg() Interval { return Interval{-i.Estimate, -i.Hi, -i.Lo} }

// Cluster is the sums of one unit: what its connections add to a metric's numerator and denominator.
type Cluster struct{ Num, Den float64 }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// checkConf refuses a confidence level outside (0, 1).
func checkConf(conf float64) error {
	if !(conf > 0 && conf < 1) {
		return fmt.Errorf("%w: confidence level %v, expected between 0 and 1 (such as 0.95)", ErrInput, conf)
	}
	return nil
}
