//go:build netns

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"halfopen/proxy/decisionlog"
)

// TestReplayAgreesWithTheGateway plays incidents through a real gateway under observe and replays what was captured on its inside: the
// log of the one must say what the log of the other says, decision by decision, with the numbers that each was judged by.
func TestReplayAgreesWithTheGateway(t *testing.T) {
	t.Parallel()
	forgetful := []string{"--set", "timeouts.established=2s", "--set", "probes.tries=0"} // what the lab sets where its gateway must forget
	for _, c := range []struct {
		scenario, phase string
		set             []string
	}{
		{"silence-on-the-wire", "remembered", nil}, {"silence-on-the-wire", "forgotten", forgetful},
		{"port-reuse", "after-fin", nil}, {"port-reuse", "time-wait", nil}, {"port-reuse", "after-rst", nil},
		{"server-reboot", "client-sends", nil}, {"idle-expiry", "client-sends", forgetful},
	} {
		t.Run(c.scenario+"/"+c.phase, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var report struct {
				Captures struct{ Inside string }
				Log      string
			}
			halfopenJSON(t, &report, "lab", "run", c.scenario, "--phase", c.phase, "--policy", "observe", "-o", "json", "--out", dir)
			again := filepath.Join(dir, "replayed")
			var replayed struct {
				TCP        int            `json:"tcp"`
				Findings   map[string]int `json:"findings"`
				OutOfOrder int            `json:"out_of_order"`
			}
			args := append([]string{"replay", report.Captures.Inside, "--policy", "observe", "--fresh", "--log", again, "-o", "json"}, c.set...)
			halfopenJSON(t, &replayed, args...)
			live, replay := courses(t, report.Log), courses(t, again)
			if len(live) == 0 {
				t.Fatal("the gateway's log tells of no connection")
			}
			for ends, want := range live {
				if !slices.Equal(replay[ends], want) {
					t.Errorf("%s\ngateway %q\nreplay  %q\n(%+v)", ends, want, replay[ends], replayed)
				}
			}
			if len(replay) != len(live) {
				t.Errorf("%d connections in the replay, %d at the gateway", len(replay), len(live))
			}
		})
	}
}

// courses returns what a log says of each pair of ends, in order: decisions, and the ends of flows with what they counted. Ids and
// times are left out; they are another run's.
func courses(t *testing.T, log string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		from, to := fmt.Sprint(e.SrcIP, " ", e.SrcPort), fmt.Sprint(e.DestIP, " ", e.DestPort)
		ends := min(from, to) + " - " + max(from, to)
		switch {
		case e.Decision != nil:
			d := e.Decision
			expected, err := json.Marshal(d.Expected)
			if err != nil {
				t.Fatal(err)
			}
			out[ends] = append(out[ends], fmt.Sprintf("%s %s seq %d ack %d len %d => %s/%s %s>%s %s expected %s", from, e.TCP.Flags, e.TCP.Seq, e.TCP.Ack, e.TCP.Len,
				d.Verdict, d.Reason, d.StateBefore, d.StateAfter, d.Effect, expected))
		case e.Flow != nil && e.Flow.Event != "new":
			f := e.Flow
			out[ends] = append(out[ends], fmt.Sprintf("%s %s %s, %d and %d packets, %d counted, %s %s", f.Event, f.State, f.History, f.PktsToServer, f.PktsToClient, f.Counted,
				f.Reason, f.Outcome))
		}
	}
	return out
}
