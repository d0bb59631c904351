package stats

import (
	"fmt"
	"slices"
)

// Holm returns p-values adjusted for being several, by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979), in the order
// given: each may be held against the level by itself, and the chance that any true null hypothesis falls is at most the level, whatever
// the dependence between the tests.
//
//	sorted p_(1) <= ... <= p_(m): adjusted_(i) = max over k <= i of min(1, (m-k+1) p_(k))
//
// Tests that could not be made are no members of the family: leave them out. Error: [ErrInput] for a p outside [0, 1]. No p gives none.
func Holm(p []float64) ([]float64, error) {
	order := make([]int, len(p))
	for i, v := range p {
		if !(v >= 0 && v <= 1) {
			return nil, fmt.Errorf("%w: p-value %v", ErrInput, v)
		}
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case p[a] < p[b]:
			return -1
		case p[a] > p[b]:
			return 1
		}
		return a - b
	})
	adjusted := make([]float64, len(p))
	least := 0.0
	for k, i := range order {
		least = max(least, min(1, float64(len(p)-k)*p[i]))
		adjusted[i] = least
	}
	return adjusted, nil
}
