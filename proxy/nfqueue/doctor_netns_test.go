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
	before := run(t, "nft", "list", "ruleset")
	r := Probe()
	if after := run(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("the doctor changed the rules:\n%s", after)
	}
	if _, err := r.WriteTo(os.Stdout); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"CAP_NET_ADMIN": "ok", "nfnetlink_queue": "ok", "queue rules": "ok", "fail-open flag": "ok", "GSO flag": "ok",
		"queue fan-out": "warn", "named counters": "ok", "notrack": "ok", "forwarding": "ok", "flowtable offload": "ok"}
	found := map[string]string{"address translation": "ip nat POSTROUTING", "connection-state rules": "ip filter FORWARD", "queue fan-out": "ip mangle FORWARD"}
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
