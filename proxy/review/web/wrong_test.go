package web

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/proxy/review/index"
)

func TestBadQueries(t *testing.T) {
	dir, _ := generated(t, 200)
	s := serve(t, dir, nil)
	for target, want := range map[string]string{
		"/log?q=foo":                          "expected key:value",
		"/log?q=color:red":                    "is no key of a filter",
		"/log?q=verdict:denied":               "is not a verdict",
		"/log?q=reason:syn-establishd":        "did you mean",
		"/log?q=addr:10.0.0.300":              "is no address",
		"/log?q=since:yesterday":              "is no time",
		"/log?q=port:70000":                   "is no port",
		"/log?port=x&q=":                      "is no port",
		"/log?order=up":                       "expected newest or oldest",
		"/log?after=x":                        "is no place in a log",
		"/log?after=..%2F..%2Fetc%40passwd":   "is no place in a log",
		"/log?after=a%401&before=a%402":       "exclude each other",
		"/log?limit=0":                        "from 1 to 500",
		"/log?limit=1e3":                      "from 1 to 500",
		"/log?x=1":                            "is no parameter of this page",
		"/log?q=a:b&q=c:d":                    "2 times",
		"/log?q=%zz":                          "two hexadecimal digits",
		"/log?q=" + strings.Repeat("a", 5000): "at most 4096",
		"/rows?x=1":                           "is no parameter",
		"/strip?limit=-1":                     "from 1 to 500",
		"/live?after=x":                       "is no place",
		"/record?at=x":                        "is no place",
		"/record":                             "is no place",
		"/flow/1?part=head":                   "expected drawer",
		"/trouble/old-connection?from=-1":     "expected a number",
		"/?x=1":                               "is no parameter",
	} {
		if body := page(t, s, target, http.StatusBadRequest); !strings.Contains(body, want) {
			t.Errorf("%s: no %q in %s", target, want, lead.FindString(body))
		}
	}
	for _, target := range []string{"/flow/x", "/flow/0", "/flow/18446744073709551615", "/flow/123", "/flow/123/records.jsonl", "/trouble/none",
		"/policies/sha256:00", "/policies/..%2f..%2fetc%2fpasswd", "/policies/diff?a=x&b=y", "/assets/..%2fserver.go",
		"/assets/page.html", "/record?at=decisions-20200101T000000.000Z-000001%400", "/flow/1/scenario.scn", "/flow/1/packets.pcapng", "/login"} {
		page(t, s, target, http.StatusNotFound)
	}
	if body := page(t, s, "/log?"+strings.Repeat("a", 9000), http.StatusRequestURITooLong); !strings.Contains(body, "8192") {
		t.Error(body)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, "TRACE"} {
		if res := ask(t, s, "/log", func(r *http.Request) { r.Method = method }); res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, res.StatusCode)
		}
	}
	if res := ask(t, s, "/log", func(r *http.Request) { r.Method = http.MethodHead }); res.StatusCode != http.StatusOK || res.Header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d", res.StatusCode)
	}
}

// A log that is damaged is shown as far as it can be read, with what is wrong.
func TestDamagedLog(t *testing.T) {
	dir, w := generated(t, 600)
	names, err := filepath.Glob(filepath.Join(dir, "decisions-*.jsonl"))
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	lines[5] = "{\"timestamp\": <script>\n"
	if err := os.WriteFile(names[0], []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	last := names[len(names)-1]
	st, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(last, st.Size()-20); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, nil)
	body := page(t, s, "/", http.StatusOK)
	for _, want := range []string{"does not balance", "What could not be read", filepath.Base(names[0]) + ":6: bad line", filepath.Base(last), "last line cut short"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(body, dir) {
		t.Error("the page names a path of the host")
	}
	if n := len(cursors.FindAllString(page(t, s, "/log?limit=500&q=event:decision", http.StatusOK), -1)); n != 500 || w.Decisions != 600 {
		t.Errorf("%d decisions are shown", n)
	}
}

func TestEmptyLog(t *testing.T) {
	dir := t.TempDir()
	x, err := index.OpenOnly(dir, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s, err := New(Config{Dir: dir, Index: x})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/", "/log", "/policies", "/strip"} {
		body := page(t, s, target, http.StatusOK)
		if target != "/strip" && !strings.Contains(body, "There is no decision log in this directory yet") {
			t.Errorf("%s does not say that there is no log", target)
		}
	}
}
