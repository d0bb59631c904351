package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/policy/experiment"
	"halfopen/proxy"
	"halfopen/proxy/review/loggen"
)

// experimentLog is a log of an experiment that is over; harm is what the arm short adds to the share of failures.
func experimentLog(t *testing.T, clients int, harm float64) string {
	t.Helper()
	dir := t.TempDir()
	at := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	spec := &experiment.Spec{Name: "idle-5m", Salt: "idle-5m", Share: 10000, Start: at, End: at.Add(7 * 24 * time.Hour),
		Arms:       []experiment.Arm{{Name: "control", Weight: 5000, Policy: experiment.GatewayPolicy}, {Name: "short", Weight: 5000, Policy: "short.yaml"}},
		Guardrails: []experiment.Guardrail{{Metric: experiment.ConnectFailure, Max: 0.08}}}
	if err := loggen.Experiment(loggen.ExperimentConfig{Dir: dir, Seed: 3, Spec: spec, Clients: clients, Harm: map[string]float64{"short": harm}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestExperimentReport(t *testing.T) {
	bad, good := experimentLog(t, 300, 0.15), experimentLog(t, 300, 0)
	out, words, status := runVerb("experiment", "report", bad)
	if status != statusFound || words != "" || !strings.HasPrefix(out, "Short breaks connections: ") {
		t.Errorf("harm: status %d, %q, %q", status, words, out[:min(len(out), 200)])
	}
	if out, words, status = runVerb("experiment", "report", good); status != statusGood || !strings.HasPrefix(out, "No difference found between short and control: a rise of ") {
		t.Errorf("no harm: status %d, %q, %q", status, words, out[:min(len(out), 200)])
	}
	out, words, status = runVerb("experiment", "report", good, "-o", "json", "--name", "idle-5m")
	var rs []experiment.Report
	if err := json.Unmarshal([]byte(out), &rs); err != nil || status != statusGood || len(rs) != 1 || rs[0].Verdict.Kind != experiment.NoDifference || len(rs[0].Segments) == 0 {
		t.Errorf("json: status %d, %v, %q", status, err, words)
	}
	out, _, status = runVerb("experiment", "report", bad, "-o", "html")
	if status != statusFound || !strings.HasPrefix(out, "<!doctype html>") || strings.Contains(out, "<script") || !strings.Contains(out, "breaks connections") {
		t.Errorf("html: status %d, %q", status, out[:min(len(out), 200)])
	}
	out, _, status = runVerb("experiment", "report", bad, "--since", "2026-12-01T08:00:00Z", "--until", "2026-12-01T09:00:00Z")
	if status != statusFound || !strings.HasPrefix(out, "No verdict: ") {
		t.Errorf("an hour: status %d, %q", status, out[:min(len(out), 200)])
	}
}

func TestExperimentPlan(t *testing.T) {
	dir := experimentLog(t, 300, 0)
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("experiment:\n  - name: a\n    arms: [{name: control, weight: 90, policy: gateway}, {name: small, weight: 10, policy: linux-default}]\n"+
		"    match: {dst_port: 443}\n  - name: b\n    arms: [{name: left, weight: 50, policy: gateway}, {name: right, weight: 50, policy: linux-default}]\n    match: {dst_port: 515}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, words, status := runVerb("experiment", "plan", dir, "--effect", "connect-failure=2%", "--effect", "connect-time=50ms")
	if status != statusGood || !strings.Contains(out, "connect-failure") || !strings.Contains(out, "How long it takes to find") || !strings.Contains(out, "50 ms") {
		t.Errorf("status %d, %q, %q", status, words, out)
	}
	out, words, status = runVerb("experiment", "plan", dir, "-o", "json", "--experiment", file, "--name", "a")
	var p experiment.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil || status != statusGood || p.Treatment != 0.1 || p.Control != 0.9 || p.Comparisons != 10 || p.Connections < 100 || p.Connections > 700 {
		t.Errorf("status %d, %v, %q, %+v", status, err, words, p)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--experiment " + file, statusUsage, "has 2 experiments: say which with --name"},
		{"--experiment " + file + " --name c", statusFound, `has no experiment "c"`},
		{"--experiment " + file + "x", statusFound, "no such file"},
		{"--effect connect-failure", statusUsage, "METRIC=DIFFERENCE, with one of gave-up, connect-failure"},
		{"--effect connect-failure=2s", statusUsage, "expected points, for example 2%"},
		{"--effect connect-failure=200%", statusUsage, "more than all"},
		{"--effect connect-time=2%", statusUsage, "expected a time, for example 50ms"},
		{"--effect reset=many", statusUsage, "expected a number"},
		{"--effect recovery-time=2s", statusUsage, "METRIC=DIFFERENCE"},
		{"--power 1", statusUsage, "--power 1"},
		{"-o yaml", statusUsage, `-o "yaml": text or json`},
	} {
		if _, words, status := runVerb(append([]string{"experiment", "plan", dir}, strings.Fields(c.args)...)...); status != c.status || !strings.Contains(words, c.want) {
			t.Errorf("%s: status %d, %q, want %d and %q", c.args, status, words, c.status, c.want)
		}
	}
}

func TestExperimentReportBadInput(t *testing.T) {
	dir, none := experimentLog(t, 20, 0), t.TempDir()
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, statusUsage, "requires at least 1 arg"},
		{[]string{filepath.Join(none, "x")}, statusFound, "no such file"},
		{[]string{none}, statusFound, "tells of no experiment"},
		{[]string{dir, dir + "/."}, statusUsage, "are the same log"},
		{[]string{dir, "--name", "x"}, statusFound, `no experiment "x", but of idle-5m`},
		{[]string{dir, "-o", "pdf"}, statusUsage, `-o "pdf": text, json or html`},
		{[]string{dir, "--alpha", "2"}, statusUsage, "--alpha 2"},
		{[]string{dir, "--since", "yesterday"}, statusUsage, `--since "yesterday": a duration before now`},
	} {
		if _, words, status := runVerb(append([]string{"experiment", "report"}, c.args...)...); status != c.status || !strings.Contains(words, c.want) {
			t.Errorf("%q: status %d, %q, want %d and %q", c.args, status, words, c.status, c.want)
		}
	}
}

// TestStatusOfSwitchback: a switchback has blocks and no units.
func TestStatusOfSwitchback(t *testing.T) {
	for want, spec := range map[string]*experiment.Spec{
		"x: running, in blocks of 10m\n": {Switchback: &experiment.Switchback{Block: 10 * time.Minute}},
		"x: running, by client-64\n":     {},
	} {
		var b strings.Builder
		if err := printExperiment(&b, &proxy.ExperimentStatus{Name: "x", State: "running", Spec: spec}); err != nil || !strings.HasPrefix(b.String(), want) {
			t.Errorf("%v %q, want %q", err, b.String(), want)
		}
	}
}
