//go:build netns

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
)

// e2eDir holds the script that drives the browser, and its packages.
const e2eDir = "../../.ci/e2e"

// packages installs what the script needs, once.
func packages(t *testing.T) {
	t.Helper()
	for _, need := range []string{"node", "npm", "chromium"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Fatalf("%v: the README's test command installs it", err)
		}
	}
	there := true
	for _, p := range []string{"playwright-core", "axe-core"} {
		_, err := os.Stat(filepath.Join(e2eDir, "node_modules", p))
		there = there && err == nil
	}
	if there {
		return
	}
	ctx, stop := context.WithTimeout(t.Context(), 6*time.Minute)
	defer stop()
	c := exec.CommandContext(ctx, "npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
	c.Dir = e2eDir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("npm install: %v\n%s", err, out)
	}
}

// served starts `halfopen review serve` and returns its address.
func served(t *testing.T, log string, args ...string) string {
	t.Helper()
	c := exec.Command(program, append([]string{"review", "serve", log, "--listen", "127.0.0.1:0"}, args...)...)
	var words bytes.Buffer
	c.Stderr = &words
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := c.Wait(); err != nil || words.Len() > 0 {
			t.Errorf("review serve: %v\n%s", err, words.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	return strings.TrimSuffix(strings.TrimSpace(line), "/")
}

// appendRun writes a run to a log: twelve decisions, and a connection of which 300 packets passed by the fast path.
func appendRun(dir string) error {
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir, BootID: "page", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	p := w.Producer(0)
	for i := range 12 {
		r := decisionlog.Record{Time: time.Now().UnixNano(), Event: decisionlog.EventDecision, FlowID: uint64(9000 + i),
			Src: netip.AddrPortFrom(netip.MustParseAddr("10.9.9.9"), uint16(4210+i)), Dst: netip.MustParseAddrPort("192.0.2.9:515"),
			TCP: decisionlog.TCP{Set: true, Flags: decisionlog.FlagSYN}}
		r.Decision = decisionlog.Decision{ID: p.NextID(), Verdict: "drop", Reason: "syn-established", StateBefore: "ESTABLISHED", StateAfter: "ESTABLISHED"}
		p.Put(&r)
		w.Flush()
		time.Sleep(50 * time.Millisecond)
	}
	now := time.Now().UnixNano()
	p.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventFlow, FlowID: 9100, Src: netip.MustParseAddrPort("10.9.9.9:4222"), Dst: netip.MustParseAddrPort("192.0.2.9:515"),
		Flow: decisionlog.Flow{Kind: decisionlog.FlowUpdate, Start: now, Last: now, Fast: [2]uint64{300, 0}, FastBytes: [2]uint64{18000, 0}, FastCounted: [2]int64{300, 18000}}})
	w.Flush()
	w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventStats, Stats: &decisionlog.Stats{Final: true, Received: 12,
		FastPath: decisionlog.FastPathStats{State: "on", Packets: 300, Bytes: 18000}}})
	return w.Close()
}

// The page, driven in a browser: an incident of real ends is found from the first page by clicks alone.
func TestReviewPage(t *testing.T) {
	t.Parallel()
	packages(t)
	incident := playIncident(t, "--policy", "lpd-case-2015", "--far-policy", "../../docs/examples/far.yaml").Log
	long := t.TempDir()
	if _, err := loggen.Generate(loggen.Config{Dir: long, Decisions: 6000}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 6*time.Minute)
	defer stop()
	c := exec.CommandContext(ctx, "node", "page.mjs", served(t, incident), served(t, long), served(t, experimentLog(t, 300, 0.15)))
	if shots := os.Getenv("HALFOPEN_SCREENSHOTS"); shots != "" { // to be looked at
		c.Args = append(c.Args, shots)
	}
	c.Dir = e2eDir
	var words bytes.Buffer
	c.Stderr = &words
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		t.Log(last)
		if last == "follow" {
			if err := appendRun(incident); err != nil {
				t.Error(err)
			}
		}
	}
	if err := c.Wait(); err != nil || last != "good" {
		t.Errorf("%v after %q\n%s", err, last, words.String())
	}
}
