package index

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// An index that follows a log whose files are compressed behind it has each record once, and is never made anew.
func TestFollowWhileCompressing(t *testing.T) {
	dir := t.TempDir()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, MaxFileBytes: 4000, MaxTotalBytes: -1, Logger: slog.New(slog.DiscardHandler),
		Compress: true, Grace: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	p := w.Producer(1)
	n := 0
	put := func(records int) {
		for range records {
			n++
			r := decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventDecision, FlowID: uint64(n)}
			r.Decision = decisionlog.Decision{ID: p.NextID(), Verdict: "drop", Reason: "syn-established"}
			p.Put(&r)
			if n%10 == 0 {
				w.Flush()
			}
		}
		w.Flush()
	}
	put(10)
	var said []string
	x, err := Open(ctx, dir, Options{Warn: func(s string) { said = append(said, s) }})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	seen := map[uint64]int{}
	look := func() {
		t.Helper()
		if err := x.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		page, err := x.Page(ctx, Filter{Reason: []string{"syn-established"}}, Cursor{}, 1<<20, OldestFirst)
		if err != nil {
			t.Fatal(err)
		}
		clear(seen)
		for _, r := range page.Rows {
			seen[r.FlowID]++
		}
		if len(page.Rows) != n || len(seen) != n {
			t.Fatalf("%d rows of %d flows, %d records were written", len(page.Rows), len(seen), n)
		}
		for i := 0; i < len(page.Rows); i += 1 + len(page.Rows)/5 {
			if e, err := x.Event(ctx, page.Rows[i].Cursor); err != nil || e.FlowID != page.Rows[i].FlowID {
				t.Fatalf("row %d: %+v, %v", i, e, err)
			}
		}
	}
	for range 15 {
		put(40)
		look()
	}
	for end := time.Now().Add(20 * time.Second); ; {
		plain, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		look()
		if len(plain) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not compressed")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	look()
	if said != nil {
		t.Errorf("warned: %q", said)
	}
}
