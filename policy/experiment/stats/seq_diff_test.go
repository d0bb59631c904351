package stats

import (
	"math"
	"testing"
)

// world is one simulated experiment: connections of units, one by one.
type world struct {
	name   string
	conns  int     // looks: after each
	weight float64 // treatment's share of units
	// unit makes a unit's habit; next picks the unit of the next connection (a new one where it is as large as the number of units).
	next func(r *RNG, units int) int
	unit func(r *RNG) float64
	// draw makes one connection's numerator.
	draw   func(r *RNG, habit, at float64) float64
	effect float64 // truth is draw + effect for treatment
}

func newcomer(_ *RNG, units int) int { return units }

// regulars: a new unit now and then, up to most; the others come back, few of them much more often than the rest.
func regulars(most int, fresh float64) func(*RNG, int) int {
	return func(r *RNG, units int) int {
		if units == 0 || units < most && r.Bernoulli(fresh) {
			return units
		}
		u := r.Float64()
		return int(float64(units) * u * u * u)
	}
}

func one(*RNG) float64 { return 1 }

func bern(p float64) func(*RNG, float64, float64) float64 {
	return func(r *RNG, habit, _ float64) float64 {
		if r.Float64() < p*habit {
			return 1
		}
		return 0
	}
}

func worlds() []world {
	skewed := func(r *RNG) float64 { e := r.Exp(); return e * e / 2 }
	return []world{
		{name: "plain 30 %", conns: 3000, weight: 0.5, next: newcomer, unit: one, draw: bern(0.3)},
		{name: "plain 30 %, 10:90", conns: 3000, weight: 0.1, next: newcomer, unit: one, draw: bern(0.3)},
		{name: "rare 0.1 %", conns: 100000, weight: 0.5, next: newcomer, unit: one, draw: bern(0.001)},
		{name: "rare 0.1 %, 10:90", conns: 200000, weight: 0.1, next: newcomer, unit: one, draw: bern(0.001)},
		{name: "rare 1 %, 20:80", conns: 20000, weight: 0.2, next: newcomer, unit: one, draw: bern(0.01)},
		{name: "clustered 10 %", conns: 8000, weight: 0.5, next: regulars(300, 0.1), unit: skewed, draw: bern(0.1)},
		{name: "clustered 10 %, 10:90", conns: 8000, weight: 0.1, next: regulars(1000, 0.2), unit: skewed, draw: bern(0.1)},
		{name: "clustered 1 %, 10:90", conns: 20000, weight: 0.1, next: regulars(3000, 0.2), unit: skewed, draw: bern(0.01)},
		{name: "thirty units for good", conns: 5000, weight: 0.5, next: regulars(30, 0.5), unit: skewed, draw: bern(0.1)},
		{name: "lognormal times", conns: 3000, weight: 0.5, next: newcomer, unit: one, draw: func(r *RNG, _, _ float64) float64 { return math.Exp(2 * r.Norm()) }},
		{name: "lognormal times, 10:90", conns: 5000, weight: 0.1, next: newcomer, unit: one, draw: func(r *RNG, _, _ float64) float64 { return math.Exp(2 * r.Norm()) }},
		{name: "pareto 1.5, 20:80", conns: 5000, weight: 0.2, next: newcomer, unit: one, draw: func(r *RNG, _, _ float64) float64 { return math.Exp(r.Exp() / 1.5) }},
		{name: "lognormal times of units, 20:80", conns: 5000, weight: 0.2, next: regulars(1000, 0.2), unit: func(r *RNG) float64 { return math.Exp(r.Norm()) }, draw: func(r *RNG, h, _ float64) float64 { return h * math.Exp(r.Norm()) }},
		{name: "outages", conns: 5000, weight: 0.3, next: regulars(500, 0.2), unit: skewed, draw: func(r *RNG, h, at float64) float64 {
			if int(at*10)%3 == 1 {
				return bern(0.4)(r, h, at)
			}
			return bern(0.02)(r, h, at)
		}},
	}
}

func (w *world) run(seed uint64, seqs ...*Sequence) (first []int, said int) {
	r := NewRNG(seed)
	var arms [2]ClusterSums
	type unit struct {
		c     Cluster
		arm   int
		habit float64
	}
	var units []unit
	first = make([]int, len(seqs))
	for k := range w.conns {
		i := w.next(r, len(units))
		if i >= len(units) {
			a := 0
			if r.Bernoulli(w.weight) {
				a = 1
			}
			units = append(units, unit{arm: a, habit: w.unit(r)})
			i = len(units) - 1
		}
		u := &units[i]
		v := w.draw(r, u.habit, float64(k)/float64(w.conns))
		if u.arm == 1 {
			v += w.effect
		}
		old := u.c
		u.c.Num += v
		u.c.Den++
		arms[u.arm].Change(old, u.c)
		for j, s := range seqs {
			iv, _, err := s.Diff(&arms[1], &arms[0])
			if err != nil {
				break
			}
			if said == 0 {
				said = k + 1
			}
			if first[j] == 0 && !iv.Contains(w.effect) {
				first[j] = k + 1
				if iv.Lo > w.effect {
					first[j] = -first[j]
				}
			}
		}
	}
	return first, said
}

func TestSeqX(t *testing.T) {
	for _, w := range worlds() {
		n := 2000
		if w.conns > 50000 {
			n = 400
		}
		var hit [3]int
		var up [3]int
		said := 0
		for k := range n {
			a, _ := NewSequence(0.95)
			b, _ := NewSequence(0.98)
			c, _ := NewSequence(1 - 2*0.01/6)
			f, sd := w.run(uint64(k), a, b, c)
			if sd > 0 {
				said++
			}
			for j, x := range f {
				if x != 0 {
					hit[j]++
				}
				if x < 0 {
					up[j]++
				}
			}
		}
		pc := func(x int) float64 { return 100 * float64(x) / float64(n) }
		t.Logf("%-35s said %4d of %d: 5%%: %.2f (up %.2f) 1%%up: %.2f down %.2f .17%%up: %.2f dn %.2f", w.name, said, n, pc(hit[0]), pc(up[0]), pc(up[1]), pc(hit[1]-up[1]), pc(up[2]), pc(hit[2]-up[2]))
	}
}
