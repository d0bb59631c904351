package scenario

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const head = "policy observe\nflow c 10.0.0.1:1 s 10.0.0.2:2\n"

// What is wrong with a line is told with its place, whatever it is.
func TestProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"  emit s > c . 1:1(0) ack 1", "1:3: emit without an event above it"},
		{"# a comment\n  would x forward/new", "2:3: would without an event above it"},
		{"\ttcp 6 5 NONE", "1:2: a row of the table without flows above it"},
		{head + "+0 c > s S 0:0(0) <mss 5", "3:19: an opening < without its end"},
		{head + "+0 c > s S 0:0(0) win", "3:22: the end of the line, expected the value of win"},
		{head + "+0 c > s S 0:5(5)x", `3:18: "x" behind the range`},
		{head + "+0 c > s S 0:5(4)", `3:12: the range "0:5(4)": 0:5 is 5 long`},
		{head + "+0 c > s . 0:0(0) ack 4294967296", `3:23: ack "4294967296", expected a number below 2^32`},
		{head + "+-5 c > s S 0:0(0)", `3:1: the time "+-5"`},
		{head + "+1e3 c > s S 0:0(0)", `3:1: the time "+1e3"`},
		{head + "+ c > s S 0:0(0)", `3:1: the time "+"`},
		{head + "+4000d sweep", `3:1: the time "+4000d"`},
		{head + "+0 c > x S 0:0(0)", `3:8: the end "x", which no flow declares, expected c or s`},
		{"+0 c > s S 0:0(0)", "a line flow above that declares it"},
		{head + "+0 c > c S 0:0(0)", "3:4: ends that are not of one flow"},
		{head + "+0 c>s S 0:0(0)", `3:4: the end "c>s"`},
		{head + "+0 c > s Q 0:0(0)", `3:10: the flags "Q"`},
		{head + "+0 c > s SS 0:0(0)", "3:11: the flag S twice"},
		{head + "+0 c > s . 0:0(0)", "3:4: the flag . (ACK) without ack N"},
		{head + "+0 c > s S 0:0(0) ack 1", "3:4: ack N without the flag . (ACK)"},
		{head + "+0 c > s S 0:0(0) win 1 win 2", "3:25: win twice"},
		{head + "+0 c > s S 0:0(0) win 65536", `3:23: win "65536"`},
		{head + "+0 c > s S 0:0(0) urg 5", "urg N without the flag U"},
		{head + "+0 c > s S 0:0(0) foo 5", `3:19: "foo", expected ack, win, urg, reserved, cksum or defect`},
		{head + "+0 c > s S 0:0(0) <mss 5> win 3", `3:27: "win", expected the end of the line`},
		{head + "+0 c > s S 0:0(0) <mss 5,mss 6>", `3:26: the option "mss 6" after another`},
		{head + "+0 c > s S 0:0(0) <mss 5, wscale 15>", `3:27: the option "wscale 15", expected wscale N, N from 0 to 14`},
		{head + "+0 c > s S 0:0(0) <mms 5>", `the option "mms 5", expected mss`},
		{head + "+0 c > s S 0:0(0) <mss 5,,>", "an option between the commas"},
		{head + "+0 c > s S 0:0(0) <kind 5 len 40,nop>", "options of more than 40 bytes"},
		{head + "+0 c > s S 0:0(0) <fastopen 0g>", "4 to 16 bytes in hexadecimal"},
		{head + "+0 c > s S 0:0(0) => ", "nothing behind =>"},
		{head + "+0 c > s S 0:0(0) => forward", `3:22: "forward", expected VERDICT/FINDING`},
		{head + "+0 c > s S 0:0(0) => foreward/nwe", `the verdict "foreward", expected forward, drop, rewrite or hold (did you mean "forward"?)`},
		{head + "+0 c > s S 0:0(0) => forward/idle-expired", "3:30: the finding"},
		{head + "+0 c > s S 0:0(0) => forward/syn-establised", `did you mean "syn-established"`},
		{head + "+0 c > s S 0:0(0) => forward/new stat=NONE", `3:34: the fact "stat=NONE"`},
		{head + "+0 c > s S 0:0(0) => forward/new state=OPEN", `3:40: state="OPEN", expected NONE`},
		{head + "+0 c > s S 0:0(0) => forward/new idle=5", `3:39: idle="5", expected a duration`},
		{head + "+0 c > s S 0:0(0) => forward/new state=NONE state=NONE", "the fact state twice"},
		{head + "+0 c > s S 0:0(0) => forward/new # so", "3:34: a comment behind a decision"},
		{head + `+0 c > s S 0:0(0) => forward/new rule="x`, "3:34: an opening quote without its end"},
		{head + "+0 sweep => forward/new", `3:13: "forward/new" of a sweep`},
		{head + "+0 sweep => idle=5s", "the fact idle of a sweep"},
		{head + "+0 sweep now", `3:10: "now", expected the end of the line`},
		{head + "+0 sweep\n  would x forward/new", `the shadow "x", which is not declared`},
		{head + "+0 sweep\npolicy observe", "4:1: policy after the first event"},
		{head + "policy observe", "3:1: a second policy"},
		{"shadow a\nshadow a", "2:8: a second shadow of this name"},
		{"shadow a flie b", `1:10: "flie", expected file FILE`},
		{"timeout OPEN 5", `1:9: the state "OPEN"`},
		{"timeout OPEN 5", `1:14: the duration "5"`},
		{"set limits.flows", `1:5: "limits.flows"`},
		{"flow c 10.0.0.1:1 c 10.0.0.2:2", "1:19: a second end of the name"},
		{"flow c 10.0.0.1 s 10.0.0.2:2", `1:8: the address "10.0.0.1"`},
		{"flow c 10.0.0.1:1 s [::1]:2", "different address families"},
		{"flow c [::ffff:1.2.3.4]:1 s [::1]:2", "the address"},
		{head + "flow d 10.0.0.2:2 e 10.0.0.1:1", "3:6: a second flow between these ends"},
		{"flow 1 10.0.0.1:1 s 10.0.0.2:2", `1:6: the name "1"`},
		{"reload observe kep", `1:16: "kep", expected keep, rematch or drop (did you mean "keep"?)`},
		{"flows none\n  tcp 6 5 NONE", "2:3: a row below flows none"},
		{"  policy observe", `1:3: "policy" is indented`},
		{"  +0 sweep", `1:3: "+0" is indented`},
		{"emit x", `1:1: "emit" at the start of the line`},
		{"polcy observe", `1:1: "polcy", expected policy`},
		{"-- a --\n-- a --\n", "2:1: a second section of this name"},
		{"a\x00b", "bytes that are no UTF-8 text"},
	} {
		s, problems := Parse("x.scn", []byte(c.text))
		if s != nil || !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%q\n got %v\nwant %s", c.text, problems, c.want)
		}
	}
}

// All problems are told at once, and none that only follows from another.
func TestAllProblems(t *testing.T) {
	_, problems := Parse("x.scn", []byte("flow c 10.0.0.1 s 10.0.0.2:2\n+0 c > s X 0:0(0) => drop/x\n  emit s > c . 1:1(0) ack 1\n+z sweep => y\n"))
	var places []string
	for i := range problems {
		places = append(places, fmt.Sprintf("%d:%d", problems[i].Line, problems[i].Column))
	}
	if got := strings.Join(places, " "); got != "1:8 2:10 2:27 4:1 4:13" {
		t.Errorf("problems at %s\n%v", got, problems)
	}
}

// Policies of a script: sections, files, what they inherit from, and places of their problems.
func TestPolicies(t *testing.T) {
	run := func(text string, cfg Config) *Result {
		s, problems := Parse("dir/x.scn", []byte(text))
		if s == nil {
			t.Fatal(problems)
		}
		return s.Run(cfg)
	}
	files := map[string]string{"dir/far.yaml": "preset: ./base.yaml", "dir/base.yaml": "on: {new: drop}", "/abs.yaml": "on: {new: drop}"}
	cfg := Config{Read: func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}}
	const flow = "\nflow c 10.0.0.1:1 s 10.0.0.2:2\n+0 c > s S 0:0(0) => drop/new\n"
	for _, text := range []string{"policy far.yaml" + flow, "policy a.yaml" + flow + "-- a.yaml --\npreset: ./b.yaml\n-- b.yaml --\non: {new: drop}\n",
		"policy observe\nset on.new=drop" + flow} {
		if r := run(text, cfg); len(r.Problems) > 0 {
			t.Errorf("%s\n%v", text, r.Problems)
		}
	}
	cfg.Policy = "/abs.yaml"
	if r := run("policy observe"+flow, cfg); len(r.Problems) > 0 {
		t.Error(r.Problems)
	}
	for text, want := range map[string]string{
		"policy openbsd-pf:optimization=fast" + flow:                 `dir/x.scn:1:8: "fast" for the option optimization`,
		"policy openbsd-pf:optimization" + flow:                      `dir/x.scn:1:8: "optimization" behind openbsd-pf:`,
		"policy observe" + flow + "reload openbsd-pf:a=b":            `:4:8: unknown option "a"`,
		"policy nothing.yaml" + flow:                                 `dir/x.scn:1:8: the policy "nothing.yaml" cannot be read`,
		flow:                                                         "dir/x.scn: no line policy NAME",
		"policy a.yaml" + flow + "-- a.yaml --\n\non: {nwe: drop}\n": "dir/x.scn:6:6:",
		"policy observe\nset limits.flwos=2" + flow:                  "limits.flwos",
		"policy observe" + flow + "reload nothing":                   `:4:8: the policy "nothing"`,
	} {
		if r := run(text, Config{}); r.Played || !strings.Contains(r.Problems.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, r.Problems, want)
		}
	}
}

// What comes out otherwise is told with its line, and every kind of it.
func TestMismatches(t *testing.T) {
	const text = `policy openbsd-pf
shadow linux-default
timeout ESTABLISHED 1h
flow c 10.0.0.1:1 s 10.0.0.2:2
+0 c > s S 0:0(0) => drop/new
+0 s > c S. 0:0(0) ack 1 => forward/syn-ack state=ESTABLISHED
  would linux-default drop/syn-ack
  emit s > c . 1:1(0) ack 1
+0 c > s . 1:1(0) ack 1
+1m c > s S 5:5(0) => drop/syn-established-in-window
+0 c > s S 5:5(0) => drop/syn-established-in-window
  emit s > c . 1:1(0) ack 2
+2m sweep => idle-expired flows=0
flows none
flows
  tcp 6 5 ESTABLISHED
  tcp 6 5 CLOSE
`
	s := parsed(t, text)
	r := s.Run(Config{})
	var got []string
	for i := range r.Problems {
		got = append(got, fmt.Sprintf("%d:%d", r.Problems[i].Line, r.Problems[i].Column))
	}
	if g := strings.Join(got, " "); g != "5:22 6:45 7:23 8:8 10:1 12:8 13:14 14:1 16:1 17:1" {
		t.Errorf("problems at %s\n%v", g, r.Problems)
	}
	again := parsed(t, string(r.Update(s)))
	if r := again.Run(Config{}); len(r.Problems) > 0 {
		t.Errorf("%v\nafter the update to\n%s", r.Problems, again.Format())
	}
}

// Times of every size are printed in their largest whole unit, and read back.
func TestTimes(t *testing.T) {
	for text, want := range map[string]string{"0": "0", ".1": "100ms", "5": "5s", "1h30m": "90m", "0.0000015": "1500ns", "1us": "1us",
		"250µs": "250us", "2d": "48h", "1.5h": "90m", "3ns": "3ns", "3600": "1h"} {
		d, ok := parseWait(text)
		if back, ok2 := parseWait(waitText(d)); !ok || !ok2 || waitText(d) != want || back != d {
			t.Errorf("%s: %v %v, printed %s, want %s", text, d, ok, waitText(d), want)
		}
	}
	if _, problems := Parse("x.scn", make([]byte, MaxFileSize+1)); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}
