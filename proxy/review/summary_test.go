package review

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"halfopen/proxy/review/index"
	"halfopen/proxy/review/loggen"
)

// deep are the problems that only reading every record shows.
var deep = map[string]bool{DuplicateID: true, NoCause: true, NoStart: true}

// sameSummary holds the index's summary of a log against what reading it has shown.
func sameSummary(t *testing.T, dir string, want *Report) {
	t.Helper()
	copied := t.TempDir() // the index goes beside the log, which the test goes on changing
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(t.Context(), copied, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	got, err := Summary(t.Context(), x, copied)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Runs) != len(want.Runs) {
		t.Fatalf("summary has %d runs, verify %d", len(got.Runs), len(want.Runs))
	}
	for i, w := range want.Runs {
		g := got.Runs[i]
		if sums(t, g) != sums(t, w) {
			t.Errorf("run %d\nsummary %s\nverify  %s", i, sums(t, g), sums(t, w))
		}
		shown := len(w.Problems) == 0
		for _, p := range w.Problems {
			shown = shown || !deep[p.Kind]
		}
		if got, want := shallow(g), shallow(w); got != want {
			t.Errorf("run %d\nsummary finds %s\nverify        %s", i, got, want)
		}
		if shown && g.Status != w.Status {
			t.Errorf("run %d: summary says %s %v, verify %s %v", i, g.Status, g.Problems, w.Status, w.Problems)
		}
	}
}

// shallow are the kinds of a run's problems that the index shows too, once each, in order.
func shallow(r *Run) string {
	kinds := map[string]bool{}
	for _, p := range r.Problems {
		if !deep[p.Kind] {
			kinds[p.Kind] = true
		}
	}
	return fmt.Sprint(slices.Sorted(maps.Keys(kinds)))
}

// sums are a run's figures without what was found.
func sums(t *testing.T, r *Run) string {
	c := *r
	c.Problems, c.Further, c.Status = nil, 0, ""
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSummaryOfGenerated(t *testing.T) {
	for _, compress := range []bool{false, true} {
		dir := t.TempDir()
		if _, err := loggen.Generate(loggen.Config{Dir: dir, Decisions: 5000, MaxFileBytes: 300 << 10, Compress: compress}); err != nil {
			t.Fatal(err)
		}
		if rep := verify(t, dir); len(rep.Runs) != 3 || !rep.OK {
			t.Fatalf("%d runs, %v", len(rep.Runs), rep.OK)
		}
	}
}
