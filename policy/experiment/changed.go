package experiment

import (
	"strconv"
	"strings"
	"time"

	"halfopen/policy"
)

// Difference is one thing in which two specs of an experiment differ.
type Difference struct {
	Key      string // of the configuration, as salt or arms.short.policy
	Old, New string // "" for none
	// Assignment: other units get other arms than before. What was seen before and after does not belong together.
	Assignment bool
}

// String says it in words.
func (d *Difference) String() string {
	word := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	return d.Key + " " + word(d.Old) + " -> " + word(d.New)
}

// Differences returns in what s differs from an earlier spec of the same experiment, the assignment's keys first.
func (s *Spec) Differences(old *Spec) []Difference {
	var out []Difference
	add := func(assignment bool, key, a, b string) {
		if a != b {
			out = append(out, Difference{key, a, b, assignment})
		}
	}
	add(true, "salt", policy.Quote(old.Salt), policy.Quote(s.Salt))
	add(true, "unit", old.Unit.String(), s.Unit.String())
	add(true, "share", percentText(old.Share)+"%", percentText(s.Share)+"%")
	add(true, "weights", old.weightsText(), s.weightsText())
	add(true, "switchback", old.switchbackText(), s.switchbackText())
	add(s.Switchback != nil && old.Switchback != nil, "start", timeText(old.Start), timeText(s.Start))
	add(false, "match", MatchText(&old.Match), MatchText(&s.Match))
	add(false, "end", timeText(old.End), timeText(s.End))
	add(false, "warm_up", policy.FormatDuration(old.WarmUp), policy.FormatDuration(s.WarmUp))
	add(false, "guardrails", old.guardrailsText(), s.guardrailsText())
	for i := range s.Arms {
		a := &s.Arms[i]
		if b := old.arm(a.Name); b != nil {
			add(false, "arms."+a.Name+".policy", b.policyText(), a.policyText())
		}
	}
	return out
}

// arm returns the arm of a name, or nil.
func (s *Spec) arm(name string) *Arm {
	for i := range s.Arms {
		if s.Arms[i].Name == name {
			return &s.Arms[i]
		}
	}
	return nil
}

// policyText says what decides an arm's connections: by the revision where it is loaded.
func (a *Arm) policyText() string {
	switch {
	case a.Rev != "":
		return a.Rev
	case a.AA:
		return "the control's"
	}
	return a.Policy
}

func (s *Spec) weightsText() string {
	parts := make([]string, len(s.Arms))
	for i, a := range s.Arms {
		parts[i] = a.Name + " " + percentText(a.Weight)
	}
	return strings.Join(parts, ", ")
}

func (s *Spec) switchbackText() string {
	if s.Switchback == nil {
		return ""
	}
	return "blocks of " + policy.FormatDuration(s.Switchback.Block) + ", seed " + strconv.FormatUint(s.Switchback.Seed, 10)
}

func (s *Spec) guardrailsText() string {
	parts := make([]string, len(s.Guardrails))
	for i := range s.Guardrails {
		parts[i] = s.Guardrails[i].String()
	}
	return strings.Join(parts, ", ")
}

// String says what the limit is.
func (g *Guardrail) String() string {
	amount := strconv.FormatFloat(g.Max, 'g', -1, 64) + g.Metric.UnitWord()
	if g.Metric.Kind() == KindShare {
		amount = strconv.FormatFloat(g.Max*100, 'g', 6, 64) + " points"
		if g.Absolute {
			amount = strconv.FormatFloat(g.Max*100, 'g', 6, 64) + "%"
		}
	}
	out := g.Metric.String() + " at most " + amount
	if !g.Absolute {
		out += " more than control"
	}
	if g.Alpha > 0 {
		out += " (alpha " + strconv.FormatFloat(g.Alpha, 'g', -1, 64) + ")"
	}
	return out
}

// ChangeKind is what became of an experiment from one set to the next.
type ChangeKind uint8

// Kinds of changes.
const (
	Added ChangeKind = iota
	Removed
	Edited
)

// Change is what became of one experiment from a set to the next.
type Change struct {
	Name string
	Kind ChangeKind
	// Differences are those of an edited one; none for others.
	Differences []Difference
	// Refused: the assignment of an experiment that is running would change under its name. Its units would meet several arms, and nothing
	// could be concluded; under another name it is another experiment.
	Refused bool
}

// String says it in words.
func (c *Change) String() string {
	switch c.Kind {
	case Added:
		return c.Name + " added"
	case Removed:
		return c.Name + " removed"
	}
	return c.Name + ": " + c.Words()
}

// Words says in what an edited experiment differs.
func (c *Change) Words() string {
	words := make([]string, len(c.Differences))
	for i := range c.Differences {
		words[i] = c.Differences[i].String()
	}
	return strings.Join(words, "; ")
}

// Changed returns in what the set differs from the one before, at a time: first the set's experiments in their order, then those that
// are gone. Either set may be nil, which is one without experiments.
func (set *Set) Changed(old *Set, now time.Time) []Change {
	var out []Change
	for _, s := range set.specs() {
		before := old.find(s.Name)
		if before == nil {
			out = append(out, Change{Name: s.Name, Kind: Added})
			continue
		}
		c := Change{Name: s.Name, Kind: Edited, Differences: s.Differences(before)}
		for i := range c.Differences {
			c.Refused = c.Refused || c.Differences[i].Assignment && before.Running(now)
		}
		if len(c.Differences) > 0 {
			out = append(out, c)
		}
	}
	for _, s := range old.specs() {
		if set.find(s.Name) == nil {
			out = append(out, Change{Name: s.Name, Kind: Removed})
		}
	}
	return out
}

// specs returns the experiments; none of a nil set.
func (set *Set) specs() []Spec {
	if set == nil {
		return nil
	}
	return set.Specs
}

func (set *Set) find(name string) *Spec {
	if set == nil {
		return nil
	}
	return set.Find(name)
}
