package stats

import (
	"errors"
	"math"
	"testing"
)

// srmChance returns exactly, by following the distribution of a two-armed count unit by unit, how likely an alarm at alpha is within n
// units of which a share p goes to the first arm, with a look after each unit (every 1) or after every so many.
func srmChance(t *testing.T, weights [2]float64, p, alpha float64, n, every int) float64 {
	t.Helper()
	s, err := NewSequentialSRM(weights[:])
	if err != nil {
		t.Fatal(err)
	}
	limit := -math.Log(alpha)
	// The e-value is a valley in the first arm's count: it alarms below low and above high, which follow slowly.
	mass, next := make([]float64, n+2), make([]float64, n+2)
	mass[0] = 1
	lo, hi := 0, 0 // where there is mass
	var alarm float64
	for u := 1; u <= n; u++ {
		clear(next[max(0, lo-1) : hi+2])
		for k := lo; k <= hi; k++ {
			next[k] += mass[k] * (1 - p)
			next[k+1] += mass[k] * p
		}
		mass, next = next, mass
		hi++
		for lo < hi && mass[lo] < 1e-18 {
			mass[lo] = 0
			lo++
		}
		for hi > lo && mass[hi] < 1e-18 {
			mass[hi] = 0
			hi--
		}
		if u%every != 0 {
			continue
		}
		for lo <= hi && s.logE([]int{lo, u - lo}) >= limit {
			alarm += mass[lo]
			mass[lo] = 0
			lo++
		}
		for hi >= lo && s.logE([]int{hi, u - hi}) >= limit {
			alarm += mass[hi]
			mass[hi] = 0
			hi--
		}
		if lo > hi {
			break
		}
	}
	return alarm
}

func TestX(t *testing.T) {
	half := [2]float64{1, 1}
	t.Log(srmChance(t, half, .5, .01, 20000, 1))
	t.Log(srmChance(t, half, .52, .01, 20000, 1), srmChance(t, half, .52, .01, 20000, 20000), srmChance(t, half, .52, .01, 20000, 1000))
	_ = errors.Is
}
