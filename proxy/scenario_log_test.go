package proxy

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"halfopen/policy/scenario"
	"halfopen/proxy/scripted"
)

// replayedLog writes the log of a script's capture.
func replayedLog(t *testing.T, s *scenario.Script, detail string) (log, pol string) {
	t.Helper()
	path, _ := writeScript(t, s)
	log, pol = filepath.Join(t.TempDir(), "log"), scriptPolicy(t, s)
	mustReplay(t, ReplayConfig{Capture: path, Policy: pol, Overrides: append(s.Settings(), "log.detail="+detail), Fresh: !s.Adopts(), LogDir: log})
	return log, pol
}

// untold reports whether a log does not tell what a script shows: the fields of a header that no record has.
func untold(s *scenario.Script) bool {
	text := string(s.Format())
	return strings.Contains(text, " sack ") || strings.Contains(text, " urg ") || strings.Contains(text, "U. ")
}

// A scenario of a log that tells every segment has the log's segments, and comes out as the log says. Of one that counts plain forwards
// most do, and those that do not say so.
func TestScriptsOfLogs(t *testing.T) {
	var flows, otherwise, counted atomic.Int32
	t.Run("of", func(t *testing.T) {
		for _, name := range someScripts(t) {
			dir := filepath.Base(filepath.Dir(name))
			if dir != "openbsd-pf" && dir != "linux-default" && dir != "transparent-resync" && dir != "regressions" {
				continue
			}
			t.Run(strings.TrimPrefix(name, "../policy/testdata/"), func(t *testing.T) {
				t.Parallel()
				s := readScript(t, name)
				if unlike(s) != "" || apart(s) {
					return
				}
				all := playSteps(t, s)
				for _, detail := range []string{"packet", "decision"} {
					log, pol := replayedLog(t, s, detail)
					for _, flow := range s.Flows() {
						want := ofFlow(all, flow)
						choice, _ := ParseFlowChoice(flow.String())
						from, err := scripted.FromLog(log, choice.Picks, scripted.Options{Log: "the log", Policy: pol, Overrides: s.Settings()})
						if err != nil || from.Script == nil {
							if len(want) > 0 {
								t.Errorf("%s: %v", flow, err)
							}
							continue
						}
						if said := strings.Contains(string(from.Text), "otherwise than the log says"); said != (from.Otherwise > 0) || from.Otherwise < 0 {
							t.Errorf("%d lines come out otherwise, said %v\n%s", from.Otherwise, said, from.Text)
						}
						if told := strings.Contains(string(from.Text), "The log only counts "); told != (from.Counted > 0) || uint64(from.Segments)+from.Counted != uint64(len(want)) {
							t.Errorf("%s: %d segments and %d counted, want %d\n%s", flow, from.Segments, from.Counted, len(want), from.Text)
						}
						if detail == "decision" {
							flows.Add(1)
							otherwise.Add(int32(min(from.Otherwise, 1)))
							counted.Add(int32(min(from.Counted, 1)))
							continue
						}
						if from.Otherwise != 0 {
							t.Errorf("%d lines come out otherwise\n%s", from.Otherwise, from.Text)
						}
						again := playedAgain(t, from.Text)
						for i := range want {
							want[i].options = nil // their order is not told
						}
						for i := range again {
							again[i].options = nil
						}
						if d := differ(want, again, true); d != "" && !untold(s) {
							t.Errorf("%s: %s\n%s", flow, d, from.Text)
						}
					}
				}
			})
		}
	})
	if flows.Load() < 100/breadth || counted.Load() < 50/breadth || otherwise.Load() > max(flows.Load()/30, 1) {
		t.Errorf("%d flows, %d with counted segments, %d come out otherwise", flows.Load(), counted.Load(), otherwise.Load())
	}
	t.Logf("%d flows, %d with counted segments, %d come out otherwise", flows.Load(), counted.Load(), otherwise.Load())
}
