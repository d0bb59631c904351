package policy

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// errorCases are files with problems. Their messages are in testdata/problems.golden.
var errorCases = []struct{ name, text string }{
	{"empty", ""},
	{"only comments", "# nothing here\n"},
	{"empty mapping", "{}\n"},
	{"a list", "- preset: observe\n"},
	{"a word", "observe\n"},
	{"two documents", "preset: observe\n---\npreset: openbsd-pf\n"},
	{"five places", "presets: observe\ntimeouts:\n  established: 3600\n  synsent: 5s\non:\n  syn-establshed: drop\n  new: {packet: dorp, state: crate}\n"},
	{"unknown keys", "Preset: observe\nlimit: {flows: 1}\nlimits: {flow: 1}\nwindow: {syn-band: 3, chek: strict}\nlog: {rates: 5}\n"},
	{"wrong types", "preset: [observe]\ndescription: {a: b}\ntimeouts: 5s\nwindow: [strict]\nlimits: 5\non_full: {a: b}\non: drop\nrules: {a: b}\nadopt: []\nlate: {}\nlog: packet\nreload: 5\n"},
	{"nothing as a value", "preset:\non_full:\nadopt:\non: {new: }\nrules:\n"},
	{"durations", "timeouts: {syn_sent: 10, syn_recv: -5s, established: 1 h, fin_wait: 1y, close_wait: 4000d, last_ack: 5s5s, time_wait: 1m2h, close: [1s], syn_sent2: \"\"}\n"},
	{"numbers", "limits: {flows: 0, embryonic: 1.5, tombstones: 99999999999999999999}\nwindow: {near: -1, syn_band: many}\nlog: {rate: -1}\n"},
	{"embryonic above flows", "limits: {flows: 10, embryonic: 11}\n"},
	{"duplicate keys", "on_full: refuse\non:\n  new: forward\n  new: drop\non_full: refuse\n"},
	{"unknown actions", "on:\n  new: allow\n  syn-ack: {packet: accept, reply: reset, peer: rst, state: kept, timer: refreshed}\n  rst: [drop]\n  fin:\n"},
	{"rewrite", "on: {syn-established: {packet: rewrite}, fin: rewrite, new: {packet: drop, strip: urgent, mss: 5}, rst: {packet: rewrite, strip: [urgnt, urgent]}}\n"},
	{"rewrite what is not there", "on: {syn-ack: {packet: rewrite, strip: [wscale, urgent, ecn]}, in-window: {packet: rewrite, strip: data, mss: 1360}, malformed: {packet: rewrite, strip: push}}\n"},
	{"segment sizes", "on: {new: {packet: rewrite, mss: 0}, syn-ack: {packet: rewrite, mss: 65536}}\n"},
	{"reply to what has no sender", "on: {malformed: {packet: drop, reply: rst}, checksum-bad: {packet: drop, reply: icmp-admin}}\n"},
	{"tracked numbers of nothing", "on: {new: {packet: drop, reply: rst-tracked}, ack-no-state: {packet: drop, reply: ack-tracked}, table-full: {packet: drop, peer: rst-tracked}}\n"},
	{"a RST for a RST", "on: {rst-out-of-window: {packet: drop, reply: rst}, rst-no-state: {packet: drop, reply: rst}}\n"},
	{"state of a dropped packet", "on:\n  new: {packet: drop, state: create}\n  syn-time-wait: {packet: drop, state: replace}\n  in-window: {packet: drop, state: track}\n"},
	{"state that cannot be", "on: {new: {state: replace}, ack-no-state: {state: create}, in-window: {state: annotate}, syn-ack: {state: resync}}\n"},
	{"hold", "on: {new: {packet: hold}, syn-ack: {hold: 1s, then: drop}, rst: {packet: hold, hold: 2m, then: forward}, fin: {packet: hold, hold: 1s, then: hold}, in-window: hold}\n"},
	{"deny", "on: {new: {state: deny}, in-window: {packet: forward, state: deny}, table-full: {packet: drop, state: deny}, malformed: {packet: drop, state: deny}, denied: {state: create}, syn-ack: {packet: drop, state: deny}, idle-expired: {state: deny}}\n"},
	{"hold and drop creates nothing", "on: {new: {packet: hold, hold: 6s, then: drop, state: create}}\n"},
	{"window of no ACK", "on: {new: {packet: drop, reply: rst, window: 0}, syn-established: {packet: drop, reply: ack-tracked, window: 5}}\n"},
	{"expiry", "on: {idle-expired: {packet: drop, reply: rst, timer: 5s, state: keep}}\n"},
	{"a group with exceptions", "on: {all: {packet: drop, reply: rst}}\n"},
	{"ambiguous findings", "on: {syn-established*: drop, syn-est*: forward}\n"},
	{"findings that are none", "on: {synestablished: drop, syn_established: drop, xyz*: drop, '*': drop, everything: drop, syn-*-x: drop}\n"},
	{"rules", "rules:\n  - match: {dst_port: 515}\n  - name: a\n  - name: a\n    match: {src: 10.0.0.1/8, dst: nowhere, src_port: 65536, dst_port: [90-80, x, 1-2-3, []], direction: forward}\n  - text\n  - name: b c\n    on: {new: dorp}\n    late: 5m\n"},
	{"address families", "rules: [{name: a, match: {src: 10.0.0.0/8, dst: \"2001:db8::/32\"}}]\n"},
	{"IPv6 and zones", "rules: [{name: a, match: {src: [fe80::1%eth0, \"2001:db8::1/32\", \"::/129\"]}}]\n"},
	{"rates", "log: {rate: {new: fast, nwe: 5, syn-*: 2, \"syn-a*\": unlimited}}\n"},
	{"options", "options:\n  a: [b]\n  b c: d\n  d:\n  e: {}\n  f: {meaning: x, default: up, values: {down: {}, updown: {}}}\n  g: {meaning: x, default: on, values: {on: {}}}\n  h: {meaning: x, default: on, values: {on: {presets: observe, rules: []}, \"o f\": {}, off: {on: {new: dorp}}}}\n  i: {meaning: [], defaults: x, default: {}, values: off}\n"},
	{"options that are no mapping", "options: tcp-rst\n"},
	{"tab", "on:\n\tnew: drop\n  syn-ack: dorp\n"},
	{"broken and wrong", "timeouts: {syn_sent: [1}\nlimits: {flows: x}\n"},
	{"unclosed quote", "description: \"never closed\npreset: observe\n"},
	{"alias of nothing", "timeouts: *missing\n"},
	{"alias in its own anchor", "timeouts: &a {syn_sent: *a}\n"},
	{"tags", "timeouts: !!map {syn_sent: !x 5s}\n"},
	{"merge of no mapping", "timeouts:\n  <<: 5\n"},
	{"keys that are no words", "{[a, b]: c, ? {x: y} : z}\n"},
	{"bytes that are no text", "preset: obs\xff\xfeerve\n"},
	{"control characters", "preset: \x1b[31mobserve\n"},
	{"beyond ASCII", "description: Größe\ntimeouts: {über: 5s}\non: {\"größe\": drop}\n"},
	{"far to the right", "on: {syn-established: {packet: drop}, " + strings.Repeat("                    ", 12) + "syn-ack: dorp}\n"},
	{"line ends of all kinds", "preset: observe\r\non: {new: dorp}\radopt: 5\nlate: x\r\n"},
	{"deep", "on: " + strings.Repeat("[", 100) + "\n"},
	{"deep list", strings.Repeat("- ", 100) + "a\n"},
	{"deeper than the bound", "on: " + strings.Repeat("{a: ", 40) + "b" + strings.Repeat("}", 40) + "\n"},
}

// TestProblems holds every message to its golden file: it is what users read.
func TestProblems(t *testing.T) {
	var b bytes.Buffer
	for _, c := range errorCases {
		s, problems := Parse("site.yaml", []byte(c.text))
		if s != nil || len(problems) == 0 {
			t.Errorf("%s: no problem found in\n%s", c.name, c.text)
			continue
		}
		fmt.Fprintf(&b, "== %s\n%s\n", c.name, problems.Error())
	}
	golden(t, filepath.Join("testdata", "problems.golden"), b.Bytes())
}

// TestProblemPlace: line and column count characters from 1, and the caret stands below the place.
func TestProblemPlace(t *testing.T) {
	_, problems := Parse("x.yaml", []byte("preset: observe\non:\n  syn-ack: {packet: forward, reply: rts}\n"))
	if len(problems) != 1 {
		t.Fatal(problems)
	}
	want := "x.yaml:3:37: \"rts\", expected none, rst, rst-tracked, ack-tracked, icmp-port, icmp-admin or rst-initial (did you mean \"rst\"?)\n" +
		"     3 |   syn-ack: {packet: forward, reply: rts}\n" +
		"       | " + strings.Repeat(" ", 36) + "^"
	if got := problems.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestAllAtOnce: one run names every wrong place, in the order of the file.
func TestAllAtOnce(t *testing.T) {
	_, problems := Parse("x.yaml", []byte(errorCases[6].text))
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	if fmt.Sprint(lines) != "[1 3 4 6 7 7]" {
		t.Errorf("lines %v:\n%v", lines, problems)
	}
}

// TestNoise: whatever comes in, the answer is short and comes soon.
func TestNoise(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	noise := make([]byte, 10<<20)
	for i := range noise {
		noise[i] = byte(r.Intn(256))
	}
	text := make([]byte, MaxFileSize)
	for i := range text {
		text[i] = "abcdefghij :-{}[],\n\n'\"#&*!|>%@`"[r.Intn(31)]
	}
	var keys, deep bytes.Buffer
	for i := 0; keys.Len() < MaxFileSize-20; i++ {
		fmt.Fprintf(&keys, "key%d: 1\n", i)
	}
	for i := 0; deep.Len() < MaxFileSize-1000; i++ {
		fmt.Fprintf(&deep, "%s%s:\n", strings.Repeat(" ", i), "a")
	}
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	for name, data := range map[string][]byte{"noise": noise, "a piece of noise": noise[:MaxFileSize], "text": text, "keys": keys.Bytes(),
		"deep": deep.Bytes(), "alias bomb": []byte(bomb), "one line": bytes.Repeat([]byte("a: b "), MaxFileSize/5), "brackets": bytes.Repeat([]byte("["), MaxFileSize),
		"dashes": bytes.Repeat([]byte("- "), MaxFileSize/2), "nul": make([]byte, 1000), "quotes": bytes.Repeat([]byte("\"\n"), MaxFileSize/2)} {
		s, problems := Parse("noise.yaml", data)
		if s != nil || len(problems) == 0 {
			t.Errorf("%s: read as a policy", name)
		}
		if out := problems.Error(); len(out) > 64<<10 || strings.Count(out, "\n") > 3*maxPrinted+1 {
			t.Errorf("%s: %d bytes of messages", name, len(out))
		}
	}
}

// TestInheritanceProblems: a file that cannot be read, or that inherits from what does not exist, or from itself.
func TestInheritanceProblems(t *testing.T) {
	files := map[string]string{
		"a.yaml":       "preset: b.yaml\n",
		"b.yaml":       "preset: ./a.yaml\n",
		"dir/c.yaml":   "preset: ../bad.yaml\n",
		"bad.yaml":     "on: {new: dorp}\n",
		"typo.yaml":    "# a comment\npreset: linux-defualt\n",
		"missing.yaml": "preset: sub/none.yaml\n",
	}
	for i := range 20 {
		files[fmt.Sprintf("chain%d.yaml", i)] = fmt.Sprintf("preset: chain%d.yaml\n", i+1)
	}
	read := func(name string) ([]byte, error) {
		if data, ok := files[name]; ok {
			return []byte(data), nil
		}
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	for ref, want := range map[string]string{
		"a.yaml":       `b.yaml:1:9: "./a.yaml", which inherits from itself, expected a chain that ends in a preset`,
		"dir/c.yaml":   `bad.yaml:1:11: "dorp", expected forward, drop, rewrite or hold (did you mean "drop"?)`,
		"typo.yaml":    `typo.yaml:2:9: unknown preset "linux-defualt", expected ` + list(Presets()) + ` (did you mean "linux-default"?), or a file (./NAME.yaml)`,
		"missing.yaml": `missing.yaml:1:9: the file that preset names cannot be read: open sub/none.yaml: file does not exist`,
		"chain0.yaml":  `chain15.yaml:1:9: more than 16 policies that inherit from each other`,
		"nowhere.yaml": `policy: open nowhere.yaml: file does not exist`,
		"obsreve":      `policy: "obsreve" is no file and no preset (presets are ` + list(Presets()) + ` (did you mean "observe"?))`,
	} {
		p, err := Open(ref, read)
		if p != nil || err == nil {
			t.Errorf("%s: no problem", ref)
			continue
		}
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got\n%v\nwant\n%s", ref, err, want)
		}
	}
}
