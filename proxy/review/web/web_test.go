package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/loggen"
)

// serve opens a log and makes its handler, with the index and the trouble at the log's end.
func serve(t *testing.T, dir string, change func(*Config)) *Server {
	t.Helper()
	x, err := index.Open(t.Context(), dir, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	cfg := Config{Dir: dir, Index: x}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // nothing of it goes on when the index is closed
		ctx, stop := context.WithCancel(context.Background())
		stop()
		s.Run(ctx)
	})
	<-s.cases.begin(t.Context(), time.Now()) // however long that takes on a busy machine
	return s
}

// generated is a log of the generator's.
func generated(t *testing.T, decisions int) (string, loggen.Written) {
	t.Helper()
	dir := t.TempDir()
	w, err := loggen.Generate(loggen.Config{Dir: dir, Decisions: decisions, MaxFileBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return dir, w
}

// records counts those of a log.
func records(t *testing.T, dir string) (n int) {
	t.Helper()
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Header == nil && e.Trailer == nil {
			n++
		}
	}
	return n
}

// ask makes a request; change may add to it.
func ask(t *testing.T, s http.Handler, target string, change func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "127.0.0.1:8686"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

// page asks for a page, wants a status, and returns its text.
func page(t *testing.T, s http.Handler, target string, status int) string {
	t.Helper()
	res := ask(t, s, target, nil)
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Errorf("GET %s: %d, want %d: %s", target, res.StatusCode, status, lead.FindString(string(b)))
	}
	return string(b)
}

var lead = regexp.MustCompile(`<p class="lead">.*</p>`)

var (
	// These are sought one by one in lower case, so that each begins with letters that are found fast.
	inline   = []*regexp.Regexp{regexp.MustCompile(`<script(?:\s[^>]*)?>\s*[^<\s]`), regexp.MustCompile(`<style`), regexp.MustCompile(`style\s*=`), regexp.MustCompile(`javascript:`)}
	handlers = regexp.MustCompile(`\son[a-z]+\s*=`)
	foreign  = []*regexp.Regexp{regexp.MustCompile(`src="(?:[a-z]+:|//)`), regexp.MustCompile(`href="(?:[a-z]+:|//)`), regexp.MustCompile(`action="(?:[a-z]+:|//)`)}
)

// forbidden is the first piece of a page that its own policy forbids, or that leads elsewhere; "" for none.
func forbidden(page string) string {
	for _, re := range foreign {
		if m := re.FindString(strings.ToLower(page)); m != "" {
			return m
		}
	}
	page = strings.ToLower(values.ReplaceAllString(page, `=""`))
	for _, re := range inline {
		if m := re.FindString(page); m != "" {
			return m
		}
	}
	for _, rest, ok := strings.Cut(page, "<"); ok; _, rest, ok = strings.Cut(rest, "<") {
		if tag, _, _ := strings.Cut(rest, ">"); strings.Contains(tag, "on") && handlers.MatchString(tag) {
			return "<" + tag
		}
	}
	return ""
}

func TestForbidden(t *testing.T) {
	for text, want := range map[string]string{`<p>plain <a href="/log">on = 1</a> <script src="/x"></script></p>`: "", `<script>alert(1)`: "<script>a", "<script\n defer> x": "<script\n defer> x",
		`<STYLE>`: "<style", `<p Style ="x">`: "style =", `<a href="JavaScript:x">`: "javascript:", "<a\nonClick =\"x\">": "<a\nonclick =\"\"", `<img src="//x">`: `src="//`,
		`<a href="HTTP://x">`: `href="http:`, `<form action="x:y">`: `action="x:`} {
		if got := forbidden(text); got != want && got != `href="`+want {
			t.Errorf("%s: found %q, want %q", text, got, want)
		}
	}
}

// sound checks what holds of every answer.
func sound(t *testing.T, target string, res *http.Response) {
	t.Helper()
	for k, want := range map[string]string{"Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
		if got := res.Header.Get(k); !strings.HasPrefix(got, want) {
			t.Errorf("%s: header %s: %q, want %q", target, k, got, want)
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("%s: %s", target, csp)
	}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		return
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	res.Body = io.NopCloser(strings.NewReader(string(b)))
	if m := forbidden(string(b)); m != "" {
		t.Errorf("%s: the page's own policy forbids %q, or it leads elsewhere", target, m)
	}
}

// links are the addresses that a page leads to.
var links = regexp.MustCompile(`href="(/[^"]*)"`)

// crawl visits pages by their links, as many as limit, and calls visit with each.
func crawl(t *testing.T, s http.Handler, limit int, visit func(target string, res *http.Response, body string)) {
	t.Helper()
	seen, queue := map[string]bool{"/": true}, []string{"/"}
	for n := 0; len(queue) > 0 && n < limit; n++ {
		target := queue[0]
		queue = queue[1:]
		res := ask(t, s, target, nil)
		sound(t, target, res)
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %d", target, res.StatusCode)
		}
		visit(target, res, string(b))
		for _, m := range links.FindAllStringSubmatch(string(b), -1) {
			to := strings.ReplaceAll(m[1], "&amp;", "&")
			to = strings.ReplaceAll(strings.ReplaceAll(to, "&#43;", "+"), "&#39;", "'")
			if !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
		}
	}
}

func TestPagesAreSound(t *testing.T) {
	dir, _ := generated(t, 3000)
	s := serve(t, dir, nil)
	kinds := map[string]int{}
	crawl(t, s, 120/breadth, func(target string, _ *http.Response, _ string) {
		kinds[strings.Split(target+"/", "/")[1][:min(len(strings.Split(target+"/", "/")[1]), 4)]]++
	})
	if kinds["flow"] < 5 || kinds["log?"] < 5 || kinds["poli"] < 1 || kinds["trou"] < 3 || kinds["asse"] < 3 {
		t.Errorf("too little was seen: %v", kinds)
	}
	for _, target := range []string{"/nothing", "/flow/0", "/log?q=foo", "/login"} {
		res := ask(t, s, target, nil)
		sound(t, target, res)
		if res.StatusCode < 400 {
			t.Errorf("%s: %d", target, res.StatusCode)
		}
	}
}

// The page's counts are those of `review verify`.
func TestCountsAreVerified(t *testing.T) {
	dir, w := generated(t, 4000)
	s := serve(t, dir, nil)
	want, err := review.Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.balance(httptest.NewRequest(http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	if n := records(t, dir); got.Records != uint64(n) || len(got.Runs) != len(want.Runs) {
		t.Fatalf("%d records in %d runs, want %d in %d", got.Records, len(got.Runs), n, len(want.Runs))
	}
	body := page(t, s, "/", http.StatusOK)
	for i, run := range want.Runs {
		g := got.Runs[len(want.Runs)-1-i]
		if g.Explained != run.Explained || g.Messages != run.Messages || g.Status != run.Status || g.Run.Run != run.Run {
			t.Errorf("run %d: page %+v %d %s, verify %+v %d %s", i, g.Explained, g.Messages, g.Status, run.Explained, run.Messages, run.Status)
		}
		for _, n := range []uint64{run.Messages, run.Explained.Decisions, run.Explained.Counted} {
			if !strings.Contains(body, `<td class="num">`+count(n)+`</td>`) {
				t.Errorf("run %d: %d is not on the page", i, n)
			}
		}
	}
	for verdict, n := range w.Verdicts {
		if !strings.Contains(body, fmt.Sprintf("</span>%s <b>%s</b>", verdict, count(n))) {
			t.Errorf("the strip's legend has no %s %d", verdict, n)
		}
	}
}

var cursors = regexp.MustCompile(`data-cursor="([^"]+)"`)

// Every record is reachable: by the links between pages, both ways round, and by the pieces that the script asks for.
func TestEveryRecordIsReachable(t *testing.T) {
	dir, _ := generated(t, 1500/breadth)
	want := records(t, dir)
	s := serve(t, dir, nil)
	older := regexp.MustCompile(`rel="next" href="([^"]+)"`)
	for _, start := range []string{"/log", "/log?order=oldest"} {
		var all []string
		for target := start; target != ""; {
			body := page(t, s, target, http.StatusOK)
			for _, m := range cursors.FindAllStringSubmatch(body, -1) {
				all = append(all, m[1])
			}
			m := older.FindStringSubmatch(body)
			if target = ""; m != nil {
				target = strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		distinct := slices.Clone(all)
		slices.Sort(distinct)
		if n := len(slices.Compact(distinct)); n != want || len(all) != n {
			t.Errorf("%s: %d records, %d of them different, want %d", start, len(all), n, want)
		}
	}
	var all []string
	for after := ""; ; {
		v := url.Values{"limit": {"500"}, "order": {"oldest"}}
		if after != "" {
			v.Set("after", after)
		}
		body := page(t, s, "/rows?"+v.Encode(), http.StatusOK)
		for _, m := range cursors.FindAllStringSubmatch(body, -1) {
			all = append(all, m[1])
		}
		if strings.Contains(body, `data-more="false"`) {
			break
		}
		after = all[len(all)-1]
	}
	if len(all) != want {
		t.Errorf("rows: %d records, want %d", len(all), want)
	}
	// Back: the page before the second one is the first one.
	second := page(t, s, "/rows?limit=10&order=oldest&after="+url.QueryEscape(all[9]), http.StatusOK)
	first := page(t, s, "/rows?limit=10&order=oldest&before="+url.QueryEscape(all[10]), http.StatusOK)
	if m := cursors.FindAllStringSubmatch(first, -1); len(m) != 10 || m[0][1] != all[0] || m[9][1] != all[9] || !strings.Contains(first, `data-begun="false"`) {
		t.Errorf("before: %v", m)
	}
	if m := cursors.FindAllStringSubmatch(second, -1); len(m) != 10 || m[0][1] != all[10] {
		t.Errorf("after: %v", m)
	}
}

func TestFilterIsTheAddress(t *testing.T) {
	dir, w := generated(t, 3000)
	s := serve(t, dir, func(c *Config) { c.Now = func() time.Time { return time.Date(2026, 11, 24, 7, 0, 0, 0, time.UTC) } })
	res := ask(t, s, "/log?q=reason:in-window&verdict=drop&reason=&event=&addr=10.0.0.0/8&port=515&since=24h&until=", nil)
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("the form: %d", res.StatusCode)
	}
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || to.Path != "/log" || to.Query().Get("q") != "since:2026-11-23T07:00:00Z verdict:drop addr:10.0.0.0/8 port:515" {
		t.Fatalf("the form leads to %v, %v", to, err)
	}
	body := page(t, s, to.String(), http.StatusOK)
	if !strings.Contains(body, `<option value="drop" selected>`) || !strings.Contains(body, `name="port" value="515"`) {
		t.Error("the form does not show the filter")
	}
	body = page(t, s, "/log?q=verdict:drop&limit=500", http.StatusOK)
	if n := len(cursors.FindAllString(body, -1)); n != min(w.Verdicts["drop"], 500) || strings.Contains(body, `class="v v-forward"`) {
		t.Errorf("%d rows, want %d drops only", n, w.Verdicts["drop"])
	}
	chip := regexp.MustCompile(`<a class="chip" href="/log" aria-label="Remove verdict:drop">`)
	if !chip.MatchString(body) {
		t.Error("no chip takes the word away")
	}
}
