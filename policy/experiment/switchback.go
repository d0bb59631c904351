package experiment

import "halfopen/policy/experiment/stats"

// switchback compares the blocks of an arm with the control's.
func (a *Accumulator) switchback(arm int, m Metric, conf float64) (stats.Interval, float64, error) {
	var blocks []stats.Block
	for i, s := range []*side{a.control[arm], a.arms[arm]} {
		numbers := a.arms[i*arm].blocks // a copy of the control has its numbers
		for k := range s.slots {
			if b := &s.slots[k]; b.den[m] > 0 {
				blocks = append(blocks, stats.Block{Index: numbers[k], Arm: i * arm, Num: b.num[m], Den: b.den[m]})
			}
		}
	}
	t, err := stats.SwitchbackDiff(blocks, len(a.spec.Arms), arm, conf, a.opt.Seed)
	return t.Interval, t.P, err
}
