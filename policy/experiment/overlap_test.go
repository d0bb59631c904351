package experiment

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// pair is two experiments with some lines each.
func pair(a, b string) string {
	return "experiment:\n- name: one\n  " + a + "\n  arms: [{name: a, weight: 50, policy: gateway}, {name: b, weight: 50, policy: observe}]\n- name: two\n  " + b +
		"\n  arms: [{name: c, weight: 50, policy: gateway}, {name: d, weight: 50, policy: observe}]\n"
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{ // want: the example that the message tells, "" for no overlap
		{"match: {}", "match: {}", "0.0.0.0:65535 > 0.0.0.0:65535"},
		{"unit: client", "match: {dst_port: 515}", "0.0.0.0:65535 > 0.0.0.0:515"},
		{"match: {dst_port: 514}", "match: {dst_port: 515}", ""},
		{"match: {dst_port: [500-515, 80]}", "match: {dst_port: 515-600}", "0.0.0.0:65535 > 0.0.0.0:515"},
		{"match: {dst_port: [500-514, 80]}", "match: {dst_port: [515-600, 81]}", ""},
		{"match: {src_port: 721-731}", "match: {dst_port: 515}", "0.0.0.0:731 > 0.0.0.0:515"},
		{"match: {src: 10.0.0.0/8}", "match: {src: 10.2.0.0/16}", "10.2.0.0:65535 > 0.0.0.0:65535"},
		{"match: {src: 10.0.0.0/9}", "match: {src: 10.128.0.0/9}", ""},
		{"match: {src: 10.0.0.0/8}", "match: {dst: 10.0.0.0/8}", "10.0.0.0:65535 > 10.0.0.0:65535"},
		{"match: {src: 10.0.0.0/8}", `match: {dst: "2001:db8::/32"}`, ""}, // no connection has an address of each family
		{`match: {src: [10.0.0.0/8, "2001:db8::/32"]}`, `match: {dst: "2001:db8::/32"}`, "[2001:db8::]:65535 > [2001:db8::]:65535"},
		{`match: {src: "::/0"}`, "match: {src: 10.0.0.0/8}", "10.0.0.0:65535 > 0.0.0.0:65535"}, // as rules match: all of 128 bits
		{`match: {src: "2001:db8::/33"}`, `match: {src: "2001:db8:8000::/33"}`, ""},
		{"end: 2026-12-01T08:00:00Z", "start: 2026-12-01T08:00:00Z", ""},
		{"end: 2026-12-01T08:00:01Z", "start: 2026-12-01T08:00:00Z", "0.0.0.0:65535 > 0.0.0.0:65535"},
		{"start: 2026-12-01T08:00:00Z", "end: 2026-12-01T07:00:00Z", ""},
		{"start: 2026-12-01T08:00:00Z", "end: 2026-12-01T09:00:00Z", "0.0.0.0:65535 > 0.0.0.0:65535"},
		{"start: 2026-12-01T08:00:00Z", "start: 2027-12-01T08:00:00Z", "0.0.0.0:65535 > 0.0.0.0:65535"},
	} {
		for i, text := range []string{pair(tt.a, tt.b), pair(tt.b, tt.a)} {
			set, problems := Parse("exp.yaml", []byte(text))
			if tt.want == "" {
				if set == nil {
					t.Errorf("%s\n%v", text, problems)
				}
				continue
			}
			if set != nil || len(problems) != 1 || !strings.Contains(problems[0].Found, `"two" on the same traffic as "one" (line `) || !strings.HasSuffix(problems[0].Found, "both have "+tt.want) {
				t.Errorf("order %d\n%s\nwant %s\ngot %v", i, text, tt.want, problems)
			}
		}
	}
}

// TestOverlapPlace: the problem stands at the later experiment's match, or where it begins.
func TestOverlapPlace(t *testing.T) {
	_, problems := Parse("exp.yaml", []byte(pair("match: {dst_port: 1}", "match: {dst_port: 1-2}")))
	if len(problems) != 1 || problems[0].Line != 6 || !strings.Contains(problems[0].Found, "(line 3)") {
		t.Error(problems)
	}
}

// TestOverlapModel compares overlaps with a search among all edges: where two matches meet they do so at a lowest address, or where a
// family begins, and at a lowest port.
func TestOverlapModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	prefixes := func() (out []netip.Prefix) {
		for range rng.IntN(4) {
			a := [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: byte(rng.IntN(4)), 14: byte(rng.IntN(4)) << 6}
			bits := []int{104, 110, 112, 114, 96, 90, 0, 128}[rng.IntN(8)]
			if rng.IntN(3) == 0 {
				a, bits = [16]byte{0: 0x20, 1: 0x01, 7: byte(rng.IntN(4))}, []int{3, 32, 62, 63, 64, 16}[rng.IntN(6)]
			}
			for bit := bits; bit < 128; bit++ { // no host bits
				a[bit/8] &^= 0x80 >> (bit % 8)
			}
			out = append(out, netip.PrefixFrom(netip.AddrFrom16(a), bits))
		}
		return out
	}
	ranges := func() (out []policy.PortRange) {
		for range rng.IntN(3) {
			lo := uint16(rng.IntN(6))
			out = append(out, policy.PortRange{Lo: lo, Hi: lo + uint16(rng.IntN(3))})
		}
		return out
	}
	spec := func() *Spec {
		return &Spec{Match: policy.Match{Src: prefixes(), Dst: prefixes(), SrcPort: ranges(), DstPort: ranges()}}
	}
	four := [16]byte{10: 0xff, 11: 0xff}
	six := netip.MustParseAddr("::1:0:0:0").As16() // the first after the IPv4-mapped ones
	met := 0
	for range 4000 {
		a, b := spec(), spec()
		addresses := func(x, y []netip.Prefix) [][16]byte {
			out := [][16]byte{{}, four, six}
			for _, p := range append(x[:len(x):len(x)], y...) {
				out = append(out, p.Addr().As16())
			}
			return out
		}
		portsOf := func(x, y []policy.PortRange) []uint16 {
			out := []uint16{0}
			for _, r := range append(x[:len(x):len(x)], y...) {
				out = append(out, r.Lo)
			}
			return out
		}
		want := false
		for _, src := range addresses(a.Match.Src, b.Match.Src) {
			for _, dst := range addresses(a.Match.Dst, b.Match.Dst) {
				if is4(&src) != is4(&dst) {
					continue
				}
				for _, sp := range portsOf(a.Match.SrcPort, b.Match.SrcPort) {
					for _, dp := range portsOf(a.Match.DstPort, b.Match.DstPort) {
						tu := conntrack.Tuple{Src: src, Dst: dst, SrcPort: sp, DstPort: dp}
						want = want || a.Matches(&tu) && b.Matches(&tu)
					}
				}
			}
		}
		ra, rb := reachOf(&a.Match), reachOf(&b.Match)
		example, got := ra.meets(&rb)
		back, got2 := rb.meets(&ra)
		if got != want || got2 != want || example != back {
			t.Fatalf("%s and %s: %v (%s), want %v", MatchText(&a.Match), MatchText(&b.Match), got, example, want)
		}
		if !got {
			continue
		}
		met++
		from, to, _ := strings.Cut(strings.TrimPrefix(example, "both have "), " > ")
		tu := tuple(from, to)
		if !a.Matches(&tu) || !b.Matches(&tu) || is4(&tu.Src) != is4(&tu.Dst) {
			t.Fatalf("%s and %s do not have %s", MatchText(&a.Match), MatchText(&b.Match), example)
		}
	}
	if met < 500 || met > 3500 {
		t.Errorf("%d of 4000 met", met)
	}
}

// TestOverlapLarge: the longest lists that a file can hold are compared in no time worth speaking of.
func TestOverlapLarge(t *testing.T) {
	var b strings.Builder
	b.WriteString("anchors: &p [")
	for i := range 4000 {
		fmt.Fprintf(&b, "10.%d.%d.0/25,", i>>8, i&255)
	}
	b.WriteString("]\nexperiment:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "- {name: e%d, match: {src: *p, dst_port: %d}, arms: [{name: a%d, weight: 50, policy: gateway}, {name: b%d, weight: 50, policy: observe}]}\n", i, i, i, i)
	}
	began := time.Now()
	if set, problems := ParseConfig("exp.yaml", []byte(b.String())); set == nil {
		t.Fatal(problems[:1])
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Error(d)
	}
	if len(bytes.TrimSpace([]byte(b.String()))) > policy.MaxFileSize {
		t.Error("no such file")
	}
}
