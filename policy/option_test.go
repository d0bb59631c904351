package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"halfopen/conntrack"
)

// option is a policy that defines options. The second changes what the first does, and so has the last word.
const option = `description: a box with two options
timeouts: {established: 1h} # idle
on: {mid-stream: drop}
options:
  tcp-rst:
    meaning: whether a segment without a session is answered
    default: off
    values:
      off: {} # silence
      on: {on: {mid-stream: {packet: drop, reply: rst}, rst-no-state: drop}, timeouts: {close: 7s}} # the zone's
  net.idle:
    meaning: how long
    default: 3600
    values:
      3600: {}
      60: {timeouts: {established: 60s}, limits: {flows: 10}, window: {check: off}, caps: {one_way: 5s}, inject: {ttl: 9}}
  late:
    meaning: the same once more
    default: no
    values: {no: {}, yes: {on: {fin-no-state: forward}, timeouts: {close: 8s}}}
`

// withOption compiles a policy whose file box.yaml is the one above.
func withOption(text string, overrides ...string) (*Policy, Problems) {
	var over []Override
	for _, s := range overrides {
		o, err := ParseOverride(s)
		if err != nil {
			return nil, Problems{{Found: err.Error()}}
		}
		over = append(over, o)
	}
	return Load("site.yaml", []byte(text), func(name string) ([]byte, error) {
		if name == "box.yaml" {
			return []byte(option), nil
		}
		return nil, os.ErrNotExist
	}, over...)
}

// brief says what the options above change.
func brief(p *Policy) string {
	w := p.Action(-1, conntrack.Original, conntrack.FinNoState)
	return fmt.Sprintf("%s %s, %s, %s, flows %d", w.Packet, w.Reply, FormatDuration(p.Timeouts(-1)[conntrack.Close]), FormatDuration(p.Timeouts(-1)[conntrack.Established]), p.Limits().Flows)
}

// TestOptions: what a choice changes holds right above the file that defines the option.
func TestOptions(t *testing.T) {
	for _, c := range []struct{ text, set, want string }{
		{"preset: box.yaml", "", "drop none, 10s, 1h, flows 262144"},
		{"preset: box.yaml\noptions: {tcp-rst: off}", "", "drop none, 10s, 1h, flows 262144"},
		{"preset: box.yaml\noptions: {tcp-rst: on}", "", "drop rst, 7s, 1h, flows 262144"},
		{"preset: box.yaml\noptions: {tcp-rst: \"on\"}", "", "drop rst, 7s, 1h, flows 262144"},
		{"preset: box.yaml", "options.tcp-rst=on", "drop rst, 7s, 1h, flows 262144"},
		{"preset: box.yaml", "options={tcp-rst: on}", "drop rst, 7s, 1h, flows 262144"},
		{"preset: box.yaml\noptions: {tcp-rst: on}", "options.tcp-rst=off", "drop none, 10s, 1h, flows 262144"},
		{"preset: box.yaml", "options.net.idle=60", "drop none, 10s, 1m, flows 10"},
		{"preset: box.yaml\noptions: {net.idle: 60, tcp-rst: on}", "", "drop rst, 7s, 1m, flows 10"},
		// of two options the one defined later has the last word
		{"preset: box.yaml\noptions: {late: yes, tcp-rst: on}", "", "forward none, 8s, 1h, flows 262144"},
		// the file that chooses has the last word over what it chooses
		{"preset: box.yaml\noptions: {tcp-rst: on}\ntimeouts: {close: 1s}\non: {mid-stream: forward}", "", "forward none, 1s, 1h, flows 262144"},
		{"preset: box.yaml\noptions: {net.idle: 60}\nlimits: {flows: 5}", "timeouts.established=2s", "drop none, 10s, 2s, flows 5"},
		{"preset: box.yaml\ntimeouts: {close: 1s}", "options.tcp-rst=on", "drop rst, 1s, 1h, flows 262144"},
		// a policy that defines an option holds with its default
		{option, "", "drop none, 10s, 1h, flows 262144"},
		{option, "options.late=yes", "forward none, 8s, 1h, flows 262144"},
	} {
		var set []string
		if c.set != "" {
			set = []string{c.set}
		}
		p, problems := withOption(c.text, set...)
		if p == nil {
			t.Errorf("%s, %s: %v", c.text, c.set, problems)
		} else if got := brief(p); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.text, c.set, got, c.want)
		}
	}
}

// TestOptionsShown: what is in force says that an option put it there, and the policy tells its options.
func TestOptionsShown(t *testing.T) {
	p, problems := withOption("preset: box.yaml\noptions: {tcp-rst: on}\n", "options.net.idle=60")
	if p == nil {
		t.Fatal(problems)
	}
	for key, want := range map[string]Note{
		"on.fin-no-state":      {"the zone's; option tcp-rst=on", "box.yaml", 10, "tcp-rst=on"},
		"timeouts.close":       {"the zone's; option tcp-rst=on", "box.yaml", 10, "tcp-rst=on"},
		"timeouts.established": {"option net.idle=60", "box.yaml", 16, "net.idle=60"},
		"window.check":         {"option net.idle=60", "box.yaml", 16, "net.idle=60"},
		"caps.one_way":         {"option net.idle=60", "box.yaml", 16, "net.idle=60"},
	} {
		if got := p.Note(key); got != want {
			t.Errorf("%s: %+v, want %+v", key, got, want)
		}
	}
	var got []string
	for _, o := range p.Options() {
		got = append(got, fmt.Sprint(o.Name, " ", o.Value, " ", o.Default, " ", o.Defined, " ", o.Chosen, " ", o.Values))
	}
	want := "tcp-rst on off box.yaml:5 site.yaml:2 [{off silence} {on the zone's}]\n" +
		"net.idle 60 3600 box.yaml:11 --set options.net.idle=60 [{3600 } {60 }]\n" +
		"late no no box.yaml:17  [{no } {yes }]"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("options\n%s\nwant\n%s", s, want)
	}
}

// TestOptionMeaning: a choice means what it changes, and nothing else.
func TestOptionMeaning(t *testing.T) {
	rev := func(text string) string {
		p, problems := withOption(text)
		if p == nil {
			t.Fatal(problems)
		}
		again, problems := Load("again.yaml", p.YAML(), nil)
		if again == nil || again.Rev() != p.Rev() {
			t.Errorf("written out %s is another policy: %v", text, problems)
		}
		return p.Rev()
	}
	plain, chosen := rev("preset: box.yaml"), rev("preset: box.yaml\noptions: {tcp-rst: on}")
	if plain == chosen || plain != rev("preset: box.yaml\noptions: {tcp-rst: off}") {
		t.Error("the value in force does not make the revision")
	}
	if chosen != rev("preset: box.yaml\non: {mid-stream: {packet: drop, reply: rst}, rst-no-state: drop}\ntimeouts: {close: 7s}") {
		t.Error("a choice is another policy than what it says")
	}
}

// TestOptionProblems: what cannot be chosen or defined.
func TestOptionProblems(t *testing.T) {
	for _, c := range []struct{ text, set, want string }{
		{"preset: box.yaml\noptions: {tcp-rts: on}", "", `site.yaml:2:11: unknown option "tcp-rts", expected tcp-rst, net.idle or late (did you mean "tcp-rst"?)`},
		{"preset: box.yaml\noptions: {tcp-rst: onn}", "", `site.yaml:2:20: "onn" for the option tcp-rst, expected off or on (did you mean "on"?)`},
		{"preset: box.yaml\noptions: {tcp-rst: true}", "", `site.yaml:2:20: "true" for the option tcp-rst, expected off or on`},
		{"preset: observe\noptions: {a: b}", "", `site.yaml:2:11: unknown option "a", expected no option: what is inherited here defines none`},
		{"preset: box.yaml", "options.late=maybe", `--set options.late=maybe: "maybe" for the option late, expected no or yes`},
		{"preset: box.yaml", "options.lates=no", `--set options.lates=no: unknown option "lates", expected tcp-rst, net.idle or late (did you mean "late"?)`},
		{"preset: box.yaml", "options.late={meaning: x}", `a mapping, expected one of the option's values`},
		{"preset: box.yaml\noptions: {late: {meaning: x, default: a, values: {a: {}, b: {}}}}", "", `site.yaml:2:11: the option "late" again, expected another name, or one of its values: box.yaml defines it`},
	} {
		var set []string
		if c.set != "" {
			set = []string{c.set}
		}
		p, problems := withOption(c.text, set...)
		if p != nil || !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%s, %s: %v, want %s", c.text, c.set, problems, c.want)
		}
	}
}

// TestReference: a reference to a preset can choose, wherever a policy is named.
func TestReference(t *testing.T) {
	const ref = "openbsd-pf:optimization=aggressive"
	p, err := Open(ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, chosen := load(t, "openbsd-pf"), p.Rev()
	if p.Name() != ref || p.Preset() != ref || p.Description() != plain.Description() || len(p.Head()) != len(plain.Head()) || p.Rev() == plain.Rev() {
		t.Errorf("%s: name %q, preset %q, description %q, %d lines of head", ref, p.Name(), p.Preset(), p.Description(), len(p.Head()))
	}
	if n := p.TimeoutNote(conntrack.Established); n.From != "openbsd-pf" || !strings.HasSuffix(n.Text, "; option optimization=aggressive") {
		t.Errorf("note %+v", n)
	}
	if o := p.Options(); len(o) == 0 || o[0].Value != "aggressive" || o[0].Chosen.String() != ref {
		t.Errorf("options %+v", o)
	}
	for _, text := range []string{"preset: " + ref, "preset: openbsd-pf\noptions: {optimization: aggressive}"} {
		if p, problems := Load("site.yaml", []byte(text), nil); p == nil || p.Rev() != chosen {
			t.Errorf("%s: another policy, %v", text, problems)
		}
	}
	if p, err := Open(ref, nil, Override{"options.optimization", "normal"}); err != nil || p.Rev() != plain.Rev() {
		t.Errorf("a setting over a reference: %v", err)
	}
	for bad, want := range map[string]string{
		"openbsd-pf:":                                   `openbsd-pf: "" behind openbsd-pf:, expected OPTION=VALUE, or several with commas between`,
		"openbsd-pf:optimization":                       `"optimization" behind openbsd-pf:`,
		"openbsd-pf:optimization=":                      `"optimization=" behind openbsd-pf:`,
		"openbsd-pf:optimization=normal,":               `"" behind openbsd-pf:`,
		"openbsd-pf:optimization=x":                     `: "x" for the option optimization, expected normal,`,
		"openbsd-pf:optimisation=normal":                `: unknown option "optimisation", expected `,
		"openbsd-pf:optimization=normal,optimization=x": `openbsd-pf: the option "optimization" twice, expected it once`,
		"opnbsd-pf:optimization=normal":                 `did you mean "openbsd-pf"?`,
	} {
		if p, err := Open(bad, os.ReadFile); p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
	// In a file the place is the one that names it.
	for text, want := range map[string]string{
		"description: x\npreset: openbsd-pf:optimization=x":   `site.yaml:2:9: "x" for the option optimization`,
		"description: x\npreset: openbsd-pf:optimization":     `site.yaml:2:9: "optimization" behind openbsd-pf:`,
		"description: x\npreset: openbsd-pf:optimizatio=slow": `site.yaml:2:9: unknown option "optimizatio", expected`,
	} {
		if p, problems := Load("site.yaml", []byte(text), nil); p != nil || !strings.HasPrefix(problems.Error(), want) {
			t.Errorf("%s: %v, want %s", text, problems, want)
		}
	}
}
