package index

import (
	"net/netip"
	"testing"
)

func sameAddr(t *testing.T, s string) {
	t.Helper()
	want, err := netip.ParseAddr(s)
	got, ok := parseAddr([]byte(s))
	if ok != (err == nil) || ok && netip.AddrFrom16(got) != netip.AddrFrom16(want.As16()) {
		t.Fatalf("%q: %v %v, want %v, %v", s, got, ok, want, err)
	}
}

func TestParseAddr(t *testing.T) {
	for _, s := range []string{"0.0.0.0", "255.255.255.255", "1.2.3.4", "01.2.3.4", "1.2.3.256", "1..2.3", "1.2.3.4.5", ".1.2.3", "1.2.3.4 ", "2001:db8::9", "10.0.0.1000"} {
		sameAddr(t, s)
	}
}
