//go:build netns

package nfqueue

import (
	"os"
	"strings"
	"testing"
)

// TestProbe looks at a gateway with rules of every kind that the doctor must notice, and at what the probing leaves.
func TestProbe(t *testing.T) {
	newWorld(t)
	run(t, "iptables", "-A", "FORWARD", "-m", "state", "--state", "ESTABLISHED", "-j", "ACCEPT")
	run(t, "iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
	run(t, "iptables", "-t", "mangle", "-A", "FORWARD", "-j", "NFQUEUE", "--queue-balance", "0:1", "--queue-cpu-fanout")
	run(t, "iptables", "-t", "mangle", "-A", "PREROUTING", "-j", "CONNMARK", "--restore-mark")
	rs := RuleSet{}
	_, err := rs.Install()
	check(t, err)
	before := run(t, "nft", "list", "ruleset")
	r := Probe()
	if after := run(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("the doctor changed the rules:\n%s", after)
	}
	if _, err := r.WriteTo(os.Stdout); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"CAP_NET_ADMIN": "ok", "nfnetlink_queue": "ok", "queue rules": "ok", "fail-open flag": "ok", "GSO flag": "ok",
		"queue fan-out": "warn", "named counters": "ok", "notrack": "ok", "forwarding": "ok", "flowtable offload": "ok",
		"rules that set marks": "warn", "fast path's rule": "warn"}
	found := map[string]string{"address translation": "ip nat POSTROUTING", "connection-state rules": "ip filter FORWARD", "queue fan-out": "ip mangle FORWARD",
		"rules that set marks": "ip mangle PREROUTING"}
	for _, c := range r.Checks {
		if l, ok := want[c.Name]; ok && l != c.Level.String() {
			t.Errorf("%s: %s, want %s", c.Name, c.Level, l)
		}
		if f, ok := found[c.Name]; ok && !strings.Contains(c.Found, f) {
			t.Errorf("%s: found %q, want %q", c.Name, c.Found, f)
		}
		delete(want, c.Name)
		delete(found, c.Name)
	}
	if len(want)+len(found) > 0 {
		t.Errorf("not asked: %v %v", want, found)
	}
}

// TestMarksOfOthers tells rules that leave our bits of the mark alone from those that do not.
func TestMarksOfOthers(t *testing.T) {
	newWorld(t)
	run(t, "nft", "add table inet host; add chain inet host in { type filter hook prerouting priority -150; }; add chain inet host late { type filter hook forward priority 0; }; "+
		"add chain inet host early { type route hook output priority 0; }; add chain inet host front { type filter hook forward priority -150; }; add table ip6 host; add chain ip6 host called")
	for _, c := range []struct {
		rule string
		want string // the place, "" for a rule that harms nobody
	}{
		{"inet host in meta mark set 0x1", "inet host in"},
		{"inet host in ct state new meta mark set ct mark", "inet host in"},
		{"inet host in meta mark set meta mark & 0xff or 0x100", "inet host in"},
		{"inet host in meta mark set meta mark or 0x01000000", "inet host in"},
		{"inet host in meta mark set meta mark xor 0x01000000", "inet host in"},
		{"inet host in meta mark set numgen inc mod 2", "inet host in"},
		{"inet host in meta mark set tcp dport map { 80 : 1, 443 : 2 }", "inet host in"},
		{"inet host front meta mark set 0x1", "inet host front"},
		{"ip6 host called meta mark set 0x1", "ip6 host called"},
		{"inet host in meta mark set meta mark & 0xffff0000 or 0x100", ""},
		{"inet host in meta mark set meta mark xor 0x3", ""},
		{"inet host in ct mark set meta mark", ""},
		{"inet host in meta mark 0x1 counter", ""},
		{"inet host late meta mark set 0x1", ""},
		{"inet host early meta mark set 0x1", ""},
		{"iptables -t mangle -A PREROUTING -j MARK --set-mark 0x10", "ip mangle PREROUTING"},
		{"iptables -t mangle -A PREROUTING -j MARK --set-xmark 0x10/0xff", ""},
		{"iptables -t mangle -A PREROUTING -j CONNMARK --restore-mark", "ip mangle PREROUTING"},
		{"iptables -t mangle -A PREROUTING -j CONNMARK --restore-mark --mask 0xffff", ""},
		{"iptables -t mangle -A PREROUTING -j CONNMARK --save-mark", ""},
	} {
		ipt, isIPT := strings.CutPrefix(c.rule, "iptables ")
		if isIPT {
			run(t, "iptables", strings.Fields(ipt)...)
		} else {
			run(t, "nft", "add rule "+c.rule)
		}
		n, err := Inspect(DefaultTable)
		check(t, err)
		if got := strings.Join(n.Marks, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
		if isIPT {
			run(t, "iptables", "-t", "mangle", "-F")
		} else {
			run(t, "nft", "flush table inet host; flush table ip6 host")
		}
	}
}
