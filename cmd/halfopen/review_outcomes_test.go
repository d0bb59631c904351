package main

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/review/loggen"
)

// Outcomes are listed as text, JSON and CSV, of one log or several, through filters; what the log lacks is said on stderr.
func TestReviewOutcomes(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for i, dir := range []string{one, two} {
		if _, err := loggen.Generate(loggen.Config{Dir: dir, Seed: uint64(i), Decisions: 2000, Flows: 200, Length: 10 * time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(out string) int { return strings.Count(out, "\n") }
	a, said, status := runVerb("review", one, "--outcomes")
	if status != 0 || count(a) < 150 || !strings.Contains(a, "connected in ") || !strings.Contains(a, "gave up") || !strings.Contains(said, "gap record") {
		t.Fatalf("%d %s\n%s", status, a, said)
	}
	both, said, status := runVerb("review", one, two, "arm:A", "--outcomes", "-o", "json")
	if status != 0 || count(both) < 120 || strings.Contains(both, `"arm":"B"`) || !strings.Contains(both, two) || strings.Contains(both, "NaN") {
		t.Errorf("%d %s\n%s", status, both, said)
	}
	for line := range strings.Lines(both) {
		var o struct {
			FlowID    uint64   `json:"flow_id"`
			Connected *bool    `json:"connected"`
			ConnectS  *float64 `json:"connect_s"`
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil || o.Connected == nil || !*o.Connected && o.ConnectS != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
	table, _, status := runVerb("review", one, "--outcomes", "-o", "csv", "--limit", "3", "--port", "515")
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil || status != 0 || len(rows) != 4 || rows[0][0] != "flow_id" || len(rows[0]) != 46 || !strings.HasSuffix(rows[1][7], ":515") {
		t.Errorf("%v %d %s", err, status, table)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{one, "--outcomes", "-f"}, "do not go with it"},
		{[]string{one, "--outcomes", "reason:new"}, "not picked by"},
		{[]string{"-", "--outcomes"}, "stdin is none"},
		{[]string{one, two}, "expected key:value"},
	} {
		if out, said, status := runVerb(append([]string{"review"}, c.args...)...); status != 2 || out != "" || !strings.Contains(said, c.want) {
			t.Errorf("%v: %d %q %q", c.args, status, out, said)
		}
	}
	if _, said, status := runVerb("review", one+"/none", "--outcomes"); status != 1 || !strings.Contains(said, "no such file") {
		t.Errorf("%d %q", status, said)
	}
}
