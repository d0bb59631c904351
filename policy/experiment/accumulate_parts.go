package experiment

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"halfopen/policy/experiment/stats"
)

// cell are sums of some connections.
type cell struct {
	conns    int
	num, den [NumMetrics]float64
}

func (c *cell) add(v *values) {
	c.conns++
	for m := range NumMetrics {
		if v.ok[m] {
			c.num[m] += v.num[m]
			c.den[m] += v.den[m]
		}
	}
}

func (c *cell) merge(o *cell) {
	c.conns += o.conns
	for m := range NumMetrics {
		c.num[m] += o.num[m]
		c.den[m] += o.den[m]
	}
}

// widths are the lengths of a point of the timeline; each is a multiple of the one before.
var widths = []time.Duration{time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
	7 * 24 * time.Hour, 28 * 24 * time.Hour, 364 * 24 * time.Hour, 3640 * 24 * time.Hour}

// timeline are figures over time, in points that grow so that there are few.
type timeline struct {
	arms   int
	width  int // of widths
	points map[int64][]cell
}

func newTimeline(arms int) timeline { return timeline{arms: arms, points: make(map[int64][]cell)} }

func (l *timeline) add(t time.Time, arm int, v *values) {
	key := floorDiv(t.Unix(), int64(widths[l.width]/time.Second))
	p, ok := l.points[key]
	if !ok {
		p = make([]cell, l.arms)
		l.points[key] = p
	}
	p[arm].add(v)
	for len(l.points) > maxPoints && l.width < len(widths)-1 {
		l.grow()
	}
}

// grow puts points together.
func (l *timeline) grow() {
	ratio := int64(widths[l.width+1] / widths[l.width])
	l.width++
	old := l.points
	l.points = make(map[int64][]cell)
	for _, k := range sorted(old) { // sums of the same order are the same sums
		p, to := old[k], floorDiv(k, ratio)
		if have := l.points[to]; have == nil {
			l.points[to] = p
		} else {
			for i := range p {
				have[i].merge(&p[i])
			}
		}
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// sorted are the points' keys in order of time.
func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// part is a segment of the traffic: for each arm its sums, and those of groups of units, of which intervals are made. Units are put into
// groups by their hash, so that groups are alike and independent of each other.
type part struct {
	kind, value string
	order       int
	arms        []partArm
	conns       int
}

type partArm struct {
	cell
	groups [groups]struct{ num, den [NumMetrics]float64 }
}

// parts are the segments that a report has figures of.
type parts struct {
	arms int
	of   map[string]*part
	n    map[string]int // of each kind
}

func newParts(arms int) parts {
	return parts{arms: arms, of: make(map[string]*part), n: make(map[string]int)}
}

func (p *parts) add(o *Outcome, arm int, hash uint64, v *values) {
	family := "IPv6"
	if o.Server.Addr().Unmap().Is4() {
		family = "IPv4"
	}
	p.one("port", fmt.Sprint(o.Server.Port()), maxPorts, arm, hash, v)
	p.one("family", family, 2, arm, hash, v)
	if o.Gateway != "" {
		p.one("gateway", o.Gateway, maxGateways, arm, hash, v)
	}
}

func (p *parts) one(kind, value string, most, arm int, hash uint64, v *values) {
	s, ok := p.of[kind+" "+value]
	if !ok && p.n[kind] >= most {
		value = "others"
		s, ok = p.of[kind+" "+value]
	}
	if !ok {
		s = &part{kind: kind, value: value, order: len(p.of), arms: make([]partArm, p.arms)}
		p.of[kind+" "+value] = s
		p.n[kind]++
	}
	s.conns++
	x := &s.arms[arm]
	x.cell.add(v)
	g := &x.groups[hash>>32%groups]
	for m := range NumMetrics {
		if v.ok[m] {
			g.num[m] += v.num[m]
			g.den[m] += v.den[m]
		}
	}
}

// clusters are the groups' sums.
func (p *partArm) clusters(m Metric) (out []stats.Cluster) {
	for i := range p.groups {
		if g := &p.groups[i]; g.den[m] > 0 {
			out = append(out, stats.Cluster{Num: g.num[m], Den: g.den[m]})
		}
	}
	return out
}
