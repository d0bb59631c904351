//go:build netns

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"halfopen/conntrack"
	"halfopen/proxy/decisionlog"
)

// A second gateway is told who is there, and leaves the first one as it is: its rules, its socket, its log.
func TestSecondGatewayIsRefused(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	g := w.start("observe")
	live := w.connect(0, at)
	pid := fmt.Sprint(g.cmd.Process.Pid)
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--install-rules --queues 0-1 --log " + w.dir + "/other", []string{"queue 0", "in use", pid, "--queues"}},
		{"--queues 3 --log " + w.dir + "/other", []string{"queue 3", "in use", pid}}, // the second queue of the first one
		{"--queues 10 --admin " + g.admin, []string{"admin", g.admin, "in use", pid}},
		{"--queues 10 --log " + w.logDir, []string{w.logDir, "another process"}},
		{"--install-rules --queues 10-11 --log " + w.dir + "/other", []string{"queue 0", "in use", pid}},
	} {
		_, words, status := w.tryHalfopen(w.Gateway, append([]string{"run", "--policy", "observe"}, strings.Fields(c.args)...)...)
		if status != 1 {
			t.Errorf("%s: status %d", c.args, status)
		}
		for _, want := range c.want {
			if !strings.Contains(words, want) {
				t.Errorf("%s: no %q in %q", c.args, want, words)
			}
		}
	}
	w.say(live)
	w.connect(0, at)
	if n := strings.Count(w.halfopenIn(w.Gateway, "flows", "--admin", g.admin), "\n"); n != 2 {
		t.Errorf("the first gateway lists %d flows, want 2", n)
	}
	g.stop()
	p := w.verify()
	if p.statuses() != "final/balanced" || p.Runs[0].Explained.Gaps != 0 {
		t.Errorf("runs ended %s, %+v", p.statuses(), p.Runs)
	}
}

// Without privileges nothing is made and nothing is left, and the message says what to do.
func TestMissingPrivileges(t *testing.T) {
	w := newWorld(t)
	for _, dir := range []string{filepath.Dir(program), w.dir} {
		if err := os.Chmod(dir, 0o777); err != nil { // the program may be read, and the log's directory made
			t.Fatal(err)
		}
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, c := range []struct {
		args string
		want []string
	}{
		{"run --policy observe --log " + w.logDir, []string{"CAP_NET_ADMIN", "root"}},
		{"run --policy observe --install-rules --log " + w.logDir, []string{"CAP_NET_ADMIN", "root"}},
		{"rules install", []string{"CAP_NET_ADMIN", "root"}},
		{"rules remove", []string{"CAP_NET_ADMIN", "root"}},
		{"lab run silence-on-the-wire", []string{"root"}},
	} {
		out, words, status := w.tryAs(w.Gateway, nobody, strings.Fields(c.args)...)
		if status != 1 || out != "" {
			t.Errorf("%s: status %d, stdout %q", c.args, status, out)
		}
		for _, want := range c.want {
			if !strings.Contains(words, want) {
				t.Errorf("%s: no %q in %q", c.args, want, words)
			}
		}
	}
	out, words, status := w.tryAs(w.Gateway, nobody, "doctor")
	if status != 1 || !strings.Contains(out+words, "CAP_NET_ADMIN") {
		t.Errorf("doctor: status %d, %q %q", status, out, words)
	}
	if left := w.tables(); len(left) != 0 {
		t.Errorf("tables %v", left)
	}
}

// Where the log cannot be written from the start, the gateway does not start, and says which file it is about.
func TestUnusableFiles(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	plain := write(t, w.dir, "plain", "")
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--log " + plain, []string{plain, "not a directory"}},
		{"--log " + plain + "/log", []string{plain, "not a directory"}},
		{"--log /proc/halfopen", []string{"/proc/halfopen"}},
		{"--admin " + plain, []string{plain, "no socket"}},
		{"--admin " + w.dir + "/" + strings.Repeat("a", 120), []string{"at most 107"}},
		{"--ready-file " + plain + "/ready", []string{plain, "not a directory"}},
		{"--metrics 127.0.0.1:99999", []string{"99999"}},
	} {
		_, words, status := w.tryHalfopen(w.Gateway, append([]string{"run", "--policy", "observe", "--install-rules"}, strings.Fields(c.args)...)...)
		if status != 1 {
			t.Errorf("%s: status %d", c.args, status)
		}
		for _, want := range c.want {
			if !strings.Contains(words, want) {
				t.Errorf("%s: no %q in %q", c.args, want, words)
			}
		}
		if left := w.tables(); len(left) != 0 {
			t.Errorf("%s: tables %v", c.args, left)
		}
	}
	if text, err := os.ReadFile(plain); err != nil || len(text) != 0 {
		t.Errorf("a file of the operator's was changed: %q, %v", text, err)
	}
	w.connect(0, at)
}

// A disk that is full from the start keeps nobody from being forwarded; what could not be written is admitted when there is room.
func TestLogDiskFullAtStart(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	w.logDir = smallDisk(t, 256<<10)
	fill := filepath.Join(w.logDir, "fill")
	if err := os.WriteFile(fill, make([]byte, 512<<10), 0o644); err == nil {
		t.Fatal("the disk is not full")
	}
	g := w.start("observe")
	live := w.connect(0, at)
	w.until("the disk is reported", answerLimit, func() bool { return strings.Contains(g.said(), "no space left on device") })
	w.say(live)
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	w.connect(0, at)
	w.until("the log is written", answerLimit, func() bool {
		n := 0
		w.events(func(*decisionlog.Event) { n++ })
		return n > 0
	})
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
}

// A socket that a killed gateway left is replaced.
func TestStaleAdminSocket(t *testing.T) {
	w := newWorld(t)
	g := w.start("observe")
	g.kill()
	if _, err := os.Lstat(g.admin); err != nil {
		t.Fatalf("the killed gateway left no socket: %v", err)
	}
	_, words, status := w.tryHalfopen(w.Gateway, "flows", "--admin", g.admin)
	if status != 1 || !strings.Contains(words, g.admin) || !strings.Contains(words, "dead") {
		t.Errorf("flows at a dead socket: status %d, %q", status, words)
	}
	g = w.start("observe")
	w.halfopenIn(w.Gateway, "flows", "--admin", g.admin)
	g.stop()
	_, words, status = w.tryHalfopen(w.Gateway, "reload", "--admin", g.admin)
	if status != 1 || !strings.Contains(words, "is a gateway running") {
		t.Errorf("reload without a gateway: status %d, %q", status, words)
	}
}

// spoiled is a packet that is no proper segment, and what is found in it.
type spoiled struct {
	name, reason, defect, checksum string
	packet                         []byte
	len                            uint32 // of the payload, where it is no defect
}

// spoil makes every kind of bad packet of one family, each from a port of its own.
func spoil(s *sender, from, to netip.Addr, port uint16) (all []spoiled) {
	ip := 20
	if from.Is6() {
		ip = 40
	}
	add := func(name, reason, defect, checksum string, f conntrack.Flags, payload int, change func(tcp []byte) []byte) {
		port++
		p := s.segment(netip.AddrPortFrom(from, port), netip.AddrPortFrom(to, 9), f, 1000, 2000, strings.Repeat("x", payload))
		tcp := change(p[ip:])
		p = append(p[:ip:ip], tcp...)
		if from.Is6() {
			binary.BigEndian.PutUint16(p[4:], uint16(len(tcp)))
		} else {
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		}
		b := spoiled{name, reason, defect, checksum, p, 0}
		if defect == "" {
			b.len = uint32(payload)
		}
		all = append(all, b)
	}
	same := func(tcp []byte) []byte { return tcp }
	add("truncated header", "malformed", "short-tcp-header", "unverified", conntrack.ACK, 0, func(tcp []byte) []byte { return tcp[:10] })
	add("four bytes", "malformed", "short-tcp-header", "unverified", conntrack.ACK, 0, func(tcp []byte) []byte { return tcp[:4] })
	add("offset 4", "malformed", "bad-data-offset", "unverified", conntrack.ACK, 0, func(tcp []byte) []byte { tcp[12] = 4 << 4; return tcp })
	add("offset beyond the end", "malformed", "bad-data-offset", "unverified", conntrack.ACK, 8, func(tcp []byte) []byte { tcp[12] = 15 << 4; return tcp })
	add("option beyond the header", "malformed", "bad-options", "unverified", conntrack.ACK, 4, func(tcp []byte) []byte { tcp[12], tcp[20], tcp[21] = 6<<4, 3, 9; return tcp })
	add("bad checksum", "checksum-bad", "", "bad", conntrack.ACK, 5, func(tcp []byte) []byte { tcp[16] ^= 0x55; return tcp })
	add("no flags", "flags-illegal", "", "", 0, 0, same)
	add("SYN and FIN", "flags-illegal", "", "", conntrack.SYN|conntrack.FIN, 0, same)
	add("SYN and RST", "flags-illegal", "", "", conntrack.SYN|conntrack.RST, 0, same)
	add("good", "data-no-state", "", "", conntrack.ACK, 5, same)
	// Longer than what the queue copies: everything is known of it but its sum.
	add("headers only", "data-no-state", "", "unverified", conntrack.ACK, 1300, same)
	add("headers only, bad checksum", "data-no-state", "", "unverified", conntrack.ACK, 1300, func(tcp []byte) []byte { tcp[16] ^= 0x55; return tcp })
	return all
}

// Packets that no TCP sends, from a raw socket: each is found, counted and, as the policy says, forwarded or dropped; the gateway lives.
func TestMalformedPackets(t *testing.T) {
	for policy, verdict := range map[string]string{"observe": "forward", "openbsd-pf": "drop"} {
		t.Run(policy, func(t *testing.T) {
			w := newWorld(t)
			at := netip.AddrPortFrom(serverAddr, 7001)
			w.echoServer(at)
			g := w.start(policy, "--fresh")
			s := w.sender(w.Client)
			bad := map[uint16]spoiled{} // by source port
			want := map[string]uint64{}
			for _, b := range append(spoil(s, clientAddr, serverAddr, 30000), spoil(s, clientAddr6, serverAddr6, 31000)...) {
				ip := 20
				if b.packet[0]>>4 == 6 {
					ip = 40
				}
				bad[binary.BigEndian.Uint16(b.packet[ip:])] = b
				want[b.reason]++
				s.send(b.packet)
			}
			empty := s.segment(netip.AddrPortFrom(clientAddr, 1), at, conntrack.ACK, 1, 1, "")[:20] // an IP header that promises TCP, and nothing behind it
			binary.BigEndian.PutUint16(empty[2:], 20)
			s.send(empty)
			want["malformed"]++
			w.connect(0, at)
			g.stop()
			if p := w.verify(); p.statuses() != "final/balanced" {
				t.Errorf("runs ended %s", p.statuses())
			}
			var reasons map[string]uint64
			found := map[uint16]bool{}
			w.events(func(e *decisionlog.Event) {
				if e.Stats != nil && e.Stats.Final {
					reasons = e.Stats.Reasons
				}
				b, ok := bad[e.SrcPort]
				if e.Decision == nil || !ok {
					return
				}
				found[e.SrcPort] = true
				d := e.Decision
				if d.Reason != b.reason || d.Defect != b.defect || d.Checksum != b.checksum || e.TCP != nil && b.defect == "" && e.TCP.Len != b.len {
					t.Errorf("%s: want %s %s %s: %s", b.name, b.reason, b.defect, b.checksum, e.Raw)
				}
				if b.reason != "data-no-state" && d.Verdict != verdict || d.Reply != nil || d.Peer != nil {
					t.Errorf("%s: not simply %s: %s", b.name, verdict, e.Raw)
				}
			})
			for port, b := range bad {
				if !found[port] {
					t.Errorf("%s (port %d): not in the log", b.name, port)
				}
			}
			for reason, n := range want {
				if reasons[reason] != n {
					t.Errorf("%d counted as %s, want %d", reasons[reason], reason, n)
				}
			}
		})
	}
}
