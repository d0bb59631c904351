package review

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/loggen"
)

// deep are the problems that only reading every record shows.
var deep = map[string]bool{DuplicateID: true, NoCause: true, NoStart: true, FastPath: true}

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
			shown = shown || !deep[p.Kind] && !strings.HasPrefix(p.Detail, "the trailer")
		}
		if shown && g.Status != w.Status {
			t.Errorf("run %d: summary says %s %v, verify %s %v", i, g.Status, g.Problems, w.Status, w.Problems)
		}
	}
}

// sums are a run's figures without what was found.
func sums(t *testing.T, r *Run) string {
	c := *r
	c.Problems, c.Further, c.Status, c.FastPath, c.Explained.Fast = nil, 0, "", nil, decisionlog.FastTally{} // only verify reads what flows tell of it
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
