package policy

import (
	"strings"
	"testing"

	"halfopen/conntrack"
)

// An option's value may bring rules: they are tried after those of the files that inherit and before those of the file that defines
// it, and a setting reaches them by name while the value is in force.
func TestOptionRules(t *testing.T) {
	const def = `
options:
  answer:
    meaning: whether stray segments from inside are answered
    default: "no"
    values:
      "no": {}
      inside:
        rules:
          - name: inside
            match: {src: 10.0.0.0/8, direction: original}
            on: {mid-stream: {packet: drop, reply: rst}, rst-no-state: drop}
rules: [{name: own, match: {dst_port: 80}}]
on: {mid-stream: drop}
`
	read := func(string) ([]byte, error) { return []byte(def), nil }
	site := func(more string, set ...Override) (*Policy, Problems) {
		return Load("site.yaml", []byte("preset: ./def.yaml\n"+more), read, set...)
	}
	names := func(p *Policy) string {
		var out []string
		for i := range p.Rules() {
			out = append(out, p.RuleName(int32(i)))
		}
		return strings.Join(out, " ")
	}
	for more, want := range map[string]string{
		"":                          "own",
		"options: {answer: inside}": "inside own",
		"rules: [{name: mine, match: {dst_port: 22}}]\noptions: {answer: inside}": "mine inside own",
	} {
		p, problems := site(more)
		if p == nil || names(p) != want {
			t.Errorf("%q: %v, %v", more, p, problems)
		}
	}
	close := Override{"rules.inside.timeouts.close", "1s"}
	if p, problems := site("options: {answer: inside}", close); p == nil || p.Timeouts(0)[conntrack.Close].String() != "1s" {
		t.Error(problems)
	}
	if p, problems := site("", close); p != nil || len(problems) != 1 || problems[0].Found != `no rule "inside"` {
		t.Error(problems)
	}
	p, _ := site("options: {answer: inside}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	x.run(t, `
	+0    c P. 1:10 1         => drop/data-no-state rule=inside reply=rst:c:R,1
	+0    s P. 1:10 1         => drop/data-no-state reply=none`)
	again, problems := Load("again.yaml", p.YAML(), nil)
	if again == nil || again.Rev() != p.Rev() {
		t.Errorf("%v\n%s", problems, p.YAML())
	}
}
