package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/proxy/review/trouble"
)

const storyLogs = "../../proxy/review/story/testdata/"

// logDir puts a log of a replay where a gateway's would be.
func logDir(t *testing.T, log string) string {
	t.Helper()
	data, err := os.ReadFile(storyLogs + log + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "a log's directory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "decisions-20260301T080000.000Z-000001.jsonl"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A connection's story is the same by the index, by reading the log, and as the package tells it.
func TestReviewFlow(t *testing.T) {
	for _, c := range []struct{ log, flow string }{{"day", "1"}, {"night", "1"}, {"night", "2"}, {"healed", "2"}, {"late", "1"}, {"held", "1"}} {
		for _, svg := range []bool{false, true} {
			args, golden := []string{"--flow", c.flow}, storyLogs+c.log+"-"+c.flow+".txt"
			if svg {
				args, golden = append(args, "--svg"), strings.TrimSuffix(golden, "txt")+"svg"
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{logDir(t, c.log), storyLogs + c.log + ".jsonl"} {
				got, words, status := runVerb(append([]string{"review", path}, args...)...)
				if got != string(want) || words != "" || status != 0 {
					t.Errorf("review %s %s: status %d, %s\n%s", path, args, status, words, got)
				}
			}
		}
	}
	dir := logDir(t, "day")
	for _, c := range []struct {
		args   []string
		status int
		want   string // in what is printed, or said
	}{
		{[]string{"--flow", "1", "-o", "json"}, 0, `"event_type":"inject"`},
		{[]string{"--flow", "1", "--verdict", "drop"}, 0, "drop     syn-established"},
		{[]string{"--flow", "1", "--limit", "1"}, 0, "flow     new"},
		{[]string{"--flow", "77"}, 1, "no record of flow 77"},
		{[]string{"--svg"}, 2, "wants --flow"},
		{[]string{"--flow", "1,2", "--svg"}, 2, "wants --flow"},
		{[]string{"--flow", "1", "--svg", "-o", "json"}, 2, "wants --flow"},
	} {
		out, words, status := runVerb(append([]string{"review", dir}, c.args...)...)
		if status != c.status || !strings.Contains(out+words, c.want) || status != 0 && out != "" {
			t.Errorf("review %v: status %d\n%s%s", c.args, status, out, words)
		}
	}
	if _, words, status := runVerb("review", "-", "--flow", "1"); status != 2 || !strings.Contains(words, "read twice") {
		t.Errorf("stdin: status %d, %s", status, words)
	}
	if _, words, status := runVerb("review", t.TempDir(), "--flow", "1"); status != 1 || !strings.Contains(words, "no decision log") {
		t.Errorf("no log: status %d, %s", status, words)
	}
}

func TestReviewTrouble(t *testing.T) {
	day, night, closed := logDir(t, "day"), logDir(t, "night"), logDir(t, "closed")
	for dir, variant := range map[string]string{day: "gateway", night: "server"} {
		out, words, status := runVerb("review", dir, "--trouble", "-o", "json")
		var r trouble.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || status != 1 || words != "" {
			t.Fatalf("status %d, %v, %s\n%s", status, err, words, out)
		}
		if g := r.Groups; len(g) == 0 || g[0].Kind != trouble.OldConnection || g[0].Cases != 1 || g[0].Variants[0].Variant != variant || g[0].Examples[0].FlowID == 0 {
			t.Errorf("%s", out)
		}
	}
	if out, words, status := runVerb("review", closed, "--trouble"); status != 0 || !strings.HasPrefix(out, "No trouble in 1 connection, ") || words != "" {
		t.Errorf("status %d: %s%s", status, out, words)
	}
	out, _, _ := runVerb("review", day, "--trouble")
	if !strings.Contains(out, "\n      halfopen review "+quoted(day)+" --flow 1\n") || !strings.HasPrefix(out, "Trouble: 1 in 1 connection, 2026-03-01 08:00:00 to 08:00:28.") {
		t.Errorf("no command to see more of it:\n%s", out)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--reason", "syn-established", "dst-port:515", "src:10.2.0.0/16"}, 1, "answered by an old connection: 1"},
		{[]string{"dst-port:516"}, 0, "No trouble"},
		{[]string{"--since", "1h"}, 0, "No trouble"},
		{[]string{"--limit", "3"}, 2, "do not go with it"},
		{[]string{"-o", "csv"}, 2, "do not go with it"},
		{[]string{"--outcome", "reset"}, 2, "not picked by"},
	} {
		out, words, status := runVerb(append([]string{"review", day, "--trouble"}, c.args...)...)
		if status != c.status || !strings.Contains(out+words, c.want) {
			t.Errorf("review --trouble %v: status %d\n%s%s", c.args, status, out, words)
		}
	}
	if _, words, status := runVerb("review", t.TempDir(), "--trouble"); status != 1 || !strings.Contains(words, "no decision log") {
		t.Errorf("no log: status %d, %s", status, words)
	}
	for path, want := range map[string]string{"/var/log/halfopen": "/var/log/halfopen", "a b": "'a b'", "it's": `'it'\''s'`, "": "''"} {
		if got := quoted(path); got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
}
