package experiment

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"halfopen/conntrack"
)

func switchback(arms int, block time.Duration, seed uint64) *Spec {
	s := &Spec{Name: "s", Salt: "s", Share: perHundred, Start: time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC), Switchback: &Switchback{block, seed}}
	for i := range arms {
		s.Arms = append(s.Arms, Arm{Name: fmt.Sprint("a", i), Weight: perHundred / arms, Policy: GatewayPolicy})
	}
	return s
}

// TestScheduleGolden: the order of the arms never changes. Computed with Python's hashlib from the documented formula:
//
//	sorted(range(n), key=lambda a: hashlib.sha256(b"s\0" + seed.to_bytes(8, "big") + run.to_bytes(8, "big") + a.to_bytes(8, "big")).digest())
func TestScheduleGolden(t *testing.T) {
	for _, tt := range []struct {
		arms int
		seed uint64
		want string
	}{
		{2, 1, "010101101010"},
		{2, 2, "011010010101"},
		{3, 0, "120102201012"},
		{4, 9007199254740991, "023123010231"},
	} {
		s := switchback(tt.arms, time.Minute, tt.seed)
		got := ""
		for k := range 12 {
			got += fmt.Sprint(s.ArmOfBlock(int64(k)))
		}
		if got != tt.want {
			t.Errorf("%d arms, seed %d: %s, want %s", tt.arms, tt.seed, got, tt.want)
		}
	}
}

// TestScheduleBalanced: every run of as many blocks as arms has each arm once, every order comes about as often as another, and no arm
// follows from the one before the run.
func TestScheduleBalanced(t *testing.T) {
	const runs = 6000
	s := switchback(3, time.Minute, 42)
	orders := map[[3]int]int{}
	var pairs [3][3]int
	last := -1
	for r := range int64(runs) {
		var order [3]int
		for i := range order {
			order[i] = s.ArmOfBlock(3*r + int64(i))
		}
		if sorted := slices.Sorted(slices.Values(order[:])); !slices.Equal(sorted, []int{0, 1, 2}) {
			t.Fatalf("run %d: %v", r, order)
		}
		orders[order]++
		if last >= 0 {
			pairs[last][order[0]]++
		}
		last = order[2]
	}
	chi2 := 0.0
	for _, n := range orders {
		chi2 += math.Pow(float64(n)-runs/6, 2) / (runs / 6)
	}
	if len(orders) != 6 || chi2 > 20.5 { // the 0.999 quantile of chi-square with 5 degrees
		t.Errorf("%v: %.1f", orders, chi2)
	}
	chi2 = 0
	for i := range pairs {
		for j := range pairs[i] {
			chi2 += math.Pow(float64(pairs[i][j])-runs/9., 2) / (runs / 9.)
		}
	}
	if chi2 > 26.2 { // with 8 degrees
		t.Errorf("%v: %.1f", pairs, chi2)
	}
}

func TestBlocks(t *testing.T) {
	s := switchback(2, 10*time.Minute, 1)
	for _, tt := range []struct {
		after time.Duration
		block int64
	}{{0, 0}, {1, 0}, {10*time.Minute - 1, 0}, {10 * time.Minute, 1}, {25 * time.Hour, 150}, {-1, -1}, {-10 * time.Minute, -1}, {-10*time.Minute - 1, -2}} {
		at := s.Start.Add(tt.after)
		if k := s.BlockOf(at); k != tt.block {
			t.Errorf("%v: block %d, want %d", tt.after, k, tt.block)
		}
		if k := s.BlockOf(at); at.Before(s.BlockStart(k)) || !at.Before(s.BlockStart(k+1)) {
			t.Errorf("%v: block %d from %v", tt.after, k, s.BlockStart(k))
		}
	}
	if s.ArmOfBlock(-1) != NoArm {
		t.Error("an arm before the start")
	}
	var tu conntrack.Tuple
	for k := range int64(8) { // the whole gateway: any unit has the block's arm, until the block ends
		for _, src := range someTuples() {
			for _, at := range []time.Time{s.BlockStart(k), s.BlockStart(k + 1).Add(-1)} {
				if got := s.ArmOf(at, &src); got != s.ArmOfBlock(k) {
					t.Errorf("block %d: arm %d", k, got)
				}
			}
		}
	}
	for _, at := range []time.Time{{}, s.Start.Add(-1), time.Unix(math.MaxInt32, 0), time.Unix(1<<40, 0)} { // a clock that stepped anywhere
		if got := s.ArmOf(at, &tu); got != NoArm != !at.Before(s.Start) {
			t.Errorf("%v: arm %d", at, got)
		}
	}
}

func TestAnalysed(t *testing.T) {
	start := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	from := start.Add(5 * time.Hour) // the gateway's start
	units := &Spec{Start: start, End: start.Add(10 * time.Hour), WarmUp: time.Hour}
	open := &Spec{WarmUp: time.Hour}
	blocks := switchback(2, 10*time.Minute, 1)
	blocks.WarmUp = 2 * time.Minute
	for _, tt := range []struct {
		s     *Spec
		after time.Duration
		want  bool
	}{
		{units, -1, false}, {units, 0, false}, {units, time.Hour - 1, false}, {units, time.Hour, true}, {units, 10*time.Hour - 1, true}, {units, 10 * time.Hour, false},
		{open, 0, false}, {open, 6*time.Hour - 1, false}, {open, 6 * time.Hour, true}, {open, 1e6 * time.Hour, true},
		{blocks, -1, false}, {blocks, 0, false}, {blocks, 2*time.Minute - 1, false}, {blocks, 2 * time.Minute, true}, {blocks, 10*time.Minute - 1, true},
		{blocks, 10 * time.Minute, false}, {blocks, 12 * time.Minute, true},
	} {
		if got := tt.s.Analysed(start.Add(tt.after), from); got != tt.want {
			t.Errorf("%v after the start: %v", tt.after, got)
		}
	}
}

// TestSeedsDiffer: seeds and salts have schedules of their own.
func TestSeedsDiffer(t *testing.T) {
	a, b, c := switchback(2, time.Minute, 1), switchback(2, time.Minute, 2), switchback(2, time.Minute, 1)
	c.Salt = "another"
	same, same2, n := 0, 0, 2000
	for k := range int64(n) {
		if a.ArmOfBlock(2*k) == b.ArmOfBlock(2*k) {
			same++
		}
		if a.ArmOfBlock(2*k) == c.ArmOfBlock(2*k) {
			same2++
		}
	}
	for _, s := range []int{same, same2} {
		if math.Abs(float64(s-n/2)) > 3.29*math.Sqrt(float64(n)/4) {
			t.Errorf("%d of %d blocks alike", s, n)
		}
	}
}
