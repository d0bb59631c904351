package stats

import "fmt"

// ShareDiff returns the difference of two shares of connections, treatment minus control, with interval and two-sided p-value, clustered
// by unit: each [Cluster] has how many of a unit's Den connections count in Num. It differs from [RatioDiff] where few or none do: an arm
// without a single failure still has an upper end, and no interval leaves [-1, 1].
//
// Each arm gets Wilson's interval at its effective number of connections, p(1-p)/variance with the clustered variance of RatioDiff
// (Korn and Graubard, Survey Methodology 24, 1998; with Wilson's interval: Franco, Little, Louis and Slud, Journal of Survey Statistics and
// Methodology 7, 2019), but not fewer than if all connections of a unit were alike (Kish's effective number of units) and not more than there
// are, with Student's t for the normal quantile (Welch's degrees of freedom); the two are joined as [Newcombe] does. The p-value
// is 1-conf of the interval that just reaches 0, so that the two never disagree. With one connection a unit it is Newcombe's
// interval but for Student's t. In A/A experiments it rejects 5 % where an arm has dozens of failures, less where it has few.
//
// Errors: [ErrNotEnough] with no or one unit in an arm, [ErrInput] where Num is not between 0 and Den.
func ShareDiff(a1, a0 []Cluster, conf float64) (Interval, float64, error) {
	if err := checkConf(conf); err != nil {
		return Interval{}, 0, err
	}
	s1, err := shareOf("treatment", a1)
	if err != nil {
		return Interval{}, 0, err
	}
	s0, err := shareOf("control", a0)
	if err != nil {
		return Interval{}, 0, err
	}
	df := satterthwaite(s1.spread(), s1.df, s0.spread(), s0.df)
	at := func(t float64) Interval { return hybrid(wilson(s1.p*s1.n, s1.n, t), wilson(s0.p*s0.n, s0.n, t)) }
	// Intervals grow with t: the p-value is that of the t at which 0 is just reached.
	lo, hi := 0.0, 1.0
	for !at(hi).Contains(0) && hi < 1e6 {
		lo, hi = hi, 2*hi
	}
	for range 60 {
		if t := (lo + hi) / 2; at(t).Contains(0) {
			hi = t
		} else {
			lo = t
		}
	}
	return at(TQuantile((1+conf)/2, df)), TTwoSided(hi, df), nil
}

// clusteredShare is a share that behaves as one of n independent connections.
type clusteredShare struct{ p, n, df float64 }

func shareOf(arm string, units []Cluster) (clusteredShare, error) {
	var den, squares float64
	for i, u := range units {
		if u.Num < 0 || u.Num > u.Den {
			return clusteredShare{}, fmt.Errorf("%w: %s: unit %d has %v of %v", ErrInput, arm, i, u.Num, u.Den)
		}
		den += u.Den
		squares += u.Den * u.Den
	}
	r, err := ratioOf(arm, units)
	if err != nil {
		return clusteredShare{}, err
	}
	s := clusteredShare{p: r.r, n: den * den / squares, df: r.df} // all connections of a unit alike
	if r.variance > 0 {
		s.n = min(max(s.n, r.r*(1-r.r)/r.variance), den)
	}
	return s, nil
}

// spread is about the share's variance, and not 0 where the share is 0 or 1: with two more of each kind (Agresti and Coull, The American
// Statistician 52, 1998).
func (s clusteredShare) spread() float64 {
	p := (s.p*s.n + 2) / (s.n + 4)
	return p * (1 - p) / (s.n + 4)
}
