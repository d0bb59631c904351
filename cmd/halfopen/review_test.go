package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

// reviewLog writes a log of one drop, with a counter that says how many messages
// there were.
func reviewLog(t *testing.T, messages uint64) string {
	t.Helper()
	dir := t.TempDir()
	w, err := decisionlog.Open(decisionlog.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixNano()
	w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventDecision, FlowID: 7,
		Decision: decisionlog.Decision{ID: w.NextID(), Verdict: "drop", Reason: "syn-established"}})
	w.Put(&decisionlog.Record{Time: now, Event: decisionlog.EventStats, Stats: &decisionlog.Stats{Final: true,
		Kernel: decisionlog.Kernel{Set: true, Base: 10, Now: 10 + messages}}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func runReview(args ...string) (stdout, stderr string, err error) {
	var out, words bytes.Buffer
	c := newReviewCmd()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(&out)
	c.SetErr(&words)
	c.SetArgs(args)
	err = c.Execute()
	return out.String(), words.String(), err
}

func TestReviewVerb(t *testing.T) {
	good, bad := reviewLog(t, 1), reviewLog(t, 2)
	for _, c := range []struct {
		args                  []string
		stdout, stderr, words string // words: of the error
		found, usage          bool
	}{
		{args: []string{good}, stdout: "drop     syn-established"},
		{args: []string{good, "--verdict", "drop", "--reason", "syn-established", "--flow", "7", "--since", "1h"}, stdout: "flow=7"},
		{args: []string{good, "--verdict", "drop", "-o", "json"}, stdout: `"verdict":"drop"`},
		{args: []string{good, "verdict:drop,hold", "flow:7"}, stdout: "flow=7"},
		{args: []string{good, "-o", "csv"}, stdout: "timestamp,event_type,"},
		{args: []string{good, "--reason", "syn-estblished"}, words: `reason "syn-estblished" is not a finding; did you mean "syn-established"?`, usage: true},
		{args: []string{good, "--verdict", "deny"}, words: `"deny" is not a verdict, expected forward, drop, rewrite or hold`, usage: true},
		{args: []string{good, "--since", "yesterday"}, words: `since "yesterday" is no time`, usage: true},
		{args: []string{good, "--flow", "seven"}, words: "is no flow", usage: true},
		{args: []string{good, "--addr", "10.0.0.0/33"}, words: "is no address", usage: true},
		{args: []string{good, "rules:x"}, words: `filter "rules": is no key of a filter`, usage: true},
		{args: []string{good, "drop:x"}, words: "is no key", usage: true},
		{args: []string{good, "--rule", "nobody's"}, stderr: `no record has the rule "nobody's"`},
		{args: []string{good, "-o", "xml"}, usage: true},
		{args: []string{good, "--limit", "-1"}, usage: true},
		{args: []string{good, "-f", "--reverse"}, usage: true},
		{args: []string{"-", "-f"}, usage: true},
		{args: []string{"verify", good}, stdout: "balanced"},
		{args: []string{"verify", bad}, stdout: "not-explained: 1 messages", found: true},
		{args: []string{"verify", bad, "-o", "json"}, stdout: `"ok": false`, found: true},
	} {
		stdout, stderr, err := runReview(c.args...)
		var usage *usageError
		if c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)) {
			t.Errorf("review %v: %v, want %s", c.args, err, c.words)
		}
		if !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) ||
			errors.Is(err, errFound) != c.found || errors.As(err, &usage) != c.usage || !c.found && !c.usage && err != nil {
			t.Errorf("review %v: %v\nstdout %sstderr %s", c.args, err, stdout, stderr)
		}
	}
	if _, _, err := runReview(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no decision log") {
		t.Errorf("empty directory: %v", err)
	}
}
