package stats

import (
	"fmt"
	"math"
	"slices"
)

// ClusterRankTest is the result of [ClusterRank].
type ClusterRankTest struct {
	// Superiority is the probability that a value of the treatment is above one of the control, ties counted half, where first a unit
	// and then one of its values is drawn. 0.5 is no difference.
	Superiority    Interval
	P              float64 // two-sided
	Method         string  // "student", "permutation" (of units between arms) or "separated"
	Units1, Units0 int     // units with values
}

// A permutation test is made where either arm has fewer units than fewUnits (Student's t is too narrow there: 6 to 8 % false positives
// for 5 %) and both together no more than permutable, over all divisions of the units up to allDivisions of them, else over as many drawn
// ones as drawnDivisions.
const (
	fewUnits       = 15
	permutable     = 60
	allDivisions   = 20_000
	drawnDivisions = 10_000
)

// ClusterRank compares the values of two arms by ranks where a unit has several values, which need not be independent of each other:
// the generalised Wilcoxon test of Brunner and Munzel (Biometrical Journal 42, 2000) on units, as Roy, Harrar and Konietschke extend it to
// dependent replicates ("The nonparametric Behrens-Fisher problem with dependent replicates", Statistics in Medicine 38, 2019), with
// each unit weighing the same. With one value a unit it is Brunner and Munzel's test itself.
//
// Each unit's placement is the mean, over its values, of the other arm's distribution function (mid-ranks; that function is the mean of
// its units' own). Superiority is the mean placement of the treatment's units; its variance is the sum over arms of the variance of
// placements over the number of units; Student's t with Satterthwaite's degrees of freedom, or with few units the same statistic's
// permutation distribution over divisions of the units (Pauly, Asendorf and Konietschke, Biometrical Journal 58, 2016), which is exact in
// an A/A experiment. Drawn divisions use a fixed seed.
//
// Why so: units are what was assigned, so only they are exchangeable. Values are not averaged or reduced to medians first, which would
// make another question of it. Units weigh the same since how often a unit dials can itself be an effect of its arm (a policy that
// breaks connections makes more of them): Datta and Satten's argument against weighing by values (JASA 100, 2005). And no client with
// half of the traffic decides alone. Arms may differ in spread: unlike Mann-Whitney's the test is about 0.5, not about equal
// distributions.
//
// Errors: [ErrNotEnough] with fewer than two units with values in an arm, [ErrNoVariation] where units do not differ at all,
// [ErrInput] for NaN and infinities.
func ClusterRank(units1, units0 [][]float64, conf float64) (ClusterRankTest, error) {
	if err := checkConf(conf); err != nil {
		return ClusterRankTest{}, err
	}
	all, err := pool(units1, units0)
	if err != nil {
		return ClusterRankTest{}, err
	}
	p1, p0 := placements(all)
	r := ClusterRankTest{Units1: len(p1), Units0: len(p0)}
	if r.Units1 < 2 || r.Units0 < 2 {
		return ClusterRankTest{}, fmt.Errorf("%w: %d and %d units with values: two in each arm are the least", ErrNotEnough, r.Units1, r.Units0)
	}
	a := summarise(p1, p0)
	if a.se == 0 && math.Abs(a.mean-0.5) < 1e-9 {
		return ClusterRankTest{}, fmt.Errorf("%w: the units of both arms have the same values", ErrNoVariation)
	}
	r.Superiority.Estimate = a.mean
	var reach float64 // of the interval, in standard errors
	if min(r.Units1, r.Units0) < fewUnits && r.Units1+r.Units0 <= permutable {
		r.Method = "permutation"
		r.P, reach = permute(all, r.Units1, r.Units0, a, conf)
	} else if a.se > 0 {
		r.Method = "student"
		df := satterthwaite(a.v1, float64(r.Units1-1), a.v0, float64(r.Units0-1))
		r.P, reach = TTwoSided((a.mean-0.5)/a.se, df), TQuantile((1+conf)/2, df)
	} else {
		r.Method = "separated"
		r.P = min(1, 2/divisions(r.Units1+r.Units0, r.Units1))
	}
	if a.se > 0 {
		r.Superiority.Lo, r.Superiority.Hi = max(0, a.mean-reach*a.se), min(1, a.mean+reach*a.se)
		return r, nil
	}
	// Every unit is placed alike (the arms do not overlap): no variance can be estimated. It is at most A(1-A) over the smaller
	// arm's units (van Dantzig, Indagationes Mathematicae 13, 1951), which is a share's, so Wilson's interval holds.
	n := float64(min(r.Units1, r.Units0))
	w := wilson(a.mean*n, n, NormQuantile((1+conf)/2))
	r.Superiority.Lo, r.Superiority.Hi = w.Lo, w.Hi
	return r, nil
}

// placements returns each unit's: the chance that a value of it is above one of the other arm.
func placements(all []pooled) (p1, p0 []float64) {
	var n [2]int
	for _, v := range all {
		arm := armOf(v)
		n[arm] = max(n[arm], v.unit+1)
	}
	p := [2][]float64{make([]float64, n[0]), make([]float64, n[1])}
	var below [2]float64 // weight of each arm's values below the group
	for group := range equals(all) {
		var level [2]float64
		for _, v := range group {
			level[armOf(v)] += v.weight
		}
		for _, v := range group {
			other := 1 - armOf(v)
			p[1-other][v.unit] += v.weight * (below[other] + level[other]/2) / float64(n[other])
		}
		below[0] += level[0]
		below[1] += level[1]
	}
	return p[1], p[0]
}

func armOf(v pooled) int {
	if v.treatment {
		return 1
	}
	return 0
}

// placed is a division's mean placement of the treatment with its error.
type placed struct{ mean, v1, v0, se float64 }

func summarise(p1, p0 []float64) placed {
	m1, s1 := meanVariance(p1)
	_, s0 := meanVariance(p0)
	a := placed{mean: m1, v1: s1 / float64(len(p1)), v0: s0 / float64(len(p0))}
	if v := a.v1 + a.v0; v > 1e-24 { // else what rounding left
		a.se = math.Sqrt(v)
	}
	return a
}

func meanVariance(v []float64) (mean, variance float64) {
	for _, x := range v {
		mean += x
	}
	mean /= float64(len(v))
	for _, x := range v {
		variance += (x - mean) * (x - mean)
	}
	return mean, variance / float64(len(v)-1)
}

// statistic is how many standard errors the mean is from 0.5.
func (a placed) statistic() float64 {
	switch d := math.Abs(a.mean - 0.5); {
	case a.se > 0:
		return d / a.se
	case d < 1e-9:
		return 0
	}
	return math.Inf(1)
}

// permute divides the units between the arms in other ways: p is how often the statistic is at least as large as the one seen, reach
// the largest statistic that is no evidence at conf (+Inf where there are too few divisions).
func permute(all []pooled, n1, n0 int, seen placed, conf float64) (p, reach float64) {
	n := n1 + n0
	values := make([][]float64, n)
	for _, v := range all { // in order within each unit, since all is
		at := v.unit
		if !v.treatment {
			at += n1
		}
		values[at] = append(values[at], v.v)
	}
	above := make([][]float64, n) // above[i][j]: the chance that a value of unit i is above one of unit j
	for i := range above {
		above[i] = make([]float64, n)
	}
	for i := range n {
		for j := range i {
			above[i][j] = chanceAbove(values[i], values[j])
			above[j][i] = 1 - above[i][j]
		}
	}
	var statistics []float64
	p1, p0 := make([]float64, n1), make([]float64, n0)
	try := func(order []int) {
		clear(p0)
		for a, i := range order[:n1] {
			p1[a] = 0
			for b, j := range order[n1:] {
				p1[a] += above[i][j] / float64(n0)
				p0[b] += above[j][i] / float64(n1)
			}
		}
		statistics = append(statistics, summarise(p1, p0).statistic())
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if divisions(n, n1) <= allDivisions {
		eachDivision(n, n1, order, try)
	} else {
		statistics = append(statistics, seen.statistic()) // the division seen is one of them: p is never 0
		for r := NewRNG(1); len(statistics) <= drawnDivisions; {
			r.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
			try(order)
		}
	}
	slices.Sort(statistics)
	// Equal but for rounding counts as equal.
	least, _ := slices.BinarySearch(statistics, seen.statistic()*(1-1e-9))
	total := float64(len(statistics))
	// The largest statistic whose own p is not below 1-conf.
	within := len(statistics) - int(math.Ceil((1-conf)*total-1e-9))
	return float64(len(statistics)-least) / total, statistics[within]
}

// chanceAbove is the chance that a value of a is above one of b, ties half; both in order.
func chanceAbove(a, b []float64) float64 {
	var sum, below, upTo int
	for _, v := range a {
		for below < len(b) && b[below] < v {
			below++
		}
		for upTo < len(b) && b[upTo] <= v {
			upTo++
		}
		sum += below + upTo
	}
	return float64(sum) / (2 * float64(len(a)) * float64(len(b)))
}

// divisions is the number of ways to choose k of n, +Inf where that is too much.
func divisions(n, k int) float64 {
	ways := 1.0
	for i := range min(k, n-k) {
		ways *= float64(n-i) / float64(i+1)
	}
	return math.Round(ways)
}

// eachDivision calls f with each way to put k of n numbers first; f must not keep order.
func eachDivision(n, k int, order []int, f func(order []int)) {
	chosen := make([]int, k)
	for i := range chosen {
		chosen[i] = i
	}
	for {
		rest, next := k, 0
		for i := range n {
			if next < k && chosen[next] == i {
				order[next] = i
				next++
			} else {
				order[rest] = i
				rest++
			}
		}
		f(order)
		i := k - 1
		for i >= 0 && chosen[i] == n-k+i {
			i--
		}
		if i < 0 {
			return
		}
		chosen[i]++
		for j := i + 1; j < k; j++ {
			chosen[j] = chosen[j-1] + 1
		}
	}
}
