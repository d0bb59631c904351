package proxy

import (
	"math"
	"testing"
)

// allocations is how many allocations a turn makes on the average of runs. It is the least of several measurements: the writers of the
// log and of captures have goroutines of their own, whose allocations (a file that is begun, a buffer that grows) count like a turn's,
// but not in each measurement.
func allocations(runs int, turn func()) float64 {
	least := math.Inf(1)
	for range 5 {
		if least = min(least, testing.AllocsPerRun(runs, turn)); least == 0 {
			break
		}
	}
	return least
}
