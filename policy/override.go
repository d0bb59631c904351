package policy

import (
	"fmt"
	"strings"
)

// Override changes one value of a policy, as a flag does: it has its say after the file, as if a further file inherited
// from it. Path is the key with dots, as timeouts.established, limits.flows, on.syn-established or
// rules.NAME.timeouts.established, or an option's name as options.tcp-rst; Value is written as in the file, as 2s or {packet: drop, reply: rst}. An action is
// given whole.
type Override struct{ Path, Value string }

// ParseOverride reads PATH=VALUE.
func ParseOverride(arg string) (Override, error) {
	p, v, ok := strings.Cut(arg, "=")
	if !ok || strings.TrimSpace(p) == "" || strings.TrimSpace(v) == "" {
		return Override{}, fmt.Errorf("policy: %s is no setting, expected KEY=VALUE as in timeouts.established=2s", quote(arg))
	}
	return Override{strings.TrimSpace(p), strings.TrimSpace(v)}, nil
}

// String returns PATH=VALUE.
func (o Override) String() string { return o.Path + "=" + o.Value }

// spec returns the override as a policy of its own.
func (o Override) spec() (*Spec, Problems) {
	src := &source{name: "--set " + shorten(o.String())}
	problem := func(found, expected string) (*Spec, Problems) {
		return nil, Problems{src.problem(position{}, found, expected)}
	}
	steps := strings.Split(o.Path, ".")
	if steps[0] == "options" { // their names may have dots
		steps = strings.SplitN(o.Path, ".", 2)
	}
	if wordIndex("", steps) >= 0 || len(steps) > 6 {
		return problem("the path "+quote(o.Path), "keys with dots between, as in timeouts.established")
	}
	if steps[0] == "preset" || steps[0] == "description" {
		return problem(steps[0]+" in a setting", "another key: that one belongs to the file")
	}
	if i := wordIndex("on", steps); i >= 0 && len(steps) > i+2 {
		return problem("a part of an action", "the whole action, as in "+strings.Join(steps[:i+2], ".")+"={packet: drop, reply: none}")
	}
	value, problems := parseTree(src, []byte(o.Value))
	if len(problems) > 0 {
		return nil, problems.withoutPlace()
	}
	for i := len(steps) - 1; i >= 0; i-- {
		n := &node{kind: nodeMapping}
		n.set(entry{key: steps[i], value: value})
		value = n
	}
	d := &decoder{src: src, patch: true}
	s := d.file(value)
	if len(d.problems) > 0 {
		return nil, d.problems.withoutPlace()
	}
	for i := range s.Choices {
		s.Choices[i].at, s.Choices[i].valueAt = position{}, position{}
	}
	return s, nil
}

// withoutPlace clears the places, which mean nothing in a flag.
func (ps Problems) withoutPlace() Problems {
	for i := range ps {
		ps[i].Line, ps[i].Column, ps[i].Excerpt = 0, 0, ""
	}
	return ps
}

func shorten(s string) string {
	if q := []rune(s); len(q) > 100 {
		return string(q[:100]) + "..."
	}
	return s
}
