//go:build netns

package main

import (
	"io"
	"log/slog"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"halfopen/policy"
	"halfopen/proxy"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
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
	live, replayed := courses(t, log, clock), courses(t, again, clock)
	for ends := range raced(t, log) {
		t.Logf("%s: a timer's end fell among segments", ends)
		delete(live, ends)
		delete(live, ends+byTimeToo)
		delete(replayed, ends)
		delete(replayed, ends+byTimeToo)
	}
	sameCourses(t, live, replayed)
}

// raced returns the pairs of ends of which a probe was sent, or something else was made at a timer's end, so shortly after a segment that
// the worker may have come to the segment first although the timer had ended before: a replay does it in the order of their times.
func raced(t *testing.T, log string) map[string]bool {
	t.Helper()
	const late = 100 * time.Millisecond // far more than a worker is behind, far less than a phase's silence
	type moments struct{ segments, timers []time.Time }
	all := map[string]*moments{}
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Decision == nil && e.Inject == nil {
			continue
		}
		m := all[endsOf(e)]
		if m == nil {
			m = &moments{}
			all[endsOf(e)] = m
		}
		switch {
		case e.Decision != nil && e.Decision.Trigger == "" && e.Decision.Settles == "":
			m.segments = append(m.segments, e.Timestamp.Time)
		case e.Inject == nil || e.Inject.Trigger != "":
			m.timers = append(m.timers, e.Timestamp.Time)
		}
	}
	out := map[string]bool{}
	for ends, m := range all {
		for _, at := range m.timers {
			out[ends] = out[ends] || slices.ContainsFunc(m.segments, func(s time.Time) bool { return !s.After(at) && at.Sub(s) < late })
		}
	}
	maps.DeleteFunc(out, func(_ string, is bool) bool { return !is })
	return out
}

// TestReplayOfBothSides is what an operator can do: merge what was captured on both sides of the gateway, replay what came in. The
// capture's clock is another than the gateway's, so times are not compared. Most of the incident's segments answer one another, so that
// both clocks see them in one order; a cell in which they do not is left out.
func TestReplayOfBothSides(t *testing.T) {
	t.Parallel()
	m := everything(t)
	cells, compared := 0, 0
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
				live, replayed := courses(t, filepath.Join(dir, "log"), otherClock), courses(t, again, otherClock)
				cells++
				if ends := reordered(live, replayed); ends != "" {
					t.Logf("%s: the capture has two segments the other way round", ends)
					return
				}
				compared++
				sameCourses(t, live, replayed)
			})
		}
	}
	if compared < cells*3/4 || cells == 0 {
		t.Errorf("of %d cells %d could be compared", cells, compared)
	}
}

// segments are the members of decisions' records that say which segment it was.
var segments = regexp.MustCompile(`"event_type":"decision".*"tcp":\{([^}]*?)(?:,"state"|,"history"|\})`)

// reordered returns a pair of ends of which both logs tell of the same segments, in another order: segments that one end sent at once,
// which the capture saw on another processor than the queue did. It returns "" where there is none.
func reordered(live, replayed map[string]course) string {
	seen := func(c course) (all []string) {
		for _, line := range c {
			if m := segments.FindStringSubmatch(line); m != nil {
				all = append(all, m[1])
			}
		}
		return all
	}
	for ends, c := range live {
		a, b := seen(c), seen(replayed[ends])
		if !slices.Equal(a, b) && slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))) {
			return ends
		}
	}
	return ""
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
