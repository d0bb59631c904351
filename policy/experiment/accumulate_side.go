package experiment

import (
	"math"

	"halfopen/policy/experiment/stats"
)

// side is what is known of the connections of one arm.
type side struct {
	units      int     // that were given a slot; a copy of the control gives none
	blocks     []int64 // of a switchback: the block's number, by slot
	slots      []slot
	sums       [NumMetrics]stats.ClusterSums // of the slots
	revs       map[string]struct{}           // of the policies that decided
	times      [NumMetrics][]bag             // by slot, of metrics that are times
	load       Load
	unfinished int // connections
}

// slot is a unit's sums.
type slot struct {
	num, den [NumMetrics]float64
}

// bag holds some of a unit's times.
type bag struct {
	seen int32
	vals []float64
}

// Load is what an arm's connections carried: arms share the gateway and its links.
type Load struct {
	Connections int    `json:"connections"`
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
	FastPackets uint64 `json:"fast_packets"` // of the packets, what the fast path saw
	Dropped     int    `json:"dropped"`      // segments
	Resets      int    `json:"resets"`
}

func (s *side) add(at uint32, o *Outcome, v *values, rng *stats.RNG) {
	for int(at) >= len(s.slots) {
		s.slots = append(s.slots, slot{})
	}
	u := &s.slots[at]
	if !o.Finished {
		s.unfinished++
	}
	s.load.add(o)
	if _, ok := s.revs[o.Rev]; !ok && o.Rev != "" && len(s.revs) < maxRevs {
		if s.revs == nil {
			s.revs = make(map[string]struct{})
		}
		s.revs[o.Rev] = struct{}{}
	}
	for m := range NumMetrics {
		if !v.ok[m] {
			continue
		}
		was := stats.Cluster{Num: u.num[m], Den: u.den[m]}
		u.num[m] += v.num[m]
		u.den[m] += v.den[m]
		s.sums[m].Change(was, stats.Cluster{Num: u.num[m], Den: u.den[m]})
		if m.Kind() == KindTime {
			s.keep(m, at, v.num[m], rng)
		}
	}
}

// keep puts a time into its unit's bag: each of the unit's times is in it with the same chance.
func (s *side) keep(m Metric, at uint32, t float64, rng *stats.RNG) {
	for int(at) >= len(s.times[m]) {
		s.times[m] = append(s.times[m], bag{})
	}
	b := &s.times[m][at]
	b.seen++
	if len(b.vals) < maxTimes {
		b.vals = append(b.vals, t)
	} else if i := rng.Intn(int(b.seen)); i < maxTimes {
		b.vals[i] = t
	}
}

func (l *Load) add(o *Outcome) {
	l.Connections++
	l.Packets += o.PktsToServer + o.PktsToClient
	l.Bytes += o.BytesToServer + o.BytesToClient
	l.FastPackets += o.FastToServer + o.FastToClient
	l.Dropped += o.Dropped
	l.Resets += o.Resets
}

// clusters are the sums of the units that a metric applies to.
func (s *side) clusters(m Metric) (out []stats.Cluster) {
	for i := range s.slots {
		if u := &s.slots[i]; u.den[m] > 0 {
			out = append(out, stats.Cluster{Num: u.num[m], Den: u.den[m]})
		}
	}
	return out
}

// values are the times that are kept, by unit.
func (s *side) values(m Metric) (out [][]float64) {
	for i := range s.times[m] {
		if b := &s.times[m][i]; len(b.vals) > 0 {
			out = append(out, b.vals)
		}
	}
	return out
}

// cut says whether some times of a metric are not kept.
func (s *side) cut(m Metric) bool {
	for i := range s.times[m] {
		if s.times[m][i].seen > maxTimes {
			return true
		}
	}
	return false
}

// sums are those of a whole side in a metric.
type sums struct {
	num, den  float64
	with      int // units
	any       int // of them, with something in the numerator
	single    bool
	remainder bool // numerators that are no whole numbers
}

func sumsOf(cs []stats.Cluster) (s sums) {
	s.single = true
	for _, c := range cs {
		s.num += c.Num
		s.den += c.Den
		s.with++
		if c.Num > 0 {
			s.any++
		}
		s.single = s.single && c.Den == 1
		s.remainder = s.remainder || c.Num != math.Trunc(c.Num)
	}
	return s
}
