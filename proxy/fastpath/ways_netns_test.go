//go:build netns

package fastpath

import (
	"strings"
	"testing"
)

// TestWaysSuspended: while the host routes by mark or has IPsec policies, the program sends nothing out itself, from before the start as from
// later on.
func TestWaysSuspended(t *testing.T) {
	w := newWorld(t)
	in := w.cable(t, "inside")
	var log lines
	openRedirect := func() *Path {
		p, err := Open(Options{Redirect: true, Flows: 16, Workers: 1, MarkMask: 0xff000000, Logger: log.logger()})
		check(t, err)
		return p
	}
	p := openRedirect()
	way := func(index uint32) bool {
		var v uint32
		return p.obj.bpf.Egress.Lookup(index, &v) == nil
	}
	if !way(in) {
		t.Fatal("no way out on a host that has nothing of the kind")
	}
	const template = " tmpl src 10.9.0.1 dst 10.9.0.2 proto esp mode tunnel"
	for _, c := range []struct{ add, del, said string }{
		{"rule add fwmark 1 lookup 100", "rule del fwmark 1 lookup 100", "ip rule fwmark"},
		{"-6 rule add fwmark 0/1 lookup 100", "-6 rule del fwmark 0/1 lookup 100", "ip rule fwmark"},
		{"xfrm policy add dir out src 10.0.0.0/8 dst 10.2.0.0/16" + template, "xfrm policy flush", "an IPsec policy"},
		{"xfrm policy add dir fwd src fd00::/8 dst fd02::/16 tmpl src fd09::1 dst fd09::2 proto esp mode tunnel", "xfrm policy flush", "an IPsec policy"},
		{"xfrm policy setdefault out block", "xfrm policy setdefault out accept", "setdefault"},
		{"xfrm policy setdefault fwd block", "xfrm policy setdefault fwd accept", "setdefault"},
	} {
		log.text.Reset()
		ip(t, c.add)
		until(t, "the way is closed after "+c.add, func() bool { return !way(in) })
		late := w.cable(t, "late")
		until(t, "a new interface has the program", func() bool { return p.Attached(late) })
		if way(late) || !log.contain(c.said) {
			t.Errorf("%s: a new interface is a way out, or nobody was told: %s", c.add, log.text.String())
		}
		if p = openRedirectAfter(t, p, openRedirect); way(in) {
			t.Errorf("%s: a way out at the next start", c.add)
		}
		ip(t, c.del)
		until(t, "the way is open after "+c.del, func() bool { return way(in) && way(late) })
		ip(t, "link del late")
	}
	for _, harmless := range []string{"rule add from 10.3.0.0/16 lookup 100", "xfrm policy add dir in src 10.0.0.0/8 dst 10.2.0.0/16" + template,
		"xfrm policy setdefault in block"} {
		log.text.Reset()
		ip(t, harmless)
		if p = openRedirectAfter(t, p, openRedirect); !way(in) || log.contain("suspended") {
			t.Errorf("suspended by %s", harmless)
		}
	}
	check(t, p.Close())
	if strings.Contains(log.text.String(), "WARN") {
		t.Error(log.text.String())
	}
}

// openRedirectAfter closes a path and opens the next.
func openRedirectAfter(t *testing.T, p *Path, open func() *Path) *Path {
	t.Helper()
	check(t, p.Close())
	return open()
}

// TestLockAnswersAll: rivals that try over and over are told the same each time.
func TestLockAnswersAll(t *testing.T) {
	newWorld(t)
	held, err := lock(new(lines).logger())
	check(t, err)
	defer held.Close()
	for range 6000 { // more than a listener's backlog, which is 4096
		if _, err := holder(); err != nil {
			t.Fatal(err)
		}
	}
}
