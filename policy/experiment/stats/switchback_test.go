package stats

import (
	"errors"
	"math"
	"testing"
)

// darwin is Charles Darwin's maize: by pair, how much higher the cross-fertilised plant stood than the self-fertilised, in eighths of an
// inch (R. A. Fisher, "The Design of Experiments", 1935, table 3).
var darwin = []float64{49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48}

func darwinBlocks() (blocks []Block) {
	for i, d := range darwin {
		blocks = append(blocks, Block{Index: int64(2 * i), Arm: i % 2, Den: 1}, Block{Index: int64(2*i + 1), Arm: 1 - i%2, Den: 1})
		blocks[2*i+1-i%2].Num = d
	}
	return blocks
}

// TestSwitchbackFisher: section 21 of the book exchanges within pairs in all 32,768 ways: in 863 of them the sum is as large as the 314
// that was seen, so that both tails have 1,726.
func TestSwitchbackFisher(t *testing.T) {
	got, err := SwitchbackDiff(darwinBlocks(), 2, 1, 0.95, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.P != 1726.0/32768 || !got.Exact || got.Runs != 15 || got.LeftOut != 0 || math.Abs(got.Estimate-314.0/15) > 1e-12 {
		t.Errorf("%+v", got)
	}
	if !got.Contains(0) || got.Lo < -3 || got.Hi > 45 { // 0 just inside, as p is just above 0.05; Student's interval is -0.03 to 41.89
		t.Errorf("%+v", got)
	}
	// With one pair more, and again as many blocks, the exchanges are drawn.
	twice := darwinBlocks()
	for _, b := range darwinBlocks() {
		b.Index += 30
		twice = append(twice, b)
	}
	a, err := SwitchbackDiff(twice, 2, 1, 0.95, 7)
	b, _ := SwitchbackDiff(twice, 2, 1, 0.95, 7)
	if err != nil || a != b || a.Exact || a.P > 0.02 || a.P < 0.002 || a.Lo <= 0 {
		t.Errorf("%+v, then %+v, %v", a, b, err)
	}
}

// day is a switchback whose traffic has a daily curve, blocks with luck of their own and numbers of connections that differ, and in which
// arm 1 adds effect to a block's ratio.
func day(r *RNG, arms, runs int, effect float64) (blocks []Block) {
	for run := range runs {
		order := r.Perm(arms)
		for i, arm := range order {
			k := run*arms + i
			den := float64(50 + r.Intn(400))
			ratio := 1 + 0.8*math.Sin(float64(k)/9) + 0.3*r.Exp()
			if arm == 1 {
				ratio += effect
			}
			blocks = append(blocks, Block{Index: int64(k), Arm: arm, Num: ratio * den, Den: den})
		}
	}
	return blocks
}

func TestSwitchbackSimulated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		arms, runs int
	}{{"6 runs", 2, 6}, {"10 runs of 3 arms", 3, 10}, {"18 runs, drawn", 2, 18}} {
		if c.runs > switchbackExact && breadth > 1 {
			continue // drawn schedules are slow: in the full tier
		}
		below := below5(t)
		often(t, "switchback A/A, "+c.name, 0.05, true, func(r *RNG) bool {
			got, err := SwitchbackDiff(day(r, c.arms, c.runs, 0), c.arms, 1, 0.95, r.Uint64())
			return below(got.P, err)
		})
		often(t, "switchback, interval misses, "+c.name, 0.05, true, func(r *RNG) bool {
			got, err := SwitchbackDiff(day(r, c.arms, c.runs, 0.7), c.arms, 1, 0.95, r.Uint64())
			if err != nil {
				t.Fatal(err)
			}
			return !got.Contains(0.7)
		})
	}
	found := 0
	for k := range 50 {
		got, err := SwitchbackDiff(day(NewRNG(uint64(k)), 2, 14, 0.7), 2, 1, 0.95, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got.P < 0.05 && got.Lo > 0 {
			found++
		}
	}
	if found < 45 {
		t.Errorf("an effect of two standard deviations was found in %d of 50 switchbacks", found)
	}
}

func TestSwitchbackBad(t *testing.T) {
	r := NewRNG(1)
	same := darwinBlocks()
	for i := range same {
		same[i].Num = float64(same[i].Arm)
	}
	for _, c := range []struct {
		name      string
		blocks    []Block
		arms, arm int
		conf      float64
		want      error
	}{
		{"no blocks", nil, 2, 1, 0.95, ErrNotEnough},
		{"five runs", day(r, 2, 5, 0), 2, 1, 0.95, ErrNotEnough},
		{"six runs for 99 %", day(r, 2, 6, 0), 2, 1, 0.99, ErrNotEnough},
		{"no such arm", day(r, 2, 9, 0), 2, 2, 0.95, ErrInput},
		{"control against itself", day(r, 2, 9, 0), 2, 0, 0.95, ErrInput},
		{"level", day(r, 2, 9, 0), 2, 1, 1, ErrInput},
		{"twice the same block", append(day(r, 2, 9, 0), day(r, 2, 1, 0)...), 2, 1, 0.95, ErrInput},
		{"NaN", append(day(r, 2, 9, 0), Block{Index: 18, Num: math.NaN()}), 2, 1, 0.95, ErrInput},
		{"each arm always the same", same, 2, 1, 0.95, ErrNoVariation},
	} {
		if got, err := SwitchbackDiff(c.blocks, c.arms, c.arm, c.conf, 1); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	// Runs that lack an arm are left out and counted.
	blocks := day(r, 2, 9, 0)
	blocks[4].Num, blocks[4].Den = 0, 0
	if got, err := SwitchbackDiff(blocks[:17], 2, 1, 0.95, 1); err != nil || got.Runs != 7 || got.LeftOut != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestSwitchbackNaive: p at any delta is that of taking delta off, exchanging in all ways, and computing ratio and residuals anew each
// time.
func TestSwitchbackNaive(t *testing.T) {
	blocks := day(NewRNG(3), 2, 7, 0.2)
	pairs, _, err := pairBlocks(blocks, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	naive := func(delta float64) float64 {
		statistic := func(exchange int) float64 {
			var c [2]Cluster
			for i, p := range pairs {
				p[0].Num -= delta * p[0].Den
				for side := range p {
					to := &c[side^(exchange>>i&1)]
					to.Num += p[side].Num
					to.Den += p[side].Den
				}
			}
			common := (c[0].Num + c[1].Num) / (c[0].Den + c[1].Den)
			return math.Abs((c[0].Num - common*c[0].Den) - (c[1].Num - common*c[1].Den))
		}
		extreme := 0
		for exchange := range 1 << len(pairs) {
			if statistic(exchange) >= statistic(0)*(1-1e-9) {
				extreme++
			}
		}
		return float64(extreme) / float64(int(1)<<len(pairs))
	}
	s := newSignFlips(pairs, 0)
	for _, delta := range []float64{0, 0.1, 0.3, -0.4, 0.8, -1, 2} {
		if got, want := s.p(delta), naive(delta); got != want {
			t.Errorf("delta %v: p is %v, want %v", delta, got, want)
		}
	}
	got, err := SwitchbackDiff(blocks, 2, 1, 0.95, 0)
	if err != nil || got.P != naive(0) || naive(got.Lo-1e-6) > 0.05 || naive(got.Lo+1e-6) <= 0.05 || naive(got.Hi+1e-6) > 0.05 || naive(got.Hi-1e-6) <= 0.05 {
		t.Errorf("%+v, %v", got, err)
	}
}
