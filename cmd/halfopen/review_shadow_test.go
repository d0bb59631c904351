package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/proxy"
)

func TestReviewShadow(t *testing.T) {
	log := filepath.Join("..", "..", "proxy", "review", "story", "testdata", "shadowed.jsonl")
	out, words, status := runVerb("review", "shadow", log)
	if status != 1 || words != "" || !strings.Contains(out, "shadow    lpd-case-2015 sha256:") || !strings.Contains(out, "forward/syn-established, the shadow drop/syn-established reply=ack-tracked") {
		t.Errorf("status %d: %s%s", status, out, words)
	}
	if out, _, status := runVerb("review", "shadow", log, "observe"); status != 0 || !strings.Contains(out, "It would have done the same about every segment.") || strings.Contains(out, "lpd-case-2015") {
		t.Errorf("one shadow: status %d: %s", status, out)
	}
	if _, words, status := runVerb("review", "shadow", log, "nobody"); status != 1 || !strings.Contains(words, `no shadow "nobody"`) {
		t.Errorf("no such shadow: status %d: %s", status, words)
	}
	if out, _, status := runVerb("review", log, "--disagrees", "any"); status != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, "shadow=strict.yaml:idle-expired,reply:rst-tracked,peer:rst-tracked") {
		t.Errorf("list: status %d: %s", status, out)
	}
	for _, args := range [][]string{{"review", "shadow"}, {"review", "shadow", log, "-o", "csv"}} {
		if _, _, status := runVerb(args...); status != 2 {
			t.Errorf("%q: status %d, want 2", args, status)
		}
	}
	if _, words, status := runVerb("review", "shadow", t.TempDir()); status != 1 || !strings.Contains(words, "no decision log") {
		t.Errorf("an empty directory: status %d: %s", status, words)
	}
}

// A shadow that is no policy, or one too many, keeps a gateway and a replay from starting.
func TestBadShadows(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("preset: nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		shadows []string
		want    string
	}{
		{[]string{bad}, "bad.yaml:1:"}, {[]string{"openbsd-pf", "openbsd-pf"}, "same name"}, {[]string{"none-such"}, "none-such"},
		{strings.Fields(strings.Repeat("observe ", 9)), "9 shadows; at most 8"},
	} {
		if err := proxy.Run(t.Context(), proxy.Config{Policy: "observe", Shadows: c.shadows}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want one with %q", c.shadows, err, c.want)
		}
	}
	if _, words, status := runVerb("replay", "-", "--shadow", bad); status != 1 || !strings.Contains(words, "bad.yaml:1:") {
		t.Errorf("replay: status %d: %s", status, words)
	}
}
