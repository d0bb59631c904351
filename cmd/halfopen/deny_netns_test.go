//go:build netns

package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"halfopen/proxy/decisionlog"
)

const denyingPolicy = `
preset: linux-default
timeouts: {denied: 1h}
rules:
  - {name: closed, match: {src_port: 41000-41099}, on: {new: {packet: drop, reply: rst, state: deny}}}
`

// Who is refused is told so once; from the same port it is denied without a word, across a restart too, until somebody ends that.
func TestDenied(t *testing.T) {
	w := newWorld(t)
	at := netip.AddrPortFrom(serverAddr, 7001)
	w.echoServer(at)
	file := filepath.Join(w.dir, "deny.yaml")
	if err := os.WriteFile(file, []byte(denyingPolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	g := w.start(file, "--state", w.state)
	w.connect(41100, at)
	if _, err := w.tryDial(answerLimit, 41001, at); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("the first dial: %v, want a RST's answer\n%s", err, w.said())
	}
	denied := func() int {
		return strings.Count(w.halfopenIn(w.Gateway, "flows", "--admin", g.admin, "--state", "DENIED"), "DENIED src="+clientAddr.String()+" ")
	}
	if n := denied(); n != 1 {
		t.Errorf("%d denials are listed, want 1", n)
	}
	if _, err := w.tryDial(refusedAfter, 41001, at); err == nil || errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the second dial: %v, want silence", err)
	}
	g.stop()
	g = w.start(file, "--state", w.state)
	if _, err := w.tryDial(refusedAfter, 41001, at); err == nil || errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after a restart: %v, want silence", err)
	}
	w.halfopenIn(w.Gateway, "flows", "kill", "--admin", g.admin, "state=DENIED")
	if n := denied(); n != 0 {
		t.Errorf("%d denials are listed after the kill", n)
	}
	if _, err := w.tryDial(answerLimit, 41001, at); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("once ended: %v, want to be refused anew", err)
	}
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced final/balanced" {
		t.Errorf("runs ended %s", p.statuses())
	}
	var anew, silent, ends int
	w.events(func(e *decisionlog.Event) {
		switch {
		case e.Decision != nil && e.Decision.StateAfter == "DENIED" && e.Decision.Reason == "new" && e.Decision.Rule == "closed":
			anew++
		case e.Decision != nil && e.Decision.Reason == "denied" && e.Decision.Verdict == "drop":
			silent++
		case e.Flow != nil && e.Flow.Event == "end" && e.Flow.State == "DENIED" && e.Flow.Outcome == "denied":
			ends++
		}
	})
	if anew != 2 || silent < 2 || ends < 1 {
		t.Errorf("%d refusals, %d segments denied, %d denials ended; want 2, 2 or more, 1 or more", anew, silent, ends)
	}
}
