//go:build netns

package main

import (
	"strings"
	"syscall"
	"testing"

	"halfopen/proxy/decisionlog"
)

// refusals returns how many reloads the log says were refused.
func (w *world) refusals() (n int) {
	w.events(func(e *decisionlog.Event) {
		if e.Reload != nil && !e.Reload.OK {
			n++
		}
	})
	return n
}

// lastReload returns the log's last reload record.
func (w *world) lastReload() (last decisionlog.ReloadEvent) {
	w.events(func(e *decisionlog.Event) {
		if e.Reload != nil {
			last = *e.Reload
		}
	})
	return last
}

// TestReloadUnderTraffic loads good and bad policies, by signal and by the admin socket, while connections carry data.
func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(4)
	const good = "preset: openbsd-pf\nadopt: 0s\n"
	file := write(t, w.dir, "policy.yaml", good)
	g := w.start(file)
	l := w.startLoad(pool)

	hup := func() {
		t.Helper()
		if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	reload := func() (before, now string) {
		t.Helper()
		var r struct{ Rev, Before string }
		halfopenJSON(t, &r, "reload", "--admin", g.admin, "-o", "json") // the file as it is
		return r.Before, r.Rev
	}
	_, first := reload()

	// Bad files change nothing, whatever is wrong with them.
	for i, bad := range []string{"", "preset: openbsd-pf\non: {syn-established: dorp}\n", "\x00\xff noise", "preset: no-such-preset\n"} {
		write(t, w.dir, "policy.yaml", bad)
		hup()
		w.until("the refusal is logged", endLimit, func() bool { return w.refusals() == 2*i+1 })
		_, words, status := halfopen(t, "reload", "--admin", g.admin)
		if status != 1 || !strings.Contains(words, "stays") {
			t.Errorf("reload of bad file %d: status %d, %q", i, status, words)
		}
		w.until("the second refusal is logged", endLimit, func() bool { return w.refusals() == 2*i+2 })
	}
	l.progress("after reloads of bad files")
	write(t, w.dir, "policy.yaml", good)
	if before, now := reload(); before != first || now != first {
		t.Errorf("policy revision %s after reloads of bad files, %s after one of the first file, which is %s", before, now, first)
	}

	// A good one takes effect, and flows survive it: adoption is off, so they live by their state alone.
	write(t, w.dir, "policy.yaml", good+"on: {new: {packet: drop, reply: rst}}\n")
	hup()
	w.until("the reload is logged", endLimit, func() bool { r := w.lastReload(); return r.OK && r.PolicyRev != first })
	l.progress("after a good reload")
	if c, err := w.dial(pool[0], order{Do: doEcho}); err == nil {
		c.Close()
		t.Error("the new policy is not in force: a new connection succeeded")
	} else if !strings.Contains(err.Error(), "refused") {
		t.Errorf("the new policy refuses connections, this one ended with: %v", err)
	}
	l.end()
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("proof: %+v", p)
	}
}

// TestReloadDropsFlows: what becomes of live flows is the policy's word.
func TestReloadDropsFlows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	pool := w.clientPool(1)
	file := write(t, w.dir, "policy.yaml", "preset: observe\n")
	g := w.start(file)
	l := w.startLoad(pool)
	write(t, w.dir, "policy.yaml", "preset: observe\nreload: drop\n")
	halfopen(t, "reload", "--admin", g.admin)
	l.progress("under observe, which takes up again what the reload dropped")
	l.end()
	g.stop()
	if p := w.verify(); p.statuses() != "final/balanced" {
		t.Errorf("proof: %+v", p)
	}
	ended := 0
	w.events(func(e *decisionlog.Event) {
		if e.Flow != nil && e.Flow.Event == "end" && e.Flow.Reason == "reload" {
			ended++
		}
	})
	if ended < len(pool) {
		t.Errorf("%d flows ended by the reload, want %d", ended, len(pool))
	}
}
