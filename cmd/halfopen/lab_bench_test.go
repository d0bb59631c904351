package main

import (
	"strings"
	"testing"
)

func TestLabBenchUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"more"}, `unknown command "more"`},
		{[]string{"-o", "html"}, `-o "html": want text or json`},
		{[]string{"--rounds", "0"}, "--rounds 0: want 1 to 1000"},
		{[]string{"--rounds", "1001"}, "1001 rounds: want 1 to 1000"},
		{[]string{"--seconds", "0"}, "--seconds 0: want 0.1 to 600"},
		{[]string{"--seconds", "0.05"}, "0.05 seconds: want 0.1 to 600"},
		{[]string{"--seconds", "NaN"}, "--seconds NaN: want 0.1 to 600"},
	} {
		_, words, status := runVerb(append([]string{"lab", "bench"}, c.args...)...)
		if status != statusUsage || !strings.Contains(words, c.want) || !strings.Contains(words, "See 'halfopen lab bench -h'") {
			t.Errorf("%q: status %d, %q, want 2 with %q", c.args, status, words, c.want)
		}
	}
}
