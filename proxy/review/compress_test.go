package review

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// The sums of a log are exact while its files are being compressed, some of them plain, some not, some both, and afterwards; the same of
// the run before, whose files are compressed by the next.
func TestVerifyWhileCompressing(t *testing.T) {
	dir := t.TempDir()
	w := writer(t, dir)
	first := traffic(w, 1000, true)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	opt := decisionlog.Options{Dir: dir, MaxFileBytes: 6000, BootID: "boot", Logger: slog.New(slog.DiscardHandler), Compress: true,
		Grace: 30 * time.Millisecond}
	w, err := decisionlog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	second := traffic(w, 5000, true)
	mixed := false
	check := func() (plain int) {
		t.Helper()
		before, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		packed, _ := filepath.Glob(filepath.Join(dir, "*.zst"))
		mixed = mixed || len(before) > 1 && len(packed) > 0
		rep, err := Verify(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Runs) != 2 || !rep.OK || rep.Runs[0].Status != Balanced || rep.Runs[0].Messages != first || rep.Runs[1].Messages != second ||
			problems(rep) != "" {
			t.Fatalf("%d plain, %d compressed: %+v, problems %q", len(before), len(packed), rep, problems(rep))
		}
		return len(before)
	}
	for end := time.Now().Add(20 * time.Second); check() > 1; {
		if time.Now().After(end) {
			t.Fatal("not compressed")
		}
	}
	if !mixed {
		t.Error("no log of both kinds was seen")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	check()
	if rep := verify(t, dir); !rep.OK {
		t.Errorf("%+v", rep)
	}
}
