package index

import (
	"testing"
	"time"

	"halfopen/proxy/review/loggen"
)

// A filter's time that meets a block's first or last record to the nanosecond picks what the log itself says; a block with nothing in it is
// not read, and one that lies within it as a whole is counted without its records.
func TestTimesAtBlockEdges(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Decisions: 1500})
	x, all := open(t, dir), facts(t, dir)
	tx, v, err := x.look()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if len(v.blocks) < 3 {
		t.Fatalf("%d blocks", len(v.blocks))
	}
	for i := range v.blocks {
		b := &v.blocks[i]
		if b.lo == b.hi {
			continue
		}
		for _, at := range []int64{b.lo - 1, b.lo, b.lo + 1, b.hi - 1, b.hi, b.hi + 1} {
			since, until := Filter{Since: time.Unix(0, at)}, Filter{Until: time.Unix(0, at)}
			for _, c := range []struct {
				f            Filter
				some, inside bool
			}{{since, at <= b.hi, at <= b.lo}, {until, at > b.lo, at > b.hi}} {
				s, err := x.newScanner(tx, v, &c.f)
				if err != nil {
					t.Fatal(err)
				}
				some, err := s.enter(b)
				if err != nil || some != c.some || s.inside() != c.inside {
					t.Errorf("block %d, %d to %d, %s: some %v, inside %v, %v; want %v, %v", i, b.lo, b.hi, &c.f, some, s.inside(), err, c.some, c.inside)
				}
				var want uint64
				for j := range all {
					if all[j].fits(&c.f) {
						want++
					}
				}
				sameCounts(t, x, c.f, want)
			}
		}
	}
}

// sameCounts asks for the number of records in each of the ways in which blocks are walked.
func sameCounts(t *testing.T, x *Index, f Filter, want uint64) {
	t.Helper()
	if n, err := x.Count(ctx, f); err != nil || n != want {
		t.Errorf("%s: %d records, want %d, %v", &f, n, want, err)
	}
	for _, bucket := range []time.Duration{time.Second, time.Hour} {
		if r, err := x.Rollup(ctx, f, bucket, ByEvent); err != nil || r.Total != want {
			t.Errorf("%s: %d records in buckets of %v, want %d, %v", &f, r.Total, bucket, want, err)
		}
	}
	p, err := x.Page(ctx, f, Cursor{}, 1<<20, OldestFirst)
	if err != nil || uint64(len(p.Rows)) != want {
		t.Errorf("%s: %d rows, want %d, %v", &f, len(p.Rows), want, err)
	}
}
