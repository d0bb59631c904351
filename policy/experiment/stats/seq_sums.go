package stats

import "math"

// ClusterSums is one arm's sums over its units, which change as units keep gaining connections. It is all that a [Sequence] or a
// [RatioSequence] needs, takes constant time to keep and constant memory whatever the number of units. The zero value is an arm without
// units.
type ClusterSums struct {
	Units    int
	Num, Den float64
	// Sums over units of products of their sums: second and fourth degree.
	nn, nd, dd             float64
	n4, n3d, n2d2, nd3, d4 float64
}

// Change takes a unit from its old sums to its new ones. A unit's first sums come with the zero Cluster as old; a unit whose both sums
// are zero counts for nothing.
func (s *ClusterSums) Change(old, new Cluster) {
	if old != (Cluster{}) {
		s.add(old, -1)
	}
	if new != (Cluster{}) {
		s.add(new, 1)
	}
}

func (s *ClusterSums) add(c Cluster, sign float64) {
	n, d := c.Num, c.Den
	nn, nd, dd := n*n, n*d, d*d
	s.Units += int(sign)
	s.Num += sign * n
	s.Den += sign * d
	s.nn += sign * nn
	s.nd += sign * nd
	s.dd += sign * dd
	s.n4 += sign * nn * nn
	s.n3d += sign * nn * nd
	s.n2d2 += sign * nn * dd
	s.nd3 += sign * nd * dd
	s.d4 += sign * dd * dd
}

// Ratio is Num over Den; NaN without a denominator.
func (s *ClusterSums) Ratio() float64 {
	if s.Den == 0 {
		return math.NaN()
	}
	return s.Num / s.Den
}

// squares is the sum over units of (num - r den)^2. What is within rounding of zero is zero.
func (s *ClusterSums) squares(r float64) float64 {
	v := s.nn - 2*r*s.nd + r*r*s.dd
	if v <= 1e-12*(s.nn+r*r*s.dd) {
		return 0
	}
	return v
}

// fourths is the sum over units of (num - r den)^4.
func (s *ClusterSums) fourths(r float64) float64 {
	r2 := r * r
	v := s.n4 - 4*r*s.n3d + 6*r2*s.n2d2 - 4*r*r2*s.nd3 + r2*r2*s.d4
	return max(v, 0)
}

// clustersOf sums units up, for data at rest.
func clustersOf(units []Cluster) *ClusterSums {
	s := new(ClusterSums)
	for _, c := range units {
		s.Change(Cluster{}, c)
	}
	return s
}
