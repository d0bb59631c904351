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

// TestJq runs every recipe for jq of docs/log.md on a log of one drop.
func TestJq(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/log.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := reviewLog(t, 1)
	recipes := regexp.MustCompile(`(?m)^    jq .*\n(?:    .+\n?)*`).FindAllString(string(manual), -1)
	if len(recipes) < 6 {
		t.Fatalf("docs/log.md has %d recipes for jq", len(recipes))
	}
	for i, r := range recipes {
		cmd := exec.Command("bash", "-o", "pipefail", "-c", r)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s%v: %s", r, err, out)
		}
		if i == 0 && !strings.Contains(string(out), "1 drop\tsyn-established") { // how often which reason
			t.Errorf("%s%s", r, out)
		}
		if i == len(recipes)-1 && !strings.Contains(string(out), `"decisions":1,"counted":0,"suppressed":0,"gaps":`) { // conservation by hand
			t.Errorf("%s%s", r, out)
		}
	}
}
