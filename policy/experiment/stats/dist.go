package stats

import "math"

// NormCDF returns the probability that a standard normal deviate is at most z. Relative error below 1e-14 as far as the tails go (math.Erfc).
func NormCDF(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }

// NormQuantile returns the z of NormCDF(z) = p: -Inf at 0, +Inf at 1, NaN outside [0, 1].
//
// Algorithm AS 241, PPND16 (Wichura, "The percentage points of the normal distribution", Applied Statistics 37(3), 1988): relative
// error about 1e-16.
func NormQuantile(p float64) float64 {
	switch q := p - 0.5; {
	case math.IsNaN(p) || p < 0 || p > 1:
		return math.NaN()
	case math.Abs(q) <= 0.425:
		r := 0.180625 - q*q
		return q * ratio8(r, &normCentre)
	default:
		tail := min(p, 1-p)
		if tail == 0 {
			return math.Copysign(math.Inf(1), q)
		}
		r := math.Sqrt(-math.Log(tail))
		if r <= 5 {
			return math.Copysign(ratio8(r-1.6, &normMiddle), q)
		}
		return math.Copysign(ratio8(r-5, &normTail), q)
	}
}

// ratio8 is a polynomial of degree 7 over another, coefficients from the constant term up.
func ratio8(r float64, c *[2][8]float64) float64 {
	var v [2]float64
	for i := range v {
		for k := 7; k >= 0; k-- {
			v[i] = v[i]*r + c[i][k]
		}
	}
	return v[0] / v[1]
}

// Coefficients of AS 241.
var (
	normCentre = [2][8]float64{
		{3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
			45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727},
		{1, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
			21213.794301586595867, 39307.895800092710610, 28729.085735721942674, 5226.4952788528545610},
	}
	normMiddle = [2][8]float64{
		{1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
			1.27045825245236838258, 0.241780725177450611770, 0.0227238449892691845833, 7.74545014278341407640e-4},
		{1, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
			0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4, 1.05075007164441684324e-9},
	}
	normTail = [2][8]float64{
		{6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 0.296560571828504891230,
			0.0265321895265761230930, 0.00124266094738807843860, 2.71155556874348757815e-5, 2.01033439929228813265e-7},
		{1, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
			7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15},
	}
)

// NormTwoSided returns the probability of a standard normal deviate at least as far from zero as z.
func NormTwoSided(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }

// manyDF is where Student's t is transformed to a normal deviate instead: the continued fraction loses digits as the degrees of freedom
// grow, the transformation gains them.
const manyDF = 1000

// TTwoSided returns the probability that Student's t with df degrees of freedom (any positive number, whole or not) is at least as far
// from zero as t: the regularised incomplete beta function I(df/(df+t^2); df/2, 1/2) (Abramowitz and Stegun 26.7.1). NaN unless df > 0.
func TTwoSided(t, df float64) float64 {
	switch {
	case !(df > 0) || math.IsNaN(t):
		return math.NaN()
	case math.IsInf(t, 0):
		return 0
	case df >= manyDF:
		return NormTwoSided(normalOfT(t, df))
	}
	t2 := t * t
	return betaHalf(df/2, df/(df+t2), t2/(df+t2))
}

// normalOfT is the normal deviate that has the tail of Student's t (Hill, "Algorithm 395: Student's t-distribution", Comm. ACM 13(10),
// 1970).
func normalOfT(t, df float64) float64 {
	a := df - 0.5
	b := 48 * a * a
	y := a * math.Log1p(t*t/df)
	return (1 + (y+3+(((-0.4*y-3.3)*y-24)*y-85.5)/(0.8*y*y+100+b))/b) * math.Sqrt(y)
}

// TCDF returns the probability that Student's t with df degrees of freedom is at most t.
func TCDF(t, df float64) float64 {
	if half := TTwoSided(t, df) / 2; t < 0 {
		return half
	} else {
		return 1 - half
	}
}

// TQuantile returns the t of TCDF(t, df) = p: -Inf at 0, +Inf at 1, NaN outside [0, 1] or unless df > 0. Newton's steps on the
// logarithms of t and of the tail, kept inside a bracket; the result is within 1e-12 of itself.
func TQuantile(p, df float64) float64 {
	switch {
	case math.IsNaN(p) || p < 0 || p > 1 || !(df > 0):
		return math.NaN()
	case p == 0 || p == 1:
		return math.Inf(int(2*p) - 1)
	case p < 0.5:
		return -TQuantile(1-p, df)
	case p == 0.5:
		return 0
	case math.IsInf(df, 1):
		return NormQuantile(p)
	}
	tails := 2 * (1 - p) // of both sides
	lo, hi := 0.0, 1.0
	for TTwoSided(hi, df) > tails {
		lo, hi = hi, 2*hi
	}
	t := (lo + hi) / 2
	for range 100 {
		at := TTwoSided(t, df)
		if at > tails {
			lo = t
		} else {
			hi = t
		}
		// d ln(tails) / d ln(t) = -2 t density(t) / tails.
		next := t * math.Exp(math.Log(at/tails)*at/(2*t*tDensity(t, df)))
		if !(next > lo && next < hi) {
			next = (lo + hi) / 2
		}
		done := math.Abs(next-t) <= 1e-13*t
		if t = next; done {
			break
		}
	}
	return t
}

// tDensity is the density of Student's t.
func tDensity(t, df float64) float64 {
	return math.Exp(lnGammaHalf(df/2)-(df+1)/2*math.Log1p(t*t/df)) / math.Sqrt(df*math.Pi)
}

// lnGammaHalf is ln(Gamma(a+1/2)/Gamma(a)); for large a by its asymptotic series (Tricomi and Erdélyi, Pacific J. Math. 1(1), 1951),
// since the difference of two large logarithms keeps no digits.
func lnGammaHalf(a float64) float64 {
	if a < 30 {
		upper, _ := math.Lgamma(a + 0.5)
		lower, _ := math.Lgamma(a)
		return upper - lower
	}
	i := 1 / a
	return 0.5*math.Log(a) - i/8 + i*i*i/192 - math.Pow(i, 5)/640 + 17*math.Pow(i, 7)/14336
}

// betaHalf is the regularised incomplete beta function I(x; a, 1/2), with y = 1-x given as well so that no digits are lost. Continued
// fraction of Didonato and Morris's kind (Abramowitz and Stegun 26.5.8) by Lentz's method.
func betaHalf(a, x, y float64) float64 {
	switch {
	case x <= 0:
		return 0
	case y <= 0:
		return 1
	}
	// x^a y^(1/2) / B(a, 1/2); ln x from y where x is near 1.
	lnX := math.Log(x)
	if y < 0.5 {
		lnX = math.Log1p(-y)
	}
	front := math.Exp(a*lnX+lnGammaHalf(a)) * math.Sqrt(y/math.Pi)
	if x < (a+1)/(a+2.5) {
		return front * betaFraction(a, 0.5, x) / a
	}
	return 1 - front*betaFraction(0.5, a, y)/0.5
}

func betaFraction(a, b, x float64) float64 {
	const tiny = 1e-300
	guard := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/guard(1-(a+b)*x/(a+1))
	h := d
	for i := 1; i < 1_000_000; i++ {
		m := float64(i)
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / guard(1+even*d)
		c = guard(1 + even/c)
		h *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / guard(1+odd*d)
		c = guard(1 + odd/c)
		step := d * c
		if h *= step; math.Abs(step-1) < 1e-16 {
			break
		}
	}
	return h
}

// Chi2Survival returns the probability that chi-square with df degrees of freedom is at least x: the upper regularised incomplete gamma
// function Q(df/2, x/2) by its series below df/2+1 and by its continued fraction above (Abramowitz and Stegun 6.5.29 and 6.5.31). Good
// to about 1e-13 of itself for up to thousands of degrees of freedom. NaN unless df > 0; 1 for x <= 0.
func Chi2Survival(x, df float64) float64 {
	switch {
	case !(df > 0) || math.IsNaN(x):
		return math.NaN()
	case x <= 0:
		return 1
	case math.IsInf(x, 1):
		return 0
	}
	a := df / 2
	x /= 2
	lg, _ := math.Lgamma(a)
	front := math.Exp(a*math.Log(x) - x - lg)
	if x < a+1 {
		term, sum := 1/a, 1/a
		for n := a + 1; term > sum*1e-17; n++ {
			term *= x / n
			sum += term
		}
		return 1 - front*sum
	}
	const tiny = 1e-300
	b := x + 1 - a
	c, d := 1/tiny, 1/b
	h := d
	for i := 1; i < 1_000_000; i++ {
		an := -float64(i) * (float64(i) - a)
		b += 2
		if d = an*d + b; math.Abs(d) < tiny {
			d = tiny
		}
		if c = b + an/c; math.Abs(c) < tiny {
			c = tiny
		}
		d = 1 / d
		step := d * c
		if h *= step; math.Abs(step-1) < 1e-16 {
			break
		}
	}
	return front * h
}
