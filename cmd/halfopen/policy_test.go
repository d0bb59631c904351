package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/policy"
)

// runPolicy runs `halfopen policy ARGS` and returns what it printed.
func runPolicy(t *testing.T, args ...string) (out, words string, err error) {
	t.Helper()
	c := newRootCmd()
	var o, e bytes.Buffer
	c.SetOut(&o)
	c.SetErr(&e)
	c.SetArgs(append([]string{"policy"}, args...))
	err = c.Execute()
	return o.String(), e.String(), err
}

func policyFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPolicyList(t *testing.T) {
	out, _, err := runPolicy(t, "list")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range policy.Presets() {
		if !strings.Contains(out, "\n"+name+" ") {
			t.Errorf("no %s in\n%s", name, out)
		}
	}
}

func TestPolicyShow(t *testing.T) {
	for _, name := range policy.Presets() {
		out, _, err := runPolicy(t, "show", name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{name, "sha256:", "SOURCES", "\nestablished ", "\nsyn-established ", "\nidle-expired ", "window check "} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", name, want, out)
			}
		}
	}
	file := policyFile(t, "preset: openbsd-pf\nrules: [{name: lpd, match: {dst_port: 515}, timeouts: {close: 5s}}]\n")
	out, _, err := runPolicy(t, "show", file, "--set", "timeouts.established=2s")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"inherits from openbsd-pf", "\nestablished  2s ", "RULE lpd {dst_port: 515}\n  timeouts.close: 5s\n", "[openbsd-pf] `tcp.first`"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _, err = runPolicy(t, "show", file, "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p, problems := policy.Load("again.yaml", []byte(out), nil); p == nil {
		t.Error(problems)
	}
	out, _, err = runPolicy(t, "show", "openbsd-pf:optimization=aggressive", "--set", "options.optimization=conservative")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nOPTIONS\noptimization: which", "\n    aggressive    forgets", "\n  * conservative  [--set options.optimization=conservative] keeps", "\n    normal        (default) the",
		"\nestablished  5d       `tcp.established`; option optimization=conservative\n", "\nVENDOR WORD ", "\ntcp.closing      1h  ", "timeouts.fin_wait, timeouts.close_wait\n",
		"\nSCENARIO ", "\nreuse.scn                      openbsd-pf                            A SYN on the tuple of a connection that is remembered, by what that connection is.\n",
		"\noptimization-aggressive.scn    openbsd-pf:optimization=aggressive "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _, err = runPolicy(t, "show", "openbsd-pf", "-o", "scenarios")
	files := policy.Scenarios("openbsd-pf")
	if err != nil || strings.Count(out, "==> openbsd-pf/") != len(files) || !strings.HasPrefix(out, "==> "+files[0].Name+" <==\n"+string(files[0].Text)+"\n==> "+files[1].Name+" <==\n") {
		t.Errorf("scenarios: %v\n%.300s", err, out)
	}
	if out, _, err = runPolicy(t, "show", file, "-o", "scenarios"); err == nil || !strings.Contains(err.Error(), "only presets come with scenarios") {
		t.Errorf("scenarios of a file: %v\n%.300s", err, out)
	}
	preset, _ := policy.Preset("observe")
	if out, _, err = runPolicy(t, "show", "observe", "-o", "source"); err != nil || out != string(preset) {
		t.Errorf("source: %v\n%s", err, out)
	}
}

func TestPolicyCheck(t *testing.T) {
	good := policyFile(t, "preset: observe\n")
	bad := policyFile(t, "preset: observe\non: {new: dorp, rst: {reply: rst}}\n")
	out, _, err := runPolicy(t, "check", good)
	if err != nil || !strings.HasPrefix(out, good+": good, sha256:") {
		t.Errorf("%v %s", err, out)
	}
	out, _, err = runPolicy(t, "check", good, bad)
	if !errors.Is(err, errFound) || !strings.Contains(out, bad+":2:11: \"dorp\"") || !strings.Contains(out, bad+":2:30: reply: rst on rst") || !strings.Contains(out, good+": good") {
		t.Errorf("%v\n%s", err, out)
	}
	out, words, err := runPolicy(t, "check", filepath.Join(t.TempDir(), "none.yaml"), bad)
	if !errors.Is(err, errFound) || !strings.Contains(words, "no such file") || !strings.Contains(out, "dorp") {
		t.Errorf("%v\n%s\n%s", err, out, words)
	}
	out, _, err = runPolicy(t, "check", "-o", "json", bad)
	var p policy.Problem
	if first, _, _ := strings.Cut(out, "\n"); !errors.Is(err, errFound) || json.Unmarshal([]byte(first), &p) != nil || !strings.Contains(first, `"found":"\"dorp\""`) || p.Line != 2 || p.Column != 11 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPolicyDiff(t *testing.T) {
	out, _, err := runPolicy(t, "diff", "openbsd-pf", "freebsd-pf-classic")
	want := "--- openbsd-pf\n+++ freebsd-pf-classic\non.syn-established\n  - {packet: drop, reply: ack-tracked, window: 0, state: keep, timer: leave}\n  + {packet: drop, state: keep, timer: leave}\n"
	if !errors.Is(err, errFound) || !strings.HasPrefix(out, want) {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = runPolicy(t, "diff", "openbsd-pf", "openbsd-pf:optimization=aggressive")
	if want := "--- openbsd-pf\n+++ openbsd-pf:optimization=aggressive\ntimeouts.syn_sent\n  - 2m\n  + 30s\n"; !errors.Is(err, errFound) || !strings.HasPrefix(out, want) {
		t.Errorf("%v\n%s", err, out)
	}
	out, words, err := runPolicy(t, "diff", "observe", policyFile(t, "# the same\npreset: observe\n"))
	if err != nil || out != "" || !strings.Contains(words, "are the same: sha256:") {
		t.Errorf("%v\n%s\n%s", err, out, words)
	}
}

func TestPolicySchema(t *testing.T) {
	out, _, err := runPolicy(t, "schema")
	if err != nil || !json.Valid([]byte(out)) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPolicyWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"show"}, {"show", "observe", "-o", "xml"}, {"check"}, {"check", "-o", "xml", "x"}, {"diff", "a"}, {"list", "x"}, {"show", "observe", "--set", "x"}} {
		_, _, err := runPolicy(t, args...)
		var usage *usageError
		if !errors.As(err, &usage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, _, err := runPolicy(t, "show", "obsreve"); err == nil || !strings.Contains(err.Error(), `did you mean "observe"?`) {
		t.Error(err)
	}
}

// TestReadPolicyFile: of a file without an end only a little is read.
func TestReadPolicyFile(t *testing.T) {
	data, err := readPolicyFile("/dev/zero")
	if err != nil || len(data) != policy.MaxFileSize+1 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
