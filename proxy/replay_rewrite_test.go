package proxy

import (
	"slices"
	"testing"

	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

// Behind the first rewritten segment the capture shows what its receiver answered to another one.
func TestReplayRewrites(t *testing.T) {
	path := ng(t, frames(conversation(t, clientEnd, serverEnd)...), nil, capture.LinkRaw)
	push := writeFile(t, []byte("preset: observe\non: {in-window: {packet: rewrite, strip: [push, urgent]}}"))
	dir := t.TempDir()
	got := mustReplay(t, ReplayConfig{Capture: path, Policy: push, Shadows: []string{"observe"}, LogDir: dir})
	if got.Verdicts["rewrite"] != 1 || got.Verdicts["forward"] != 8 || got.Injected != 0 {
		t.Errorf("verdicts %v", got.Verdicts)
	}
	if cf := got.Counterfactual; cf.Flows != 1 || cf.Frames != 5 || cf.First[0].N != 4 || cf.First[0].Verdict != "rewrite" {
		t.Errorf("counterfactual %+v", cf)
	}
	if sh := got.Shadows[0]; sh.Disagreed != 1 || sh.First[0].Shadow.String() != "forward/in-window" {
		t.Errorf("the shadow %+v", sh)
	}
	rewritten := 0
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if d := e.Decision; d != nil && d.Verdict == "rewrite" {
			if rewritten++; !slices.Equal(d.Stripped, []string{"push"}) || e.PcapCnt != 4 || d.Would.Verdict != "forward" || d.Would.Stripped != nil {
				t.Errorf("%s", e.Raw)
			}
		}
	}
	if rewritten != 1 {
		t.Errorf("%d records of a rewritten segment", rewritten)
	}
}
