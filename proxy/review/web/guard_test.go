package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testToken = "0123456789abcdef0123"

func TestHostIsOurs(t *testing.T) {
	dir, _ := generated(t, 200)
	s := serve(t, dir, func(c *Config) { c.Loopback = true })
	for host, ok := range map[string]bool{"127.0.0.1:8686": true, "localhost:8686": true, "LOCALHOST": true, "[::1]:8686": true, "127.3.2.1": true, "[::1]": true,
		"": false, "evil.example": false, "evil.example:8686": false, "localhost.evil.example": false, "10.0.0.5:8686": false, "127.0.0.1.evil.example": false} {
		res := ask(t, s, "/", func(r *http.Request) { r.Host = host })
		if ok != (res.StatusCode == http.StatusOK) || !ok && res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("host %q: %d", host, res.StatusCode)
		}
	}
}

func TestToken(t *testing.T) {
	dir, _ := generated(t, 200)
	s := serve(t, dir, func(c *Config) { c.Token = testToken })
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", token) }
	}
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"nothing", nil, http.StatusUnauthorized},
		{"the token", bearer("Bearer " + testToken), http.StatusOK},
		{"scheme in small letters", bearer("bearer " + testToken), http.StatusOK},
		{"another", bearer("Bearer " + testToken + "x"), http.StatusUnauthorized},
		{"its beginning", bearer("Bearer " + testToken[:10]), http.StatusUnauthorized},
		{"empty", bearer("Bearer "), http.StatusUnauthorized},
		{"as a password", func(r *http.Request) { r.SetBasicAuth("", testToken) }, http.StatusUnauthorized},
		{"in a cookie as it is", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: testToken}) }, http.StatusUnauthorized},
		{"a browser", func(r *http.Request) { r.Header.Set("Accept", "text/html,*/*") }, http.StatusSeeOther},
	} {
		for _, target := range []string{"/", "/live", "/rows", "/policies", "/nothing"} {
			if target == "/live" && c.status == http.StatusOK {
				continue // it would go on
			}
			res := ask(t, s, target, func(r *http.Request) {
				if c.change != nil {
					c.change(r)
				}
				ctx, stop := context.WithTimeout(r.Context(), 10*time.Second) // who is let in by mistake does not follow without end
				t.Cleanup(stop)
				*r = *r.WithContext(ctx)
			})
			want := c.status
			if target == "/nothing" && want == http.StatusOK {
				want = http.StatusNotFound
			}
			if res.StatusCode != want {
				t.Errorf("%s, %s: %d, want %d", c.name, target, res.StatusCode, want)
			}
			if want == http.StatusSeeOther && !strings.HasPrefix(res.Header.Get("Location"), "/login?next=") {
				t.Errorf("a browser is led to %s", res.Header.Get("Location"))
			}
		}
	}
	if res := ask(t, s, "/assets/page.css", nil); res.StatusCode != http.StatusOK {
		t.Errorf("the form's looks: %d", res.StatusCode)
	}
}

// post sends the form.
func post(t *testing.T, s http.Handler, body string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body))
	r.Host = "127.0.0.1:8686"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func TestLogin(t *testing.T) {
	dir, _ := generated(t, 200)
	s := serve(t, dir, func(c *Config) { c.Token = testToken })
	res := post(t, s, "token="+testToken+"&next=%2Flog%3Fq%3Dverdict%3Adrop")
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/log?q=verdict:drop" {
		t.Fatalf("%d %s", res.StatusCode, res.Header.Get("Location"))
	}
	cookies := res.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || strings.Contains(cookies[0].Value, testToken) {
		t.Fatalf("%+v", cookies)
	}
	if res := ask(t, s, "/", func(r *http.Request) { r.AddCookie(cookies[0]) }); res.StatusCode != http.StatusOK {
		t.Errorf("with the cookie: %d", res.StatusCode)
	}
	for _, next := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "x"} {
		if res := post(t, s, "token="+testToken+"&next="+next); res.Header.Get("Location") != "/" {
			t.Errorf("next %q leads to %q", next, res.Header.Get("Location"))
		}
	}
	for i := range maxFailures + 2 {
		want := http.StatusForbidden
		if i >= maxFailures {
			want = http.StatusTooManyRequests
		}
		if res := post(t, s, "token=wrong"); res.StatusCode != want || len(res.Cookies()) != 0 {
			t.Fatalf("wrong token %d: %d", i, res.StatusCode)
		}
	}
	if res := post(t, s, "token="+testToken+strings.Repeat("x", 10000)); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a long form: %d", res.StatusCode)
	}
}

func TestReadToken(t *testing.T) {
	write := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got, err := ReadToken(write(testToken+"\n", 0o600)); err != nil || got != testToken {
		t.Errorf("%q, %v", got, err)
	}
	for want, path := range map[string]string{
		"expected 0600":     write(testToken, 0o640),
		"mode 0604":         write(testToken, 0o604),
		"at least 16":       write("short\n", 0o600),
		"blanks":            write("0123456789 abcdef0123", 0o600),
		"no such file":      filepath.Join(t.TempDir(), "none"),
		"is no regular":     t.TempDir(),
		"a token of 0 byte": write("", 0o600),
	} {
		if got, err := ReadToken(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, %v: want %q", got, err, want)
		}
	}
}
