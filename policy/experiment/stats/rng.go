package stats

import (
	"math"
	"math/bits"
)

// RNG is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
// Vigna's public-domain splitmix64.c): 64 bits of state, period 2^64, each output once a period. It is for resampling and simulation,
// never for secrets. The stream of a seed is part of this package's contract: a report made again from the same log is the same report.
// The zero value is the generator of seed 0. Not safe for concurrent use.
type RNG struct {
	state uint64
	// The polar method makes normal deviates in pairs.
	spare    float64
	hasSpare bool
}

const gamma = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio, odd

// NewRNG returns the generator of a seed. Any seed is as good as another.
func NewRNG(seed uint64) *RNG { return &RNG{state: seed} }

// mix64 is SplitMix64's output function, a bijection of 64 bits.
func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Fork returns a generator for one part of a job, so that parts may be done in any order. It depends on where r stands and on the part's
// number; r itself does not move. Parts do not overlap in practice: a hash spreads their starts over the period.
func (r *RNG) Fork(part uint64) *RNG {
	return &RNG{state: mix64(r.state ^ mix64(part*gamma+0x632be59bd9b4e019))}
}

// Uint64 returns 64 random bits.
func (r *RNG) Uint64() uint64 {
	r.state += gamma
	return mix64(r.state)
}

// Float64 returns a number in [0, 1): a multiple of 2^-53, all equally likely.
func (r *RNG) Float64() float64 { return float64(r.Uint64()>>11) * 0x1p-53 }

// Intn returns a number in [0, n), without bias (Lemire, "Fast random integer generation in an interval", ACM TOMACS 29(1), 2019).
// It panics unless n is positive.
func (r *RNG) Intn(n int) int {
	if n <= 0 {
		panic("stats: Intn of nothing")
	}
	bound := uint64(n)
	hi, lo := bits.Mul64(r.Uint64(), bound)
	if lo < bound {
		for least := -bound % bound; lo < least; {
			hi, lo = bits.Mul64(r.Uint64(), bound)
		}
	}
	return int(hi)
}

// Bernoulli returns true with probability p.
func (r *RNG) Bernoulli(p float64) bool { return r.Float64() < p }

// Binomial returns how many of n trials succeed with probability p each: by inversion from the likeliest number outwards, so in about
// sqrt(n p (1-p)) steps. It is 0 for n <= 0 and p is cut to [0, 1].
func (r *RNG) Binomial(n int, p float64) int {
	switch {
	case n <= 0 || !(p > 0):
		return 0
	case p >= 1:
		return n
	case p > 0.5:
		return n - r.Binomial(n, 1-p)
	}
	mode := int(float64(n+1) * p)
	odds := p / (1 - p)
	all, _ := math.Lgamma(float64(n + 1))
	yes, _ := math.Lgamma(float64(mode + 1))
	no, _ := math.Lgamma(float64(n - mode + 1))
	up := math.Exp(all - yes - no + float64(mode)*math.Log(p) + float64(n-mode)*math.Log1p(-p))
	down := up
	u := r.Float64() - up
	for lo, hi := mode, mode; u >= 0 && (lo > 0 || hi < n); {
		if hi < n {
			up *= float64(n-hi) / float64(hi+1) * odds
			hi++
			if u -= up; u < 0 {
				return hi
			}
		}
		if lo > 0 {
			down *= float64(lo) / (float64(n-lo+1) * odds)
			lo--
			if u -= down; u < 0 {
				return lo
			}
		}
	}
	return mode
}

// Norm returns a standard normal deviate (Marsaglia's polar method).
func (r *RNG) Norm() float64 {
	if r.hasSpare {
		r.hasSpare = false
		return r.spare
	}
	for {
		u, v := 2*r.Float64()-1, 2*r.Float64()-1
		s := u*u + v*v
		if s >= 1 || s == 0 {
			continue
		}
		f := math.Sqrt(-2 * math.Log(s) / s)
		r.spare, r.hasSpare = v*f, true
		return u * f
	}
}

// Exp returns an exponential deviate of mean 1.
func (r *RNG) Exp() float64 { return -math.Log1p(-r.Float64()) }

// Shuffle puts n things in random order (Fisher-Yates); swap exchanges the i-th and the j-th.
func (r *RNG) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, r.Intn(i+1))
	}
}

// Perm returns the numbers 0 to n-1 in random order.
func (r *RNG) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	r.Shuffle(n, func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}
