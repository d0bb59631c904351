package main

import (
	"strings"
	"testing"
)

func TestLabExperimentUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nosuch"}, `no question "nosuch" (there are idle, stale-syn)`},
		{[]string{"idle", "stale-syn"}, "accepts at most 1 arg"},
		{[]string{"-o", "html"}, `-o "html": want text or json`},
		{[]string{"--clients", "1"}, "1 clients: want 2 to 4000"},
		{[]string{"--duration", "1s"}, "a span of 1s: want 10s to 1h0m0s"},
		{[]string{"idle", "--switchback"}, "a switchback over 1m0s: want at least 2m0s"},
		{[]string{"stale-syn", "--switchback", "--duration", "3m"}, "none for a switchback"},
	} {
		_, words, status := runVerb(append([]string{"lab", "experiment"}, c.args...)...)
		if status != statusUsage || !strings.Contains(words, c.want) || !strings.Contains(words, "See 'halfopen lab experiment -h'") {
			t.Errorf("%q: status %d, %q, want 2 with %q", c.args, status, words, c.want)
		}
	}
}
