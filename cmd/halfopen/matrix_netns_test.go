//go:build netns

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// matrix is what `halfopen lab matrix -o json` prints.
type matrix struct {
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

	dir  string        // captures and logs of every cell
	took time.Duration // to play it
}

// packetDetail makes a gateway write a record of every packet.
var packetDetail = []string{"log.detail=packet", "log.rate=unlimited"}

// playEverything plays every phase under every preset once, for all tests that look at it.
var playEverything = sync.OnceValues(func() (*matrix, error) {
	m := &matrix{dir: filepath.Join(filepath.Dir(program), "matrix")}
	args := []string{"lab", "matrix", "-o", "json", "--out", m.dir}
	for _, s := range packetDetail {
		args = append(args, "--set", s)
	}
	began := time.Now()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("lab matrix: %w\n%s", err, out)
	}
	m.took = time.Since(began)
	return m, json.Unmarshal(out, m)
})

func everything(t *testing.T) *matrix {
	t.Helper()
	m, err := playEverything()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// cell is the directory of what a cell has left.
func (m *matrix) cell(scenario, phase string, col int, policy string) string {
	return filepath.Join(m.dir, fmt.Sprintf("%s.%s.%d-%s", scenario, phase, col, policy))
}

// TestMatrixOfEverything plays every phase under every preset. Three minutes is what the program promises.
func TestMatrixOfEverything(t *testing.T) {
	t.Parallel()
	m := everything(t)
	if m.took > 3*time.Minute {
		t.Errorf("the matrix took %v", m.took)
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
