package stats

import (
	"fmt"
	"math"
)

// checkShare refuses x of n that is no share.
func checkShare(arm string, x, n int) error {
	switch {
	case n < 0 || x < 0 || x > n:
		return fmt.Errorf("%w: %s has %d of %d", ErrInput, arm, x, n)
	case n == 0:
		return fmt.Errorf("%w: %s is empty", ErrNotEnough, arm)
	}
	return nil
}

func checkShares(x1, n1, x0, n0 int, conf float64) error {
	if err := checkShare("treatment", x1, n1); err != nil {
		return err
	}
	if err := checkShare("control", x0, n0); err != nil {
		return err
	}
	return checkConf(conf)
}

// Wilson returns the share x of n with Wilson's score interval (Wilson, JASA 22, 1927):
//
//	(p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
//
// It lies within [0, 1] and is honest for 0 and n as well. Trials must be independent: connections of one client are not, unless the
// unit is the connection ([RatioDiff] is for the rest). Errors: [ErrNotEnough] for n = 0, [ErrInput].
func Wilson(x, n int, conf float64) (Interval, error) {
	if err := checkShare("the arm", x, n); err != nil {
		return Interval{}, err
	}
	if err := checkConf(conf); err != nil {
		return Interval{}, err
	}
	return wilson(float64(x), float64(n), NormQuantile((1+conf)/2)), nil
}

// wilson takes counts that need not be whole, and the quantile.
func wilson(x, n, z float64) Interval {
	p, z2 := x/n, z*z
	half := z * math.Sqrt(p*(1-p)/n+z2/(4*n*n))
	i := Interval{p, (p + z2/(2*n) - half) / (1 + z2/n), (p + z2/(2*n) + half) / (1 + z2/n)}
	// Rounding must not push the ends out of [0, 1] or past the estimate.
	i.Lo, i.Hi = max(0, min(i.Lo, p)), min(1, max(i.Hi, p))
	if x == 0 {
		i.Lo = 0
	}
	if x == n {
		i.Hi = 1
	}
	return i
}

// Newcombe returns the difference of two independent shares, x1 of n1 minus x0 of n0, with Newcombe's hybrid score interval (method 10
// of Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17, 1998): from the two
// [Wilson] intervals (l, u),
//
//	d - sqrt((p1-l1)^2 + (u0-p0)^2)  to  d + sqrt((u1-p1)^2 + (p0-l0)^2)
//
// It lies within [-1, 1] and needs no success in either arm. Errors as Wilson's, and the same demand for independence.
func Newcombe(x1, n1, x0, n0 int, conf float64) (Interval, error) {
	if err := checkShares(x1, n1, x0, n0, conf); err != nil {
		return Interval{}, err
	}
	z := NormQuantile((1 + conf) / 2)
	return hybrid(wilson(float64(x1), float64(n1), z), wilson(float64(x0), float64(n0), z)), nil
}

// hybrid makes an interval of a difference of shares from the intervals of its two terms.
func hybrid(a1, a0 Interval) Interval {
	d := a1.Estimate - a0.Estimate
	return Interval{d,
		max(-1, d-math.Hypot(a1.Estimate-a1.Lo, a0.Hi-a0.Estimate)),
		min(1, d+math.Hypot(a1.Hi-a1.Estimate, a0.Estimate-a0.Lo))}
}

// Fisher returns the two-sided p-value of Fisher's exact test on x1 of n1 against x0 of n0: given the margins, the probability of all
// tables that are at most as likely as this one (Fisher, "Statistical Methods for Research Workers", section 21.02; to a relative 1e-7, as
// R's fisher.test, so that tables equally likely but for rounding count).
//
// Tables are weighed by the ratio of each to its neighbour, outwards from the likeliest. That keeps all digits at any count, where
// differences of log-gammas of millions keep ten, and costs a few thousand steps for a million trials. Below about 1e-300 the result is 0.
// Errors: [ErrNotEnough] for an empty arm, [ErrInput].
func Fisher(x1, n1, x0, n0 int) (p float64, err error) {
	if err := checkShares(x1, n1, x0, n0, 0.5); err != nil {
		return 0, err
	}
	successes := x1 + x0
	lo, hi := max(0, successes-n0), min(successes, n1)
	// up is the weight of table k+1 over the weight of table k, k being the treatment's successes.
	up := func(k int) float64 {
		return float64(n1-k) / float64(k+1) * (float64(successes-k) / float64(n0-successes+k+1))
	}
	mode := int((float64(n1) + 1) * (float64(successes) + 1) / (float64(n1) + float64(n0) + 2))
	mode = max(lo, min(mode, hi))
	seen := 1.0
	for k := mode; k < x1 && seen > 0; k++ {
		seen *= up(k)
	}
	for k := mode; k > x1 && seen > 0; k-- {
		seen /= up(k - 1)
	}
	atMost := seen * (1 + 1e-7)
	var all, extreme float64
	add := func(w float64) {
		all += w
		if w <= atMost {
			extreme += w
		}
	}
	add(1)
	w := 1.0
	for k := mode; k < hi && w > 0; k++ {
		w *= up(k)
		add(w)
	}
	w = 1
	for k := mode; k > lo && w > 0; k-- {
		w /= up(k - 1)
		add(w)
	}
	return min(1, extreme/all), nil
}

// ShareTest is the result of [CompareShares].
type ShareTest struct {
	Diff   Interval // Newcombe's
	P      float64  // two-sided
	Method string   // "fisher" or "chi-square"
	Why    string   // why this test, for the report
}

// smallCount is Cochran's rule (Biometrics 10, 1954): below an expected count of 5 chi-square's approximation is not to be trusted.
const smallCount = 5

// CompareShares compares two independent shares: the difference with [Newcombe]'s interval, which holds at any count, and a p-value from
// [Fisher]'s exact test where an expected count of the 2x2 table is below 5 (Cochran's rule), else from Pearson's chi-square with N-1
// for N and without continuity correction (E. Pearson 1947; recommended by Campbell, Statistics in Medicine 26, 2007), which keeps its
// 5 % where Fisher's stays well below. With counts that small the interval can exclude 0 while p is above 1-conf: p decides. Errors as
// Newcombe's.
func CompareShares(x1, n1, x0, n0 int, conf float64) (ShareTest, error) {
	diff, err := Newcombe(x1, n1, x0, n0, conf)
	if err != nil {
		return ShareTest{}, err
	}
	t := ShareTest{Diff: diff}
	a, b, n := float64(x1), float64(x0), float64(n1)+float64(n0)
	yes := a + b
	least := min(yes, n-yes) * float64(min(n1, n0)) / n
	if least < smallCount {
		t.Method = "fisher"
		t.Why = fmt.Sprintf("an expected count is %.2g, below %d: Fisher's exact test", least, smallCount)
		t.P, err = Fisher(x1, n1, x0, n0)
		return t, err
	}
	t.Method = "chi-square"
	t.Why = fmt.Sprintf("every expected count is at least %d: chi-square with N-1", smallCount)
	z := diff.Estimate / math.Sqrt(yes/n*(n-yes)*(1/float64(n1)+1/float64(n0))/(n-1))
	t.P = NormTwoSided(z)
	return t, nil
}
