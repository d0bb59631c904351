package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// OptionSpec is an option as a policy file defines it: a switch under the vendor's own name, each of whose values is a
// piece of a policy.
type OptionSpec struct {
	Name    string // as in references NAME:OPTION=VALUE: at most 64 letters, digits and . _ - /, beginning with a letter or digit
	Meaning string
	Default string // one of the values' words
	Values  []OptionValueSpec

	at position
}

// OptionValueSpec is a value of an option, with what it changes. Of Then, Preset, Options and Choices are empty.
type OptionValueSpec struct {
	Word string // as an option's name
	Then *Spec

	text string // the comment
}

// Choice is the value of an option that a file chooses. The option is one that the file inherits.
type Choice struct {
	Option, Value string

	at      position // of the option's name
	valueAt position
}

// Option is an option of a policy, with the value in force.
type Option struct {
	Name, Meaning  string
	Value, Default string
	Values         []OptionValue
	Defined        Note // where
	Chosen         Note // where; From is "" where the default holds
}

// OptionValue is a value that an option can have.
type OptionValue struct{ Word, Text string } // Text is the author's comment, "" for none

// optionName is what an option's name and its values look like, so that NAME:OPTION=VALUE,... can be read.
var optionName = regexp.MustCompile(optionPattern)

const (
	optionPattern = `^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$`
	optionWord    = "a word of at most 64 letters, digits and . _ - /, with a letter or digit first"
)

// optionKeys returns the keys of an option's definition.
func optionKeys() []key {
	return []key{
		{name: "meaning", kind: kindText, meaning: "what the option is, in a line; required"},
		{name: "default", kind: kindChoice, meaning: "the value that holds where nobody chooses one; required"},
		{name: "values", kind: kindValues, section: pieceKeys(), meaning: "two values or more, each with what it changes, {} for nothing; required"},
	}
}

// pieceKeys returns the keys of what a value of an option changes.
func pieceKeys() []key {
	return slices.DeleteFunc(fileKeys(), func(k key) bool {
		return wordIndex(k.name, []string{"preset", "description", "options"}) >= 0
	})
}

// options decodes definitions and choices.
func (d *decoder) options(n *node, s *Spec) {
	if n.kind == nodeNull {
		return
	}
	if n.kind != nodeMapping {
		d.wrong(n, "a mapping from options to values, or to definitions")
		return
	}
	for i := range n.entries {
		e := &n.entries[i]
		switch {
		case d.full():
			return
		case !optionName.MatchString(e.key):
			d.problem(e.at, "the option "+quote(e.key), optionWord)
		case e.value.kind == nodeScalar:
			s.Choices = append(s.Choices, Choice{e.key, e.value.text, e.at, e.value.at})
		case e.value.kind == nodeMapping && d.patch:
			d.wrong(e.value, "one of the option's values")
		case e.value.kind == nodeMapping:
			s.Options = append(s.Options, d.option(e))
		default:
			d.wrong(e.value, "a value of the option, or a mapping that defines it")
		}
	}
}

func (d *decoder) option(def *entry) OptionSpec {
	o := OptionSpec{Name: def.key, at: def.at}
	var at position // of the default
	d.section(def.value, "the option "+def.key, keysOfOption, func(k *key, e *entry) {
		switch k.name {
		case "meaning":
			o.Meaning = oneLine(d.text(e.value, "a text"))
		case "default":
			o.Default, at = d.text(e.value, "one of the values"), e.value.at
		case "values":
			d.optionValues(e.value, &o)
		}
	})
	for _, k := range keysOfOption {
		if def.value.find(k.name) == nil {
			d.problem(def.at, "the option "+quote(o.Name)+" without "+k.name, k.name+": "+k.meaning)
		}
	}
	if words := o.words(); o.Default != "" && len(words) > 0 && wordIndex(o.Default, words) < 0 {
		d.problem(at, "the default "+quote(o.Default), oneOf(o.Default, words))
	}
	return o
}

func (d *decoder) optionValues(n *node, o *OptionSpec) {
	const expected = "a mapping of two values or more, each with what it changes"
	if n.kind != nodeMapping {
		d.wrong(n, expected)
		return
	}
	if len(n.entries) < 2 {
		d.problem(n.at, "no choice of values", expected)
	}
	for i := range n.entries {
		e := &n.entries[i]
		if !optionName.MatchString(e.key) {
			d.problem(e.at, "the value "+quote(e.key), optionWord)
			continue
		}
		v := OptionValueSpec{Word: e.key, text: d.src.comment(e.at.line), Then: &Spec{Name: d.src.name, src: d.src}}
		d.section(e.value, fmt.Sprintf("the value %s of the option %s", e.key, o.Name), keysOfPiece, func(k *key, e *entry) { d.fileKey(v.Then, k, e) })
		for key, note := range v.Then.notes {
			note.Option = o.Name + "=" + v.Word
			note.Text = strings.TrimPrefix(note.Text+"; option "+note.Option, "; ")
			v.Then.notes[key] = note
		}
		o.Values = append(o.Values, v)
	}
}

// words returns the option's values.
func (o *OptionSpec) words() []string {
	var out []string
	for i := range o.Values {
		out = append(out, o.Values[i].Word)
	}
	return out
}

// value returns what a value changes, nil where there is no such value.
func (o *OptionSpec) value(word string) *Spec {
	if i := wordIndex(word, o.words()); i >= 0 {
		return o.Values[i].Then
	}
	return nil
}

// choose returns the chain with what its options change: each option's value right before the spec that defines the option,
// so that it has its say after that one and before those that inherit from it; and of several options of one spec the
// later ones after the earlier.
func choose(chain []*Spec) (layers []*Spec, options []Option, problems Problems) {
	defs := map[string]*Spec{} // by option: where it is defined
	var names []string
	for i := len(chain) - 1; i >= 0; i-- {
		for j := range chain[i].Options {
			o := &chain[i].Options[j]
			if by, ok := defs[o.Name]; ok {
				problems = append(problems, chain[i].src.problem(o.at, "the option "+quote(o.Name)+" again", "another name, or one of its values: "+by.Name+" defines it"))
				continue
			}
			defs[o.Name] = chain[i]
			names = append(names, o.Name)
		}
		for _, c := range chain[i].Choices {
			if p := chain[i].check(&c, defs, names); p != nil {
				problems = append(problems, *p)
			}
		}
	}
	if len(problems) > 0 {
		return nil, nil, problems
	}
	for i, s := range chain {
		for j := len(s.Options) - 1; j >= 0; j-- {
			o := s.Options[j].chosen(s, chain[:i])
			options = append(options, o)
			layers = append(layers, s.Options[j].value(o.Value))
		}
		layers = append(layers, s)
	}
	slices.Reverse(options)
	return layers, options, nil
}

// check returns what is wrong with a choice of a spec among the options that it inherits.
func (s *Spec) check(c *Choice, defs map[string]*Spec, names []string) *Problem {
	by, ok := defs[c.Option]
	if !ok {
		expected := oneOf(c.Option, names)
		if len(names) == 0 {
			expected = "no option: what is inherited here defines none"
		}
		p := s.src.problem(c.at, "unknown option "+quote(c.Option), expected)
		return &p
	}
	for i := range by.Options {
		if o := &by.Options[i]; o.Name == c.Option && o.value(c.Value) == nil {
			p := s.src.problem(c.valueAt, quote(c.Value)+" for the option "+o.Name, oneOf(c.Value, o.words()))
			return &p
		}
	}
	return nil
}

// chosen returns the option of spec s with the value that the first of heirs which chooses one has chosen.
func (o *OptionSpec) chosen(s *Spec, heirs []*Spec) Option {
	out := Option{Name: o.Name, Meaning: o.Meaning, Value: o.Default, Default: o.Default, Defined: Note{From: s.Name, Line: o.at.line}}
	for i := range o.Values {
		out.Values = append(out.Values, OptionValue{o.Values[i].Word, o.Values[i].text})
	}
	for _, h := range heirs {
		for i := range h.Choices {
			if c := &h.Choices[i]; c.Option == o.Name {
				out.Value, out.Chosen = c.Value, Note{From: h.Name, Line: c.at.line}
				if h.reference {
					out.Chosen.Line = 0
				}
				return out
			}
		}
	}
	return out
}
