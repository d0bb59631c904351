//go:build netns

package nfqueue

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
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
	if left := run(t, "nft", "list", "table", "inet", "halfopen"); strings.Contains(left, "queue num") || !strings.Contains(left, "notrack") {
		t.Errorf("without its queue rules the table is\n%s", left)
	}
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
	if n := counter(t, &rs); n != 0 {
		t.Errorf("the new table counts from %d", n)
	}
	// Nobody listens on queue 5: bypass.
	w.transfer(t, server4+":515", 1<<20, func(done <-chan struct{}) { <-done })
	if counter(t, &rs) == 0 {
		t.Error("the bypassed packets were not counted")
	}
	rs.KeepCount = true
	got, err = rs.Install()
	check(t, err)
	if n := counter(t, &rs); n != got.Previous || n == 0 {
		t.Errorf("the counter went on from %d at %d", got.Previous, n)
	}
}

// TestHostFilterStillDecides has the host drop by default and accept by connection state, in its own later chain.
func TestHostFilterStillDecides(t *testing.T) {
	w := newWorld(t)
	run(t, "iptables", "-P", "FORWARD", "DROP")
	run(t, "iptables", "-A", "FORWARD", "-m", "state", "--state", "ESTABLISHED,RELATED", "-j", "ACCEPT")
	run(t, "iptables", "-A", "FORWARD", "-p", "tcp", "--dport", "515", "-j", "ACCEPT")
	rs := RuleSet{Queues: [2]uint16{4, 4}, FailOpen: true}
	_, err := rs.Install()
	check(t, err)
	q := open(t, Config{Number: 4, CopyRange: 256, GSO: true, FailOpen: true})
	w.transfer(t, server4+":515", 4<<20, func(done <-chan struct{}) { acceptAll(t, q, done, nil) })
	run(t, "iptables", "-F", "FORWARD")
	l := w.listen(t, server4+":516")
	defer l.Close()
	fail := make(chan error, 1)
	go w.clientSend(server4+":516", nil, fail)
	for _, p := range recv(t, q, 1) {
		q.Accept(p.ID)
	}
	check(t, q.Flush())
	check(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(300*time.Millisecond)))
	if _, err := l.Accept(); err == nil {
		t.Error("an accept of ours overruled the host's filter")
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

// TestPrintedIptables pastes the printed lines into a shell, sends through them, and pastes the removal.
func TestPrintedIptables(t *testing.T) {
	w := newWorld(t)
	rs := RuleSet{Queues: [2]uint16{4, 5}, Hooks: Forward | Input | Output, FailOpen: true, NoTrack: true, Form: XT, FastMark: 0x02000000,
		Match: match(t, "src 10.0.0.0/8,fd00::/8 dst 10.2.0.0/16,fd02::/16 dport 80,1000-2000")}
	var text strings.Builder
	check(t, rs.Print(&text))
	run(t, "sh", "-ec", text.String())
	a := open(t, Config{Number: 4, CopyRange: 256, GSO: true, FailOpen: true})
	b := open(t, Config{Number: 5, CopyRange: 256, GSO: true, FailOpen: true})
	for _, addr := range []string{server4 + ":1500", "[" + server6 + "]:80"} {
		before := a.Stats().Received + b.Stats().Received
		w.transfer(t, addr, 1<<20, func(done <-chan struct{}) { acceptBoth(t, a, b, done) })
		if n := a.Stats().Received + b.Stats().Received - before; n < 10 {
			t.Errorf("%s: %d packets queued", addr, n)
		}
	}
	setMark(t, 0x02000000)
	before := a.Stats().Received + b.Stats().Received
	for _, addr := range []string{server4 + ":1500", "[" + server6 + "]:80"} {
		w.transfer(t, addr, 1<<20, func(done <-chan struct{}) { acceptBoth(t, a, b, done) })
	}
	if n := a.Stats().Received + b.Stats().Received - before; n != 0 {
		t.Errorf("%d packets with a fast path's mark were queued", n)
	}
	run(t, "nft", "delete table inet marks")
	_, undo, _ := strings.Cut(text.String(), "# To remove them:\n")
	run(t, "sh", "-ec", strings.ReplaceAll(undo, "# ", ""))
	for _, ipt := range []string{"iptables-save", "ip6tables-save"} { // iptables itself leaves its empty tables
		if after := run(t, ipt); strings.Contains(after, "halfopen") || strings.Contains(after, "\n-A") {
			t.Errorf("left behind:\n%s", after)
		}
	}
}

// TestPrintedNft loads the printed script into the kernel. Where the kernel lacks the queue statement, that statement
// alone is taken out; nft still parses every line of the original.
func TestPrintedNft(t *testing.T) {
	newWorld(t)
	rs := RuleSet{Queues: [2]uint16{0, 1}, Hooks: Forward | Input | Output, FailOpen: true, NoTrack: true, Form: Native, FastMark: 0x02000000,
		Match: match(t, "src 10.0.0.0/8,fd00::/8 dst 10.2.0.0/16,fd02::/16 sport 1024-65535 dport 80,1000-2000")}
	var text strings.Builder
	check(t, rs.Print(&text))
	script := text.String()
	if accepts(nftables.TableFamilyINet, nativeQueue(0, 0, true)) != nil {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		if out, _ := cmd.CombinedOutput(); strings.Contains(string(out), "syntax error") {
			t.Errorf("nft does not parse it: %s", out)
		}
		script = strings.ReplaceAll(script, " queue num 0-1 bypass", " accept")
	}
	for range 2 { // the second time it replaces itself
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, out, script)
		}
	}
	if _, ok, err := rs.Counter(); !ok || err != nil {
		t.Errorf("counter of the pasted table: %v %v", ok, err)
	}
	if _, ok, err := rs.FastCounter(); !ok || err != nil {
		t.Errorf("a fast path's counter of the pasted table: %v %v", ok, err)
	}
	check(t, rs.Remove())
}

// acceptBoth serves two queues from one thread.
func acceptBoth(t *testing.T, a, b *Queue, done <-chan struct{}) {
	t.Helper()
	wait, err := NewWaiter(a, b)
	check(t, err)
	defer wait.Close()
	batch := make([]Packet, DefaultBatch)
	for {
		_, err := wait.Wait(10 * time.Millisecond)
		check(t, err)
		total := 0
		for _, q := range []*Queue{a, b} {
			n, err := q.Recv(batch, 0)
			check(t, err)
			for i := range n {
				q.Accept(batch[i].ID)
			}
			check(t, q.Flush())
			total += n
		}
		if total == 0 {
			select {
			case <-done:
				return
			default:
			}
		}
	}
}

// TestTablePerFamily installs what a kernel gets whose inet family does not take the target.
func TestTablePerFamily(t *testing.T) {
	w := newWorld(t)
	c := (&RuleSet{Queues: [2]uint16{4, 4}, FailOpen: true, Match: match(t, "dport 515")}).withDefaults()
	conn := dial()
	c.add(conn, nftables.TableFamilyIPv4, XT, counts{})
	c.add(conn, nftables.TableFamilyIPv6, XT, counts{})
	check(t, conn.Flush())
	q := open(t, Config{Number: 4, CopyRange: 256, GSO: true, FailOpen: true})
	for i, addr := range []string{server4 + ":515", "[" + server6 + "]:515"} {
		before := q.Stats().Received
		w.transfer(t, addr, 1<<20, func(done <-chan struct{}) { acceptAll(t, q, done, nil) })
		if q.Stats().Received-before < 10 {
			t.Errorf("family %d: %d packets", i, q.Stats().Received-before)
		}
	}
	check(t, c.RemoveRules())
	if n := counter(t, &c); n != q.Stats().Received {
		t.Errorf("both tables counted %d, the queue delivered %d", n, q.Stats().Received)
	}
	check(t, c.Remove())
	if left := run(t, "nft", "list", "ruleset"); strings.Contains(left, "halfopen") {
		t.Errorf("left: %s", left)
	}
}
