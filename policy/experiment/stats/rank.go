package stats

import (
	"fmt"
	"math"
	"slices"
)

// RankTest is the result of a comparison by ranks.
type RankTest struct {
	// Superiority is the probability that a value of the treatment is above one of the control, ties counted half: 0.5 is no
	// difference. It does not depend on the scale of the values.
	Superiority float64
	U           float64 // Mann-Whitney's statistic of the treatment: pairs in which it is above, ties half
	P           float64 // two-sided
	Method      string  // "exact" or "normal"
}

// fewValues is below what number of values in each arm the exact distribution is used, as R's wilcox.test does.
const fewValues = 50

// MannWhitney compares the values of two arms by Mann and Whitney's test (Annals of Mathematical Statistics 18, 1947): exact where both
// arms have fewer than 50 values and no two are equal, else by the normal approximation with the variance corrected for ties and the
// continuity correction (Lehmann, "Nonparametrics", section 1.4; Hollander and Wolfe, section 4.1). Values must be independent: where a
// unit has several, use [ClusterRank].
//
// Errors: [ErrNotEnough] for an arm without values, [ErrNoVariation] where all values of both arms are equal, [ErrInput] for NaN and
// infinities.
func MannWhitney(x1, x0 []float64) (RankTest, error) {
	all, err := pool(singles(x1), singles(x0))
	if err != nil {
		return RankTest{}, err
	}
	n1, n0 := float64(len(x1)), float64(len(x0))
	n := n1 + n0
	var u, below, ties float64 // below: values of the control seen so far
	for group := range equals(all) {
		ones := 0.0
		for _, v := range group {
			if v.treatment {
				ones++
			}
		}
		t := float64(len(group))
		u += ones * (below + (t-ones)/2)
		below += t - ones
		ties += t * (t - 1) * (t + 1)
	}
	r := RankTest{Superiority: u / (n1 * n0), U: u}
	if ties == 0 && len(x1) < fewValues && len(x0) < fewValues {
		r.Method, r.P = "exact", mannWhitneyExact(u, len(x1), len(x0))
		return r, nil
	}
	r.Method = "normal"
	variance := n1 * n0 / 12 * (n + 1 - ties/(n*(n-1)))
	if variance <= 0 {
		return RankTest{}, fmt.Errorf("%w: all %d values are %v", ErrNoVariation, len(all), all[0].v)
	}
	r.P = NormTwoSided(max(0, math.Abs(u-n1*n0/2)-0.5) / math.Sqrt(variance))
	return r, nil
}

// mannWhitneyExact is twice the smaller tail of U's distribution without ties: of all ways to choose which of n1+n0 ranks are the
// treatment's, counted by their sum.
func mannWhitneyExact(u float64, n1, n0 int) float64 {
	n1, n0 = min(n1, n0), max(n1, n0) // the other arm's U has the same distribution
	// ways[j][s]: choices of j ranks whose U (rank sum less its least, j(j+1)/2) is s. Counts up to C(98, 49) round, but nothing cancels.
	most := n1 * n0
	ways := make([][]float64, n1+1)
	for j := range ways {
		ways[j] = make([]float64, most+1)
	}
	ways[0][0] = 1
	for rank := 1; rank <= n1+n0; rank++ {
		for j := min(rank, n1); j >= 1; j-- {
			// The j-th smallest chosen rank adds how many that are not chosen lie below it.
			for s, add := most, rank-j; s >= add; s-- {
				ways[j][s] += ways[j-1][s-add]
			}
		}
	}
	var all, low, high float64
	for s, w := range ways[n1] {
		all += w
		if float64(s) <= u {
			low += w
		}
		if float64(s) >= u {
			high += w
		}
	}
	return min(1, 2*min(low, high)/all)
}

// pooled is one value of either arm.
type pooled struct {
	v         float64
	weight    float64 // 1 over the number of its unit's values
	unit      int     // in its arm
	treatment bool
}

// pool puts the values of both arms in order. Units without values are left out, and the others numbered anew.
func pool(units1, units0 [][]float64) ([]pooled, error) {
	var all []pooled
	for _, arm := range []struct {
		name      string
		units     [][]float64
		treatment bool
	}{{"treatment", units1, true}, {"control", units0, false}} {
		before, unit := len(all), 0
		for _, values := range arm.units {
			for _, v := range values {
				if !finite(v) {
					return nil, fmt.Errorf("%w: %s has the value %v", ErrInput, arm.name, v)
				}
				all = append(all, pooled{v, 1 / float64(len(values)), unit, arm.treatment})
			}
			if len(values) > 0 {
				unit++
			}
		}
		if len(all) == before {
			return nil, fmt.Errorf("%w: %s has no values", ErrNotEnough, arm.name)
		}
	}
	slices.SortFunc(all, func(a, b pooled) int {
		switch {
		case a.v < b.v:
			return -1
		case a.v > b.v:
			return 1
		}
		return 0
	})
	return all, nil
}

// equals yields the runs of equal values.
func equals(all []pooled) func(yield func([]pooled) bool) {
	return func(yield func([]pooled) bool) {
		for from := 0; from < len(all); {
			to := from + 1
			for to < len(all) && all[to].v == all[from].v {
				to++
			}
			if !yield(all[from:to]) {
				return
			}
			from = to
		}
	}
}

// singles makes each value a unit.
func singles(values []float64) [][]float64 {
	units := make([][]float64, len(values))
	for i := range values {
		units[i] = values[i : i+1]
	}
	return units
}
