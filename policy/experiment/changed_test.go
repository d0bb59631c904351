package experiment

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestSpecJSON: the object that records carry, letter by letter, and back.
func TestSpecJSON(t *testing.T) {
	set := parse(t, good)
	set.Specs[0].Arms[1].Preset, set.Specs[0].Arms[1].Rev = "openbsd-pf", "sha256:12"
	got, err := json.Marshal(set.Specs[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"idle-5m","unit":"pair","salt":"a salt","share":12.5,"match":{"src":["10.0.0.0/8","2001:db8::/32"],"dst_port":["515"]},` +
		`"start":"2026-12-01T08:00:00Z","end":"2026-12-08T08:00:00Z","warm_up_s":1800,"arms":[{"name":"control","weight":50,"policy":"gateway"},` +
		`{"name":"short","weight":40.25,"policy":"short.yaml","preset":"openbsd-pf","policy_rev":"sha256:12"},{"name":"again","weight":9.75,"aa":true}],` +
		`"guardrails":[{"metric":"connect-failure","max_increase":0.02},{"metric":"reset","max":0.05,"alpha":0.001},{"metric":"stall","max_increase":0.5}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, err := FromJSON(got)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(back)
	if string(again) != want || len(back.Differences(&set.Specs[0])) > 0 {
		t.Errorf("%s\n%v", again, back.Differences(&set.Specs[0]))
	}
	switching := parse(t, exp("switchback: {block: 90s, seed: 7}\n  start: 2026-12-01T08:00:00.5Z\n  match: {src_port: 721-731, dst: \"::/0\"}")).Specs[0]
	got, _ = json.Marshal(switching)
	const part = `"match":{"dst":["::/0"],"src_port":["721-731"]},"start":"2026-12-01T08:00:00.5Z","warm_up_s":0,"switchback":{"block_s":90,"seed":7},`
	if !strings.Contains(string(got), part) {
		t.Errorf("%s", got)
	}
	if back, err = FromJSON(got); err != nil || len(back.Differences(&switching)) > 0 {
		t.Errorf("%v %v", err, back)
	}
}

// TestFromJSONBad: a log may hold anything.
func TestFromJSONBad(t *testing.T) {
	const arms = `"arms":[{"name":"a","weight":50},{"name":"b","weight":50}]`
	ok := `{"name":"x","unit":"client","salt":"s","share":100,"later":1,` + arms + `}`
	if _, err := FromJSON([]byte(ok)); err != nil {
		t.Error(err)
	}
	for bad, want := range map[string]string{
		`{`:                          "unexpected end",
		`[]`:                         "cannot unmarshal",
		`null`:                       "it has no name",
		`{"name":"x","unit":"host"}`: `the unit "host" is not known`,
		`{"name":"x","unit":"client","share":100}`:                                                                                           "0 arms",
		`{"name":"x","unit":"client","share":101,` + arms + `}`:                                                                              "a share of 101%",
		`{"name":"x","unit":"client","share":100,"start":"now",` + arms + `}`:                                                                "now",
		`{"name":"x","unit":"client","share":100,"warm_up_s":-1,` + arms + `}`:                                                               "a duration of -1 seconds",
		`{"name":"x","unit":"client","share":100,"warm_up_s":1e300,` + arms + `}`:                                                            "a duration of 1e+300 seconds",
		`{"name":"x","unit":"client","share":100,"switchback":{"block_s":0},` + arms + `}`:                                                   "without blocks",
		`{"name":"x","unit":"client","share":100,"switchback":{"block_s":60},` + arms + `}`:                                                  "without blocks or start",
		`{"name":"x","unit":"client","share":100,"match":{"src":["x"]},` + arms + `}`:                                                        "x",
		`{"name":"x","unit":"client","share":100,"match":{"src_port":["9-1"]},` + arms + `}`:                                                 "a range",
		`{"name":"x","unit":"client","share":100,"guardrails":[{"metric":"y"}],` + arms + `}`:                                                `the metric "y" is not known`,
		`{"name":"x","unit":"client","share":100,"guardrails":[{"metric":"reset"}],` + arms + `}`:                                            "without one amount",
		`{"name":"x","unit":"client","share":100,"arms":[{"name":"a","weight":50},{"name":"b","weight":49.99}]}`:                             "sum is 99.99%",
		`{"name":"x","unit":"client","share":100,"arms":[{"name":"a","weight":150},{"name":"b","weight":-50}]}`:                              `an arm "a" with weight 150`,
		`{"name":"x","unit":"client","share":100,"arms":[{"weight":50},{"name":"b","weight":50}]}`:                                           `an arm ""`,
		`{"name":"x","unit":"client","share":100,"salt":"` + strings.Repeat("s", 65) + `",` + arms + `}`:                                     "more than 64 bytes",
		`{"name":"x","unit":"client","share":100,"arms":[` + strings.Repeat(`{"name":"a","weight":0},`, 300) + `{"name":"b","weight":100}]}`: "301 arms",
	} {
		if s, err := FromJSON([]byte(bad)); err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %s", bad, err, want)
		}
	}
}

func TestChanged(t *testing.T) {
	before := parse(t, good)
	now := before.Specs[0].Start.Add(time.Hour)
	for _, tt := range []struct {
		from, to string
		want     string // "" for no change
		refused  bool
	}{
		{"", "", "", false},
		{"salt: a salt", "salt: other", `idle-5m: salt "a salt" -> "other"`, true},
		{"unit: pair", "unit: client", "idle-5m: unit pair -> client", true},
		{"share: 12.5%", "share: 13%", "idle-5m: share 12.5% -> 13%", true},
		{"weight: 50,", "weight: 50.0,", "", false},
		{"40.25%, policy: short.yaml}\n    - {name: again, weight: 9.75", "40%, policy: short.yaml}\n    - {name: again, weight: 10",
			"idle-5m: weights control 50, short 40.25, again 9.75 -> control 50, short 40, again 10", true},
		{"name: short", "name: brief", "idle-5m: weights control 50, short 40.25, again 9.75 -> control 50, brief 40.25, again 9.75", true},
		{"dst_port: 515", "dst_port: 516", "idle-5m: match dst_port 515 src 10.0.0.0/8,2001:db8::/32 -> dst_port 516 src 10.0.0.0/8,2001:db8::/32", false},
		{"end: 2026-12-08T09:00:00+01:00", "end: 2026-12-08T08:00:00Z", "", false},
		{"end: 2026-12-08T09:00:00+01:00", "", "idle-5m: end 2026-12-08T08:00:00Z -> none", false},
		{"warm_up: 30m", "warm_up: 1h", "idle-5m: warm_up 30m -> 1h", false},
		{"short.yaml", "brief.yaml", "idle-5m: arms.short.policy short.yaml -> brief.yaml", false},
		{"aa: true", "policy: observe", "idle-5m: arms.again.policy the control's -> observe", false},
		{"max_increase: 2%", "max_increase: 3%", "idle-5m: guardrails connect-failure at most 2 points more than control, reset at most 0.05 (alpha 0.001), stall at most 0.5s more than control -> " +
			"connect-failure at most 3 points more than control, reset at most 0.05 (alpha 0.001), stall at most 0.5s more than control", false},
		{"name: idle-5m", "name: idle-6m", "idle-6m added, idle-5m removed", false},
	} {
		after := parse(t, strings.Replace(good, tt.from, tt.to, 1))
		changes := after.Changed(before, now)
		var words []string
		refused := false
		for i := range changes {
			words = append(words, changes[i].String())
			refused = refused || changes[i].Refused
		}
		if got := strings.Join(words, ", "); got != tt.want || refused != tt.refused {
			t.Errorf("%s -> %s:\ngot  %s (refused %v)\nwant %s", tt.from, tt.to, got, refused, tt.want)
		}
		for _, other := range []time.Time{before.Specs[0].Start.Add(-1), before.Specs[0].End} { // not running: anything may change
			for _, c := range after.Changed(before, other) {
				if c.Refused {
					t.Errorf("%v refused at %v", c, other)
				}
			}
		}
	}
	if c := before.Changed(nil, now); len(c) != 1 || c[0].Kind != Added {
		t.Error(c)
	}
	var none *Set
	if c := none.Changed(before, now); len(c) != 1 || c[0].Kind != Removed || c[0].String() != "idle-5m removed" {
		t.Error(c)
	}
}

// TestChangedSwitchback: what moves the blocks is a change of the assignment; a policy that was loaded is known by its revision.
func TestChangedSwitchback(t *testing.T) {
	const text = "switchback: {block: 10m, seed: 1}\n  start: 2026-12-01T08:00:00Z"
	before := parse(t, exp(text))
	now := before.Specs[0].Start.Add(time.Hour)
	for from, to := range map[string]string{"seed: 1": "seed: 2", "block: 10m": "block: 11m", "08:00:00Z": "08:00:01Z"} {
		changes := parse(t, exp(strings.Replace(text, from, to, 1))).Changed(before, now)
		if len(changes) != 1 || !changes[0].Refused {
			t.Errorf("%s -> %s: %v", from, to, changes)
		}
	}
	after := parse(t, exp(text))
	before.Specs[0].Arms[1].Rev, after.Specs[0].Arms[1].Rev = "sha256:1", "sha256:2"
	if c := after.Changed(before, now); len(c) != 1 || c[0].Refused || c[0].String() != "x: arms.b.policy sha256:1 -> sha256:2" {
		t.Error(c)
	}
}

func FuzzFromJSON(f *testing.F) {
	text, _ := json.Marshal(NewSet("x", Spec{Name: "x", Salt: "x", Share: perHundred, Arms: []Arm{{Name: "a", Weight: 3333}, {Name: "b", Weight: 6667}}}).Specs[0])
	f.Add(text)
	f.Add([]byte(`{"name":"x","unit":"flow","share":1,"start":"2026-12-01T08:00:00Z","switchback":{"block_s":0.001,"seed":1},"match":{"src":["::/0"],"dst_port":["1-2"]},"arms":[{"name":"a"},{"name":"b"}]}`))
	f.Add([]byte(`{"name":"x","unit":"pair","warm_up_s":1e9,"guardrails":[{"metric":"stall","max":1,"alpha":0.5}],"arms":[{"name":"a","weight":100},{"name":"b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := FromJSON(data)
		if (s == nil) != (err != nil) {
			t.Fatal(s, err)
		}
		if s == nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromJSON(text)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if d := back.Differences(s); len(d) > 0 {
			t.Fatalf("%v: %s", d, text)
		}
		for _, tu := range someTuples() {
			for _, at := range []time.Time{{}, s.Start, s.Start.Add(time.Hour), s.End} {
				if a := s.ArmOf(at, &tu); a != back.ArmOf(at, &tu) || a >= len(s.Arms) {
					t.Fatalf("arm %d of %s", a, text)
				}
				s.Analysed(at, at)
			}
		}
	})
}
