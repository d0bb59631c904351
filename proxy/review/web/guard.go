package web

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// policyHeader forbids what the page never does: scripts and styles that are not files of ours, frames, foreign addresses.
const policyHeader = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// cookieName holds who has told the token. It is not the token.
const cookieName = "halfopen_review"

// maxQuery bounds a request's query, in octets.
const maxQuery = 8 << 10

// guard stands before every page: headers, the host's name, the token.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policyHeader)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case s.cfg.Loopback && !loopbackName(r.Host):
			// A foreign name that leads here is somebody else's page, which a browser would let read the answer.
			s.fail(w, r, &httpError{http.StatusMisdirectedRequest, "this page answers to localhost, 127.0.0.1 and [::1] only"})
		case len(r.URL.RawQuery) > maxQuery:
			s.fail(w, r, &httpError{http.StatusRequestURITooLong, fmt.Sprintf("the address is longer than %d bytes", maxQuery)})
		case s.open(r) || s.knows(r):
			next.ServeHTTP(w, r)
		case r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html"):
			http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		default:
			h.Set("WWW-Authenticate", `Bearer realm="halfopen review"`)
			s.fail(w, r, &httpError{http.StatusUnauthorized, "this page wants a token: Authorization: Bearer, or the form at /login"})
		}
	})
}

// open says whether a request needs no token.
func (s *Server) open(r *http.Request) bool {
	return s.cfg.Token == "" || r.URL.Path == "/login" || strings.HasPrefix(r.URL.Path, "/assets/")
}

// loopbackName says whether a Host header names this machine itself.
func loopbackName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Unmap().IsLoopback()
}

// same compares two secrets in a time that tells nothing about either.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// session is what a cookie holds of the token.
func (s *Server) session() string {
	m := hmac.New(sha256.New, []byte(s.cfg.Token))
	io.WriteString(m, "halfopen review session 1")
	return hex.EncodeToString(m.Sum(nil))
}

// knows says whether a request comes from who knows the token.
func (s *Server) knows(r *http.Request) bool {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return same(strings.TrimSpace(token), s.cfg.Token)
	}
	c, err := r.Cookie(cookieName)
	return err == nil && same(c.Value, s.session())
}

// failures slows down who guesses tokens.
type failures struct {
	mu    sync.Mutex
	since time.Time
	n     int
}

// maxFailures is how many wrong tokens are looked at in a minute.
const maxFailures = 30

// allow says whether another token may be tried.
func (f *failures) allow(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.since) > time.Minute {
		f.since, f.n = now, 0
	}
	return f.n < maxFailures
}

func (f *failures) failed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
}

type loginPage struct {
	frame
	Next  string
	Wrong string
}

func (s *Server) loginForm(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "login", loginPage{s.frame("", "Log in"), localPath(r.URL.Query().Get("next")), ""})
}

// login takes the token of the form. It is the only request that is no GET, so that the token stands in no address.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, badRequest("the form could not be read"))
		return
	}
	next := localPath(r.PostForm.Get("next"))
	say := func(status int, text string) {
		s.render(w, r, status, "login", loginPage{s.frame("", "Log in"), next, text})
	}
	if !s.fails.allow(s.cfg.Now()) {
		say(http.StatusTooManyRequests, "Too many wrong tokens; wait a minute.")
		return
	}
	if !same(strings.TrimSpace(r.PostForm.Get("token")), s.cfg.Token) {
		s.fails.failed()
		say(http.StatusForbidden, "That is not the token.")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: s.session(), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// localPath is a path of this server to go on to, "/" where somebody else wants to be gone to.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

// minToken is how many octets a token must have at least.
const minToken = 16

// ReadSecret reads a file that nobody else may read: a token or a key.
func ReadSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := st.Mode(); !mode.IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	} else if mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o), expected 0600: chmod 600 %s", path, mode.Perm(), path)
	}
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

// ReadToken reads a token from its file: its one line, 16 octets or more.
func ReadToken(path string) (string, error) {
	b, err := ReadSecret(path)
	if err != nil {
		return "", err
	}
	token := string(bytes.TrimSpace(b))
	if len(token) < minToken {
		return "", fmt.Errorf("%s holds a token of %d bytes, expected at least %d (openssl rand -hex 32 makes one)", path, len(token), minToken)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("%s holds blanks or other than ASCII, expected one word", path)
		}
	}
	return token, nil
}
