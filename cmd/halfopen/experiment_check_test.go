package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"halfopen/policy/experiment"
	"halfopen/proxy/decisionlog"
)

// writeExperiment writes an experiment with the policy of an arm beside it, and returns its file.
func writeExperiment(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"exp.yaml": text, "short.yaml": "preset: lpd-case-2015\ntimeouts: {established: 5m}\nlimits: {flows: 9}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "exp.yaml")
}

const checkedExperiment = `experiment:
- name: idle-5m
  match: {dst_port: 515, src: 10.0.0.0/8}
  share: 80%
  start: 2026-03-01T08:00:00Z
  end: 2026-03-01T08:00:04Z
  warm_up: 1s
  arms:
    - {name: control, weight: 45, policy: gateway}
    - {name: short, weight: 45, policy: short.yaml}
    - {name: again, weight: 10, aa: true}
  guardrails: [{metric: connect-failure, max_increase: 2%}]
- name: blocks
  match: {dst_port: 80}
  start: 2026-03-01T08:00:00Z
  switchback: {block: 10m, seed: 7}
  arms: [{name: a, policy: gateway}, {name: b, policy: gateway}]
`

func TestExperimentCheck(t *testing.T) {
	file := writeExperiment(t, checkedExperiment)
	out, words, status := runVerb("experiment", "check", file, "--policy", "lpd-case-2015")
	if status != 0 || words != "" {
		t.Fatalf("status %d: %s", status, words)
	}
	text := regexp.MustCompile(`sha256:[0-9a-f]{64}`).ReplaceAllString(out, "REV")
	text = regexp.MustCompile(` +`).ReplaceAllString(text, " ")
	for _, want := range []string{": good\n", "\nexperiment idle-5m\n connections dst_port 515 src 10.0.0.0/8\n units client-64, 80% of them\n salt idle-5m\n from 2026-03-01T08:00:00Z\n to 2026-03-01T08:00:04Z\n",
		" warm-up the first 1s of the experiment", " limit connect-failure at most 2 points more than control\n",
		" control 45% gateway REV -\n short 45% short.yaml REV timeouts.established, limits.flows", " again 10% the control's (A/A) REV nothing\n",
		"\n UNIT ARM PLACE ON THE SHARE NOTE\n 10.0.0.1 control 4063 807 \n 10.0.0.2 none 540 9928 outside the share\n 10.0.0.3 short 8629 3058 \n",
		"\n blocks of 10m for the whole gateway, seed 7\n", "\n BLOCK FROM ARM\n 2026-03-01T08:00:00Z ", "note: short: what differs from the gateway's policy in limits.flows, limits.embryonic has no effect",
		"note: b: its policy is the control's; say aa: true"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "2026-03-01T08:"); n != 2+1+4 { // from and to, from, four blocks
		t.Errorf("%d times in\n%s", n, text)
	}
}

func TestExperimentCheckUnits(t *testing.T) {
	file := writeExperiment(t, strings.Replace(checkedExperiment, "  share: 80%\n", "  unit: pair\n", 1))
	var got struct {
		Experiments []experiment.Spec
		Units       []unitArm
		Blocks      []block
		Notes       []string
	}
	out, words, status := runVerb("experiment", "check", file, "-o", "json", "--unit", "10.0.0.1", "--unit", "10.0.0.1 > 10.0.1.9", "--unit", "192.0.2.1:5 > 10.0.1.9:515")
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 || words != "" {
		t.Fatalf("status %d, %v: %s", status, err, words)
	}
	if len(got.Experiments) != 2 || got.Experiments[0].Arms[1].Rev == "" || len(got.Blocks) != 4 || got.Notes == nil || len(got.Units) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []unitArm{{Unit: "10.0.0.1 > 192.0.2.1", Match: true, Note: "taken for granted: server 192.0.2.1"}, {Unit: "10.0.0.1 > 10.0.1.9", Match: true}, {Unit: "192.0.2.1 > 10.0.1.9"}} {
		u := got.Units[i]
		if u.Unit != want.Unit || u.Match != want.Match || u.Note != want.Note || (u.Arm != "") != want.Match || u.Experiment != "idle-5m" {
			t.Errorf("%+v", u)
		}
	}
}

func TestExperimentCheckProblems(t *testing.T) {
	file := writeExperiment(t, strings.NewReplacer("weight: 10", "weight: 11", "seed: 7", "sede: 7").Replace(checkedExperiment))
	out, words, status := runVerb("experiment", "check", file)
	if status != 1 || words != "" || !strings.Contains(out, "exp.yaml:9:5: weights whose sum is 101%, expected 100%\n") || !strings.Contains(out, `unknown key "sede" in switchback, expected block or seed (did you mean "seed"?)`) {
		t.Errorf("status %d: %s%s", status, words, out)
	}
	out, _, status = runVerb("experiment", "check", file, "-o", "json")
	var p struct {
		Line     int
		Expected string
	}
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &p); err != nil || status != 1 || p.Line != 9 || p.Expected != "100%" {
		t.Errorf("status %d, %v: %s", status, err, out)
	}
	file = writeExperiment(t, strings.Replace(checkedExperiment, "short.yaml", "nowhere.yaml", 1))
	if _, words, status = runVerb("experiment", "check", file); status != 1 || !strings.Contains(words, "experiment idle-5m, arm short: ") || !strings.Contains(words, "nowhere.yaml") {
		t.Errorf("status %d: %s", status, words)
	}
	good := writeExperiment(t, checkedExperiment)
	for _, args := range [][]string{{"check"}, {"check", good, "--unit", "host"}, {"check", good, "-o", "yaml"}, {"schema", "x"}} {
		if _, words, status := runVerb(append([]string{"experiment"}, args...)...); status != 2 || words == "" {
			t.Errorf("%v: status %d: %s", args, status, words)
		}
	}
	for _, args := range [][]string{{filepath.Join(t.TempDir(), "none")}, {good, "--policy", "nowhere"}, {filepath.Join(filepath.Dir(good), "short.yaml"), "--config"}} {
		if _, words, status := runVerb(append([]string{"experiment", "check"}, args...)...); status != 1 || words == "" {
			t.Errorf("%v: status %d: %s", args, status, words)
		}
	}
}

func TestExperimentSchema(t *testing.T) {
	out, _, status := runVerb("experiment", "schema")
	if status != 0 || out != string(experiment.Schema()) {
		t.Errorf("status %d: %s", status, out)
	}
}

// TestConfigExperiment: the key experiment of run --config is an experiment, several, or a file's name; anything else is a problem.
func TestConfigExperiment(t *testing.T) {
	for text, want := range map[string]string{
		"experiment: {name: x}":          "inline",
		"experiment:\n- name: x":         "inline",
		"experiment: exp.yaml":           "exp.yaml",
		"experiment: [[a]]":              "a plain value",
		"metrics: {a: b}":                "a plain value",
		"experiment: {a: b}\ncolour: re": "no flag",
	} {
		path := filepath.Join(t.TempDir(), "run.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := &cobra.Command{Use: "run"}
		file := c.Flags().String("experiment", "", "")
		c.Flags().String("metrics", "", "")
		got := ""
		err := applyConfigFile(c, path, map[string]func(){"experiment": func() { got = "inline" }})
		switch {
		case err != nil:
			got = err.Error()
		case *file != "":
			got = *file
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestReplayExperiment: the arm decides, each frame and record tells it, and the log has what the report needs.
func TestReplayExperiment(t *testing.T) {
	capture := redialCapture(t) // 10.0.0.1:721 > 192.0.2.9:515 at 08:00:00 to 08:00:04
	file := writeExperiment(t, strings.Replace(checkedExperiment, "  share: 80%\n", "", 1))
	log := filepath.Join(t.TempDir(), "log")
	out, words, status := runVerb("replay", capture, "--policy", "observe", "--experiment", file, "--frames", "-o", "json", "--log", log)
	var got struct {
		Frames []struct{ Verdict, Arm string }
		Arms   []struct {
			Experiment, Arm string
			Policy          struct{ Name, Rev string }
			Flows, Units    int
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 || words != "" {
		t.Fatalf("status %d, %v: %s", status, err, words)
	}
	if len(got.Frames) != 5 || got.Frames[3].Arm != "control" || got.Frames[3].Verdict != "forward" {
		t.Errorf("%+v", got.Frames)
	}
	if a := got.Arms; len(a) != 5 || a[0].Arm != "control" || a[0].Flows != 1 || a[0].Units != 1 || a[0].Policy.Name != "observe" || a[1].Flows != 0 || a[1].Policy.Rev == a[0].Policy.Rev {
		t.Errorf("%+v", got.Arms)
	}
	var events []string
	for e, err := range decisionlog.Read(log) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Experiment != nil:
			events = append(events, e.Experiment.Name+" "+e.Experiment.Event+" "+e.Timestamp.Format("05"))
			if s, err := experiment.FromJSON(e.Experiment.Spec); err != nil || s.Name != e.Experiment.Name {
				t.Errorf("%v: %s", err, e.Raw)
			}
		case e.Decision != nil && e.Decision.Arm != "control" && e.FlowID == 1, e.Flow != nil && (e.Flow.Arm == "control") != (e.FlowID == 1):
			t.Errorf("%s", e.Raw) // the second connection stands when the experiment has ended
		}
	}
	if strings.Join(events, ", ") != "idle-5m start 00, blocks start 00, idle-5m end 04" {
		t.Error(events)
	}
	// In the other arm the same segment is another decision.
	swapped := strings.NewReplacer("name: control, weight: 45", "name: control, weight: 1", "name: short, weight: 45", "name: short, weight: 89").Replace(checkedExperiment)
	out, _, status = runVerb("replay", capture, "--policy", "observe", "--experiment", writeExperiment(t, swapped), "--frames")
	if status != 0 || !strings.Contains(out, "=> drop/syn-established reply=ack-tracked  flow 1  arm short") || !strings.Contains(out, "\narm       short of idle-5m: 1 connections of about 1 units, by ") {
		t.Errorf("status %d:\n%s", status, out)
	}
	// A shadow has no arms.
	out, _, status = runVerb("replay", capture, "--policy", "observe", "--shadow", "observe", "--experiment", writeExperiment(t, swapped), "-o", "json")
	var shadowed struct {
		Shadows []struct{ Disagreed int }
	}
	if err := json.Unmarshal([]byte(out), &shadowed); err != nil || status != 0 || len(shadowed.Shadows) != 1 || shadowed.Shadows[0].Disagreed != 1 {
		t.Errorf("status %d, %v: %+v", status, err, shadowed)
	}
	out, _, status = runVerb("explain", "--capture", capture, "--frame", "4", "--policy", "observe", "--experiment", writeExperiment(t, swapped))
	if status != 0 || !regexp.MustCompile(`(?m)^ +arm +short$`).MatchString(out) || !strings.Contains(out, "syn-established") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if _, words, status := runVerb("replay", capture, "--policy", "observe", "--experiment", writeExperiment(t, strings.Replace(checkedExperiment, "share: 80%", "share: 180%", 1))); status != 1 || !strings.Contains(words, "exp.yaml:4:10: ") {
		t.Errorf("status %d: %s", status, words)
	}
}
