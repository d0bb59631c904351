package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/loggen"
)

// reviewTraffic writes a log of some thousand records.
func reviewTraffic(t *testing.T) (string, loggen.Written) {
	t.Helper()
	dir := t.TempDir()
	w, err := loggen.Generate(loggen.Config{Dir: dir, Seed: 5, Decisions: 4000, MaxFileBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return dir, w
}

// With an index and without one, the same records are printed.
func TestReviewIndexedAsStreamed(t *testing.T) {
	dir, w := reviewTraffic(t)
	files, err := decisionlog.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, words := range [][]string{nil, {"verdict:drop"}, {"reason:syn-established", "outcome:forgotten"}, {"src:10.0.0.0/12", "event:flow"}, {"--rev", "77ab"}, {"--limit", "7"}} {
		for j, format := range []string{"text", "json", "csv"} {
			if (i+j)%breadth != 0 {
				continue
			}
			got, said, err := runReview(append([]string{dir, "-o", format}, words...)...)
			if err != nil {
				t.Fatal(err, said)
			}
			var out bytes.Buffer
			var f index.Filter
			limit := 0
			for i := 0; i < len(words); i++ {
				key, value, ok := strings.Cut(words[i], ":")
				if !ok {
					key, value = strings.TrimPrefix(words[i], "--"), words[i+1]
					i++
				}
				if key == "limit" {
					limit = 7
				} else if err := f.SetList(key, value, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			done, err := review.List(review.NewPrinter(&out, review.Format(format), false), dir, f, limit)
			if err != nil || got != out.String() || len(got) == 0 {
				t.Errorf("%v as %s: %d octets with the index, %d without (%v)", words, format, len(got), out.Len(), err)
			}
			if words == nil && done.Records != w.Records+1 { // and the crash gap
				t.Errorf("%d records, want %d", done.Records, w.Records+1)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, index.FileName)); err != nil {
		t.Error(err)
	}
	one, said, err := runReview(files[0], "--limit", "3")
	if err != nil || strings.Count(one, "\n") != 3 {
		t.Errorf("one file: %q, %s, %v", one, said, err)
	}
	forward, _, _ := runReview(dir)
	back, _, err := runReview(dir, "--reverse")
	lines := strings.SplitAfter(forward, "\n")
	lines = lines[:len(lines)-1]
	for i, l := range strings.SplitAfter(strings.TrimSuffix(back, "\n"), "\n") {
		if strings.TrimSuffix(l, "\n") != strings.TrimSuffix(lines[len(lines)-1-i], "\n") {
			t.Fatalf("line %d of --reverse: %s, %v", i, l, err)
		}
	}
	if _, _, err := runReview(files[0], "--reverse"); err == nil {
		t.Error("--reverse of a file")
	}
}

// CSV has as many cells in each row, whatever is in them.
func TestReviewCSV(t *testing.T) {
	dir, w := reviewTraffic(t)
	out, _, err := runReview(dir, "-o", "csv", "event:decision")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != w.Decisions+1 {
		t.Fatalf("%d rows, want %d: %v", len(rows), w.Decisions+1, err)
	}
	at := map[string]int{}
	for i, name := range rows[0] {
		at[name] = i
	}
	reasons, hostile := map[string]int{}, 0
	for _, r := range rows[1:] {
		reasons[r[at["reason"]]]++
		if r[at["rule"]] == "guests \"<i>\"" {
			hostile++
		}
	}
	for reason, n := range w.Reasons {
		if reasons[reason] != n {
			t.Errorf("%s %d times, want %d", reason, reasons[reason], n)
		}
	}
	if hostile == 0 {
		t.Error("no rule with quotes")
	}
	if out, _, err := runReview(dir, "-o", "csv", "reason:paws"); err != nil || out != strings.Join(rows[0], ",")+"\n" {
		t.Errorf("nothing picked: %q, %v", out, err)
	}
}

// What is damaged is named, with file, line and offset, and the rest is printed.
func TestReviewDamage(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "decisions-20261123T180136.000Z-000001.jsonl")
	lines := []string{
		`{"timestamp":"2026-11-23T18:01:36.0+0000","event_type":"header","header":{"schema_version":9,"run":"R","file_seq":1}}`,
		`{"timestamp":"2026-11-23T18:01:37.0+0000","event_type":"decision","decision":{"id":"x","verdict":"drop","reason":"\u001b[31mred"}}`,
		`not json`,
		`{"x":"` + strings.Repeat("y", 10<<20) + `"}`,
		`{"timestamp":"2026-11-23T18:01:38.0+0000","event_type":"decision","decision":{"id":"y","verdict":"drop","reason":"new"}}`,
		`{"cut":`}
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	third := len(lines[0]) + len(lines[1]) + 2
	for _, path := range []string{dir, name} {
		out, said, err := runReview(path)
		if err != nil || strings.Count(out, "\n") != 2 || strings.Contains(out, "\x1b") {
			t.Errorf("%s: %q, %v", path, out, err)
		}
		for _, want := range []string{name + ":3: bad line: ", "(byte " + itoa(third) + ")", name + ":4: bad line: longer than", name + ":6: last line cut short"} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: no %q in\n%s", path, want, said)
			}
		}
		if path == dir && !strings.Contains(said, "schema version 9") {
			t.Errorf("nothing said of the newer schema:\n%s", said)
		}
	}
}

func itoa(n int) string { return strings.TrimSpace(string(appendInt(nil, n))) }

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// syncBuffer is a buffer that one goroutine writes and another reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// -f prints what is there and then what comes, across files, from a directory that was empty at first, while the gateway writes.
func TestReviewFollow(t *testing.T) {
	dir := t.TempDir()
	var out, said syncBuffer
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c := newReviewCmd()
	c.SetOut(&out)
	c.SetErr(&said)
	c.SetArgs([]string{dir, "-f", "--verdict", "drop"})
	done := make(chan error, 1)
	go func() { done <- c.ExecuteContext(ctx) }()
	wait := func(want int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); strings.Count(out.String(), "\n") < want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d lines, want %d; said %s", strings.Count(out.String(), "\n"), want, said.String())
			}
		}
	}
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, MaxFileBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		verdict := []string{"drop", "forward"}[i&1]
		w.Put(&decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventDecision, FlowID: uint64(i + 1),
			Decision: decisionlog.Decision{ID: w.NextID(), Verdict: verdict, Reason: "syn-established"}})
		w.Flush()
		if i%10 == 9 {
			wait(i/2 + 1)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if !strings.HasSuffix(line, "flow="+itoa(2*i+1)) {
			t.Errorf("line %d: %s", i, line)
		}
	}
	if files, _ := decisionlog.Files(dir); len(files) < 3 {
		t.Errorf("%d files: the test shows little", len(files))
	}
	if rep, err := review.Verify(dir); err != nil || len(rep.Runs) != 1 || rep.Runs[0].Explained.Decisions != 40 {
		t.Errorf("the log is not as it was written: %+v, %v", rep, err)
	}
}
