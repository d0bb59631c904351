//go:build netns

package main

import (
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"halfopen/policy"
	"halfopen/proxy"
	"halfopen/proxy/capture"
	"halfopen/proxy/lab"
)

// TestReplayIsTheGateway replays every phase under every preset as it went through a real gateway, which drops, injects and probes where its
// policy says so: what came in on both its sides, decided again, must make the log that the gateway wrote, byte for byte but for what
// docs/replay.md names.
func TestReplayIsTheGateway(t *testing.T) {
	t.Parallel()
	m := everything(t)
	cells := 0
	for _, row := range m.Rows {
		for col, c := range row.Cells {
			t.Run(row.Scenario+"/"+row.Phase+"/"+c.Policy, func(t *testing.T) {
				dir := m.cell(row.Scenario, row.Phase, col, c.Policy)
				captures := []string{filepath.Join(dir, "inside.pcapng"), filepath.Join(dir, "outside.pcapng")}
				replaysAlike(t, filepath.Join(dir, "log"), c.Policy, append(phaseOverrides(t, row.Scenario, row.Phase), packetDetail...), captures)
			})
			cells++
		}
	}
	if cells < 15*6 {
		t.Errorf("%d cells", cells)
	}
}

// TestReplayIsTheGatewayUnderImpairment does the same with connections of many kinds whose segments are lost, repeated and reordered in
// front of the gateway and behind it. Whether they are completed is the policy's business here.
func TestReplayIsTheGatewayUnderImpairment(t *testing.T) {
	t.Parallel()
	harm, err := lab.ParseImpairment(*impairment)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range policy.Presets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newImpairedWorld(t, harm)
			set := append([]string{"timeouts.close=2s"}, packetDetail...)
			args := []string{"--fresh", "--queues", "0-0"} // one worker: bounds on what is injected are each worker's own
			for _, s := range set {
				args = append(args, "--set", s)
			}
			g := w.start(name, args...)
			var captures []string
			var sniffers []*capture.Sniffer
			for _, link := range []string{"ho-inside", "ho-outside"} {
				path := filepath.Join(w.dir, link+".pcapng")
				err := w.Gateway.Do(func() error {
					s, err := capture.StartSniffer(link, link, path, capture.Section{})
					sniffers = append(sniffers, s)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				captures = append(captures, path)
			}
			l := w.runWorkload(w.clientPool(2), kinds(8), 1, 4*time.Second, "")
			t.Logf("%v", l.done)
			g.stop()
			for _, s := range sniffers {
				if stats, err := s.Stop(); err != nil || stats.Dropped > 0 {
					t.Errorf("sniffer: %+v, %v", stats, err)
				}
			}
			w.verify()
			replaysAlike(t, w.logDir, name, set, captures)
		})
	}
}

// replaysAlike replays what a gateway was asked, and compares the logs.
func replaysAlike(t *testing.T, log, policy string, set, captures []string) {
	t.Helper()
	path, frames, clock := asked(t, log, captures...)
	again := filepath.Join(t.TempDir(), "log")
	r, err := proxy.RunReplay(t.Context(), proxy.ReplayConfig{Capture: path, Policy: policy, Overrides: set, Fresh: true, LogDir: again,
		Stdout: io.Discard, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if r.TCP != frames || len(r.Problems) > 0 || frames == 0 {
		t.Errorf("%d of %d frames decided; problems %v", r.TCP, frames, r.Problems)
	}
	sameCourses(t, courses(t, log, clock), courses(t, again, clock))
}

// TestReplayOfBothSides is what an operator can do: merge what was captured on both sides of the gateway, replay what came in. The
// capture's clock is another than the gateway's, so times are not compared. The incident's segments answer one another, so that both
// clocks see them in one order.
func TestReplayOfBothSides(t *testing.T) {
	t.Parallel()
	m := everything(t)
	for _, row := range m.Rows {
		if row.Scenario != "silence-on-the-wire" {
			continue
		}
		for col, c := range row.Cells {
			t.Run(row.Phase+"/"+c.Policy, func(t *testing.T) {
				dir, tmp := m.cell(row.Scenario, row.Phase, col, c.Policy), t.TempDir()
				merged, again := filepath.Join(tmp, "both.pcapng"), filepath.Join(tmp, "log")
				if out, err := exec.Command("mergecap", "-w", merged, filepath.Join(dir, "inside.pcapng"), filepath.Join(dir, "outside.pcapng")).CombinedOutput(); err != nil {
					t.Fatalf("mergecap: %v\n%s", err, out)
				}
				args := []string{"replay", merged, "--inbound", "--fresh", "--policy", c.Policy, "--log", again}
				for _, s := range append(phaseOverrides(t, row.Scenario, row.Phase), packetDetail...) {
					args = append(args, "--set", s)
				}
				if out, words, status := halfopen(t, args...); status != 0 {
					t.Fatalf("status %d\n%s%s", status, out, words)
				}
				sameCourses(t, courses(t, filepath.Join(dir, "log"), otherClock), courses(t, again, otherClock))
			})
		}
	}
}

// phaseOverrides are what the lab's gateway runs with in a phase, beside its policy.
func phaseOverrides(t *testing.T, scenario, phase string) []string {
	t.Helper()
	sc, err := lab.Find(scenario)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range sc.Phases {
		if p.Name == phase {
			return p.Overrides()
		}
	}
	t.Fatalf("no phase %s of %s", phase, scenario)
	return nil
}
