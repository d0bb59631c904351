package web

import (
	"encoding/json"
	"io"
	"math/bits"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

func anonymizer(t *testing.T, key string) *Anonymizer {
	t.Helper()
	a, err := NewAnonymizer([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// common is how many leading bits two addresses share.
func common(x, y netip.Addr) int {
	a, b := x.AsSlice(), y.AsSlice()
	for i := range a {
		if a[i] != b[i] {
			return i*8 + bits.LeadingZeros8(a[i]^b[i])
		}
	}
	return len(a) * 8
}

func TestPrefixesAreKept(t *testing.T) {
	a, b := anonymizer(t, "0123456789abcdef"), anonymizer(t, "0123456789abcdeg")
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) netip.Addr {
		var buf [16]byte
		for i := range buf {
			buf[i] = byte(rng.Uint32())
		}
		addr, _ := netip.AddrFromSlice(buf[:n])
		return addr
	}
	moved := 0
	for i := range 400 {
		n := 4 + 12*(i%2)
		x := random(n)
		bytes := x.AsSlice()
		k := rng.IntN(n * 8)
		bytes[k/8] ^= 0x80 >> (k % 8) // shares k bits with x
		for j := k + 1; j < n*8; j++ {
			bytes[j/8] ^= byte(rng.Uint32()) & (0x80 >> (j % 8))
		}
		y, _ := netip.AddrFromSlice(bytes)
		if got, want := common(a.Addr(x), a.Addr(y)), common(x, y); got != want {
			t.Fatalf("%v and %v share %d bits, their images %d", x, y, want, got)
		}
		p := netip.PrefixFrom(x, rng.IntN(n*8+1)).Masked()
		if image := a.Prefix(p); a.Original(image) != p || !image.Contains(a.Addr(p.Addr())) {
			t.Fatalf("%v has the image %v, and that the original %v", p, image, a.Original(image))
		}
		if a.Addr(x) != x {
			moved++
		}
		if n == 16 && a.Addr(x) == b.Addr(x) {
			t.Fatalf("%v: the key does not count", x)
		}
	}
	if moved < 390 {
		t.Errorf("only %d of 400 addresses moved", moved)
	}
	// The map of a key is fixed: logs that were shown last year compare with today's. (Computed by a second program, with openssl.)
	for in, want := range map[string]string{"10.2.0.7": "10.61.227.248", "::ffff:10.2.0.7": "10.61.227.248",
		"2001:db8::7": "2dc1:75f8:500f:e067:f8:fb8:21a1:bff7"} {
		if got := anonymizer(t, "0123456789abcdef\n").Addr(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s has the image %s, want %s", in, got, want)
		}
	}
}

func TestAnonymizedText(t *testing.T) {
	a := anonymizer(t, "0123456789abcdef")
	v4, v6 := a.Addr(netip.MustParseAddr("10.2.0.7")).String(), a.Addr(netip.MustParseAddr("2001:db8::7")).String()
	for in, want := range map[string]string{
		"10.2.0.7":                             v4,
		"10.2.0.7:721 > 10.2.0.7:515":          v4 + ":721 > " + v4 + ":515",
		"to 10.2.0.7.":                         "to " + v4 + ".",
		"to 10.2.0.7: refused":                 "to " + v4 + ": refused",
		"[2001:db8::7]:515":                    "[" + v6 + "]:515",
		"src: 10.2.0.0/16":                     "src: " + a.Prefix(netip.MustParsePrefix("10.2.0.0/16")).String(),
		"2026-11-23T18:01:36.123456789+0000":   "2026-11-23T18:01:36.123456789+0000",
		"07:12:31":                             "07:12:31",
		"ts 5:0,wscale 7 v1.2":                 "ts 5:0,wscale 7 v1.2",
		"sha256:0123456789abcdef0123456789abc": "sha256:0123456789abcdef0123456789abc",
		"see 1:wCb3OG7yAFWelaUydu0D+125CLM=":   "see " + hidden,
		"halfopen.yaml: line 3":                "halfopen.yaml: line 3",
	} {
		if got := a.Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAnonymizedLine(t *testing.T) {
	a := anonymizer(t, "0123456789abcdef")
	in := `{"timestamp":"2026-11-23T18:01:36.123456789+0000","flow_id":7,"community_id":"1:wCb3OG7yAFWelaUydu0D+125CLM=","src_ip":"10.2.0.7","src_port":721,` +
		`"dest_ip":"192.0.2.9","dest_port":515,"inject":{"id":"x","wire":{"src_ip":"203.0.113.1","src_port":1},"error":"sendto 10.2.0.7: no"},"n":9007199254740991}`
	out, err := a.Line([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"10.2.0.7", "192.0.2.9", "203.0.113.1", "wCb3OG7yAFWelaUydu0D"} {
		if strings.Contains(string(out), gone) {
			t.Errorf("%s is still in %s", gone, out)
		}
	}
	var e decisionlog.Event
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatal(err)
	}
	src, dst := netip.MustParseAddr(e.SrcIP), netip.MustParseAddr(e.DestIP)
	if want := string(decisionlog.AppendCommunityID(nil, netip.AddrPortFrom(src, 721), netip.AddrPortFrom(dst, 515))); e.CommunityID != want {
		t.Errorf("Community ID %s, want %s", e.CommunityID, want)
	}
	if !strings.Contains(string(out), `"n":9007199254740991`) || !strings.HasPrefix(string(out), `{"timestamp":"2026-11-23T18:01:36.123456789+0000","flow_id":7,`) {
		t.Errorf("more was changed than addresses: %s", out)
	}
	if _, err := NewAnonymizer([]byte("short\n")); err == nil {
		t.Error("a short key was taken")
	}
}

// No page shows an address of the log, and filters take those that are shown.
func TestAnonymizedPages(t *testing.T) {
	dir, _ := generated(t, 1200)
	real := map[string]bool{}
	for e, err := range decisionlog.Read(dir) {
		if err == nil && e.SrcIP != "" {
			real[e.SrcIP], real[e.DestIP], real[e.CommunityID] = true, true, true
		}
	}
	a := anonymizer(t, "0123456789abcdef")
	s := serve(t, dir, func(c *Config) {
		c.Anonymizer = a
		c.Scenario = func(records []*decisionlog.Event) (string, error) {
			b, err := json.Marshal(records)
			return string(b), err
		}
		c.Capture = func(io.Writer, uint64, time.Time, time.Time) (int, error) {
			t.Error("the capture was read")
			return 1, nil
		}
	})
	image := map[string]bool{}
	for r := range real {
		if addr, err := netip.ParseAddr(r); err == nil {
			image[a.Addr(addr).String()] = true
		}
	}
	word := regexp.MustCompile(`1:[A-Za-z0-9+/]{27}=|\d+\.\d+\.\d+\.\d+`)
	shown, flow, target := 0, "", ""
	crawl(t, s, 80/breadth, func(at string, _ *http.Response, body string) {
		for _, w := range word.FindAllString(strings.ReplaceAll(body, "&#43;", "+"), -1) {
			if real[w] && !image[w] {
				t.Errorf("%s shows %s", at, w)
			}
			if image[w] {
				shown++
				target = w
			}
		}
		if strings.HasPrefix(at, "/flow/") && strings.Count(at, "/") == 2 {
			flow = at
		}
	})
	if shown < 500/breadth || flow == "" {
		t.Fatalf("%d images were seen, the flow %q", shown, flow)
	}
	if body := page(t, s, "/log?q=addr:"+target, http.StatusOK); strings.Count(body, target) < 2 || !strings.Contains(body, "data-cursor") {
		t.Errorf("the address %s, which is shown, is not found", target)
	}
	page(t, s, flow+"/packets.pcapng", http.StatusForbidden)
	page(t, s, "/log?q=community-id:1:wCb3OG7yAFWelaUydu0D%2B125CLM=", http.StatusBadRequest)
	if body := page(t, s, flow, http.StatusOK); strings.Contains(body, "halfopen review") || strings.Contains(body, "pcapng") {
		t.Error("the page offers what would show addresses")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
}
