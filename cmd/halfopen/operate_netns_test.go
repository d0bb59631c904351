//go:build netns

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// With --dry-run the ends meet nothing of the policy: the incident does not happen, and the log says what would have.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 515)
	w.echoServer(at)
	g := w.start("lpd-case-2015", "--dry-run")
	old := w.connect(721, at)
	if err := old.Silence(); err != nil {
		t.Fatal(err)
	}
	w.connect(721, at) // the server's challenge ACK, the client's RST, and a new connection
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
	would := 0
	w.events(func(e *decisionlog.Event) {
		switch {
		case e.Inject != nil:
			t.Errorf("injected: %s", e.Raw)
		case e.Decision == nil:
		case e.Decision.Verdict != "forward" || e.Decision.Reply != nil || e.Decision.Peer != nil:
			t.Errorf("not forwarded as it was: %s", e.Raw)
		case e.Decision.Would == nil:
			t.Errorf("no word of what the policy would have done: %s", e.Raw)
		case strings.HasPrefix(e.Decision.Would.Reason, "syn-established"): // or its kind -in-window: it is not long ago
			if would++; e.Decision.Would.Verdict != "drop" || e.Decision.Would.Reply == nil || e.Decision.Would.Reply.Kind != "ack-tracked" {
				t.Errorf("would have been another decision: %s", e.Raw)
			}
		}
	})
	if would == 0 {
		t.Error("no decision says syn-established")
	}
}

// flowLine is what the tests read of `flows -o json`.
type flowLine struct {
	ID    uint64
	Event string
	State string
	Src   string
	Dst   string
}

// What operators ask while traffic passes: nothing of it disturbs a connection, except the one that is to be killed.
func TestAdminUnderTraffic(t *testing.T) {
	w := newWorld(t)
	w.serve()
	at := netip.AddrPortFrom(serverAddr, 515)
	w.echoServer(at)
	policy := write(t, w.dir, "site.yaml", "preset: observe\n")
	g := w.start(policy, "--metrics", "127.0.0.1:9109")
	if st, err := os.Stat(g.admin); err != nil || st.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("admin socket: %v, %v; want mode 0600", st.Mode(), err)
	}
	victim := w.connect(721, at)
	l := w.startLoad(w.clientPool(4))

	events := w.follow(g.admin)
	text := w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "--dport", "515")
	for _, want := range []string{"tcp", "ESTABLISHED", "src=192.0.2.10", "dst=198.51.100.10", "sport=721", "dport=515"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	if n := strings.Count(w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "-o", "json", "--state", "ESTABLISHED"), "\n"); n < 9 {
		t.Errorf("%d flows listed, want the load's and one", n)
	}
	if _, words, status := w.tryHalfopen(w.Gateway, "flows", "kill", "--admin", g.admin, "dport=515", "sport=721"); status != 0 || !strings.Contains(words, "1 flow") {
		t.Errorf("flows kill: status %d, %q", status, words)
	}
	if text := w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "--dport", "515"); text != "" {
		t.Errorf("killed, and listed: %q", text)
	}
	w.say(victim) // observe takes it up again
	l.progress("after flows and flows kill")

	w.reload(g, policy)
	l.progress("after the reloads")
	for range 5 {
		w.scrape("127.0.0.1:9109", "halfopen_packets_total", "halfopen_flows", "halfopen_policy_info")
	}
	l.progress("after the scrapes")
	l.end()
	victim.Close()

	seen := map[string]bool{}
	for len(seen) < 2 {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("flows -E ended; so far %v", seen)
			}
			seen[strings.ToLower(e.Event)] = true
			delete(seen, "update")
		case <-time.After(answerLimit):
			t.Fatalf("flows -E says only %v", seen)
		}
	}
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
	killed := 0
	w.events(func(e *decisionlog.Event) {
		if e.Flow != nil && e.Flow.Reason == "killed" {
			killed++
		}
	})
	if killed != 1 {
		t.Errorf("%d flow records say killed", killed)
	}
}

// reload loads a bad policy, which changes nothing, and then a good one.
func (w *world) reload(g *gatewayProcess, policy string) {
	w.t.Helper()
	if err := os.WriteFile(policy, []byte("preset: observe\non: {syn-establishd: drop}\n"), 0o644); err != nil {
		w.t.Fatal(err)
	}
	_, words, status := w.tryHalfopen(w.Gateway, "reload", "--admin", g.admin)
	if status != 1 || !strings.Contains(words, "syn-established") || !strings.Contains(words, policy+":2:") {
		w.t.Errorf("a bad policy: status %d, %q; want the line and the word that was meant", status, words)
	}
	if err := os.WriteFile(policy, []byte("preset: observe\ntimeouts: {established: 1h}\n"), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.halfopenIn(w.Gateway, "reload", "--admin", g.admin)
	g.signal(syscall.SIGHUP)
}

// follow reads `flows -E -o json` until the test ends.
func (w *world) follow(socket string) <-chan flowLine {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	cmd := w.command(ctx, "flows", "-E", "-o", "json", "--admin", socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	lines := make(chan flowLine, 1<<16)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			var f flowLine
			if json.Unmarshal(sc.Bytes(), &f) == nil {
				lines <- f
			}
		}
		_ = cmd.Wait()
	}()
	return lines
}

// scrape reads the metrics as Prometheus does.
func (w *world) scrape(addr string, want ...string) string {
	w.t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, to string) (c net.Conn, err error) {
		err = w.Gateway.Do(func() (err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, network, to)
			return err
		})
		return c, err
	}}
	res, err := (&http.Client{Transport: tr, Timeout: answerLimit}).Get("http://" + addr + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	for sc := bufio.NewScanner(res.Body); sc.Scan(); {
		fmt.Fprintln(&b, sc.Text())
	}
	for _, name := range want {
		if !strings.Contains(b.String(), "\n"+name) {
			w.t.Errorf("no metric %s in\n%s", name, b.String())
		}
	}
	return b.String()
}

// What the gateway's own host says and hears, decided like forwarded traffic. Segments that the gateway makes leave by the same
// hooks and must not come back to it.
func TestLocalTraffic(t *testing.T) {
	w := newWorld(t)
	at := netip.MustParseAddrPort("192.0.2.1:515") // the gateway's own address
	srv, err := w.Gateway.Serve(at, false)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	w.echoServer(netip.AddrPortFrom(serverAddr, 7001))
	g := w.start("lpd-case-2015", "--hooks", "input,output", "--set", "log.detail=packet")
	old := w.connect(721, at)
	if err := old.Silence(); err != nil {
		t.Fatal(err)
	}
	w.connect(721, at) // healed by the client's RST
	e, err := w.Gateway.Dial(t.Context(), netip.MustParseAddrPort("198.51.100.1:0"), netip.AddrPortFrom(serverAddr, 7001))
	if err != nil {
		t.Fatal(err)
	}
	w.say(e)
	e.Close()
	w.connect(0, netip.AddrPortFrom(serverAddr, 7001)) // forwarded, and not ours to decide
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
	reasons, made := map[string]int{}, map[string]int{}
	name := func(e *decisionlog.Event) string {
		return fmt.Sprint(e.SrcIP, e.SrcPort, e.DestIP, e.DestPort, e.TCP.Flags, e.TCP.Seq, e.TCP.Ack)
	}
	w.events(func(e *decisionlog.Event) {
		switch {
		case e.Inject != nil:
			made[name(e)]++
		case e.Decision != nil && e.SrcIP == "198.51.100.1":
			reasons["out "+e.Decision.Reason]++
		case e.Decision != nil && e.DestPort == 515:
			reasons["in "+e.Decision.Reason]++
			if e.SrcIP != "192.0.2.10" {
				t.Errorf("decided twice: %s", e.Raw)
			}
		case e.Decision != nil && e.SrcIP == "192.0.2.10":
			t.Errorf("forwarded traffic was queued: %s", e.Raw)
		}
	})
	if reasons["out new"] != 1 || reasons["in new"] == 0 || reasons["in syn-established"]+reasons["in syn-established-in-window"] == 0 || len(made) == 0 {
		t.Errorf("decided %v, made %v", reasons, made)
	}
	w.events(func(e *decisionlog.Event) {
		if e.Decision != nil && e.SrcPort == 515 && e.TCP.Win == 0 && made[name(e)] > 0 { // the tracked ACK has window 0
			t.Errorf("the gateway's own segment was queued again: %s", e.Raw)
		}
	})
}

func TestMatchNarrows(t *testing.T) {
	w := newWorld(t)
	w.echoServer(netip.AddrPortFrom(serverAddr, 515))
	w.echoServer(netip.AddrPortFrom(serverAddr, 7001))
	w.echoServer(netip.AddrPortFrom(serverAddr6, 515))
	g := w.start("observe", "--match", "dport 515")
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(serverAddr, 515), netip.AddrPortFrom(serverAddr, 7001), netip.AddrPortFrom(serverAddr6, 515)} {
		w.connect(0, to).Close()
	}
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
	seen := map[string]int{}
	w.events(func(e *decisionlog.Event) {
		if e.Decision != nil && e.Decision.Reason == "new" {
			seen[fmt.Sprint(e.DestIP, " ", e.DestPort)]++
		}
		if e.Decision != nil && e.Decision.Reason == "syn-ack" { // both directions
			seen["back"]++
		}
	})
	if len(seen) != 3 || seen["198.51.100.10 515"] != 1 || seen["2001:db8:3::10 515"] != 1 || seen["back"] != 2 {
		t.Errorf("queued %v, want port 515 only, in both directions", seen)
	}
}

// Flows that are not tracked match no ct state and are not translated: beside such rules --notrack would cut the gateway off.
func TestNoTrackIsRefusedWhereItCuts(t *testing.T) {
	w := newWorld(t)
	w.echoServer(netip.AddrPortFrom(serverAddr, 7001))
	for rules, word := range map[string]string{
		"add table inet own; add chain inet own f { type filter hook forward priority 0; }; add rule inet own f ct state established accept": "inet own f",
		"add table ip own; add chain ip own p { type nat hook postrouting priority 100; }; add rule ip own p masquerade":                     "ip own p",
	} {
		w.exec(w.Gateway, "nft", rules)
		out, words, status := w.tryHalfopen(w.Gateway, "run", "--policy", "observe", "--install-rules", "--notrack")
		if status != 1 || !strings.Contains(words, word) || !strings.Contains(words, "connection tracking") {
			t.Errorf("beside %q: status %d, %q %q; want a refusal that names the chain", rules, status, out, words)
		}
		if left := w.tables(); len(left) != 1 {
			t.Errorf("tables %v, want the host's own only", left)
		}
		w.exec(w.Gateway, "nft", "flush ruleset")
	}
	g := w.start("observe", "--notrack")
	w.connect(0, netip.AddrPortFrom(serverAddr, 7001))
	g.stop()
}

// Whatever way a gateway ends, its rules, its socket and its ready file go.
func TestEndLeavesNothing(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	nothing := func(after string) {
		t.Helper()
		if left := w.tables(); len(left) != 0 {
			t.Errorf("after %s: tables %v", after, left)
		}
		for _, f := range []string{"admin", "ready"} {
			if _, err := os.Lstat(filepath.Join(w.dir, f)); !os.IsNotExist(err) {
				t.Errorf("after %s: %s is still there (%v)", after, f, err)
			}
		}
		w.connect(0, at)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		g := w.start("observe")
		g.signal(sig)
		select {
		case <-g.done:
		case <-time.After(endLimit):
			t.Fatalf("%v does not end the gateway\n%s", sig, g.said())
		}
		if g.err != nil {
			t.Errorf("%v: %v\n%s", sig, g.err, g.said())
		}
		nothing(sig.String())
	}

	var busy net.Listener // where the metrics should be served: the gateway finds out when its rules are in place
	if err := w.Gateway.Do(func() (err error) { busy, err = net.Listen("tcp", "127.0.0.1:9109"); return err }); err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, words, status := w.tryHalfopen(w.Gateway, "run", "--policy", "observe", "--install-rules", "--log", w.logDir, "--metrics", "127.0.0.1:9109",
		"--admin", filepath.Join(w.dir, "admin"), "--ready-file", filepath.Join(w.dir, "ready"))
	if status != 1 || !strings.Contains(words, "127.0.0.1:9109") || !strings.Contains(words, "in use") {
		t.Errorf("an address in use: status %d, %q", status, words)
	}
	nothing("an error")
	w.verify()
}
