package index

import (
	"context"
	"testing"

	"halfopen/proxy/review/loggen"
)

// Following begins behind a place and gives every record once, however many pages that takes.
func TestTail(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Seed: 16, Decisions: 3 * tailPage})
	x := open(t, dir)
	all := facts(t, dir)
	for _, from := range []int{-1, 0, len(all) - tailPage - 10, len(all) - 2} {
		var after Cursor
		if from >= 0 {
			after = all[from].at
		}
		c, cancel := context.WithCancel(ctx)
		at := from + 1
		for row, err := range x.Tail(c, Filter{}, after, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if diff := rowTells(&row, &all[at]); diff != "" {
				t.Fatalf("record %d:\n%s", at, diff)
			}
			if at++; at == len(all) {
				cancel()
			}
		}
		cancel()
		if at != len(all) {
			t.Errorf("from %d: ended at %d of %d", from, at, len(all))
		}
	}
}
