package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a policy file. They keep the time that any input takes to a second or so.
const (
	// MaxFileSize is the largest policy file, in bytes.
	MaxFileSize = 128 << 10
	maxDepth    = 32    // nested mappings and sequences
	maxNodes    = 50000 // after aliases are followed
)

// nodeKind is what a node of the document is.
type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeScalar
	nodeMapping
	nodeSequence
)

var nodeWords = [...]string{"nothing", "a single value", "a mapping", "a list"}

// node is a piece of a YAML document with its place, aliases followed.
type node struct {
	kind    nodeKind
	text    string // of a scalar
	quoted  bool
	at      position
	entries []entry        // of a mapping, in the order of the file, keys unique
	index   map[string]int // key to place in entries
	items   []*node        // of a sequence
}

// entry is a key of a mapping with its value.
type entry struct {
	key    string
	at     position
	value  *node
	merged bool // taken over by a merge key
}

// maxRecovered is how many lines that are no YAML are left out to find what is wrong with the others.
const maxRecovered = 4

// parseTree reads a document. It returns nil where there is nothing to read on, and then there is a problem. With lines
// that are no YAML, or keys that come twice, it returns the rest beside the problems.
func parseTree(src *source, data []byte) (*node, Problems) {
	if p := unfit(src, data); p != nil {
		return nil, Problems{*p}
	}
	var problems Problems
	file, err := parseYAML(data)
	for err != nil {
		p := syntaxProblem(src, err)
		problems = append(problems, p)
		rest, ok := without(data, p.Line)
		if !ok || len(problems) > maxRecovered {
			return nil, problems[:1] // it is no YAML at all: the rest of the messages would only confuse
		}
		data = rest
		file, err = parseYAML(data)
	}
	t := &treeBuilder{src: src, anchors: map[string]ast.Node{}, budget: maxNodes, problems: problems}
	var root *node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			t.add(place(doc.Body), "a second document", "one document in a file")
			break
		}
		root = t.build(doc.Body, 0)
	}
	if root == nil {
		root = &node{at: position{1, 1}}
	}
	return root, t.problems
}

// without returns data with a line emptied, false where it is empty already or a comment.
func without(data []byte, line int) ([]byte, bool) {
	lines := bytes.Split(data, []byte("\n"))
	if line < 1 || line > len(lines) {
		return nil, false
	}
	if text := bytes.TrimSpace(lines[line-1]); len(text) == 0 || text[0] == '#' {
		return nil, false
	}
	lines[line-1] = nil
	return bytes.Join(lines, []byte("\n")), true
}

// unfit returns what makes data no YAML at all, before a parser spends time on it.
func unfit(src *source, data []byte) *Problem {
	problem := func(offset int, found, expected string) *Problem {
		p := src.problem(placeOf(data, offset), found, expected)
		return &p
	}
	if len(data) > MaxFileSize {
		src.lines = nil
		return problem(0, fmt.Sprintf("more than %d bytes", MaxFileSize), "a smaller policy file")
	}
	open := 0
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size < 2:
			return problem(i, fmt.Sprintf("byte 0x%02x", data[i]), "text in UTF-8")
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f:
			return problem(i, fmt.Sprintf("control character 0x%02x", r), "text in UTF-8")
		case r == '[' || r == '{':
			open++
		case (r == ']' || r == '}') && open > 0:
			open--
		}
		if open > 2*maxDepth || (i == 0 || data[i-1] == '\n') && indicators(data[i:]) > 2*maxDepth {
			return problem(i, "values nested too deep", fmt.Sprintf("at most %d levels", maxDepth))
		}
		i += size
	}
	return nil
}

// indicators counts the "- " and "? " that open a line: each nests by one.
func indicators(line []byte) int {
	n := 0
	for i := 0; i+1 < len(line) && n <= 2*maxDepth; i++ {
		switch {
		case line[i] == ' ':
		case (line[i] == '-' || line[i] == '?') && line[i+1] == ' ':
			n++
		default:
			return n
		}
	}
	return n
}

// placeOf returns the place of an offset.
func placeOf(data []byte, offset int) position {
	offset = min(offset, len(data))
	start := bytes.LastIndexByte(data[:offset], '\n') + 1
	return position{bytes.Count(data[:offset], []byte("\n")) + 1, utf8.RuneCount(data[start:offset]) + 1}
}

// parseYAML calls the parser, whose panics on odd input become errors.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			file, err = nil, errors.New("text that is no YAML")
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

func syntaxProblem(src *source, err error) Problem {
	at, message := position{1, 1}, ""
	var e yaml.Error
	if !errors.As(err, &e) {
		message = err.Error()
	} else { // whose Error would quote the file, at length
		message = e.GetMessage()
		if tok := e.GetToken(); tok != nil && tok.Position != nil {
			at = position{tok.Position.Line, tok.Position.Column}
		}
	}
	if at.line >= 1 && at.line <= len(src.lines) {
		line := src.lines[at.line-1]
		if indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; strings.Contains(indent, "\t") {
			return src.problem(position{at.line, strings.Index(indent, "\t") + 1}, "a tab at the start of a line", "blanks: YAML takes no tabs for indentation")
		}
	}
	return src.problem(at, "no YAML: "+oneLine(message), "")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// treeBuilder turns the parser's tree into nodes.
type treeBuilder struct {
	src       *source
	anchors   map[string]ast.Node
	following []string // aliases that are being followed
	budget    int
	full      bool // the budget or the depth is used up, and it was said
	problems  Problems
}

func (t *treeBuilder) add(at position, found, expected string) {
	t.problems = append(t.problems, t.src.problem(at, found, expected))
}

func place(n ast.Node) position {
	if n == nil {
		return position{1, 1}
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return place(m.Values[0].Key)
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return place(m.Key)
	}
	tok := n.GetToken()
	if tok == nil || tok.Position == nil {
		return position{1, 1}
	}
	return position{tok.Position.Line, tok.Position.Column}
}

// build returns the node of n; after a problem it returns something that can be read on.
func (t *treeBuilder) build(n ast.Node, depth int) *node {
	out := &node{at: place(n)}
	t.budget--
	if t.budget < 0 || depth > maxDepth {
		if !t.full {
			t.full = true
			t.add(out.at, "too much here", fmt.Sprintf("at most %d levels, and %d values once aliases are followed", maxDepth, maxNodes))
		}
		return out
	}
	switch n := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	case *ast.MappingNode:
		out.kind = nodeMapping
		for _, v := range n.Values {
			t.entry(out, v, depth)
		}
	case *ast.MappingValueNode:
		out.kind = nodeMapping
		t.entry(out, n, depth)
	case *ast.SequenceNode:
		out.kind = nodeSequence
		for _, v := range n.Values {
			out.items = append(out.items, t.build(v, depth+1))
		}
	case *ast.AnchorNode:
		if n.Name != nil {
			t.anchors[n.Name.GetToken().Value] = n.Value
		}
		return t.build(n.Value, depth+1)
	case *ast.AliasNode:
		return t.alias(n, out, depth)
	case *ast.TagNode:
		t.add(out.at, "a tag "+quote(n.Start.Value), "a value without one")
	case *ast.LiteralNode:
		out.kind, out.quoted = nodeScalar, true
		if n.Value != nil {
			out.text = n.Value.Value
		}
	default:
		t.scalar(out, n)
	}
	return out
}

func (t *treeBuilder) scalar(out *node, n ast.Node) {
	tok := n.GetToken()
	if tok == nil {
		return
	}
	out.kind, out.text = nodeScalar, tok.Value
	out.quoted = tok.Type == token.SingleQuoteType || tok.Type == token.DoubleQuoteType
}

// alias follows an alias; its place is the alias's.
func (t *treeBuilder) alias(n *ast.AliasNode, out *node, depth int) *node {
	name := ""
	if n.Value != nil && n.Value.GetToken() != nil {
		name = n.Value.GetToken().Value
	}
	target, ok := t.anchors[name]
	if !ok {
		t.add(out.at, "the alias *"+name, "an anchor of that name further up")
		return out
	}
	if wordIndex(name, t.following) >= 0 {
		t.add(out.at, "the alias *"+name+" inside its own anchor", "no circle")
		return out
	}
	t.following = append(t.following, name)
	v := t.build(target, depth+1)
	t.following = t.following[:len(t.following)-1]
	return v
}

// entry adds a key and its value to a mapping. The merge key "<<" takes over the entries of a mapping (or a list of
// mappings) that the mapping does not have itself.
func (t *treeBuilder) entry(out *node, v *ast.MappingValueNode, depth int) {
	at := place(v.Key)
	if v.Key.IsMergeKey() {
		t.merge(out, t.build(v.Value, depth+1))
		return
	}
	key, ok := "", false
	switch k := v.Key.(type) {
	case *ast.MappingKeyNode, *ast.AliasNode, *ast.AnchorNode, *ast.TagNode:
	default:
		if tok := k.GetToken(); tok != nil {
			key, ok = tok.Value, true
		}
	}
	if !ok {
		t.add(at, "a key that is not a word", "a word")
		return
	}
	value := t.build(v.Value, depth+1)
	if i, ok := out.index[key]; ok {
		if e := &out.entries[i]; e.merged { // the mapping's own entry wins
			*e = entry{key, at, value, false}
		} else {
			t.add(at, "the key "+quote(key)+" again", fmt.Sprintf("it once (it stands in line %d)", e.at.line))
		}
		return
	}
	out.set(entry{key, at, value, false})
}

func (t *treeBuilder) merge(out, from *node) {
	switch from.kind {
	case nodeMapping:
		for _, e := range from.entries {
			if out.find(e.key) == nil {
				out.set(entry{e.key, e.at, e.value, true})
			}
		}
	case nodeSequence:
		for _, item := range from.items {
			if item.kind == nodeMapping {
				t.merge(out, item)
			} else {
				t.add(item.at, nodeWords[item.kind], "a mapping to merge")
			}
		}
	default:
		t.add(from.at, nodeWords[from.kind], "a mapping to merge")
	}
}

// set appends an entry.
func (n *node) set(e entry) {
	if n.index == nil {
		n.index = map[string]int{}
	}
	n.index[e.key] = len(n.entries)
	n.entries = append(n.entries, e)
}

// find returns the value of a key, or nil.
func (n *node) find(key string) *node {
	if i, ok := n.index[key]; ok {
		return n.entries[i].value
	}
	return nil
}
