package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
)

// files returns the scenarios that come with the policies.
func files(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("../testdata/*/*.scn")
	if err != nil || len(names) < 80 {
		t.Fatalf("%d scenarios, %v", len(names), err)
	}
	return names
}

func parseFile(t testing.TB, name string) *Script {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s, problems := Parse(name, data)
	if s == nil {
		t.Fatal(problems)
	}
	if got := s.Format(); string(got) != string(data) {
		t.Errorf("%s is not in the canonical layout (halfopen test --update --fmt)", name)
	}
	if s.Prose() == "" {
		t.Errorf("%s begins without saying what it shows", name)
	}
	return s
}

// Every scenario comes out as written, in the layout of the printer, and belongs to the preset of its folder.
func TestFiles(t *testing.T) {
	for _, name := range files(t) {
		t.Run(strings.TrimPrefix(name, "../testdata/"), func(t *testing.T) {
			s := parseFile(t, name)
			r := s.Run(Config{})
			if len(r.Problems) > 0 {
				t.Error(r.Problems.Error())
			}
			if r.Decisions == 0 || len(r.edits) > 0 && len(r.Problems) == 0 {
				t.Errorf("%d decisions are compared; lines without one: %d", r.Decisions, len(r.edits))
			}
			if dir := filepath.Base(filepath.Dir(name)); dir != "regressions" && s.PolicyName() != dir {
				t.Errorf("it is about %s", s.PolicyName())
			}
		})
	}
}

// covered is what scenarios hit.
type covered struct {
	found   [conntrack.NumFindings]bool
	actions map[string]map[conntrack.Finding][]policy.Action // by policy
}

func (c *covered) hit(p *policy.Policy, rule string, f conntrack.Finding, a policy.Action) {
	c.found[f] = true
	if rule != "" {
		return
	}
	if c.actions[p.Name()] == nil {
		c.actions[p.Name()] = map[conntrack.Finding][]policy.Action{}
	}
	c.actions[p.Name()][f] = append(c.actions[p.Name()][f], a)
}

// missing returns what a preset does that no scenario of it shows: each action that is not the one which forwarding has by
// nature. A kind of a finding that has the same action as the finding shows that one's too.
func (c *covered) missing(p *policy.Policy) (words []string) {
	for f := range conntrack.NumFindings {
		a := *p.Action(-1, conntrack.Original, f)
		if a == policy.NaturalAction(f, policy.Forward) {
			continue
		}
		shown := false
		for g := range conntrack.NumFindings {
			if g.Base() != f.Base() {
				continue
			}
			for _, got := range c.actions[p.Name()][g] {
				shown = shown || got == a
			}
		}
		if !shown {
			words = append(words, f.String()+": "+a.Text())
		}
	}
	return words
}

// Each finding, and each action of each preset that is not forwarding alone, is hit by a scenario.
func TestCoverage(t *testing.T) {
	c := covered{actions: map[string]map[conntrack.Finding][]policy.Action{}}
	for _, name := range files(t) {
		r := parseFile(t, name).Run(Config{
			Observe: func(p *policy.Policy, _ *conntrack.Segment, out *policy.Outcome) {
				c.hit(p, out.Rule, out.Finding, out.Action)
			},
			Timed: func(p *policy.Policy, ev *policy.TimeEvent) {
				switch {
				case ev.Kind == policy.TimeExpired || ev.Kind == policy.TimeUnanswered:
					c.hit(p, ev.Rule, ev.Finding, ev.Action)
				case ev.Kind == policy.TimeFlow && ev.Flow.Why == conntrack.EndIdle:
					c.found[conntrack.IdleExpired] = true
				}
			},
		})
		if !r.Played {
			t.Error(r.Problems)
		}
	}
	for f, ok := range c.found {
		if !ok {
			t.Errorf("no scenario shows %s", conntrack.Finding(f))
		}
	}
	for _, name := range policy.Presets() {
		data, _ := policy.Preset(name)
		p, problems := policy.Load(name, data, nil)
		if p == nil {
			t.Fatal(problems)
		}
		for _, what := range c.missing(p) {
			t.Errorf("no scenario of %s shows %s", name, what)
		}
	}
	// The test must be able to fail.
	empty := covered{actions: map[string]map[conntrack.Finding][]policy.Action{}}
	data, _ := policy.Preset("openbsd-pf")
	p, _ := policy.Load("openbsd-pf", data, nil)
	if n := len(empty.missing(p)); n < 20 {
		t.Errorf("without scenarios only %d actions are missing", n)
	}
}
