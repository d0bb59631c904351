package experiment

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// good is an experiment with everything that one can say.
const good = `experiment:
  name: idle-5m
  unit: pair
  salt: a salt
  share: 12.5%
  match: {dst_port: 515, src: [10.0.0.0/8, "2001:db8::/32"]}
  start: 2026-12-01T08:00:00Z
  end: 2026-12-08T09:00:00+01:00
  warm_up: 30m
  arms:
    - {name: control, weight: 50, policy: gateway}
    - {name: short, weight: 40.25%, policy: short.yaml}
    - {name: again, weight: 9.75, aa: true}
  guardrails:
    - {metric: connect-failure, max_increase: 2%}
    - {metric: reset, max: 0.05, alpha: 0.001}
    - {metric: stall, max_increase: 500ms}
`

func parse(t *testing.T, text string) *Set {
	t.Helper()
	set, problems := Parse("dir/exp.yaml", []byte(text))
	if set == nil {
		t.Fatalf("%v\n%s", problems, text)
	}
	return set
}

func TestParse(t *testing.T) {
	set := parse(t, good)
	s := set.Specs[0]
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if s.Name != "idle-5m" || s.Unit != UnitPair || s.Salt != "a salt" || s.Share != 1250 || !s.Start.Equal(at("2026-12-01T08:00:00Z")) ||
		!s.End.Equal(at("2026-12-08T08:00:00Z")) || s.WarmUp != 30*time.Minute || s.Switchback != nil {
		t.Errorf("%+v", s)
	}
	if got := MatchText(&s.Match); got != "dst_port 515 src 10.0.0.0/8,2001:db8::/32" {
		t.Error(got)
	}
	want := []Arm{{Name: "control", Weight: 5000, Policy: "gateway"}, {Name: "short", Weight: 4025, Policy: "short.yaml"}, {Name: "again", Weight: 975, AA: true}}
	if fmt.Sprint(s.Arms) != fmt.Sprint(want) {
		t.Errorf("%+v", s.Arms)
	}
	rails := []Guardrail{{Metric: ConnectFailure, Max: 0.02}, {Metric: ResetRate, Max: 0.05, Absolute: true, Alpha: 0.001}, {Metric: StallTime, Max: 0.5}}
	if fmt.Sprint(s.Guardrails) != fmt.Sprint(rails) {
		t.Errorf("%+v", s.Guardrails)
	}
	refs := ""
	for _, a := range set.Arms() {
		refs += fmt.Sprint(a.Number, " ", a.Spec.Name, " ", a.Arm.Name, " ", a.PolicyRef, "; ")
	}
	if refs != "1 idle-5m control gateway; 2 idle-5m short dir/short.yaml; 3 idle-5m again gateway; " {
		t.Error(refs)
	}
}

func TestParseDefaults(t *testing.T) {
	set := parse(t, `experiment:
- name: one
  arms: [{name: a, weight: 33.33, policy: observe}, {name: b, weight: 66.67, policy: "azure-lb-4min:enableTcpReset=true"}]
  match: {dst_port: 80}
- name: two
  arms: [{name: c, policy: /etc/x.yaml}, {name: d, policy: "./y.yml"}, {name: e, policy: ../z.yaml}]
  switchback: {block: 10s, seed: 9007199254740991}
  start: 2026-12-01T08:00:00.5Z
  match: {dst_port: 81}
`)
	one, two := set.Specs[0], set.Specs[1]
	if one.Unit != UnitClient64 || one.Salt != "one" || one.Share != 10000 || !one.Start.IsZero() || one.Guardrails != nil {
		t.Errorf("%+v", one)
	}
	if two.Switchback.Block != 10*time.Second || two.Switchback.Seed != 1<<53-1 || two.Arms[0].Weight != 3334 || two.Arms[1].Weight != 3333 || two.Arms[2].Weight != 3333 {
		t.Errorf("%+v", two)
	}
	refs := []string{"observe", "azure-lb-4min:enableTcpReset=true", "/etc/x.yaml", "dir/y.yml", "z.yaml"}
	for i, a := range set.Arms() {
		if a.PolicyRef != refs[i] || int(a.Number) != i+1 {
			t.Errorf("%+v", a)
		}
	}
}

// arms is a good end of an experiment, for tests of its other keys.
const arms = "\n  arms: [{name: a, weight: 50, policy: gateway}, {name: b, weight: 50, policy: observe}]"

// exp is an experiment with some lines and good arms.
func exp(lines string) string { return "experiment:\n  name: x\n  " + lines + arms }

// withArms is an experiment with other arms.
func withArms(list string) string { return "experiment:\n  name: x\n  arms: [" + list + "]" }

func TestParseProblems(t *testing.T) {
	tests := []struct{ text, want string }{ // want: place, what was found, and a piece of what was expected, with " ... " between
		{"", "1:1: an empty file ... the key experiment"},
		{"experiment:", "1:13: nothing ... a mapping with a name and arms"},
		{"experiment: []", "1:13: no experiment ... at least one"},
		{"experiment: [a]", `1:14: "a" ... an experiment`},
		{"experiments:\n  name: x", `1:1: unknown key "experiments" in the file ... did you mean "experiment"?`},
		{"{}", "1:1: no key experiment ... "},
		{"experiment:\n  nmae: x" + arms, `2:3: unknown key "nmae" in an experiment ... did you mean "name"?`},
		{"experiment:\n  unit: client" + arms, "2:3: an experiment without a name ... name: WORD"},
		{exp("name: y"), `3:3: the key "name" again ... it once`},
		{"experiment:\n  name: Idle 5" + arms, `2:9: the name "Idle 5" ... small letters`},
		{exp("unit: client64"), `3:9: "client64" ... did you mean "client-64"?`},
		{exp(`salt: ""`), `3:9: "" ... a text of 1 to 64 bytes`},
		{exp("salt: " + strings.Repeat("s", 65)), `3:9: "ssssssssss`},
		{exp(`salt: "a\0b"`), `3:9: "a\x00b" ... without control characters`},
		{exp("share: 0"), `3:10: "0" ... from 0.01 to 100`},
		{exp("share: 100.01%"), `3:10: "100.01%" ... from 0.01 to 100`},
		{exp("share: 1.005"), `3:10: "1.005" ... at most two decimals`},
		{exp("share: -5"), `3:10: "-5" ... a percentage`},
		{exp("match: {dest_port: 515}"), `3:11: unknown key "dest_port" in match ... did you mean "dst_port"?`},
		{exp("match: {direction: original}"), `3:11: unknown key "direction" in match ... src, dst, src_port or dst_port`},
		{exp("match: {src: 10.0.0.1/8}"), `3:16: "10.0.0.1/8" ... did you mean "10.0.0.0/8"?`},
		{exp("start: yesterday"), `3:10: "yesterday" ... a time with its zone`},
		{exp("start: 2026-12-01"), `3:10: "2026-12-01" ... a time with its zone`},
		{exp("start: 9999-12-01T00:00:00Z"), `3:10: "9999-12-01T00:00:00Z" ... from 1970 to 2200`},
		{exp("start: 2026-12-01T08:00:00Z\n  end: 2026-12-01T08:00:00Z"), "4:8: an end that is not after the start (2026-12-01T08:00:00Z) ... a later time"},
		{exp("start: 2026-12-01T08:00:00Z\n  end: 2026-12-01T09:00:00Z\n  warm_up: 1h"), "5:12: a warm-up of 1h in an experiment of 1h ... a shorter one"},
		{exp("warm_up: 30"), `3:12: "30" ... did you mean "30s"?`},
		{"experiment:\n  name: x", "2:3: an experiment without arms ... at least two"},
		{"experiment:\n  name: x\n  arms: a", `3:9: "a" ... a list of arms`},
		{withArms(""), "3:9: no arm ... at least two"},
		{withArms("{name: a, weight: 100, policy: gateway}"), "3:9: a single arm ... at least two"},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: b, weight: 40, policy: observe}"), "3:9: weights whose sum is 90% ... 100%"},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: b, weight: 50.01, policy: observe}"), "3:9: weights whose sum is 100.01% ... 100%"},
		{withArms("{name: a, weight: 100, policy: gateway}, {name: b, weight: 0, policy: observe}"), `3:69: "0" ... from 0.01 to 100`},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: b, policy: observe}"), "3:50: an arm without weight ... weight: PERCENT"},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: b, weight: 50}"), "3:50: an arm without policy ... a preset or a file"},
		{withArms("{weight: 50, policy: gateway}, {name: b, weight: 50, policy: observe}"), "3:10: an arm without a name ... name: WORD"},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: a, weight: 50, policy: observe}"), `3:57: the arm "a" again ... it stands in line 3`},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: none, weight: 50, policy: observe}"), `3:57: the arm "none" ... another name`},
		{withArms("{name: gateway, weight: 50, policy: gateway}, {name: b, weight: 50, policy: observe}"), `3:17: the arm "gateway" ... another name`},
		{withArms("{name: a, weight: 50, aa: true}, {name: b, weight: 50, policy: observe}"), "3:36: aa in the first arm ... another arm"},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: b, weight: 50, policy: observe, aa: true}"), "3:80: a policy beside aa ... one of them"},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: b, weight: 50, aa: yes}"), `3:76: "yes" ... false or true`},
		{withArms("{name: a, weight: 50, policy: gatway}, {name: b, weight: 50, policy: observe}"), `3:40: unknown policy "gatway" ... did you mean "gateway"?`},
		{withArms("{name: a, weight: 50, policy: gateway}, {name: b, weight: 50, polcy: observe}"), `3:72: unknown key "polcy" in an arm ... did you mean "policy"?`},
		{exp("guardrails: {metric: reset}"), "3:15: a mapping ... a list of limits"},
		{exp("guardrails: [{metric: resets, max: 1}]"), `3:25: "resets" ... did you mean "reset"?`},
		{exp("guardrails: [{metric: gave-up, max: 1%}]"), "3:25: a limit on gave-up ... known only afterwards"},
		{exp("guardrails: [{max: 1%}]"), "3:16: a limit without metric ... metric: NAME"},
		{exp("guardrails: [{metric: reset}]"), "3:16: a limit without an amount ... max_increase: AMOUNT"},
		{exp("guardrails: [{metric: reset, max: 1, max_increase: 1}]"), "3:37: max beside max_increase ... one of them"},
		{exp("guardrails: [{metric: connect-failure, max_increase: 2}]"), `3:56: "2" ... did you mean "2%"?`},
		{exp("guardrails: [{metric: stall, max_increase: 2}]"), `3:46: "2" ... did you mean "2s"?`},
		{exp("guardrails: [{metric: reset, max: -1}]"), `3:37: "-1" ... a percentage such as 2%, or a number`},
		{exp("guardrails: [{metric: reset, max: 0}]"), `3:37: "0" ... more than 0`},
		{exp("guardrails: [{metric: reset, max: NaN}]"), `3:37: "NaN" ... a percentage`},
		{exp("guardrails: [{metric: reset, max: 1, alpha: 1}]"), `3:47: "1" ... a chance of more than 0`},
		{exp("guardrails:\n  - {metric: reset, max: 1}\n  - {metric: reset, max: 2}"), "5:5: the same limit on reset again ... it stands in line 4"},
		{exp("switchback: 10m"), `3:15: "10m" ... {block: 10m, seed: 1}`},
		{exp("switchback: {seed: 1}"), "3:15: a switchback without block ... block: DURATION"},
		{exp("switchback: {block: 9s}"), `3:23: "9s" ... at least 10s`},
		{exp("switchback: {block: 10m, seed: -1}"), `3:34: "-1" ... a whole number`},
		{exp("switchback: {block: 10m}"), "3:15: a switchback without a start ... from which the blocks are counted"},
		{exp("switchback: {block: 10m}\n  start: 2026-12-01T08:00:00Z\n  warm_up: 10m"), "5:12: a warm-up of 10m in blocks of 10m ... a shorter one"},
		{exp("switchback: {block: 10m}\n  start: 2026-12-01T08:00:00Z\n  unit: client"), "5:9: a unit beside switchback ... one of them"},
		{exp("switchback: {block: 10m}\n  start: 2026-12-01T08:00:00Z\n  share: 50"), "5:10: a share beside switchback ... one of them"},
		{"experiment:\n  name: x\n  switchback: {block: 10m}\n  start: 2026-12-01T08:00:00Z\n  arms: [{name: a, weight: 40, policy: gateway}, {name: b, weight: 60, policy: observe}]",
			"5:9: arms of different weights beside switchback ... as many blocks"},
		{"experiment:\n- name: x" + arms + "\n- name: x\n  match: {dst_port: 1}\n  arms: [{name: c, weight: 50, policy: gateway}, {name: d, weight: 50, policy: observe}]",
			`4:9: the experiment "x" again ... it stands in line 2`},
		{"experiment: {name: x, <<: *nowhere}", "1:27: the alias *nowhere ... an anchor of that name"},
		{"experiment: !!map {}", "1:13: a tag ... a value without one"},
		{"a: b: c", "1:"},
	}
	for _, tt := range tests {
		set, problems := Parse("exp.yaml", []byte(tt.text))
		if set != nil {
			t.Errorf("no problem with\n%s", tt.text)
			continue
		}
		begin, rest, _ := strings.Cut(tt.want, " ... ")
		ok := false
		for i := range problems {
			e := problems[i].Error()
			ok = ok || strings.HasPrefix(e, "exp.yaml:"+begin) && strings.Contains(problems[i].Expected, rest)
		}
		if !ok {
			t.Errorf("%s\nwant %s\ngot  %v", tt.text, tt.want, problems)
		}
	}
}

// TestParseAll: every problem of a file is told at once, in the file's order, each with its line.
func TestParseAll(t *testing.T) {
	_, problems := Parse("exp.yaml", []byte(`experiment:
  - name: A
    unit: host
    share: 0
    arms:
      - {name: c, weight: 10}
  - name: b
    start: 2026-12-01T08:00:00Z
    end: 2026-11-01T08:00:00Z
    arms:
      - {name: d, weight: 50, policy: gateway}
      - {name: d, weight: 51, policy: nowhere}
    color: red
`))
	var lines []int
	for i := range problems {
		lines = append(lines, problems[i].Line)
		if problems[i].Expected == "" || problems[i].Excerpt == "" {
			t.Errorf("%+v", problems[i])
		}
	}
	if fmt.Sprint(lines) != "[2 3 4 6 6 9 11 12 12 13]" {
		t.Errorf("%v\n%v", lines, problems)
	}
}

func TestTooManyArms(t *testing.T) {
	var b strings.Builder
	b.WriteString("experiment:\n")
	for i := range 51 {
		fmt.Fprintf(&b, "- {name: e%d, match: {dst_port: %d}, arms: [{name: a%d, weight: 50, policy: gateway}, {name: b%d, weight: 50, policy: observe}]}\n", i, i, i, i)
	}
	_, problems := Parse("exp.yaml", []byte(b.String()))
	if len(problems) != 1 || problems[0].Found != "102 arms" {
		t.Errorf("%v", problems)
	}
	text := b.String()
	if set := parse(t, text[:strings.Index(text, "- {name: e50")]); len(set.Arms()) != 100 || set.Arms()[99].Number != 100 {
		t.Error("a hundred arms")
	}
}

func TestParseConfig(t *testing.T) {
	for _, text := range []string{"policy: observe", "experiment: exp.yaml\nqueues: 0-1", "", "[]"} {
		if set, problems := ParseConfig("c.yaml", []byte(text)); set != nil || problems != nil {
			t.Errorf("%q: %v %v", text, set, problems)
		}
	}
	if set, problems := ParseConfig("c.yaml", []byte("policy: observe\n"+good)); set == nil || set.Specs[0].Name != "idle-5m" {
		t.Error(problems)
	}
	if set, problems := ParseConfig("c.yaml", []byte("policy: observe\nexperiment: {name: x}")); set != nil || len(problems) != 1 || problems[0].Line != 2 {
		t.Error(problems)
	}
	if _, problems := ParseConfig("c.yaml", []byte("a: b: c")); problems == nil {
		t.Error("no YAML, no problem")
	}
}

func TestAmount(t *testing.T) {
	for _, tt := range []struct {
		text string
		m    Metric
		want float64
		ok   bool
	}{
		{"2%", ConnectFailure, 0.02, true}, {"0.02", ConnectFailure, 0.02, true}, {"2", ConnectFailure, 0, false}, {"0", ConnectFailure, 0, true},
		{"101%", ConnectFailure, 0, false}, {"150%", ResetRate, 1.5, true}, {"3", ResetRate, 3, true}, {"1e3", ResetRate, 1000, true},
		{"500ms", StallTime, 0.5, true}, {"0.5", StallTime, 0, false}, {"inf", ResetRate, 0, false}, {"0x10", ResetRate, 0, false}, {"", ResetRate, 0, false},
		{"%", ResetRate, 0, false}, {"-0", ResetRate, 0, false}, {"1_0", ResetRate, 0, false},
	} {
		if got, ok := parseAmount(tt.text, tt.m); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q of %s: %v %v", tt.text, tt.m, got, ok)
		}
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "0.01": 1, "5": 500, "5.5%": 550, "99.99": 9999, "100": 10000, "100.00%": 10000} {
		if got, ok := parsePercent(text); !ok || got != want {
			t.Errorf("%q: %v %v", text, got, ok)
		}
		if got, ok := parsePercent(percentText(want)); !ok || got != want {
			t.Errorf("%d as %s: %v %v", want, percentText(want), got, ok)
		}
	}
	for _, text := range []string{"", "%", "5.", ".5", "1e1", "+5", "-1", "5%%", "100.01", "0.001", "5 %", "0x5", "١"} {
		if got, ok := parsePercent(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("experiment: [{name: a, switchback: {block: 10s}, start: 2026-12-01T08:00:00Z, arms: [{name: b, policy: gateway}, {name: c, aa: true}]}]"))
	f.Add([]byte("experiment: &a {name: a, match: {src: [::/0, 10.0.0.0/8], dst_port: 1-2}, arms: [*a]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, problems := Parse("dir/f.yaml", data)
		if (set == nil) != (len(problems) > 0) {
			t.Fatalf("%v %v", set, problems)
		}
		for i := range problems {
			if p := &problems[i]; p.Line < 1 || p.Column < 1 || p.Found == "" {
				t.Errorf("%+v", p)
			}
		}
		if set == nil {
			return
		}
		for i := range set.Specs {
			s := &set.Specs[i]
			text, err := s.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			back, err := FromJSON(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if d := back.Differences(s); len(d) > 0 {
				t.Fatalf("%s: %v", text, d)
			}
			for _, tu := range someTuples() {
				for _, at := range []time.Time{{}, s.Start, s.End, time.Unix(1<<40, 0)} {
					if s.ArmOf(at, &tu) != back.ArmOf(at, &tu) {
						t.Fatalf("%s: another arm for %v", text, tu)
					}
				}
			}
		}
		for _, a := range set.Arms() {
			if a.PolicyRef == "" || a.Arm.Weight < 1 {
				t.Errorf("%+v", a)
			}
		}
	})
}
