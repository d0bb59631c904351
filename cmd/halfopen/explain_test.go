package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"halfopen/policy/explain"
	"halfopen/proxy/decisionlog"
)

var updateExplain = flag.Bool("update-explain", false, "rewrite the outputs in docs/explain.md")

// explained runs a command line and returns its status and what it printed.
func explained(args ...string) (status int, out, words string) {
	var o, e bytes.Buffer
	c := newRootCmd()
	c.SetOut(&o)
	c.SetErr(&e)
	c.SetArgs(args)
	status, words = outcome(c.Execute())
	return status, o.String(), e.String() + words
}

// shellWords splits a command line at blanks; single quotes keep words together.
func shellWords(line string) (words []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// replayedLog replays the example and returns its log's directory and the id of the decision about frame 7.
func replayedLog(t *testing.T, set ...string) (dir, id string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "replayed")
	args := append([]string{"replay", "redial.pcap", "--policy", "site.yaml", "--log", dir}, set...)
	if status, _, words := explained(args...); status != statusGood {
		t.Fatal(words)
	}
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Decision != nil && e.PcapCnt == 7 {
			id = e.Decision.ID
		}
	}
	if id == "" {
		t.Fatal("no record of frame 7")
	}
	return dir, id
}

// TestExplainManual: what docs/explain.md shows is what the commands print.
func TestExplainManual(t *testing.T) {
	name, err := filepath.Abs("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("../../docs/examples/explain")
	dir, id := replayedLog(t)
	ids, revs := regexp.MustCompile(`[0-9A-HJKMNP-TV-Z]{26}`), regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	mask := func(s string) string {
		return revs.ReplaceAllString(ids.ReplaceAllString(strings.ReplaceAll(s, dir, "/tmp/replayed"), "01JWV8M0QE4T20000000000003"), "sha256:...")
	}
	blocks := 0
	text := regexp.MustCompile("(?s)```console\n\\$ halfopen (.*?)\n(.*?)```").ReplaceAllStringFunc(string(data), func(block string) string {
		blocks++
		m := regexp.MustCompile("(?s)```console\n\\$ halfopen (.*?)\n(.*?)```").FindStringSubmatch(block)
		args := shellWords(ids.ReplaceAllString(strings.ReplaceAll(m[1], "/tmp/replayed", dir), id))
		status, out, words := explained(args...)
		if status != statusGood {
			t.Errorf("%s: status %d, %s", m[1], status, words)
		}
		if got := mask(out); got != m[2] {
			if !*updateExplain {
				t.Errorf("halfopen %s prints\n%s\nthe manual has\n%s", m[1], got, m[2])
			}
			return "```console\n$ halfopen " + m[1] + "\n" + got + "```"
		}
		return block
	})
	if blocks < 5 {
		t.Errorf("%d examples", blocks)
	}
	if *updateExplain {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExplainJSON: the three inputs in JSON say what the text says.
func TestExplainJSON(t *testing.T) {
	t.Chdir("../../docs/examples/explain")
	dir, id := replayedLog(t)
	for _, c := range []struct{ name, line, verdict, reason, at string }{
		{"frame", "explain --capture redial.pcap --frame 7 --policy site.yaml -o json", "forward", "syn-established", "site.yaml:20"},
		{"record", "explain --record " + strings.ToLower(id) + " --log " + dir + " --policy site.yaml -o json", "forward", "syn-established", "site.yaml:20"},
		{"segment", "explain --segment 'c > s S; s > c S.; c > s .; wait 25s; c > s S' --policy site.yaml -o json", "drop", "syn-established", "site.yaml:8"},
	} {
		status, out, words := explained(shellWords(c.line)...)
		var x explain.Explanation
		if err := json.Unmarshal([]byte(out), &x); err != nil || status != statusGood {
			t.Fatalf("%s: %v %s", c.name, err, words)
		}
		if x.Verdict != c.verdict || x.Reason != c.reason || x.Line != c.at || x.Sentence == "" || len(x.Phases) != 6 {
			t.Errorf("%s: %+v", c.name, x)
		}
	}
	status, out, _ := explained(shellWords("explain --all --segment 'c > s S; s > c S.' -o json")...)
	var xs []explain.Explanation
	if err := json.Unmarshal([]byte(out), &xs); err != nil || status != statusGood || len(xs) != 2 || xs[1].Reason != "syn-ack" {
		t.Errorf("--all: %v %d %s", err, status, out)
	}
}

// TestExplainRecordWithoutItsPolicy: where the file that decided is not at hand, its lines are said to be unknown.
func TestExplainRecordWithoutItsPolicy(t *testing.T) {
	t.Chdir("../../docs/examples/explain")
	dir, id := replayedLog(t, "--set", "timeouts.established=9h")
	status, out, words := explained("explain", "--record", id, "--log", dir)
	if status != statusGood || !strings.Contains(out, "not at hand") || !strings.Contains(out, "rst-tracked to the server: R seq 4110000005") {
		t.Errorf("%d %s\n%s", status, words, out)
	}
}

// TestExplainAgain: a record that another policy decides again, under timers under which the connection would have been forgotten,
// and where the record tells too little.
func TestExplainAgain(t *testing.T) {
	t.Chdir("../../docs/examples/explain")
	dir, id := replayedLog(t)
	for set, want := range map[string]string{
		"timeouts.established=30s":                             "would have been forgotten by then", // the rule has its own
		"rules.print-servers-briefly.timeouts.established=20s": "would have been forgotten by then",
		"rules.print-servers-briefly.timeouts.established=26s": "(syn-established)\nThe gateway drops the SYN",
	} {
		status, out, words := explained("explain", "--record", id, "--log", dir, "--policy", "short.yaml", "--set", set)
		if status != statusGood || !strings.Contains(out, want) || strings.Contains(out, "  -") {
			t.Errorf("%s: %d %s\n%s", set, status, words, out)
		}
	}
}

// TestExplainAgainAdopted: a record of a connection taken up mid-stream is decided again as one.
func TestExplainAgainAdopted(t *testing.T) {
	t.Chdir("../../docs/examples/explain")
	data, err := os.ReadFile("redial.pcap")
	if err != nil {
		t.Fatal(err)
	}
	const header, handshake = 24, 60 + 60 + 56 // three records of a pcap: 16 bytes each before the packets
	late := filepath.Join(t.TempDir(), "late.pcap")
	if err := os.WriteFile(late, append(data[:header:header], data[header+handshake:]...), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "log")
	if status, _, words := explained("replay", late, "--policy", "site.yaml", "--log", dir); status != statusGood {
		t.Fatal(words)
	}
	id := ""
	for e, err := range decisionlog.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Decision != nil && e.Decision.Reason == "adopted" {
			id = e.Decision.ID
			break
		}
	}
	for set, want := range map[string]string{"adopt=1m": "Verdict: forward\nReason:  (adopted)", "adopt=0s": "Verdict: drop\nReason:  (data-no-state)"} {
		status, out, words := explained("explain", "--record", id, "--log", dir, "--policy", "short.yaml", "--set", set)
		if status != statusGood || !strings.Contains(out, want) || strings.Contains(out, "does not suffice") {
			t.Errorf("%s: %d %s\n%s", set, status, words, out)
		}
	}
}

// TestExplainBad: wrong usage is status 2, what cannot be explained is status 1 with a message that says why.
func TestExplainBad(t *testing.T) {
	t.Chdir("../../docs/examples/explain")
	dir, id := replayedLog(t)
	cut := filepath.Join(t.TempDir(), "cut.pcap")
	data, err := os.ReadFile("redial.pcap")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, data[:100], 0o644); err != nil {
		t.Fatal(err)
	}
	missing := id[:25] + "Z"
	for _, c := range []struct {
		status int
		line   string
		words  string
	}{
		{2, "explain", "want one of --record, --capture and --segment"},
		{2, "explain --segment x --capture y --frame 1", "want one of"},
		{2, "explain --segment x -o xml", `-o "xml": want text or json`},
		{2, "explain --capture redial.pcap", "wants --frame N"},
		{2, "explain --capture redial.pcap --frame 0", "wants --frame N"},
		{2, "explain --capture redial.pcap --frame -3", "wants --frame N"},
		{2, "explain --capture redial.pcap --frame x", "invalid argument"},
		{2, "explain --record " + id, "wants --log DIR"},
		{2, "explain --log x --segment y", "--log wants --record ID"},
		{2, "explain --capture redial.pcap --frame 1 --all", "--all wants --segment"},
		{2, "explain --segment x --fresh", "want --capture FILE"},
		{2, "explain --record " + id + " --log " + dir + " --set adopt=1s", "--set wants --policy"},
		{2, "explain --segment 'c > s S' --set nonsense", "no setting"},
		{2, "explain --segment 'c > s S' extra", "unknown"},
		{1, "explain --capture redial.pcap --frame 8", "has 7 frames, there is no frame 8"},
		{1, "explain --capture redial.pcap --frame 6", "frame 6 of redial.pcap is not TCP"},
		{1, "explain --capture nowhere.pcap --frame 1", "no such file"},
		{1, "explain --capture site.yaml --frame 1", "site.yaml"},
		{1, "explain --capture " + cut + " --frame 3", "frame 3 was not reached"},
		{1, "explain --capture redial.pcap --frame 1 --policy linux-defualt", "did you mean"},
		{1, "explain --segment 'c > s S' --policy nowhere.yaml", "nowhere.yaml"},
		{1, "explain --segment ''", "holds no segment"},
		{1, "explain --segment ';;wait 5s'", "holds no segment"},
		{1, "explain --segment 'S'", "names no ends"},
		{1, "explain --segment 'wait long; c > s S'", "no time"},
		{1, "explain --segment 'c > s Q'", `the flags "Q"`},
		{1, "explain --segment 'c > s S; x > s S'", `the end "x"`},
		{1, "explain --segment '10.0.0.1:1 > [2001:db8::1]:2 S'", "different address families"},
		{1, "explain --segment 'c > s P. 1:5(9)'", "the range"},
		{1, "explain --record short --log " + dir, "is no id of a decision"},
		{1, "explain --record " + missing + " --log " + dir, "holds no decision"},
		{1, "explain --record " + id + " --log /nonexistent", "no such file"},
	} {
		status, out, words := explained(shellWords(c.line)...)
		if status != c.status || !strings.Contains(words, c.words) || out != "" {
			t.Errorf("%s: status %d, %q\n%s\nwant %d and %q", c.line, status, words, out, c.status, c.words)
		}
	}
}
