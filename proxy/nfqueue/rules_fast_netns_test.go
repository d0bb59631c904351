//go:build netns

package nfqueue

import (
	"fmt"
	"strings"
	"testing"
)

// setMark does what a fast path does: it marks what comes in, and leaves the other bits alone.
func setMark(t *testing.T, mark uint32) {
	t.Helper()
	run(t, "nft", fmt.Sprintf("add table inet marks; add chain inet marks in { type filter hook prerouting priority -300; }; "+
		"add rule inet marks in meta l4proto tcp meta mark set meta mark & 0x00ffffff | 0x%08x", mark))
}

// TestFastMark: what carries a fast path's mark is forwarded past the queues and counted, all of it and nothing else; the mark of
// injected packets and a punt's do not count as that.
func TestFastMark(t *testing.T) {
	w := newWorld(t)
	rs := RuleSet{Queues: [2]uint16{4, 4}, Hooks: Forward | Input, FastMark: 0x02000000}
	_, err := rs.Install()
	check(t, err)
	text := run(t, "nft", "list", "chain", "inet", "halfopen", "forward")
	_, rules, _ := strings.Cut(text, "policy accept;\n")
	if first, _, _ := strings.Cut(rules, "\n"); !strings.Contains(first, "counter name \"fastpath\" return") {
		t.Errorf("the first rule is %s\nof %s", first, text)
	}
	if text := run(t, "nft", "list", "chain", "inet", "halfopen", "input"); strings.Contains(text, FastCounterName) {
		t.Errorf("what is for the gateway itself is let past: %s", text)
	}
	fast := func() uint64 {
		n, ok, err := rs.FastCounter()
		check(t, err)
		if !ok {
			t.Fatal("no counter")
		}
		return n
	}
	q := open(t, Config{Number: 4, CopyRange: 256, GSO: true})
	setMark(t, 0x03000000)
	w.transfer(t, server4+":515", 1<<20, func(done <-chan struct{}) { acceptAll(t, q, done, nil) })
	queued := q.Stats().Received
	if queued < 10 || fast() != 0 {
		t.Errorf("with a punt's mark %d were queued, %d let past", queued, fast())
	}
	run(t, "nft", "delete table inet marks")
	setMark(t, 0x02000000)
	for _, addr := range []string{server4, "[" + server6 + "]"} {
		before := fast()
		w.transfer(t, addr+":515", 1<<20, func(done <-chan struct{}) { acceptAll(t, q, done, nil) })
		if fast()-before < 10 {
			t.Errorf("%s: %d let past", addr, fast()-before)
		}
	}
	if n := q.Stats().Received; n != queued || counter(t, &rs) != queued {
		t.Errorf("queued %d, counted %d; before the mark %d", n, counter(t, &rs), queued)
	}
	past := fast()
	check(t, rs.RemoveRules())
	if fast() != past {
		t.Error("the counter went with the rules")
	}
	rs.KeepCount = true
	got, err := rs.Install()
	check(t, err)
	if got.PreviousFast != past || got.Previous != queued || fast() != past || counter(t, &rs) != queued {
		t.Errorf("install reports %+v, and counts on from %d and %d; want %d and %d", got, counter(t, &rs), fast(), queued, past)
	}
	rs.FastMark = 0
	got, err = rs.Install()
	check(t, err)
	if _, ok, _ := rs.FastCounter(); ok || got.PreviousFast != past {
		t.Errorf("without a fast path: counter %v, previous %d", ok, got.PreviousFast)
	}
	w.transfer(t, server4+":515", 1<<20, func(done <-chan struct{}) { acceptAll(t, q, done, nil) })
	if q.Stats().Received-queued < 10 {
		t.Error("without a fast path its mark is no reason to let packets past")
	}
}
