package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func TestReviewExport(t *testing.T) {
	dir := reviewLog(t, 1)
	out := filepath.Join(t.TempDir(), "log.parquet")
	rows := func() int64 {
		f, err := os.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, _ := f.Stat()
		p, err := parquet.OpenFile(f, st.Size())
		if err != nil {
			t.Fatal(err)
		}
		return p.NumRows()
	}
	if _, words, err := runReview("export", dir, "--parquet", out); err != nil || rows() != 2 || !strings.Contains(words, "2 records") {
		t.Errorf("%v, %d rows, %q", err, rows(), words)
	}
	if _, _, err := runReview("export", dir, "verdict:drop", "--parquet", out, "--reason", "syn-established"); err != nil || rows() != 1 {
		t.Errorf("drops: %v, %d rows", err, rows())
	}
	stdout, _, err := runReview("export", dir, "--parquet", "-")
	if err != nil || !strings.HasPrefix(stdout, "PAR1") || !strings.HasSuffix(stdout, "PAR1") {
		t.Errorf("to stdout: %v, %d bytes", err, len(stdout))
	}
	for _, args := range [][]string{{"export", dir}, {"export", dir, "--parquet", out, "--outcome", "refused"}, {"export", dir, "--parquet", out, "--reason", "syn-estblished,"},
		{"export", dir, "--parquet", out, "colour:red"}} {
		var usage *usageError
		if _, _, err := runReview(args...); !errors.As(err, &usage) {
			t.Errorf("%v: %v", args, err)
		}
	}

	// A damaged line is told and left out; what cannot be written leaves nothing behind, and an old file as it was.
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("{\"timestamp\":\"never\"}\n")
	f.Close()
	if _, words, err := runReview("export", dir, "--parquet", out); !errors.Is(err, errFound) || rows() != 2 || !strings.Contains(words, ".jsonl:") {
		t.Errorf("with a bad line: %v, %d rows, %q", err, rows(), words)
	}
	gone := filepath.Join(t.TempDir(), "not", "there.parquet")
	if _, _, err := runReview("export", dir, "--parquet", gone); err == nil {
		t.Error("a file in a directory that does not exist was written")
	}
	if _, _, err := runReview("export", filepath.Join(dir, "not"), "--parquet", out); err == nil || rows() != 2 {
		t.Errorf("a log that does not exist: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
