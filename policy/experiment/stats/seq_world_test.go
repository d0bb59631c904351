package stats

import "math"

// world is a kind of experiment to simulate: connections of units, one by one, with a look after each, or after some where there are many.
type world struct {
	name   string
	conns  int
	weight float64 // treatment's share of units
	// next picks the unit of the next connection: a new one where it is as large as the number of units.
	next func(r *RNG, units int) int
	// habit makes what is a unit's own, 1 on average.
	habit func(*RNG) float64
	// draw makes a connection's numerator; at runs from 0 to 1 over the experiment.
	draw   [2]func(r *RNG, habit, at float64) float64 // of control and treatment
	truth  [2]float64                                 // its mean over units; not needed where both draw alike
	lone   bool                                       // no unit comes twice
	silent bool                                       // too little happens for an interval in most experiments
}

// newcomer: each connection is of a new unit.
func newcomer(_ *RNG, units int) int { return units }

// regulars: a new unit now and then, up to most; the others come back, some much more often than the rest.
func regulars(most int, fresh float64) func(*RNG, int) int {
	return func(r *RNG, units int) int {
		if units == 0 || units < most && r.Bernoulli(fresh) {
			return units
		}
		u := r.Float64()
		return int(float64(units) * u * math.Sqrt(u))
	}
}

func alike(*RNG) float64   { return 1 }
func upTo2(r *RNG) float64 { return 2 * r.Float64() }
func skewed(r *RNG) float64 {
	e := r.Exp()
	return e * e / 2
}

type drawing = func(r *RNG, habit, at float64) float64

func share(p float64) drawing {
	return func(r *RNG, habit, _ float64) float64 {
		if r.Float64() < p*habit {
			return 1
		}
		return 0
	}
}

func logNormal(sigma, mean float64) drawing {
	median := mean * math.Exp(-sigma*sigma/2)
	return func(r *RNG, habit, _ float64) float64 { return habit * median * math.Exp(sigma*r.Norm()) }
}

func pareto(shape float64) drawing {
	return func(r *RNG, habit, _ float64) float64 { return habit * math.Exp(r.Exp()/shape) }
}

// outages: in three tenths of the time 40 % fail, whoever they are.
func outages(r *RNG, habit, at float64) float64 {
	if int(at*10)%3 == 1 {
		return share(0.4)(r, habit, at)
	}
	return share(0.02)(r, habit, at)
}

func both(d drawing) [2]drawing { return [2]drawing{d, d} }

func worlds() []world {
	return []world{
		// A/A.
		{name: "share 30 %", conns: 4000, weight: 0.5, next: newcomer, lone: true, habit: alike, draw: both(share(0.3))},
		{name: "share 30 %, arms 10:90", conns: 3000, weight: 0.1, next: newcomer, lone: true, habit: alike, draw: both(share(0.3))},
		{name: "share 0.1 %", conns: 40_000, weight: 0.5, next: newcomer, lone: true, habit: alike, draw: both(share(0.001))},
		{name: "share 0.1 %, arms 20:80", conns: 50_000, weight: 0.2, next: newcomer, lone: true, habit: alike, draw: both(share(0.001))},
		{name: "by unit, 10 %", conns: 4000, weight: 0.5, next: regulars(400, 0.1), habit: upTo2, draw: both(share(0.1))},
		{name: "by unit, 10 %, arms 10:90", conns: 8000, weight: 0.1, next: regulars(2000, 0.2), habit: upTo2, draw: both(share(0.1))},
		{name: "by unit, 1 %, arms 20:80", conns: 15_000, weight: 0.2, next: regulars(2000, 0.2), habit: skewed, draw: both(share(0.01))},
		{name: "sixty units for good", conns: 4000, weight: 0.5, next: regulars(60, 0.5), habit: upTo2, draw: both(share(0.2))},
		{name: "lognormal times", conns: 3000, weight: 0.5, next: newcomer, lone: true, habit: alike, draw: both(logNormal(2, 1))},
		{name: "lognormal times by unit, arms 20:80", conns: 5000, weight: 0.2, next: regulars(1000, 0.2), habit: upTo2, draw: both(logNormal(1, 1))},
		{name: "Pareto 1.5 (no variance), arms 20:80", conns: 4000, weight: 0.2, next: newcomer, lone: true, habit: alike, draw: both(pareto(1.5)), silent: true},
		{name: "outages", conns: 4000, weight: 0.3, next: regulars(500, 0.2), habit: skewed, draw: both(outages)},
		// With an effect.
		{name: "30 % against 20 %", conns: 3000, weight: 0.5, next: newcomer, lone: true, habit: alike,
			draw: [2]drawing{share(0.2), share(0.3)}, truth: [2]float64{0.2, 0.3}},
		{name: "0.2 % against 2 %, arms 20:80", conns: 10_000, weight: 0.2, next: newcomer, lone: true, habit: alike,
			draw: [2]drawing{share(0.02), share(0.002)}, truth: [2]float64{0.02, 0.002}},
		{name: "4 % against 1 % by unit, arms 20:80", conns: 10_000, weight: 0.2, next: regulars(2000, 0.3), habit: upTo2,
			draw: [2]drawing{share(0.01), share(0.04)}, truth: [2]float64{0.01, 0.04}},
		{name: "times of 2 s with little and 1 s with much spread", conns: 3000, weight: 0.3, next: regulars(500, 0.3), habit: upTo2,
			draw: [2]drawing{logNormal(1.2, 1), logNormal(0.3, 2)}, truth: [2]float64{1, 2}},
	}
}

// run is one experiment: whether it ever said something, whether an interval of the difference ever missed the truth, and the same of
// the treatment's own ratio where the truth is known (else false).
func (w *world) run(seed uint64, conf float64) (said, missed, ownMissed bool) {
	r := NewRNG(seed)
	diff, _ := NewSequence(conf)
	own, _ := NewRatioSequence(conf, 1)
	truth := w.truth[1] - w.truth[0]
	type unit struct {
		Cluster
		arm   int
		habit float64
	}
	var units []unit
	var arms [2]ClusterSums
	for k := range w.conns {
		i := w.next(r, len(units))
		if i == 1 && w.lone { // the last one never comes again
			units, i = units[:0], 0
		}
		if i == len(units) {
			u := unit{habit: w.habit(r)}
			if r.Bernoulli(w.weight) {
				u.arm = 1
			}
			units = append(units, u)
		}
		u := &units[i]
		old := u.Cluster
		u.Num += w.draw[u.arm](r, u.habit, float64(k)/float64(w.conns))
		u.Den++
		arms[u.arm].Change(old, u.Cluster)
		if k%max(1, w.conns/2000) != 0 {
			continue
		}
		if iv, _, err := diff.Diff(&arms[1], &arms[0]); err == nil {
			said = true
			missed = missed || !iv.Contains(truth)
		}
		if w.truth[1] > 0 && !ownMissed {
			iv, err := own.Interval(&arms[1])
			ownMissed = err == nil && !iv.Contains(w.truth[1])
		}
	}
	return said, missed, ownMissed
}
