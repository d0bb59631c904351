package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// runVerb runs the program inside the test. It is for what ends before a queue is bound.
func runVerb(args ...string) (stdout, words string, status int) {
	var out, said bytes.Buffer
	c := newRootCmd()
	c.SetOut(&out)
	c.SetErr(&said)
	c.SetArgs(args)
	status, rest := outcome(c.Execute())
	return out.String(), said.String() + rest, status
}

// everyVerb calls fn for the program and each verb below it.
func everyVerb(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		everyVerb(sub, fn)
	}
}

// Every -h shows an example, and what it shows can be typed: the verb is there and takes these flags.
func TestEveryVerbHasExamplesThatParse(t *testing.T) {
	verbs := 0
	everyVerb(newRootCmd(), func(c *cobra.Command) {
		verbs++
		path := strings.Fields(c.CommandPath())[1:]
		out, _, status := runVerb(append(slices.Clone(path), "-h")...)
		if status != 0 || !strings.Contains(out, "Examples:\n") || c.Short == "" {
			t.Errorf("%s -h: status %d, %q", c.CommandPath(), status, out)
		}
		own := false
		for line := range strings.Lines(c.Example) {
			words := fields(strings.TrimSpace(line))
			if len(words) == 0 || words[0] != "halfopen" {
				continue
			}
			if i := slices.IndexFunc(words, func(w string) bool { return w == "|" || w == ">" || w == ">>" }); i > 0 {
				words = words[:i]
			}
			verb, rest, err := newRootCmd().Find(words[1:])
			if err == nil {
				err = verb.ParseFlags(rest)
			}
			if err == nil {
				err = verb.ValidateArgs(verb.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), strings.TrimSpace(line), err)
			}
			own = own || strings.HasPrefix(verb.CommandPath(), c.CommandPath())
		}
		if !own {
			t.Errorf("%s: no example of its own in %q", c.CommandPath(), c.Example)
		}
	})
	if verbs < 20 {
		t.Errorf("only %d verbs were looked at", verbs)
	}
}

// fields splits a command line at blanks outside single quotes.
func fields(line string) (out []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string // in the words; the verb's own manual is named in any case
	}{
		{"reviw", []string{`unknown verb "reviw"`, `did you mean "review"?`, "'halfopen -h'"}},
		{"rn --policy observe", nil},
		{"frobnicate", []string{`unknown verb "frobnicate"`, "'halfopen -h'"}},
		{"--frobnicate", []string{"--frobnicate", "'halfopen -h'"}},
		{"rules prnt", []string{`unknown verb "prnt" of 'halfopen rules'`, `did you mean "print"?`, "'halfopen rules -h'"}},
		{"review verfy /tmp", []string{`unknown verb "verfy"`, `did you mean "verify"?`}},
		{"policy shw observe", []string{`did you mean "show"?`}},
		{"run", []string{"--policy NAME|FILE", "policy list", "'halfopen run -h'"}},
		{"run observe", []string{"observe", "'halfopen run -h'"}},
		{"run --polcy observe", []string{"unknown flag: --polcy", "'halfopen run -h'"}},
		{"run --policy observe --queues 5-2", []string{`--queues "5-2"`, "below the first", "'halfopen run -h'"}},
		{"run --policy observe --queues 0-99999", []string{`--queues "0-99999"`, "0 to 65535"}},
		{"run --policy observe --queue-len -1", []string{"--queue-len"}},
		{"run --policy observe --mark 0", []string{`--mark "0"`, "for example 0xff000000"}},
		{"run --policy observe --hooks forward,prerouting", []string{"--hooks", "forward, input or output"}},
		{"run --policy observe --match dprt=515", []string{"--match", "dprt"}},
		{"run --policy observe --log-total plenty", []string{"--log-total", "500MB"}},
		{"run --policy observe --pcap -", []string{"--pcap -", "want a directory"}},
		{"run --policy observe --pcap /tmp/x/. --log /tmp/x", []string{"--pcap /tmp/x/.", "--log", "one of its own"}},
		{"run --policy observe --pcap-total plenty", []string{"--pcap-total", "500MB"}},
		{"run --policy observe --pcap-file plenty", []string{"--pcap-file", "500MB"}},
		{"run --policy observe --pcap-age=-1s", []string{"--pcap-age -1s"}},
		{"run --policy observe --stats-every=-1s", []string{"--stats-every -1s"}},
		{"run --policy observe --fastpath sometimes", []string{"--fastpath", "auto, on, off or redirect"}},
		{"run --policy observe --fastpath-flows 0", []string{"--fastpath-flows 0", "1 to 16777216"}},
		{"run --policy observe --fastpath on --dry-run", []string{"--fastpath on and --dry-run", "each packet"}},
		{"run --policy observe --fastpath redirect --shadow observe", []string{"--fastpath redirect and --shadow", "each packet"}},
		{"run --policy observe --fastpath on --pcap /tmp/halfopen-no-such", []string{"--fastpath on and --pcap", "each packet"}},
		{"run --policy observe --fastpath on --hooks input", []string{"--fastpath on and --hooks", "forward"}},
		{"run --policy observe --fastpath on --set log.detail=packet", []string{"--fastpath on and log.detail: packet"}},
		{"review", []string{"'halfopen review -h'"}},
		{"review verify", []string{"'halfopen review verify -h'"}},
		{"review --since yesterday /tmp", []string{`--since "yesterday"`, "1h30m"}},
		{"flows color=red", []string{`"color"`, "src, dst"}},
		{"flows kill", []string{"'halfopen flows kill -h'"}},
		{"lab run nosuch", []string{`"nosuch"`, "silence-on-the-wire"}},
		{"lab run silence-on-the-wire --impair loss=2", []string{`"loss=2"`, "a percentage, 0% to 100%"}},
		{"lab run silence-on-the-wire --impair jitter=2ms", []string{"jitter", "want loss, duplicate, reorder, delay, latency or seed"}},
		{"lab matrix -o yaml", []string{`-o "yaml"`, "text, json or html"}},
		{"doctor everything", []string{"'halfopen doctor -h'"}},
	} {
		out, words, status := runVerb(fields(c.line)...)
		if status != statusUsage || out != "" {
			t.Errorf("halfopen %s: status %d, %q on stdout; want status 2 and words on stderr only", c.line, status, out)
		}
		for _, want := range append(c.want, "See 'halfopen ", "-h'.\n") {
			if !strings.Contains(words, want) {
				t.Errorf("halfopen %s: no %q in %q", c.line, want, words)
			}
		}
	}
}

// A policy that cannot be used keeps the gateway from starting, with every reason at once.
func TestRunRefusesBadPolicies(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	noise := make([]byte, 10<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	five := "preset: linux-defalt\ntimeouts:\n  established: 1 hour\n  syn_snt: 30s\non:\n  syn-establishd: drop\nlimits: {flows: 0}\n"
	for _, c := range []struct {
		ref  string
		want []string
	}{
		{"lpd", []string{`"lpd" is no file and no preset`, "lpd-case-2015", "transparent-resync"}},
		{filepath.Join(dir, "missing.yaml"), []string{"missing.yaml", "no such file"}},
		{dir, []string{dir, "is a directory"}},
		{file("empty.yaml", nil), []string{"empty.yaml:1:1", "an empty policy", "preset: NAME"}},
		{file("noise.yaml", noise), []string{"noise.yaml:1:1", "131072 bytes"}},
		{file("some-noise.yaml", noise[:100<<10]), []string{"some-noise.yaml:1:", "UTF-8"}},
		{file("five.yaml", []byte(five)), []string{
			"five.yaml:1:9: ", `did you mean "linux-default"?`,
			"five.yaml:3:16: ", "a duration such as",
			"five.yaml:4:3: ", `did you mean "syn_sent"?`,
			"five.yaml:6:3: ", `did you mean "syn-established"?`,
			"five.yaml:7:17: ", "from 1 to 16777216"}},
	} {
		for _, verb := range [][]string{{"run", "--policy"}, {"policy", "check"}} {
			if verb[0] == "policy" && (!strings.HasSuffix(c.ref, ".yaml") || strings.HasSuffix(c.ref, "noise.yaml")) {
				continue // it has its own words, and its own test
			}
			out, words, status := runVerb(append(verb, c.ref)...)
			words += out // the problems are what "policy check" is asked for
			if status != statusFound {
				t.Errorf("%v %s: status %d, want 1", verb, c.ref, status)
			}
			for _, want := range c.want {
				if !strings.Contains(words, want) {
					t.Errorf("%v %s: no %q in %q", verb, filepath.Base(c.ref), want, shortened(words))
				}
			}
			if len(words) > 1<<16 {
				t.Errorf("%v %s: %d bytes of words", verb, filepath.Base(c.ref), len(words))
			}
		}
	}
	for _, set := range []string{"timeouts.establishd=2m", "nonsense", "on.syn-established={packet: dorp}"} {
		if _, words, status := runVerb("run", "--policy", "observe", "--set", set); status != statusFound || !strings.Contains(words, strings.Split(set, "=")[0]) {
			t.Errorf("--set %s: status %d, %q", set, status, words)
		}
	}
}

// shortened is text for a message.
func shortened(s string) string {
	if len(s) > 2000 {
		return fmt.Sprintf("%s... (%d bytes)", s[:2000], len(s))
	}
	return s
}
