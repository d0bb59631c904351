package policy

import (
	"time"
)

// Document is a YAML file in another language than that of policies, read by the same rules: bounds, places, no duplicate keys, and
// every problem at once. Its reader collects what it finds wrong with [Document.Wrong] and [Document.Problem].
type Document struct {
	d    decoder
	root *node
}

// Value is a piece of a Document with its place. The zero Value is nothing at all.
type Value struct{ n *node }

// ReadDocument reads a file. Text that is no YAML gives a document whose root is nothing and which has problems.
func ReadDocument(name string, data []byte) *Document {
	src, root, problems := readTree(name, data)
	return &Document{decoder{src: src, problems: problems}, root}
}

// Root returns the document's top; ok is false where there was nothing to read on, and then there are problems.
func (doc *Document) Root() (v Value, ok bool) { return Value{doc.root}, doc.root != nil }

// Problems returns what is wrong so far, in the order of the file.
func (doc *Document) Problems() Problems { return doc.d.problems.inOrder() }

// Good reports whether nothing is wrong so far.
func (doc *Document) Good() bool { return len(doc.d.problems) == 0 }

// Problem adds a problem at the place of v.
func (doc *Document) Problem(v Value, found, expected string) {
	doc.d.problem(v.node().at, found, expected)
}

// Wrong adds the problem that v is not what was expected.
func (doc *Document) Wrong(v Value, expected string) { doc.d.wrong(v.node(), expected) }

// Mapping calls fn for each entry of a mapping whose key is one of the names; other keys are problems of what. Nothing at all is an
// empty mapping.
func (doc *Document) Mapping(v Value, what string, names []string, fn func(name string, value Value)) {
	keys := make([]key, len(names))
	for i, name := range names {
		keys[i].name = name
	}
	doc.d.section(v.node(), what, keys, func(k *key, e *entry) { fn(k.name, Value{e.value}) })
}

// List returns the items of a list, and for anything else a problem and nothing.
func (doc *Document) List(v Value, expected string) []Value {
	n := v.node()
	if n.kind != nodeSequence {
		doc.Wrong(v, expected)
		return nil
	}
	out := make([]Value, len(n.items))
	for i, item := range n.items {
		out[i] = Value{item}
	}
	return out
}

// Text returns a value's text, "" and a problem where it has none.
func (doc *Document) Text(v Value, expected string) string { return doc.d.text(v.node(), expected) }

// Word returns the place of a value in a table of words, or -1 and a problem.
func (doc *Document) Word(v Value, words []string) int { return doc.d.word(v.node(), words) }

// Duration returns a duration of at least 0, or a problem and not ok.
func (doc *Document) Duration(v Value) (d time.Duration, ok bool) {
	if p := doc.d.duration(v.node()); p != nil {
		return *p, true
	}
	return 0, false
}

// Match reads addresses and ports as a rule's match has them. What it holds is always both directions of a connection.
func (doc *Document) Match(v Value) Match {
	keys := matchKeys()
	return doc.d.matchOf(v.node(), keys[:len(keys)-1]) // without direction, which is about a rule's findings
}

// node returns what v stands for, an empty node for the zero Value.
func (v Value) node() *node {
	if v.n == nil {
		return &node{at: position{1, 1}}
	}
	return v.n
}

// Scalar returns the text of a single value; ok is false for anything else.
func (v Value) Scalar() (text string, ok bool) {
	n := v.node()
	return n.text, n.kind == nodeScalar
}

// IsMapping reports whether v is a mapping.
func (v Value) IsMapping() bool { return v.node().kind == nodeMapping }

// IsList reports whether v is a list.
func (v Value) IsList() bool { return v.node().kind == nodeSequence }

// IsNothing reports whether v is nothing: null, or a key without a value.
func (v Value) IsNothing() bool { return v.node().kind == nodeNull }

// Find returns the value of a mapping's key, and whether it has it.
func (v Value) Find(name string) (Value, bool) {
	n := v.node().find(name)
	return Value{n}, n != nil
}

// Line is where v stands, from 1.
func (v Value) Line() int { return v.node().at.line }
