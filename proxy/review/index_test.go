package review

import (
	"context"
	"testing"

	"halfopen/proxy/review/index"
	"halfopen/proxy/review/loggen"
)

// The index counts what verify proves: run by run, term by term.
func TestIndexCountsAsVerify(t *testing.T) {
	for _, c := range []loggen.Config{{Seed: 1, Decisions: 6000, MaxFileBytes: 1 << 20}, {Seed: 2, Decisions: 3000, Runs: 4, MaxFileBytes: 300 << 10, Compress: true}} {
		c.Dir = t.TempDir()
		w, err := loggen.Generate(c)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := Verify(c.Dir)
		if err != nil || !rep.OK {
			t.Fatal(rep, err)
		}
		x, err := index.Open(context.Background(), c.Dir, index.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		runs, err := x.Runs(context.Background())
		if err != nil || len(runs) != len(rep.Runs) {
			t.Fatalf("%d runs, want %d (%v)", len(runs), len(rep.Runs), err)
		}
		records := uint64(0)
		for i, r := range runs {
			v := rep.Runs[i]
			if r.Run != v.Run || r.Explains != v.Explained || r.Files != v.Files || r.Final != (v.End == "final") || !r.Started.Equal(v.Started.Time) {
				t.Errorf("run %+v, want %+v", r, v)
			}
			records += r.Explains.Records
		}
		n, err := x.Count(context.Background(), index.Filter{})
		if err != nil || n != records || int(n) < w.Records {
			t.Errorf("%d records counted, %d by run, %d written (%v)", n, records, w.Records, err)
		}
		gaps, err := x.Gaps(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		crash := uint64(0)
		for _, g := range gaps {
			if g.Where == "crash" {
				crash += g.Count
			}
		}
		want := uint64(0)
		for _, v := range rep.Runs {
			want += v.Crash
		}
		if crash != want || want == 0 {
			t.Errorf("crash gaps of %d, want %d", crash, want)
		}
	}
}
