package web

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shadowedLog is a log of a replay with four shadows, as a directory.
func shadowedLog(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../story/testdata/shadowed.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "decisions-20250603T112640.000Z-000001.jsonl"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestShadowPage(t *testing.T) {
	s := serve(t, shadowedLog(t), nil)
	body := page(t, s, "/shadow", http.StatusOK)
	for _, want := range []string{`aria-current="page">Shadow</a>`, "nodata.yaml", "strict.yaml", "lpd-case-2015", ">observe ",
		`<code class="would">drop/in-window reply=rst rule=printers</code>`, `<code>nothing</code>`, `href="/flow/1" data-drawer`,
		`<th scope="col"><span>idle-expired</span></th>`, `≠ 1</b>`, "It would have done the same about every segment.", "1 of them time alone has parted"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
	crawl(t, s, 60, func(target string, res *http.Response, body string) {
		sound(t, target, res)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", target, res.StatusCode)
		}
	})
	list := page(t, s, "/log?q=disagrees%3Anodata.yaml", http.StatusOK)
	if n := strings.Count(list, "<tr data-cursor"); n != 1 || !strings.Contains(list, "would nodata.yaml: drop/in-window") {
		t.Errorf("%d records of the shadow's disagreements, want 1", n)
	}
	if ladder := page(t, s, "/flow/1/ladder.svg", http.StatusOK); strings.Count(ladder, "hol-ghost") < 4 {
		t.Error("the ladder draws no ghosts")
	}
	if body := page(t, s, "/shadow?x=1", http.StatusBadRequest); !strings.Contains(body, "is no parameter") {
		t.Error(body)
	}
	empty, _ := generated(t, 50)
	if body := page(t, serve(t, empty, nil), "/shadow", http.StatusOK); !strings.Contains(body, "No policy ran beside") {
		t.Error(body)
	}
}

// With anonymized addresses the page shows none of the real ones.
func TestShadowPageAnonymized(t *testing.T) {
	anon, err := NewAnonymizer([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, shadowedLog(t), func(c *Config) { c.Anonymizer = anon })
	if body := page(t, s, "/shadow", http.StatusOK); strings.Contains(body, "10.2.0.7") || strings.Contains(body, "10.3.0.1") || !strings.Contains(body, "≠ 1</b>") {
		t.Error(body)
	}
}
