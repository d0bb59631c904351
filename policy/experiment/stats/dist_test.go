package stats

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
)

// golden calls f for each line of a file in testdata that begins with one of words: the line's fields after the word as numbers.
func golden(t *testing.T, file string, f map[string]func(line string, v []float64)) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		call, ok := f[fields[0]]
		if !ok {
			t.Fatalf("%s: no test for %q", file, line)
		}
		v := make([]float64, len(fields)-1)
		for i, s := range fields[1:] {
			if v[i], err = strconv.ParseFloat(s, 64); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
		}
		seen[fields[0]]++
		call(strings.TrimSpace(line), v)
	}
	for word := range f {
		if seen[word] == 0 {
			t.Errorf("%s: no line of %s", file, word)
		}
	}
}

// near says whether got is want to a relative error (absolute where want is 0).
func near(got, want, relative float64) bool {
	return math.Abs(got-want) <= relative*max(math.Abs(want), 1e-320) || want == 0 && math.Abs(got) <= relative
}

// TestDistributions against R (testdata/dist.R says the version).
func TestDistributions(t *testing.T) {
	one := func(f func(float64) float64, relative float64) func(string, []float64) {
		return func(line string, v []float64) {
			if got := f(v[0]); !near(got, v[1], relative) {
				t.Errorf("%s: got %.17g", line, got)
			}
		}
	}
	two := func(f func(a, b float64) float64, relative float64) func(string, []float64) {
		return func(line string, v []float64) {
			if got := f(v[0], v[1]); !near(got, v[2], relative) {
				t.Errorf("%s: got %.17g", line, got)
			}
		}
	}
	golden(t, "dist.txt", map[string]func(string, []float64){
		"NormQuantile": one(NormQuantile, 4e-16),
		"NormCDF":      one(NormCDF, 1e-14),
		"TTwoSided":    two(TTwoSided, 1e-12),
		"TCDF":         two(TCDF, 1e-13),
		"TQuantile":    two(TQuantile, 1e-12),
		"Chi2Survival": two(Chi2Survival, 1e-11),
	})
	// Tables: Fisher and Yates, "Statistical Tables", tables III and IV (Student's t, chi-square), to their last figure.
	if got := TQuantile(0.975, 10); math.Abs(got-2.228) > 0.0005 {
		t.Errorf("t(10) at 5 %%: %v", got)
	}
	if got := Chi2Survival(18.307, 10); math.Abs(got-0.05) > 0.00001 {
		t.Errorf("chi-square(10) at 18.307: %v", got)
	}
}

func TestDistributionEnds(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"NormQuantile(0)", NormQuantile(0), -inf}, {"NormQuantile(1)", NormQuantile(1), inf},
		{"NormQuantile(2)", NormQuantile(2), nan}, {"NormQuantile(NaN)", NormQuantile(nan), nan},
		{"TQuantile(0)", TQuantile(0, 3), -inf}, {"TQuantile(1)", TQuantile(1, 3), inf}, {"TQuantile(-1)", TQuantile(-1, 3), nan},
		{"TQuantile df 0", TQuantile(0.9, 0), nan}, {"TQuantile(0.5)", TQuantile(0.5, 3), 0},
		{"TQuantile df inf", TQuantile(0.975, inf), NormQuantile(0.975)},
		{"TTwoSided(0)", TTwoSided(0, 3), 1}, {"TTwoSided(inf)", TTwoSided(inf, 3), 0}, {"TTwoSided df -1", TTwoSided(1, -1), nan},
		{"Chi2Survival(0)", Chi2Survival(0, 3), 1}, {"Chi2Survival(-1)", Chi2Survival(-1, 3), 1},
		{"Chi2Survival(inf)", Chi2Survival(inf, 3), 0}, {"Chi2Survival df 0", Chi2Survival(1, 0), nan},
		{"NormTwoSided(1.96)", NormTwoSided(1.96), 2 * NormCDF(-1.96)},
	} {
		if c.got != c.want && !(math.IsNaN(c.got) && math.IsNaN(c.want)) {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
}

// TestQuantileInverts: quantile and distribution function are each other's inverse, over 2,000 random places.
func TestQuantileInverts(t *testing.T) {
	r := NewRNG(5)
	for range 2000 {
		p := r.Float64()
		df := math.Exp(8*r.Float64() - 1)
		if got := NormCDF(NormQuantile(p)); !near(got, p, 1e-14) {
			t.Fatalf("NormCDF(NormQuantile(%v)) = %v", p, got)
		}
		if got := TCDF(TQuantile(p, df), df); !near(got, p, 1e-12) {
			t.Fatalf("TCDF(TQuantile(%v, %v)) = %v", p, df, got)
		}
	}
}
