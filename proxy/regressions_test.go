package proxy

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/proxy/decisionlog"
)

// What others' defects ask of a gateway, where the core alone cannot show it: docs/regressions.md has the list.

// The log says "forward" of what the kernel was told to accept and "drop" of the rest, on every path: plain, decided by a rule, held
// and let go by time or at the end, malformed, answered, and under a policy on trial.
func TestLoggedVerdictIsTheKernels(t *testing.T) {
	const text = `preset: openbsd-pf
log: {detail: packet, rate: unlimited}
on: {seq-above: drop, malformed: drop}
rules:
  - {name: held-in, match: {dst_port: 81}, on: {new: {packet: hold, hold: 20ms, then: forward}}}
  - {name: held-out, match: {dst_port: 82}, on: {new: {packet: hold, hold: 20ms, then: drop}}}
  - {name: held-long, match: {dst_port: 83}, on: {new: {packet: hold, hold: 1m, then: drop}}}
  - {name: closed, match: {dst_port: 84}, on: {new: {packet: drop, reply: rst}}}`
	word := regexp.MustCompile(`"decision":\{"id":"(\w+)"(?:,"settles":"(\w+)")?.*?"verdict":"(\w+)"`)
	for _, trial := range []bool{false, true} {
		b := newBench(t, text, trial)
		var want []string // in the order of arrival
		push := func(verdict string, packet []byte) {
			b.main.push(packet)
			if trial {
				verdict = "forward"
			}
			want = append(want, verdict)
		}
		push("forward", seg(t, clientEnd, serverEnd, conntrack.SYN, 100, 0, ""))
		push("forward", seg(t, serverEnd, clientEnd, conntrack.SYN|conntrack.ACK, 500, 101, ""))
		push("forward", seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, ""))
		push("forward", seg(t, clientEnd, serverEnd, conntrack.ACK, 101, 501, "data"))
		push("drop", seg(t, clientEnd, serverEnd, conntrack.ACK, 900000, 501, "data"))
		push("drop", seg(t, clientEnd, serverEnd, conntrack.SYN, 70000, 0, ""))
		push("drop", []byte{0x45, 0})
		for port, verdict := range map[int]string{81: "hold", 82: "hold", 83: "hold", 84: "drop"} {
			push(verdict, seg(t, clientEnd, fmt.Sprintf("192.0.2.9:%d", port), conntrack.SYN, 100, 0, ""))
		}
		b.step()
		b.later(30 * time.Millisecond)
		b.step()
		if err := b.settle(); err != nil {
			t.Fatal(err)
		}
		if len(b.main.open)+len(b.second.open) > 0 {
			t.Errorf("%d packets are left without a verdict", len(b.main.open)+len(b.second.open))
		}
		told := map[string][]string{}
		for _, e := range b.wire.events {
			if f := strings.Fields(e); f[0] == "main" || f[0] == "second" {
				told[f[0]] = append(told[f[0]], f[1])
			}
		}
		var logged, settled []string
		for _, line := range b.records("decision") {
			m := word.FindStringSubmatch(line)
			switch {
			case m == nil:
				t.Fatalf("no verdict in %s", line)
			case m[2] != "":
				settled = append(settled, m[3])
			default:
				logged = append(logged, m[3])
			}
		}
		if strings.Join(logged, " ") != strings.Join(want, " ") {
			t.Errorf("logged %v, want %v", logged, want)
		}
		kernel := map[string]string{"accept": "forward", "drop": "drop", "reroute": "hold"}
		for i, v := range told["main"] {
			if i >= len(logged) || kernel[v] != logged[i] {
				t.Errorf("packet %d: the kernel was told %s, the log says %v", i, v, logged)
			}
		}
		for i, v := range told["second"] {
			if i >= len(settled) || kernel[v] != settled[i] {
				t.Errorf("held packet %d: the kernel was told %s, the log says %v", i, v, settled)
			}
		}
		if n := map[bool]int{false: 3, true: 0}[trial]; len(settled) != n || len(told["second"]) != n {
			t.Errorf("%d holds were settled, the second queue was told %v; want %d", len(settled), told["second"], n)
		}
	}
}

// stuck is a file whose disk does not answer until the test lets it.
type stuck struct {
	io.Writer
	free chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.free
	return s.Writer.Write(b)
}

// Nothing but the queue is waited for between a packet and its verdict: a log whose disk hangs costs records, which are admitted, and
// no packet.
func TestHangingLogDelaysNoVerdict(t *testing.T) {
	b := newBench(t, "preset: observe\nlog: {detail: packet, rate: unlimited}", false)
	var lines bytes.Buffer
	disk := &stuck{&lines, make(chan struct{})}
	var err error
	if b.log, err = decisionlog.Open(decisionlog.Options{Dir: "-", Stdout: disk, RingSize: 64}); err != nil {
		t.Fatal(err)
	}
	b.lines, b.producer = &lines, b.log.Producer(0)
	const packets = 2000
	for i := range packets {
		b.main.push(seg(t, clientEnd, serverEnd, conntrack.ACK, conntrack.Seq(i), 1, "x"))
	}
	for len(b.main.queued) > 0 {
		b.step() // of which each call would hang here
	}
	if len(b.main.open) > 0 || b.counts.Decided[conntrack.DataNoState][policy.Forward] == 0 {
		t.Fatalf("%d of %d packets are left without a verdict", len(b.main.open), packets)
	}
	if err := b.settle(); err != nil {
		t.Fatal(err)
	}
	close(disk.free)
	decided := len(b.records("decision"))
	gaps := 0
	for _, m := range regexp.MustCompile(`"gap":\{"where":"ring","count":(\d+)`).FindAllStringSubmatch(lines.String(), -1) {
		n := 0
		fmt.Sscan(m[1], &n)
		gaps += n
	}
	if decided == packets || decided+gaps != packets {
		t.Errorf("%d packets: %d records, and gaps of %d", packets, decided, gaps)
	}
}
