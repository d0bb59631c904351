//go:build netns

package main

import (
	"strings"
	"testing"
	"time"
)

// TestMatrixOfEverything plays every phase under every preset. Three minutes is what the program promises.
func TestMatrixOfEverything(t *testing.T) {
	t.Parallel()
	var m struct {
		Policies []string
		Rows     []struct {
			Scenario, Phase string
			Cells           []struct {
				Policy    string
				Connected bool
				Seconds   float64
				GaveUp    string `json:"gave_up"`
				Error     string
				Decisive  []struct {
					Finding, Event string
					Lines          []struct{ Key, Value string }
				}
			}
		}
		LeftOut []string `json:"left_out"`
	}
	began := time.Now()
	halfopenJSON(t, &m, "lab", "matrix", "-o", "json")
	if took := time.Since(began); took > 3*time.Minute {
		t.Errorf("the matrix took %v", took)
	}
	presets, _, _ := halfopen(t, "policy", "list")
	for _, p := range m.Policies {
		if !strings.Contains(presets, p) {
			t.Errorf("column %s is no preset of\n%s", p, presets)
		}
	}
	phases := map[string]int{}
	for _, row := range m.Rows {
		phases[row.Scenario]++
		if len(row.Cells) != len(m.Policies) || len(row.Cells) < 6 {
			t.Errorf("%s/%s: %d cells for %d policies", row.Scenario, row.Phase, len(row.Cells), len(m.Policies))
		}
		for _, c := range row.Cells {
			at := row.Scenario + "/" + row.Phase + " under " + c.Policy
			if c.Error != "" {
				t.Errorf("%s: %s", at, c.Error)
			}
			if !c.Connected && c.GaveUp == "" {
				t.Errorf("%s: not connected, and nobody gave up", at)
			}
			if len(c.Decisive) == 0 {
				t.Errorf("%s: nothing decided", at)
			}
			for _, d := range c.Decisive {
				if d.Finding+d.Event == "" || len(d.Lines) == 0 || d.Lines[0].Key == "" || d.Lines[0].Value == "" {
					t.Errorf("%s: no line of policy behind %+v", at, d)
				}
			}
			if c.Policy == "transparent-resync" && row.Scenario == "silence-on-the-wire" && (!c.Connected || c.Seconds > 3) {
				t.Errorf("%s: %+v", at, c)
			}
		}
	}
	for scenario, n := range map[string]int{"silence-on-the-wire": 2, "port-reuse": 3, "server-reboot": 2, "idle-expiry": 2, "nat": 3, "lpd": 3} {
		if phases[scenario] != n {
			t.Errorf("%d phases of %s, want %d (left out: %v)", phases[scenario], scenario, n, m.LeftOut)
		}
	}
}
