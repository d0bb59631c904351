package nfqueue

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseMatch(t *testing.T) {
	for _, c := range []struct{ expr, canonical, rules string }{
		{"", "", ""},
		{"tcp", "", ""},
		{"tcp dport 515", "dport 515", "tcp dport 515|tcp sport 515"},
		{"dport 80,443", "dport 80,443", "tcp dport 80|tcp sport 80|tcp dport 443|tcp sport 443"},
		{"dst 10.2.0.0/16 and src 10.0.0.1 dport 1000-2000", "src 10.0.0.1 dst 10.2.0.0/16 dport 1000-2000",
			"ip saddr 10.0.0.1/32 ip daddr 10.2.0.0/16 tcp dport 1000-2000|ip saddr 10.2.0.0/16 ip daddr 10.0.0.1/32 tcp sport 1000-2000"},
		{"src fd00::/8 iif eth1", "src fd00::/8 iif eth1", `iifname "eth1" ip6 saddr fd00::/8|oifname "eth1" ip6 daddr fd00::/8`},
		{"sport 721-731  dport 515", "sport 721-731 dport 515", "tcp sport 721-731 tcp dport 515|tcp sport 515 tcp dport 721-731"},
		{"iif a oif a", "iif a oif a", `iifname "a" oifname "a"`},
		// Only pairs of one family are left.
		{"src 10.0.0.0/8,fd00::/8 dst ::1", "src 10.0.0.0/8,fd00::/8 dst ::1", "ip6 saddr fd00::/8 ip6 daddr ::1/128|ip6 saddr ::1/128 ip6 daddr fd00::/8"},
	} {
		m, err := ParseMatch(c.expr)
		if err != nil {
			t.Errorf("%q: %v", c.expr, err)
			continue
		}
		var rules []string
		for _, a := range m.expand() {
			rules = append(rules, strings.TrimSpace(a.nft()))
		}
		if got := strings.Join(rules, "|"); got != c.rules || m.String() != c.canonical {
			t.Errorf("%q: %q\nrules %s\nwant  %s", c.expr, m.String(), got, c.rules)
		}
	}
}

func TestParseMatchErrors(t *testing.T) {
	for _, c := range []struct {
		expr   string
		offset int
		msg    string
	}{
		{"port 80", 0, "none of"},
		{"dport", 5, "needs a value"},
		{"dport 80 dport 81", 9, "twice"},
		{"dport 80,99999", 9, "no port"},
		{"dport 80,", 9, "no port"},
		{"dport 90-80", 6, "empty"},
		{"src 10.0.0.1/8", 4, "did you mean 10.0.0.0/8"},
		{"src fe80::1%eth0", 4, "neither"},
		{"src ::ffff:1.2.3.4", 4, "write 1.2.3.4"},
		{"src 10.0.0.0/8 dst fd00::/8", 0, "family"},
		{"and dport 80", 0, "between"},
		{"dport 80 and", 9, "between"},
		{"dport 80 and and dport 81", 13, "between"},
		{"dport 80 tcp", 9, "in front"},
		{`iif e"x`, 4, "interface"},
		{"iif abcdefghijklmnop", 4, "interface"},
		{"iif -x", 4, "interface"},
		{"sport 1,2,3,4,5,6,7,8,9,10,11,12 dport 21,22,23,24,25,26,27,28,29,30,31,32", 0, "rules"},
		{strings.Repeat("x", maxMatchLength+1), 0, "longer"},
	} {
		_, err := ParseMatch(c.expr)
		var me *MatchError
		if !errors.As(err, &me) || me.Offset != c.offset || !strings.Contains(me.Msg, c.msg) {
			t.Errorf("%.60q: %v (want offset %d, %q)", c.expr, err, c.offset, c.msg)
		}
	}
}

func TestMatchInterfaces(t *testing.T) {
	for _, c := range []struct {
		expr string
		want []string
	}{
		{"", nil},
		{"dport 515", nil},
		{"iif a", nil}, // replies come in anywhere
		{"oif b dport 80", nil},
		{"iif a oif a", []string{"a"}},
		{"iif a,b oif c dport 80", []string{"a", "c", "b"}},
	} {
		m, err := ParseMatch(c.expr)
		if got := m.Interfaces(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v (%v)", c.expr, got, c.want, err)
		}
	}
}

func TestFastMarkRefused(t *testing.T) {
	for _, c := range []struct {
		mark uint32
		msg  string
	}{{0x02800000, "outside the mask"}, {0x01000000, "that of injected packets"}} {
		if err := (&RuleSet{FastMark: c.mark, Form: Native}).Print(new(strings.Builder)); err == nil || !strings.Contains(err.Error(), c.msg) {
			t.Errorf("0x%08x: %v", c.mark, err)
		}
	}
}

func FuzzParseMatch(f *testing.F) {
	for _, s := range []string{"tcp dport 515", "src 10.0.0.0/8,fd00::/8 dst ::1 and sport 1-2,3", "iif a oif b", "src 10.0.0.1/8", "and"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMatch(s)
		if err != nil {
			_ = err.Error()
			return
		}
		text := m.String()
		again, err := ParseMatch(text)
		if err != nil || again.String() != text {
			t.Fatalf("%q reads as %q, which reads as %q (%v)", s, text, again.String(), err)
		}
		rs := RuleSet{Match: m, Form: XT}
		var b strings.Builder
		if err := rs.Print(&b); err != nil {
			t.Fatal(err)
		}
		// What is printed is pasted into a shell: nothing but what the parser lets through may be in it.
		for line := range strings.Lines(b.String()) {
			if line[0] != '#' && strings.ContainsAny(line, "$;|&<>()`\\\"'") {
				t.Fatalf("%q prints %q", s, line)
			}
		}
	})
}
