package stats

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Block is one block of a switchback: what its connections add to a metric's numerator and denominator. Index numbers the blocks in
// time; those from a multiple of the number of arms on make a run, in which each arm has one block.
type Block struct {
	Index    int64
	Arm      int
	Num, Den float64
}

// SwitchbackTest compares an arm of a switchback with the control.
type SwitchbackTest struct {
	Interval // of the arm's ratio minus the control's
	P        float64
	Runs     int  // with a block of both
	LeftOut  int  // runs without one of the two (begun and not ended, or without traffic)
	Exact    bool // P is of all schedules, not of a sample
}

// SwitchbackCaveat is what a report must say beside an effect from a switchback.
const SwitchbackCaveat = "A block is taken to be unaffected by the block before it but for its warm-up. What lasts longer (entries, " +
	"clients that wait before they try again) carries one arm's effect into the other's blocks and makes the difference too small; " +
	"if a longer warm-up changes it, blocks are too short."

const (
	switchbackExact = 16   // runs up to which all schedules are gone through
	switchbackDraws = 9999 // schedules in a sample
)

// SwitchbackDiff compares arm with arm 0 in a switchback of so many arms: the difference of their ratios (sums over their blocks), and the
// randomisation test over the schedule: within each run the two could as well have had each other's block, so that each of the 2^runs
// exchanges was equally likely (with more arms: given the places of the others). Where the arm makes no difference, P below alpha comes
// with probability at most alpha, whatever the traffic does over the day. Up to 16 runs all exchanges are gone through, else 9,999
// drawn from the seed, with (1 + as extreme) / (1 + drawn). The statistic is the difference of the sums of residuals from the common
// ratio, which no exchange alters.
//
// The interval is that test turned round: the differences delta for which the arm's blocks, with delta taken from each of their ratios,
// do not differ from the control's at 1 - conf. It presumes that the arm adds the same to each block's ratio. There must be runs enough
// for P to reach 1 - conf at all: 6 for 95 %, that is 12 blocks with two arms.
func SwitchbackDiff(blocks []Block, arms, arm int, conf float64, seed uint64) (SwitchbackTest, error) {
	var t SwitchbackTest
	if err := checkConf(conf); err != nil {
		return t, err
	}
	if arms < 2 || arm < 1 || arm >= arms {
		return t, fmt.Errorf("%w: arm %d of %d against arm 0", ErrInput, arm, arms)
	}
	pairs, leftOut, err := pairBlocks(blocks, int64(arms), arm)
	if err != nil {
		return t, err
	}
	t.Runs, t.LeftOut = len(pairs), leftOut
	least := int(math.Ceil(math.Log2(2 / (1 - conf))))
	if t.Runs < least {
		return t, fmt.Errorf("%w: %d runs of blocks with both arms, expected at least %d (%d blocks in all)", ErrNotEnough, t.Runs, least, least*arms)
	}
	s := newSignFlips(pairs, seed)
	t.Exact = s.exact
	t.Estimate = s.sum1.Num/s.sum1.Den - s.sum0.Num/s.sum0.Den
	if !s.vary(t.Estimate) {
		return t, fmt.Errorf("%w: every block has its arm's ratio exactly", ErrNoVariation)
	}
	t.P = s.p(0)
	t.Lo, t.Hi = s.end(t.Estimate, -1, 1-conf), s.end(t.Estimate, 1, 1-conf)
	if !finite(t.Lo) || !finite(t.Hi) {
		return t, fmt.Errorf("%w: no interval of finite length holds at %v", ErrNotEnough, conf)
	}
	return t, nil
}

// pairBlocks pairs the two arms' blocks of each run, in time: the arm's, then the control's.
func pairBlocks(blocks []Block, arms int64, arm int) (pairs [][2]Cluster, leftOut int, err error) {
	runs := map[int64]*[2]Cluster{}
	var order []int64
	for _, b := range blocks {
		if b.Index < 0 || b.Arm < 0 || int64(b.Arm) >= arms || !finite(b.Num) || !finite(b.Den) || b.Den < 0 {
			return nil, 0, fmt.Errorf("%w: block %+v of %d arms", ErrInput, b, arms)
		}
		side := 0
		switch b.Arm {
		case arm:
		case 0:
			side = 1
		default:
			continue
		}
		run := runs[b.Index/arms]
		if run == nil {
			run = new([2]Cluster)
			runs[b.Index/arms] = run
			order = append(order, b.Index/arms)
		}
		if run[side].Den > 0 {
			return nil, 0, fmt.Errorf("%w: arm %d has two blocks in run %d", ErrInput, b.Arm, b.Index/arms)
		}
		run[side] = Cluster{b.Num, b.Den}
	}
	slices.Sort(order)
	for _, k := range order {
		if p := runs[k]; p[0].Den > 0 && p[1].Den > 0 {
			pairs = append(pairs, *p)
		} else {
			leftOut++
		}
	}
	return pairs, leftOut, nil
}

// signFlips is the randomisation distribution of a sum of differences within pairs. Where delta is taken from the arm's ratios, the
// common ratio and so each pair's difference of residuals is linear in delta: u - delta v; and so is the sum under any exchange.
type signFlips struct {
	pairs      [][2]Cluster
	sum1, sum0 Cluster
	exact      bool
	u, v       []float64 // by pair
	seen       [2]float64
	us, vs     []float64 // the sums under each exchange, as was seen among them where they are all
}

func newSignFlips(pairs [][2]Cluster, seed uint64) *signFlips {
	s := &signFlips{pairs: pairs, exact: len(pairs) <= switchbackExact}
	for _, p := range pairs {
		s.sum1.Num, s.sum1.Den = s.sum1.Num+p[0].Num, s.sum1.Den+p[0].Den
		s.sum0.Num, s.sum0.Den = s.sum0.Num+p[1].Num, s.sum0.Den+p[1].Den
	}
	den := s.sum1.Den + s.sum0.Den
	common, share := (s.sum1.Num+s.sum0.Num)/den, s.sum1.Den/den
	for _, p := range pairs {
		u := p[0].Num - p[1].Num - common*(p[0].Den-p[1].Den)
		v := p[0].Den - share*(p[0].Den-p[1].Den)
		s.u, s.v = append(s.u, u), append(s.v, v)
		s.seen[0] += u
		s.seen[1] += v
	}
	if s.exact {
		s.enumerate()
	} else {
		s.draw(seed)
	}
	return s
}

// enumerate goes through all exchanges in Gray code, in which each differs from the one before it in one pair.
func (s *signFlips) enumerate() {
	sign := make([]float64, len(s.u))
	for i := range sign {
		sign[i] = 1
	}
	u, v := s.seen[0], s.seen[1]
	for k := uint(1); ; k++ {
		s.us, s.vs = append(s.us, u), append(s.vs, v)
		i := bits.TrailingZeros(k)
		if i >= len(sign) {
			return
		}
		sign[i] = -sign[i]
		u += 2 * sign[i] * s.u[i]
		v += 2 * sign[i] * s.v[i]
	}
}

func (s *signFlips) draw(seed uint64) {
	r := NewRNG(seed)
	for range switchbackDraws {
		var u, v float64
		var signs uint64
		for i := range s.u {
			if i%64 == 0 {
				signs = r.Uint64()
			}
			if signs>>(i%64)&1 == 1 {
				u, v = u-s.u[i], v-s.v[i]
			} else {
				u, v = u+s.u[i], v+s.v[i]
			}
		}
		s.us, s.vs = append(s.us, u), append(s.vs, v)
	}
}

// vary says whether, with delta taken off, pairs differ at all.
func (s *signFlips) vary(delta float64) bool {
	var size, noise float64
	for i, p := range s.pairs {
		size += math.Abs(s.u[i] - delta*s.v[i])
		noise += math.Abs(p[0].Num) + math.Abs(p[1].Num) + math.Abs(delta)*s.v[i]
	}
	return size > 1e-12*noise
}

// p is the two-sided p-value of the arm's ratio being the control's plus delta.
func (s *signFlips) p(delta float64) float64 {
	var size float64
	for i := range s.u {
		size += math.Abs(s.u[i] - delta*s.v[i])
	}
	limit := math.Abs(s.seen[0]-delta*s.seen[1]) - 1e-9*size // as extreme as seen, within rounding
	extreme := 0
	for k, u := range s.us {
		if math.Abs(u-delta*s.vs[k]) >= limit {
			extreme++
		}
	}
	if s.exact {
		return float64(extreme) / float64(len(s.us))
	}
	return float64(1+extreme) / float64(1+len(s.us))
}

// end finds where, going from the estimate to one side, p falls to alpha.
func (s *signFlips) end(from, side, alpha float64) float64 {
	var spread float64 // how far the pairs' own differences go
	for _, p := range s.pairs {
		spread = max(spread, math.Abs(p[0].Num/p[0].Den-p[1].Num/p[1].Den-from))
	}
	if spread == 0 {
		spread = 1e-9 * (1 + math.Abs(from))
	}
	inside, outside := from, from+side*spread
	for range 60 {
		if s.p(outside) <= alpha {
			break
		}
		inside, outside = outside, from+2*(outside-from)
	}
	if s.p(outside) > alpha {
		return side * math.Inf(1)
	}
	for range 30 {
		mid := (inside + outside) / 2
		if s.p(mid) <= alpha {
			outside = mid
		} else {
			inside = mid
		}
	}
	return outside
}
