//go:build netns

package nfqueue

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func match(t *testing.T, expr string) Match {
	t.Helper()
	m, err := ParseMatch(expr)
	check(t, err)
	return m
}

func counter(t *testing.T, rs *RuleSet) uint64 {
	t.Helper()
	n, ok, err := rs.Counter()
	check(t, err)
	if !ok {
		t.Fatal("no counter")
	}
	return n
}

// TestRulesLeaveTheRestAlone installs, installs again over a leftover, and removes, beside rules of the host's own.
func TestRulesLeaveTheRestAlone(t *testing.T) {
	newWorld(t)
	run(t, "nft", "add table inet host; add chain inet host f { type filter hook forward priority 0; policy drop; }; add rule inet host f ct state established accept; add table ip halfopen2")
	run(t, "iptables", "-A", "FORWARD", "-p", "tcp", "-j", "ACCEPT")
	before := run(t, "nft", "list", "ruleset")
	rs := RuleSet{Queues: [2]uint16{0, 1}, Hooks: Forward | Input | Output, FailOpen: true,
		Match: match(t, "src 10.0.0.0/8,fd00::/8 dst 10.2.0.0/16,fd02::/16 dport 80,1000-2000 iif inside")}
	got, err := rs.Install()
	check(t, err)
	if got.Replaced {
		t.Error("found a table that nobody made")
	}
	t.Logf("%+v", got)
	once := run(t, "nft", "list", "table", "inet", "halfopen")
	t.Log(once)
	got, err = rs.Install()
	check(t, err)
	if !got.Replaced {
		t.Error("second install did not see the first")
	}
	if again := run(t, "nft", "list", "table", "inet", "halfopen"); again != once {
		t.Errorf("second install differs:\n%s", again)
	}
	check(t, rs.RemoveRules())
	counter(t, &rs)
	check(t, rs.Remove())
	check(t, rs.Remove())
	if after := run(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestForwardedThroughRules sends real TCP, IPv4 and IPv6, through installed rules, and compares counter and queue.
func TestForwardedThroughRules(t *testing.T) {
	w := newWorld(t)
	rs := RuleSet{Queues: [2]uint16{4, 4}, FailOpen: true, Match: match(t, "dport 515")}
	_, err := rs.Install()
	check(t, err)
	q := open(t, Config{Number: 4, CopyRange: 256, GSO: true, FailOpen: true})
	for i, addr := range []string{server4, "[" + server6 + "]"} {
		before := q.Stats().Received
		w.transfer(t, fmt.Sprintf("%s:%d", addr, 515), 1<<20, func(done <-chan struct{}) { acceptAll(t, q, done, nil) })
		if q.Stats().Received-before < 10 {
			t.Errorf("family %d: only %d packets queued", i, q.Stats().Received-before)
		}
	}
	queued := q.Stats().Received
	w.transfer(t, server4+":516", 1<<20, func(done <-chan struct{}) { <-done })
	if q.Stats().Received != queued {
		t.Error("port 516 was queued")
	}
	check(t, rs.RemoveRules())
	empty, err := q.Drain(make([]Packet, 64), 5*time.Second, func(p *Packet) { q.Accept(p.ID) })
	check(t, err)
	if n := counter(t, &rs); !empty || n != q.Stats().Received {
		t.Errorf("empty %v; the rules counted %d, the queue delivered %d", empty, n, q.Stats().Received)
	}
	rs.Queues = [2]uint16{5, 5}
	got, err := rs.Install()
	check(t, err)
	if !got.Replaced || got.Previous != q.Stats().Received {
		t.Errorf("install reports %+v, want %d", got, q.Stats().Received)
	}
	// Nobody listens on queue 5: bypass.
	w.transfer(t, server4+":515", 1<<20, func(done <-chan struct{}) { <-done })
	if counter(t, &rs) == 0 {
		t.Error("the bypassed packets were not counted")
	}
}

func TestNoTrackRefused(t *testing.T) {
	newWorld(t)
	rs := RuleSet{NoTrack: true}
	_, err := rs.Install()
	check(t, err)
	for _, rule := range []string{
		"add table inet host; add chain inet host f { type filter hook forward priority 0; }; add rule inet host f ct state established accept",
		"add table ip host; add chain ip host post { type nat hook postrouting priority 100; }; add rule ip host post masquerade",
	} {
		run(t, "nft", rule)
		if _, err := rs.Install(); !errors.Is(err, ErrNoTrack) {
			t.Errorf("beside %q: %v", rule, err)
		} else {
			t.Log(err)
		}
		run(t, "nft", "flush ruleset")
	}
}
