package scenario

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"halfopen/conntrack"
	"halfopen/policy"
)

// presets are those that the tests' scripts name, compiled once.
var presets = map[string]*policy.Policy{}

const scenarios = "../testdata/*/*.scn"

// files returns the scenarios that come with the policies.
func files(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob(scenarios)
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
			r := plays()[name]
			if len(r.Problems) > 0 {
				t.Error(r.Problems.Error())
			}
			if r.Decisions == 0 || len(r.edits) > 0 && len(r.Problems) == 0 {
				t.Errorf("%d decisions are compared; lines without one: %d", r.Decisions, len(r.edits))
			}
			if dir := filepath.Base(filepath.Dir(name)); dir != "regressions" && presetOf(s.PolicyName()) != dir {
				t.Errorf("it is about %s", s.PolicyName())
			}
		})
	}
}

// presetOf returns the preset that a reference names, with or without choices.
func presetOf(ref string) string {
	name, _, _ := policy.CutReference(ref)
	return name
}

// shown is what the scenarios hit when plays played them.
var shown = newCovered()

// plays plays every scenario that comes with the policies, once for all tests, and returns what came of each by its name.
var plays = sync.OnceValue(func() map[string]*Result {
	results := map[string]*Result{}
	names, _ := filepath.Glob(scenarios)
	for _, name := range names {
		data, _ := os.ReadFile(name)
		s, _ := Parse(name, data)
		if s == nil { // parseFile says what is wrong
			continue
		}
		results[name] = s.Run(Config{
			Presets: presets,
			Observe: func(p *policy.Policy, _ *conntrack.Segment, out *policy.Outcome) {
				shown.hit(p, out.Finding, out.Action)
			},
			Timed: func(p *policy.Policy, ev *policy.TimeEvent) {
				switch {
				case ev.Kind == policy.TimeExpired || ev.Kind == policy.TimeUnanswered:
					shown.hit(p, ev.Finding, ev.Action)
				case ev.Kind == policy.TimeFlow:
					if f, ok := ev.Flow.Entry.Expired(ev.Flow.Why); ok { // a silent end has no event of its own
						shown.hit(p, f, *p.Action(p.RuleByName(ev.Flow.Rule), conntrack.Original, f))
					}
				}
			},
		})
	}
	return results
})

// covered is what scenarios hit.
type covered struct {
	found   [conntrack.NumFindings]bool
	actions map[string]map[conntrack.Finding][]policy.Action // by policy, and by PRESET:OPTION=VALUE of what defines the option
}

func newCovered() covered {
	return covered{actions: map[string]map[conntrack.Finding][]policy.Action{}}
}

func (c *covered) hit(p *policy.Policy, f conntrack.Finding, a policy.Action) {
	c.found[f] = true
	say := func(under string) {
		if c.actions[under] == nil {
			c.actions[under] = map[conntrack.Finding][]policy.Action{}
		}
		if had := c.actions[under][f]; !slices.Contains(had, a) {
			c.actions[under][f] = append(had, a)
		}
	}
	say("policy " + p.Name())
	for _, o := range p.Options() {
		say(o.Defined.From + ":" + o.Name + "=" + o.Value)
	}
}

// shown reports whether a scenario shows an action on a finding, or on one of its kind with the same action.
func (c *covered) shown(under string, f conntrack.Finding, a policy.Action) bool {
	for g := range conntrack.NumFindings {
		if g.Base() == f.Base() && slices.Contains(c.actions[under][g], a) {
			return true
		}
	}
	return false
}

// missingOptions returns what values of a preset's own options do that no scenario shows: each action that is another than
// by default, or where there is none, anything at all.
func (c *covered) missingOptions(t *testing.T, p *policy.Policy) (words []string) {
	for _, o := range p.Options() {
		for _, v := range o.Values {
			if under := o.Defined.From + ":" + o.Name + "=" + v.Word; o.Defined.From != p.Name() {
				continue
			} else if len(c.actions[under]) == 0 {
				words = append(words, under)
			} else if q, err := policy.Open(under, nil); err != nil {
				t.Error(err)
			} else {
				for f := range conntrack.NumFindings {
					a := *q.Action(-1, conntrack.Original, f)
					if a != *p.Action(-1, conntrack.Original, f) && !c.shown(under, f, a) {
						words = append(words, under+" "+f.String()+": "+a.Text())
					}
				}
			}
		}
	}
	return words
}

// missing returns what a preset does that no scenario of it shows: each action that is not the one which forwarding has by
// nature. A kind of a finding that has the same action as the finding shows that one's too.
func (c *covered) missing(p *policy.Policy) (words []string) {
	for f := range conntrack.NumFindings {
		a := *p.Action(-1, conntrack.Original, f)
		if a == policy.NaturalAction(f, policy.Forward) || a == policy.DefaultAction(f) {
			continue
		}
		if !c.shown("policy "+p.Name(), f, a) {
			words = append(words, f.String()+": "+a.Text())
		}
	}
	return words
}

// Each finding, each action of each preset that is not forwarding alone, and what each value of each option changes, is hit by a
// scenario.
func TestCoverage(t *testing.T) {
	for _, name := range files(t) {
		if r := plays()[name]; r == nil || !r.Played {
			t.Errorf("%s was not played", name)
		}
	}
	c := &shown
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
		for _, what := range c.missingOptions(t, p) {
			t.Errorf("no scenario shows %s", what)
		}
	}
	// The test must be able to fail.
	empty := newCovered()
	data, _ := policy.Preset("openbsd-pf")
	p, _ := policy.Load("openbsd-pf", data, nil)
	if n := len(empty.missing(p)); n < 20 {
		t.Errorf("without scenarios only %d actions are missing", n)
	}
	if n := len(empty.missingOptions(t, p)); n < 4 {
		t.Errorf("without scenarios only %d values of options are missing", n)
	}
}
