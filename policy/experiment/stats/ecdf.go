package stats

import (
	"fmt"
	"math"
	"slices"
)

// ECDF is an empirical distribution function: F[i] is the share of values that are at most X[i]. X has each value once, in order.
type ECDF struct {
	X, F          []float64
	Values, Units int
	// Band is by how much the true distribution function may lie above or below anywhere, with the confidence asked for.
	Band float64
}

// NewECDF returns the distribution of an arm's values, each weighing the same, with the band of Dvoretzky, Kiefer and Wolfowitz in
// Massart's form (Annals of Probability 18, 1990): sqrt(ln(2/(1-conf)) / 2n), simultaneous for all values. For n stands the
// effective number of units (Kish), (Σm)^2/Σm^2 with m the values of each: as if all values of a unit were one. With one value a unit
// it is their number and the band is exact in the sense of the inequality; with more it is a safe guide, wider than needed.
//
// Errors: [ErrNotEnough] without values, [ErrInput] for NaN and infinities.
func NewECDF(units [][]float64, conf float64) (*ECDF, error) {
	if err := checkConf(conf); err != nil {
		return nil, err
	}
	e := &ECDF{}
	var all []float64
	var squares float64
	for _, values := range units {
		if m := float64(len(values)); m > 0 {
			all = append(all, values...)
			squares += m * m
			e.Units++
		}
	}
	if e.Values = len(all); e.Values == 0 {
		return nil, fmt.Errorf("%w: no values", ErrNotEnough)
	}
	for _, v := range all {
		if !finite(v) {
			return nil, fmt.Errorf("%w: the value %v", ErrInput, v)
		}
	}
	slices.Sort(all)
	n := float64(e.Values)
	for i, v := range all {
		if i+1 < len(all) && all[i+1] == v {
			continue
		}
		e.X = append(e.X, v)
		e.F = append(e.F, float64(i+1)/n)
	}
	e.Band = math.Sqrt(math.Log(2/(1-conf)) / (2 * n * n / squares))
	return e, nil
}

// At returns the share of values that are at most x.
func (e *ECDF) At(x float64) float64 {
	i, found := slices.BinarySearch(e.X, x)
	if found {
		return e.F[i]
	}
	if i == 0 {
		return 0
	}
	return e.F[i-1]
}

// Bounds returns the band at x, cut to [0, 1].
func (e *ECDF) Bounds(x float64) (lo, hi float64) {
	f := e.At(x)
	return max(0, f-e.Band), min(1, f+e.Band)
}

// Quantile returns the least value that at least a share q of values do not exceed, and its mean with the next value where the share is
// exactly q (definition 2 of Hyndman and Fan, The American Statistician 50, 1996): the middle value, or the mean of the middle two. q is cut
// to [0, 1].
func (e *ECDF) Quantile(q float64) float64 {
	// Shares are whole numbers over Values: half of one is tolerance enough, and 0.95 is no binary fraction.
	slack := 1e-9
	i, _ := slices.BinarySearchFunc(e.F, q-slack, func(f, q float64) int {
		if f < q {
			return -1
		}
		return 1
	})
	i = min(i, len(e.X)-1)
	if e.F[i] <= q+slack && i+1 < len(e.X) {
		return (e.X[i] + e.X[i+1]) / 2
	}
	return e.X[i]
}

// Thin returns at most n points for drawing, the first and the last among them, about evenly spread over the shares. n below 2 is taken
// as 2. What it leaves out lies within 1/(n-1) of a share of a point kept, or is part of one step.
func (e *ECDF) Thin(n int) (x, f []float64) {
	n = max(n, 2)
	if len(e.X) <= n {
		return slices.Clone(e.X), slices.Clone(e.F)
	}
	x, f = append(x, e.X[0]), append(f, e.F[0])
	step := (1 - e.F[0]) / float64(n-1)
	next := 1
	for i := 1; i < len(e.X); i++ {
		if e.F[i]-e.F[0] < float64(next)*step-1e-12 && i < len(e.X)-1 {
			continue
		}
		x, f = append(x, e.X[i]), append(f, e.F[i])
		for next < n && float64(next)*step-1e-12 <= e.F[i]-e.F[0] {
			next++
		}
	}
	return x, f
}
