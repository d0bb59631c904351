package index

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// The index picks by disagrees what a filter that reads the lines picks, and a record that is there for its shadows alone counts as no
// verdict and as no decision of its flow.
func TestDisagrees(t *testing.T) {
	data, err := os.ReadFile("../story/testdata/shadowed.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "decisions-20250603T112640.000Z-000001.jsonl"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	decisions := 0
	for _, text := range []string{"disagrees:any", "disagrees:nodata.yaml", "disagrees:strict.yaml", "disagrees:observe", "disagrees:nobody", "disagrees:observe,lpd-case-2015",
		"verdict:forward disagrees:any", "verdict:forward", "reason:in-window disagrees:any", "event:decision"} {
		f, err := ParseFilter(text, time.Now())
		if err != nil || f.String() != text {
			t.Fatalf("%q reads as %q: %v", text, f.String(), err)
		}
		var want, got []string
		for e, err := range decisionlog.Read(dir) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Match(e) {
				want = append(want, e.Decision.ID)
			}
			if text == "event:decision" && e.Decision != nil && e.Decision.Trigger == "" {
				decisions++
			}
		}
		p, err := x.Page(t.Context(), f, Cursor{}, 100, OldestFirst)
		if err != nil {
			t.Fatal(err)
		}
		at := make([]Cursor, len(p.Rows))
		for i := range p.Rows {
			at[i] = p.Rows[i].Cursor
		}
		for e, err := range x.Events(t.Context(), at) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Decision.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the index has %q, the log %q", text, got, want)
		}
		if n := map[string]int{"disagrees:any": 3, "disagrees:nodata.yaml": 1, "disagrees:observe": 0, "verdict:forward disagrees:any": 1}; len(want) != n[text] && n[text] > 0 {
			t.Errorf("%s: %d records, want %d", text, len(want), n[text])
		}
	}
	flows, err := x.FlowsByID(t.Context(), 1)
	if err != nil || len(flows) != 1 || flows[0].Decisions != decisions {
		t.Errorf("%v: the flow counts %+v, the log %d decisions", err, flows, decisions)
	}
}
