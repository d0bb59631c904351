//go:build netns

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLnav reads a log with lnav through the format of docs/tools, as docs/tools.md says.
func TestLnav(t *testing.T) {
	t.Parallel()
	dir := reviewLog(t, 1)
	home := t.TempDir()
	lnav := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("lnav", args...)
		cmd.Env = append(os.Environ(), "HOME="+home, "TERM=dumb", "XDG_CONFIG_HOME=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("lnav %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	manual, err := os.ReadFile("../../docs/tools.md")
	if err != nil {
		t.Fatal(err)
	}
	query := regexp.MustCompile(`(?m)^    (;select .*)$`).FindSubmatch(manual)
	if query == nil {
		t.Fatal("docs/tools.md has no query for lnav")
	}
	lnav("-i", "../../docs/tools/lnav.json")
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if out := lnav(append([]string{"-n"}, files...)...); !regexp.MustCompile(`T[0-9:.]+ decision drop    syn-established .* flow 7\b`).MatchString(out) {
		t.Errorf("lines: %s", out)
	}
	if out := lnav(append([]string{"-n", "-c", string(query[1]), "-c", ":write-csv-to -"}, files...)...); !strings.Contains(out, "drop,syn-established,1") {
		t.Errorf("query: %s", out)
	}
}
