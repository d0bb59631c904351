package stats

import "fmt"

// SRMAlarm is the level below which [SRM]'s p-value raises the alarm. It is customary to take 0.01 to 0.0005 (Fabijan et al., "Diagnosing
// sample ratio mismatch in online controlled experiments", KDD 2019), since the alarm withholds a result. At 0.005 one report in 200 is
// withheld without cause, and 52:48 for 50:50 is seen within 20,000 units with probability 0.998. It is for one look, at the end.
const SRMAlarm = 0.005

// leastExpected is the expected count of each arm below which chi-square's approximation is not used (Cochran's rule).
const leastExpected = 5

// SRM tests whether counts of units per arm fit their weights (a sample-ratio mismatch: units lost or moved between assignment and log
// make arms incomparable): Pearson's chi-square goodness of fit, Σ(count - expected)^2/expected with one degree of freedom fewer than
// arms. Weights are in any unit; they are taken in proportion. Count units, not connections: those of one unit are not independent.
//
// Errors: [ErrNotEnough] where an arm expects fewer than 5 units, [ErrInput] for fewer than two arms, a count below zero or a weight
// that is not positive.
func SRM(counts []int, weights []float64) (p float64, err error) {
	if len(counts) != len(weights) || len(counts) < 2 {
		return 0, fmt.Errorf("%w: %d counts for %d weights, expected one for each of two arms or more", ErrInput, len(counts), len(weights))
	}
	var total, weight, least float64
	for i, c := range counts {
		if c < 0 || !(weights[i] > 0) || !finite(weights[i]) {
			return 0, fmt.Errorf("%w: arm %d has %d units for weight %v", ErrInput, i, c, weights[i])
		}
		total += float64(c)
		weight += weights[i]
		if i == 0 || weights[i] < least {
			least = weights[i]
		}
	}
	if expected := total * (least / weight); expected < leastExpected {
		return 0, fmt.Errorf("%w: %v units in all: the smallest arm expects %.3g, below %d", ErrNotEnough, total, expected, leastExpected)
	}
	var x2 float64
	for i, c := range counts {
		expected := total * (weights[i] / weight)
		d := float64(c) - expected
		x2 += d * d / expected
	}
	return Chi2Survival(x2, float64(len(counts)-1)), nil
}
