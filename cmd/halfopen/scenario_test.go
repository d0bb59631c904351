package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// From a capture to a scenario, to a capture again, and through replay and test: the decisions are the same everywhere.
func TestScenarioVerb(t *testing.T) {
	dir := t.TempDir()
	path := redialCapture(t)
	text, words, status := runVerb("scenario", "from", path, "--policy", "lpd-case-2015", "--flow", "1", "--set", "timeouts.established=1h")
	if status != statusGood || words != "" || !strings.Contains(text, "\npolicy   lpd-case-2015\nset      timeouts.established=1h\n") ||
		!strings.Contains(text, "=> drop/syn-established reply=ack-tracked\n  emit  s > c .  1:1(0) ack 1\n") {
		t.Fatalf("status %d, %q\n%s", status, words, text)
	}
	scn, out := filepath.Join(dir, "redial.scn"), filepath.Join(dir, "redial.pcapng")
	if err := os.WriteFile(scn, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, words, status := runVerb("test", scn); status != statusGood {
		t.Errorf("%s%s", got, words)
	}
	got, words, status := runVerb("scenario", "pcap", scn, "-o", out)
	want := "wrote " + out + ": 5 packets of the scenario, 1 that the gateway sends\nreplay it: halfopen replay " + out + " --policy lpd-case-2015 --set 'timeouts.established=1h' --fresh\n"
	if status != statusGood || got != "" || words != want {
		t.Errorf("status %d, %q %q, want %q", status, got, words, want)
	}
	_, line, _ := strings.Cut(strings.TrimSpace(words), "halfopen ")
	replayed, words, status := runVerb(append(fields(line), "--frames")...)
	if status != statusGood || !strings.Contains(replayed, "drop/syn-established reply=ack-tracked  flow 1") || !strings.Contains(replayed, "skip/gateways-own") {
		t.Errorf("status %d, %q\n%s", status, words, replayed)
	}
	again, words, status := runVerb("scenario", "from", out, "--policy", "lpd-case-2015", "--flow", "10.0.0.1:721 > 192.0.2.9:515", "--set", "timeouts.established=1h")
	if _, a, _ := strings.Cut(again, "\n\n"); status != statusGood || !strings.HasSuffix(text, "\n\n"+a) || a == "" {
		t.Errorf("status %d, %q\n%s", status, words, again)
	}
	// To standard output, and into what is no regular file.
	raw, words, status := runVerb("scenario", "pcap", scn, "-o", "-")
	if whole, err := os.ReadFile(out); err != nil || raw != string(whole) || words != "" || status != statusGood {
		t.Errorf("status %d, %d bytes, %q, %v", status, len(raw), words, err)
	}
	if _, words, status := runVerb("scenario", "pcap", scn, "-o", os.DevNull); status != statusGood {
		t.Error(words)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The directory of an annotated capture is a capture.
func TestScenarioVerbOfAnnotatedCapture(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pcap")
	if _, words, status := runVerb("replay", redialCapture(t), "--policy", "lpd-case-2015", "--fresh", "--pcap", dir); status != statusGood {
		t.Fatal(words)
	}
	text, words, status := runVerb("scenario", "from", dir, "--flow", "1", "--policy", "lpd-case-2015")
	if status != statusGood || words != "" || !strings.Contains(text, "# From pcap: what passed") || strings.Count(text, "=> ") != 5 || !strings.Contains(text, "drop/syn-established reply=ack-tracked\n  emit") {
		t.Errorf("status %d, %q\n%s", status, words, text)
	}
}

// A log's connection becomes a scenario that comes out as the log says.
func TestScenarioVerbOfLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if _, words, status := runVerb("replay", redialCapture(t), "--policy", "lpd-case-2015", "--fresh", "--log", log); status != statusGood {
		t.Fatal(words)
	}
	files, err := filepath.Glob(filepath.Join(log, "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatal(err, files)
	}
	for _, source := range []string{log, files[0]} {
		text, words, status := runVerb("scenario", "from", source, "--flow", "1")
		if status != statusGood || words != "" || !strings.Contains(text, "# From "+filepath.Base(source)+": what passed") || strings.Contains(text, "otherwise") ||
			!strings.Contains(text, "=> drop/syn-established reply=ack-tracked\n  emit  s > c .  1:1(0) ack 1\n") {
			t.Errorf("status %d, %q\n%s", status, words, text)
		}
	}
	text, words, status := runVerb("scenario", "from", log, "--flow", "1", "--policy", "observe", "--set", "timeouts.established=1m")
	if status != statusGood || !strings.Contains(text, "# Played under observe, 3 lines come out otherwise than the log says") || !strings.Contains(text, "set      timeouts.established=1m\n") {
		t.Errorf("status %d, %q\n%s", status, words, text)
	}
	if out, words, status := runVerb("scenario", "from", log); status != statusUsage || out != "" || !strings.Contains(words, "10.0.0.1:721 > 192.0.2.9:515\n") || !strings.Contains(words, "want --flow ID") {
		t.Errorf("status %d, %q %q", status, out, words)
	}
	// A line that is cut is told, and the rest makes the scenario.
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.jsonl")
	if err := os.WriteFile(cut, data[:len(data)-30], 0o600); err != nil {
		t.Fatal(err)
	}
	if text, words, status := runVerb("scenario", "from", cut, "--flow", "1"); status != statusFound || !strings.Contains(text, "drop/syn-established") || !strings.Contains(words, "cut short") {
		t.Errorf("status %d, %q\n%s", status, words, text)
	}
	empty := t.TempDir()
	if _, words, status := runVerb("scenario", "from", empty); status != statusFound || !strings.Contains(words, empty+" tells of no connection") {
		t.Errorf("status %d, %q", status, words)
	}
}

func TestScenarioVerbBadInput(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := redialCapture(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := file("cut.pcapng", whole[:len(whole)-20])
	junk := file("junk.pcap", []byte("neither capture nor log"))
	bad := file("bad.scn", []byte("policy observe\nflow c 10.0.0.1:1 s 10.0.0.2:2\n+0 c > s X 0:0(0)\n"))
	wrong := file("wrong.scn", []byte("policy observe\nflow c 10.0.0.1:1 s 10.0.0.2:2\n+0 c > s S 0:0(0) => drop/new\n+0 c > s S 0:0(0) defect not-tcp\n"))
	lost := file("lost.scn", []byte("policy lost.yaml\nflow c 10.0.0.1:1 s 10.0.0.2:2\n+0 c > s S 0:0(0)\n"))
	out := filepath.Join(dir, "out.pcapng")
	for _, c := range []struct {
		line   string
		status int
		want   []string
	}{
		{"scenario from", 2, []string{"accepts 1 arg", "'halfopen scenario from -h'"}},
		{"scenario form " + path, 2, []string{`unknown verb "form"`, `did you mean "from"?`}},
		{"scenario from " + path, 2, []string{"flows 1, 2 ", " 5 frames, 1 to 5  1:", "10.0.0.1:721 > 192.0.2.9:515\n", "want --flow ID"}},
		{"scenario from " + path + " --flow nonsense", 2, []string{`--flow: "nonsense" is no number`}},
		{"scenario from " + dir + " --flow 1 --flow 2", 2, []string{"--flow twice wants a capture"}},
		{"scenario from " + path + " --frame 0", 2, []string{"--frame 0"}},
		{"scenario from " + path + " --flow 1 --frames 9-3", 2, []string{`--frames "9-3"`}},
		{"scenario from " + dir + " --flow 1 --frames 1-3", 2, []string{"--frames wants a capture"}},
		{"scenario from " + dir + " --flow 1 --set adopt=0s", 2, []string{"--set wants --policy"}},
		{"scenario from " + path + " --flow 1 --set nonsense", 2, []string{"nonsense"}},
		{"scenario from " + path + " --flow 1 --policy no-such", 1, []string{`"no-such" is no file and no preset`}},
		{"scenario from " + path + " --flow 7", 1, []string{"no connection of " + path + " is flow 7"}},
		{"scenario from " + path + " --frame 77", 1, []string{"is frame 77"}},
		{"scenario from " + path + " --frame 1 --frames 70-80", 1, []string{"none of the frames", "from 1 to 5"}},
		{"scenario from " + filepath.Join(dir, "missing.pcap") + " --flow 1", 1, []string{"missing.pcap: no such file"}},
		{"scenario from " + junk + " --flow 1", 1, []string{junk + ": at byte 0", "malformed file"}},
		{"scenario from " + os.DevNull + " --flow 1", 1, []string{"the file is empty"}},
		{"scenario pcap " + wrong, 2, []string{"want -o OUT.pcapng"}},
		{"scenario pcap " + filepath.Join(dir, "missing.scn") + " -o " + out, 1, []string{"missing.scn: no such file"}},
		{"scenario pcap " + bad + " -o " + out, 1, []string{bad + ":3:10: "}},
		{"scenario pcap " + lost + " -o " + out, 1, []string{lost + ":1:8: ", "lost.yaml"}},
		{"scenario pcap " + wrong + " -o " + out + " --policy no-such", 1, []string{"no-such"}},
		{"scenario pcap " + wrong + " -o " + filepath.Join(dir, "no", "where.pcapng"), 1, []string{"no such file or directory"}},
	} {
		if got, words, status := runVerb(fields(c.line)...); status != c.status || got != "" {
			t.Errorf("halfopen %s: status %d, want %d; %q %q", c.line, status, c.status, got, words)
		} else {
			for _, want := range c.want {
				if !strings.Contains(words, want) {
					t.Errorf("halfopen %s: no %q in %q", c.line, want, words)
				}
			}
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a scenario that could not be played left a capture")
	}
	// What could be read before the damage makes the scenario.
	text, words, status := runVerb("scenario", "from", cut, "--flow", "1")
	if status != statusFound || strings.Count(text, "=> ") != 4 || !strings.Contains(words, cut+": at byte ") || !strings.Contains(words, "cut off") {
		t.Errorf("status %d, %q\n%s", status, words, text)
	}
	// A decision that comes out otherwise and a line without a packet are told; the rest is written.
	_, words, status = runVerb("scenario", "pcap", wrong, "-o", out)
	if status != statusFound || !strings.Contains(words, wrong+":3:22: got forward/new") || !strings.Contains(words, wrong+":4:1: no packet") || !strings.Contains(words, "1 packets") {
		t.Errorf("status %d, %q", status, words)
	}
	if got, words, status := runVerb("replay", out, "-o", "json"); status != statusGood || !strings.Contains(got, `"tcp": 1`) {
		t.Errorf("status %d, %q\n%s", status, words, got)
	}
}

// A capture comes from standard input too, though it is read twice.
func TestScenarioVerbReadsStdin(t *testing.T) {
	f, err := os.Open(redialCapture(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was := os.Stdin
	os.Stdin = f
	defer func() { os.Stdin = was }()
	if text, words, status := runVerb("scenario", "from", "-", "--flow", "1"); status != statusGood || !strings.Contains(text, "# From standard input: what passed") || !strings.Contains(text, "forward/syn-established") {
		t.Errorf("status %d, %q\n%s", status, words, text)
	}
}
