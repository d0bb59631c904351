package stats

import (
	"bufio"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestSequenceGolden holds against testdata/seq.R, which computes the same another way.
func TestSequenceGolden(t *testing.T) {
	srm := func(weights []float64, counts ...int) float64 { return good(NewSequentialSRM(weights)).logE(counts) }
	// What the half-normal mixture is worth on the boundary of alpha 0.025, from its closed form.
	mixture := func(v, s float64) float64 {
		return 2 * math.Sqrt(2/(v+2)) * math.Exp(s*s/2/(v+2)) * NormCDF(s/math.Sqrt(v+2))
	}
	arm := func(num, den []float64) *ClusterSums {
		s := new(ClusterSums)
		for k := range 2 * len(num) {
			i := k % len(num)
			s.Change(Cluster{}, Cluster{0, 1}) // a unit comes, and then has more connections
			s.Change(Cluster{0, 1}, Cluster{num[i], den[i]})
		}
		return s
	}
	a1 := arm([]float64{3, 0, 1, 4, 2, 0, 5, 1, 2, 3}, []float64{10, 4, 6, 9, 8, 3, 12, 5, 7, 6})
	a0 := arm([]float64{1, 0, 0, 2, 1, 1, 0, 3, 1, 0, 2, 1}, []float64{9, 5, 4, 12, 7, 6, 3, 14, 8, 5, 10, 6})
	diff, p, err := good(NewSequence(0.95)).Diff(a1, a0)
	if err != nil {
		t.Fatal(err)
	}
	own := good(NewRatioSequence(0.95, 0.1))
	interval, exceeds := good(own.Interval(a1)), good(own.Exceeds(a1))
	got := map[string]float64{
		"srm_50_50":     srm([]float64{1, 1}, 520, 480),
		"srm_50_50_far": srm([]float64{1, 1}, 10400, 9600),
		"srm_50_40_10":  srm([]float64{50, 40, 10}, 470, 420, 150),
		"boundary_1":    boundary(1, 2, 0.025), "mixture_1": mixture(1, boundary(1, 2, 0.025)),
		"boundary_10": boundary(10, 2, 0.025), "mixture_10": mixture(10, boundary(10, 2, 0.025)),
		"boundary_100": boundary(100, 2, 0.025), "mixture_100": mixture(100, boundary(100, 2, 0.025)),
		"diff": diff.Estimate, "diff_lo": diff.Lo, "diff_hi": diff.Hi, "diff_p": p,
		"own_lo": interval.Lo, "own_hi": interval.Hi, "own_p": exceeds,
	}
	f, err := os.Open("testdata/seq.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		want, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if v, ok := got[name]; err != nil || !ok || math.Abs(v-want) > 1e-8*math.Abs(want) {
			t.Errorf("%s is %v, want %v; %v", name, v, want, err)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("testdata/seq.txt lacks %v", got)
	}
}

// TestBoundaryValid: on the boundary the mixture, a martingale that starts at 1, is at least 1/alpha, so that Ville's inequality holds
// for it; and p-values are its inverse.
func TestBoundaryValid(t *testing.T) {
	for _, alpha := range []float64{0.2, 0.025, 0.001} {
		for v := 0.01; v < 1e6; v *= 3 {
			s := boundary(v, 2, alpha)
			if m := 2 * math.Sqrt(2/(v+2)) * math.Exp(s*s/2/(v+2)) * NormCDF(s/math.Sqrt(v+2)); m < 1/alpha || m > 1.4/alpha {
				t.Errorf("alpha %v, v %v: the mixture is %v", alpha, v, m)
			}
			if p := boundaryP(s, v, 2); math.Abs(p/alpha-1) > 1e-9 {
				t.Errorf("alpha %v, v %v: p on the boundary is %v", alpha, v, p)
			}
		}
	}
}

// TestSequenceSilent: what cannot be told is an error that says why.
func TestSequenceSilent(t *testing.T) {
	fill := func(units int, num func(i int) float64) *ClusterSums {
		s := new(ClusterSums)
		for i := range units {
			s.Change(Cluster{}, Cluster{num(i), 1})
		}
		return s
	}
	zero := func(int) float64 { return 0 }
	third := func(i int) float64 { return float64(i%3) / 2 }
	once := func(i int) float64 { return float64(btoi(i == 0)) }
	for _, c := range []struct {
		name   string
		a1, a0 *ClusterSums
		want   string
	}{
		{"an empty arm", new(ClusterSums), fill(100, third), "not enough data: 0 units in treatment, expected at least 10"},
		{"nine units", fill(100, third), fill(9, third), "not enough data: 9 units in control, expected at least 10"},
		{"nothing ever happened", fill(1000, zero), fill(1000, zero), "no variation: all units of both arms have the same figure"},
		{"it happened once", fill(1000, once), fill(1000, zero), "not enough data: 1000 and 1000 units are worth 0.5 in the smaller arm (few of them vary), expected at least 2"},
	} {
		_, _, err := good(NewSequence(0.95)).Diff(c.a1, c.a0)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	own := good(NewRatioSequence(0.95, 0.5))
	if _, err := own.Interval(fill(1000, zero)); err == nil || err.Error() != "no variation: all 1000 units have the same figure" {
		t.Error(err)
	}
	if _, err := own.Interval(fill(1000, once)); err == nil || !strings.Contains(err.Error(), "units are worth 1.0") {
		t.Error(err)
	}
	if p, err := own.Exceeds(fill(1000, zero)); err != nil || p != 1 {
		t.Error(p, err)
	}
	// All alike and above the limit: no interval, but above it.
	if p, err := own.Exceeds(fill(1000, func(int) float64 { return 1 })); err != nil || p > 1e-9 {
		t.Error(p, err)
	}
	for _, conf := range []float64{0, 1, math.NaN()} {
		if _, err := NewSequence(conf); err == nil {
			t.Errorf("confidence level %v", conf)
		}
		if _, err := NewRatioSequence(conf, 1); err == nil {
			t.Errorf("confidence level %v", conf)
		}
	}
	for _, limit := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := NewRatioSequence(0.95, limit); err == nil {
			t.Errorf("limit %v", limit)
		}
	}
}

// TestClusterSums: sums kept through changes are those of the units as they are in the end.
func TestClusterSums(t *testing.T) {
	r := NewRNG(4)
	units := make([]Cluster, 300)
	var kept ClusterSums
	for range 100_000 {
		u := &units[r.Intn(len(units))]
		old := *u
		u.Num += r.Exp()
		u.Den += float64(r.Intn(3))
		kept.Change(old, *u)
	}
	fresh := clustersOf(units)
	ratio := fresh.Ratio()
	for _, c := range [][2]float64{{float64(kept.Units), 300}, {kept.Num, fresh.Num}, {kept.Den, fresh.Den}, {kept.squares(ratio), fresh.squares(ratio)},
		{kept.fourths(ratio), fresh.fourths(ratio)}, {kept.effective(ratio), fresh.effective(ratio)}} {
		if math.Abs(c[0]/c[1]-1) > 1e-6 {
			t.Errorf("kept %v, of the units %v", c[0], c[1])
		}
	}
	if !math.IsNaN(new(ClusterSums).Ratio()) {
		t.Error("an empty arm has a ratio")
	}
}
