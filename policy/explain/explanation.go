package explain

import (
	"fmt"
	"strings"
)

// Explanation is how one decision came about.
type Explanation struct {
	Input    string   `json:"input"`            // what is explained
	Policy   string   `json:"policy"`           // name
	Rev      string   `json:"policy_rev"`       // revision
	Before   []string `json:"before,omitempty"` // what happened since the segment before
	Phases   []Phase  `json:"phases"`
	Verdict  string   `json:"verdict"`
	Reason   string   `json:"reason"`          // finding
	Rule     string   `json:"rule"`            // "" for none
	Line     string   `json:"line"`            // FILE:LINE that is responsible, "" where no file says anything
	Sentence string   `json:"sentence"`        // the whole in one sentence
	Notes    []string `json:"notes,omitempty"` // what cannot be known, and other reservations
}

// Phase is one step on the way.
type Phase struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Facts  []Fact `json:"facts"`
}

// Fact is a line of a phase.
type Fact struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Names of the phases, in their order.
const (
	Decode   = "decode"
	LookUp   = "look up"
	Classify = "classify"
	Rules    = "rules"
	Decision = "decision"
	Effect   = "effect"
)

// add adds a fact; an empty value says nothing.
func (p *Phase) add(key, format string, args ...any) {
	value := format
	if len(args) > 0 {
		value = fmt.Sprintf(format, args...)
	}
	if value != "" {
		p.Facts = append(p.Facts, Fact{key, value})
	}
}

// phase returns a phase by its name, nil for none.
func (x *Explanation) phase(name string) *Phase {
	for i := range x.Phases {
		if x.Phases[i].Name == name {
			return &x.Phases[i]
		}
	}
	return nil
}

// Prepend puts facts before those of a phase.
func (x *Explanation) Prepend(name string, facts ...Fact) {
	if p := x.phase(name); p != nil {
		p.Facts = append(facts, p.Facts...)
	}
}

// Text prints the explanation for people.
func (x *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\npolicy %s  %s\n", x.Input, x.Policy, x.Rev)
	for _, l := range x.Before {
		fmt.Fprintf(&b, "before: %s\n", l)
	}
	for i := range x.Phases {
		p := &x.Phases[i]
		fmt.Fprintf(&b, "\nPhase %d: %s\nResult:  %s\n", i+1, p.Name, p.Result)
		width := 0
		for _, f := range p.Facts {
			width = max(width, len(f.Key))
		}
		for _, f := range p.Facts {
			fmt.Fprintf(&b, "  %-*s  %s\n", width, f.Key, f.Value)
		}
	}
	fmt.Fprintf(&b, "\nVerdict: %s\nReason:  (%s)\n%s\n", x.Verdict, x.Reason, x.Sentence)
	for _, n := range x.Notes {
		fmt.Fprintf(&b, "Note: %s\n", n)
	}
	return b.String()
}
