package proxy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/conntrack"
	"halfopen/policy/scenario"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
)

func frameChoice(n int) []*FlowChoice { return []*FlowChoice{ChooseFrame(n)} }

// scriptOf makes a scenario of one connection of a capture.
func scriptOf(t testing.TB, cfg ReplayConfig, flow string) *ScriptFrom {
	t.Helper()
	choice, err := ParseFlowChoice(flow)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: []*FlowChoice{choice}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// body returns the lines of a scenario that are no comments and not blank.
func body(text []byte) (out []string) {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return out
}

func TestScriptFromCapture(t *testing.T) {
	v6 := conversation(t, "[2001:db8::1]:721", "[2001:db8::9]:515")
	packets := frames(append(append([][]byte{v6[0]}, conversation(t, clientEnd, serverEnd)...), v6[1])...)
	packets[10].at = time.Minute
	path := ng(t, packets, nil, capture.LinkRaw)
	cfg := ReplayConfig{Capture: path, Policy: "linux-default", Overrides: []string{"timeouts.established=1h"}}
	want := []string{"policy linux-default", "set timeouts.established=1h", "flow c 10.0.0.1:721 s 192.0.2.9:515",
		"+0 c > s S 0:0(0) win 64240 => forward/new state=SYN_SENT",
		"+1ms s > c S. 0:0(0) ack 1 win 64240 => forward/syn-ack state=SYN_RECV",
		"+1ms c > s . 1:1(0) ack 1 win 64240 => forward/handshake state=ESTABLISHED",
		"+1ms c > s P. 1:6(5) ack 1 win 64240 => forward/in-window",
		"+1ms s > c . 1:1(0) ack 6 win 64240 => forward/in-window",
		"+1ms c > s F. 6:6(0) ack 1 win 64240 => forward/fin state=FIN_WAIT",
		"+1ms s > c . 1:1(0) ack 7 win 64240 => forward/in-window state=CLOSE_WAIT",
		"+1ms s > c F. 1:1(0) ack 7 win 64240 => forward/fin state=LAST_ACK",
		"+1ms c > s . 7:7(0) ack 2 win 64240 => forward/in-window state=TIME_WAIT"}
	for _, name := range []string{"2", "192.0.2.9:515>10.0.0.1:721", "src=10.0.0.0/24 dport=515", "id=2", "port=721 addr=192.0.2.9",
		string(decisionlog.AppendCommunityID(nil, netip.MustParseAddrPort(serverEnd), netip.MustParseAddrPort(clientEnd)))} {
		got := scriptOf(t, cfg, name)
		if strings.Join(body(got.Text), "\n") != strings.Join(want, "\n") || got.Segments != 9 || len(got.Meant) != 1 {
			t.Errorf("%s: %d segments\n%s", name, got.Segments, got.Text)
		}
		if head := "# From test.pcapng: what passed between 10.0.0.1:721 and 192.0.2.9:515.\n# Flow 2, frames 2-10, from 2026-03-01T08:00:00.001Z on. Community ID 1:"; !strings.HasPrefix(string(got.Text), head) {
			t.Errorf("%s\nshould begin\n%s", got.Text, head)
		}
	}
	got := scriptOf(t, cfg, "1")
	if b := body(got.Text); len(b) != 5 || b[2] != "flow c [2001:db8::1]:721 s [2001:db8::9]:515" || !strings.HasPrefix(b[4], "+1m s > c S. ") {
		t.Errorf("%s", got.Text)
	}
	// A frame names its connection, and a part of the frames is a part of it.
	part, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: frameChoice(5), From: 4, To: 6})
	if err != nil || part.Segments != 3 || !strings.Contains(string(part.Text), "frames 4-6,") || !strings.Contains(string(part.Text), "# 6 other segments between these ends are left out.") {
		t.Errorf("%v\n%s", err, part.Text)
	}
	if b := body(part.Text); b[2] != "adopt" || !strings.Contains(b[4], "forward/adopted") || !strings.HasPrefix(b[4], "+3ms ") {
		t.Errorf("what is taken up because the capture has just begun: %s", part.Text)
	}
	if b := string(part.Text); !strings.Contains(b, "\n# In a replay of the capture frame 4 comes out otherwise, as forward/handshake: what is left out counts there, too.\n") {
		t.Error(b)
	}
	cfg.Fresh = true
	if part, err = ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: frameChoice(5), From: 4, To: 6}); err != nil || strings.Contains(string(part.Text), "adopt") {
		t.Errorf("%v\n%s", err, part.Text)
	}
}

// Which connections there are is told where none is named, and where a name fits several.
func TestScriptConnections(t *testing.T) {
	packets := frames(append(conversation(t, clientEnd, serverEnd), conversation(t, "10.0.0.2:9", serverEnd)...)...)
	cfg := ReplayConfig{Capture: ng(t, packets, nil, capture.LinkRaw), Policy: "observe"}
	got, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg})
	if err != nil || got.Text != nil || len(got.Meant) != 2 {
		t.Fatal(err, got)
	}
	want := fmt.Sprintf("flow 2            9 frames, 10 to 18  %s  10.0.0.2:9 > 192.0.2.9:515", got.Meant[1].CommunityID())
	if line := got.Meant[1].String(); line != want {
		t.Errorf("%q, want %q", line, want)
	}
	for name, n := range map[string]int{"dport=515": 2, "7": 0, "10.0.0.1:721 > 192.0.2.9:80": 0, "src=192.0.2.9": 0} {
		if got := scriptOf(t, cfg, name); len(got.Meant) != n || got.Text != nil {
			t.Errorf("%s: %v", name, got.Meant)
		}
	}
	for text, want := range map[string]string{"": "no number", "0": "no number", "-1": "no number", "1:abc": "no Community ID", "a > b": "no two ends", "10.0.0.1:1 > [::1]:1": "no two ends",
		"state=CLOSE": "says nothing of ends", "color=red": "unknown key", "all": "no number", "src=": "KEY=VALUE"} {
		if _, err := ParseFlowChoice(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for n, want := range map[int]string{99: "", 19: "is not TCP", 20: "does not tell its ends"} {
		udp := append([]byte(nil), packets[0].packet...)
		udp[9] = 17
		cfg.Capture = ng(t, append(packets, captured{packet: udp}, captured{packet: packets[0].packet[:16]}), nil, capture.LinkRaw)
		got, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: frameChoice(n)})
		if want == "" && (err != nil || len(got.Meant) != 0) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("frame %d: %v", n, err)
		}
	}
}

// Where the policy decides a connection otherwise among the others, the scenario says so.
func TestScriptAmongOthers(t *testing.T) {
	s := readScript(t, "../policy/testdata/openbsd-pf/table.scn")
	path, _ := writeScript(t, s)
	got := scriptOf(t, ReplayConfig{Capture: path, Policy: "openbsd-pf", Overrides: s.Settings(), Fresh: true}, "sport=1003")
	if text := string(got.Text); !strings.Contains(text, "\n# In a replay of the capture frame 6 comes out otherwise, as drop/table-full: the other connections of the capture count there, too.\n") ||
		!strings.Contains(text, "=> forward/new") {
		t.Error(text)
	}
}

// A policy that is a file rides along with what it inherits from, and the scenario stands on its own.
func TestScriptBringsItsPolicy(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"base/all.yaml": "preset: openbsd-pf\n", "my site.yaml": "preset: base/all.yaml\non: {new: drop}\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := ng(t, frames(conversation(t, clientEnd, serverEnd)...), nil, capture.LinkRaw)
	got := scriptOf(t, ReplayConfig{Capture: path, Policy: filepath.Join(dir, "my site.yaml")}, "10.0.0.1:721 > 192.0.2.9:515")
	if text := string(got.Text); !strings.Contains(text, "\npolicy   policy.yaml\n") || !strings.Contains(text, "=> drop/new\n") ||
		!strings.HasSuffix(text, "-- policy.yaml --\npreset: base/all.yaml\non: {new: drop}\n-- base/all.yaml --\npreset: openbsd-pf\n") {
		t.Error(text)
	}
	s, problems := scenario.Parse("elsewhere/x.scn", got.Text)
	if s == nil {
		t.Fatal(problems)
	}
	if res := s.Run(scenario.Config{}); len(res.Problems) > 0 || res.Decisions != 9 {
		t.Error(res.Problems)
	}
}

// What was read of a damaged capture makes a scenario, and one that no scenario has room for is refused.
func TestScriptBounds(t *testing.T) {
	c := conversation(t, clientEnd, serverEnd)
	plain := classic(capture.LinkRaw, frames(c...)...)
	got := scriptOf(t, ReplayConfig{Capture: writeFile(t, plain[:len(plain)-5]), Policy: "observe"}, "1")
	if got.Segments != 8 || len(got.Problems) != 1 || len(body(got.Text)) != 10 {
		t.Errorf("%d segments, %v\n%s", got.Segments, got.Problems, got.Text)
	}
	var many [][]byte
	for range maxScript + 1 {
		many = append(many, c[3])
	}
	cfg := ReplayConfig{Capture: writeFile(t, classic(capture.LinkRaw, frames(many...)...)), Policy: "observe"}
	if _, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: frameChoice(1)}); err == nil || !strings.Contains(err.Error(), "20001 segments") || !strings.Contains(err.Error(), "--frames") {
		t.Error(err)
	}
	if got, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: frameChoice(1), To: maxScript}); err != nil || got.Segments != maxScript {
		t.Error(err)
	}
	if _, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: frameChoice(1), From: 30000, To: 30001}); err == nil || !strings.Contains(err.Error(), "from 1 to 20001") {
		t.Error(err)
	}
}

// Connections of real captures, two of each, come out of their scenarios as of a replay of the whole capture.
func TestScriptsOfCaptures(t *testing.T) {
	files, _ := collection(t)
	made := 0
	for _, file := range files {
		cfg := ReplayConfig{Capture: file, Policy: "openbsd-pf"}
		all, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg})
		if err != nil {
			continue // not a capture at all
		}
		for _, con := range all.Meant[:min(len(all.Meant), 2)] {
			got, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: cfg, Flows: frameChoice(con.First)})
			if err != nil {
				t.Errorf("%s %s: %v", file, con, err)
				continue
			}
			made++
			s, problems := scenario.Parse("x.scn", got.Text)
			if s == nil {
				t.Errorf("%s %s: %v", file, con, problems)
				continue
			}
			if res := s.Run(scenario.Config{}); len(res.Problems) > 0 || res.Decisions != con.Frames {
				t.Errorf("%s %s: %d decisions of %d; %v", file, con, res.Decisions, con.Frames, res.Problems)
			}
			if strings.Contains(s.Prose(), "otherwise") {
				t.Errorf("%s %s: %s", file, con, s.Prose())
			}
		}
	}
	if made < 5 {
		t.Errorf("only %d scenarios were made", made)
	}
}

func FuzzScriptFromCapture(f *testing.F) {
	c := conversation(f, clientEnd, serverEnd)
	f.Add(classic(capture.LinkRaw, frames(append(c, redial(f)...)...)...), 1)
	f.Add(classic(capture.LinkRaw, frames(c[3], c[0][:18], c[1], c[8])...), 1)
	odd := mustEncode(f, &conntrack.Segment{Tuple: tuple(clientEnd, serverEnd), Flags: 0x1ff, Seq: 0, Ack: 0, Window: 0, Urgent: 9,
		Options: conntrack.Options{Has: 0x3f, MSS: 1, NSACK: 1}}, []byte("x"))
	f.Add(classic(capture.LinkRaw, frames(odd, odd)...), 2)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		path := filepath.Join(t.TempDir(), "fuzz.pcap")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ScriptFromCapture(t.Context(), ScriptConfig{Replay: ReplayConfig{Capture: path, Policy: "openbsd-pf"}, Flows: frameChoice(n)})
		if err != nil || got.Text == nil {
			return
		}
		s, problems := scenario.Parse("fuzz.scn", got.Text)
		if s == nil {
			t.Fatalf("%v\n%s", problems, got.Text)
		}
		if res := s.Run(scenario.Config{}); len(res.Problems) > 0 || string(s.Format()) != string(got.Text) {
			t.Fatalf("%v\n%s", res.Problems, got.Text)
		}
	})
}
