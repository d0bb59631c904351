package experiment

import (
	"slices"

	"halfopen/policy/experiment/stats"
)

// steps is how many steps of a distribution function a report has at most.
const steps = 120

// timeFigure is the distribution of a metric's times that are kept.
func timeFigure(m Metric, units [][]float64, conf float64) (TimeFigure, bool) {
	if len(units) < 2 {
		return TimeFigure{}, false
	}
	e, err := stats.NewECDF(units, conf)
	if err != nil {
		return TimeFigure{}, false
	}
	f := TimeFigure{Metric: m.String(), N: len(flat(units)), Median: round(e.Quantile(0.5)), P95: round(e.Quantile(0.95)), Max: round(slices.Max(e.X)), Band: round(min(e.Band, 1))}
	x, p := e.Thin(steps)
	for i := range x {
		f.ECDF = append(f.ECDF, Step{round(x[i]), round(p[i])})
	}
	return f, true
}
