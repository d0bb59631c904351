package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"halfopen/conntrack"
)

var update = flag.Bool("update", false, "rewrite generated and golden files")

// golden compares got with a file, or rewrites it with -update.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code makes; run go test ./policy -update and read the change:\n%s", file, got)
	}
}

const (
	durationPattern = `^([0-9]+(\.[0-9]+)?(d|h|m|s|ms))+$`
	portPattern     = `^[0-9]{1,5}( *- *[0-9]{1,5})?$`
	prefixPattern   = `^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$`
)

// buildSchema makes the JSON Schema from the language's tables.
func buildSchema() *jsonschema.Schema {
	s := objectOf(fileKeys())
	s.Version = jsonschema.Version
	s.ID = "https://halfopen.invalid/policy.schema.json"
	s.Title = "halfopen policy"
	s.Description = "what the gateway does about each finding, how long it remembers connections and how it judges their numbers"
	packet := make([]any, len(packetKeywords))
	for i, w := range packetKeywords {
		packet[i] = w
	}
	action := objectOf(actionKeys())
	action.Description = "what to do about a finding, in five independent parts"
	findings := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema,
		PatternProperties: map[string]*jsonschema.Schema{`^[a-z-]+\*$`: {Ref: "#/$defs/action"}}}
	rates := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema,
		PatternProperties: map[string]*jsonschema.Schema{`^[a-z-]+\*$`: {Ref: "#/$defs/rate"}}}
	name := func(word, meaning string) {
		findings.Properties.Set(word, &jsonschema.Schema{Description: meaning, Ref: "#/$defs/action"})
		rates.Properties.Set(word, &jsonschema.Schema{Description: meaning, Ref: "#/$defs/rate"})
	}
	for f := range conntrack.NumFindings {
		name(f.String(), f.Info().Meaning)
	}
	for _, g := range groups() {
		name(g.word, g.meaning)
	}
	zero := json.Number("0")
	s.Definitions = jsonschema.Definitions{
		"action":   {OneOf: []*jsonschema.Schema{{Enum: packet}, action}},
		"duration": {Type: "string", Pattern: durationPattern, Description: "numbers with the units d, h, m, s and ms, as 30s, 2h4m or 5d"},
		"findings": findings,
		"rate":     {OneOf: []*jsonschema.Schema{{Type: "integer", Minimum: zero, Maximum: json.Number("1000000")}, {Const: "unlimited"}}},
		"rates":    rates,
		"choice":   {Type: "string", Pattern: optionPattern},
		"scalar":   {OneOf: []*jsonschema.Schema{{Ref: "#/$defs/choice"}, {Type: "number"}, {Type: "boolean"}}},
		"option":   requiring(objectOf(optionKeys())),
		"piece":    objectOf(pieceKeys()),
		"prefix":   {Type: "string", Pattern: prefixPattern},
		"port":     {OneOf: []*jsonschema.Schema{{Type: "integer", Minimum: zero, Maximum: json.Number("65535")}, {Type: "string", Pattern: portPattern}}},
	}
	return s
}

// requiring asks for all properties of an object.
func requiring(s *jsonschema.Schema) *jsonschema.Schema {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		s.Required = append(s.Required, p.Key)
	}
	return s
}

func objectOf(keys []key) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	for _, k := range keys {
		v := valueOf(k)
		v.Description = k.meaning
		if k.unit != "" {
			v.Description += " (" + k.unit + ")"
		}
		if k.dflt != "" {
			v.Description += "; default: " + k.dflt
		}
		s.Properties.Set(k.name, v)
	}
	return s
}

func valueOf(k key) *jsonschema.Schema {
	words := make([]any, len(k.words))
	for i, w := range k.words {
		words[i] = w
	}
	ref := func(name string) *jsonschema.Schema { return &jsonschema.Schema{Ref: "#/$defs/" + name} }
	listOf := func(name string) *jsonschema.Schema {
		one := uint64(1)
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{ref(name), {Type: "array", Items: ref(name), MinItems: &one}}}
	}
	switch k.kind {
	case kindDuration:
		return ref("duration")
	case kindCount:
		return &jsonschema.Schema{Type: "integer", Minimum: json.Number(fmt.Sprint(k.lo)), Maximum: json.Number(fmt.Sprint(k.hi))}
	case kindWord:
		if k.name == "window" { // YAML reads its 0 as a number
			words = append(words, 0)
		}
		return &jsonschema.Schema{Enum: words}
	case kindTimer:
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Enum: words}, ref("duration")}}
	case kindPrefixes:
		return listOf("prefix")
	case kindPorts:
		return listOf("port")
	case kindRate:
		return ref("rate")
	case kindRates:
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{ref("rate"), ref("rates")}}
	case kindWords:
		one := uint64(1)
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Enum: words}, {Type: "array", Items: &jsonschema.Schema{Enum: words}, MinItems: &one}}}
	case kindElse:
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Enum: []any{"forward", "drop"}}, objectOf(k.section)}}
	case kindSection:
		return objectOf(k.section)
	case kindFindings:
		return ref("findings")
	case kindOptions:
		return namesOf(&jsonschema.Schema{OneOf: []*jsonschema.Schema{ref("scalar"), ref("option")}})
	case kindChoice:
		return ref("scalar")
	case kindValues:
		two := uint64(2)
		values := namesOf(ref("piece"))
		values.MinProperties = &two
		return values
	case kindRules:
		rule := objectOf(k.section)
		rule.Required = []string{"name"}
		return &jsonschema.Schema{Type: "array", Items: rule}
	}
	return &jsonschema.Schema{Type: "string"}
}

// namesOf is a mapping whose keys look like an option's name.
func namesOf(value *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.FalseSchema,
		PatternProperties: map[string]*jsonschema.Schema{optionPattern: value}}
}

// TestSchema: the committed and embedded schema is what the language's tables make.
func TestSchema(t *testing.T) {
	data, err := json.MarshalIndent(buildSchema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "policy.schema.json", append(data, '\n'))
	if !*update && !bytes.Equal(Schema(), append(data, '\n')) {
		t.Error("the embedded schema is another one")
	}
}

// TestSchemaAgrees: what the schema says of a document, the parser says too (for what a schema can say).
func TestSchemaAgrees(t *testing.T) {
	var root map[string]any
	dec := json.NewDecoder(bytes.NewReader(Schema()))
	if err := dec.Decode(&root); err != nil {
		t.Fatal(err)
	}
	v := &validator{root: root}
	check := func(name string, data []byte, good bool) {
		src := newSource(name, data)
		tree, problems := parseTree(src, data)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		err := v.valid(root, jsonOf(tree), "")
		if (err == nil) != good {
			t.Errorf("%s: schema says %v, expected good=%v", name, err, good)
		}
		if _, problems := Parse(name, data); (len(problems) == 0) != good {
			t.Errorf("%s: parser says %v, expected good=%v", name, problems, good)
		}
	}
	for _, name := range Presets() {
		data, _ := Preset(name)
		check(name, data, true)
		check(name+" in force", load(t, name).YAML(), true)
	}
	for _, good := range []string{"preset: observe", "timeouts: {established: 1h}", "on: {syn-*: drop, all: forward}", "log: {rate: {new: unlimited}}",
		"rules: [{name: a, match: {src: [10.0.0.0/8, \"2001:db8::/32\"], dst_port: [515, 721-731]}}]", "on: {rst: {timer: 10s}}",
		"window: {check: off, near: 10}", option, "on: {syn-established: {packet: drop, reply: ack-tracked, window: 0}}",
		"on: {new: {packet: rewrite, strip: [data, fastopen], mss: 1360}, urgent: {packet: rewrite, strip: urgent}}"} {
		check(good, []byte(good), true)
	}
	for _, bad := range []string{"presets: observe", "timeouts: {established: 3600}", "on: {syn-establish: drop}", "log: {rate: -2}", "on: {new: allow}",
		"rules: [{match: {}}]", "options: {a: [b]}", "options: {a b: c}", "options: {a: {values: {b: {}, c: {}}, default: b}}",
		"options: {a: {meaning: x, default: b, values: {b: {}}}}", "options: {a: {meaning: x, default: b, values: {b: {}, c: {preset: observe}}}}", "rules: [{name: a, match: {dst_port: x}}]", "on_full: yes", "limits: {flows: 0}", "on: {new: {packet: answer}}",
		"on: {new: {packet: rewrite, strip: [urg]}}", "on: {new: {packet: rewrite, mss: 0}}"} {
		check(bad, []byte(bad), false)
	}
}

// jsonOf returns a node as encoding/json would decode it, with YAML's reading of plain numbers.
func jsonOf(n *node) any {
	switch n.kind {
	case nodeScalar:
		var f float64
		if !n.quoted && regexp.MustCompile(`^-?[0-9]+$`).MatchString(n.text) {
			fmt.Sscan(n.text, &f)
			return f
		}
		return n.text
	case nodeMapping:
		m := map[string]any{}
		for _, e := range n.entries {
			m[e.key] = jsonOf(e.value)
		}
		return m
	case nodeSequence:
		l := []any{}
		for _, i := range n.items {
			l = append(l, jsonOf(i))
		}
		return l
	}
	return nil
}

// validator checks the keywords of JSON Schema that buildSchema uses.
type validator struct{ root map[string]any }

func (v *validator) valid(schema any, doc any, path string) error {
	s, ok := schema.(map[string]any)
	if !ok {
		if schema == false {
			return fmt.Errorf("%s is not allowed", path)
		}
		return nil
	}
	if ref, ok := s["$ref"].(string); ok {
		def := v.root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")]
		if def == nil {
			return fmt.Errorf("no %s", ref)
		}
		if err := v.valid(def, doc, path); err != nil {
			return err
		}
	}
	if alternatives, ok := s["oneOf"].([]any); ok {
		n := 0
		for _, a := range alternatives {
			if v.valid(a, doc, path) == nil {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%s fits %d alternatives", path, n)
		}
	}
	if c, ok := s["const"]; ok && c != doc {
		return fmt.Errorf("%s is not %v", path, c)
	}
	if words, ok := s["enum"].([]any); ok {
		for _, w := range words {
			if w == doc {
				return nil
			}
		}
		return fmt.Errorf("%s is %v", path, doc)
	}
	switch s["type"] {
	case "string":
		text, ok := doc.(string)
		if p, has := s["pattern"].(string); !ok || has && !regexp.MustCompile(p).MatchString(text) {
			return fmt.Errorf("%s is %v", path, doc)
		}
	case "number":
		if _, ok := doc.(float64); !ok {
			return fmt.Errorf("%s is no number", path)
		}
	case "boolean":
		if _, ok := doc.(bool); !ok {
			return fmt.Errorf("%s is no boolean", path)
		}
	case "integer":
		n, ok := doc.(float64)
		if lo, has := s["minimum"].(float64); !ok || has && n < lo {
			return fmt.Errorf("%s is %v", path, doc)
		}
		if hi, has := s["maximum"].(float64); has && n > hi {
			return fmt.Errorf("%s is %v", path, doc)
		}
	case "array":
		l, ok := doc.([]any)
		if least, has := s["minItems"].(float64); !ok || has && float64(len(l)) < least {
			return fmt.Errorf("%s is %v", path, doc)
		}
		for i, item := range l {
			if err := v.valid(s["items"], item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case "object":
		return v.object(s, doc, path)
	}
	return nil
}

func (v *validator) object(s map[string]any, doc any, path string) error {
	m, ok := doc.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is no object", path)
	}
	if least, has := s["minProperties"].(float64); has && float64(len(m)) < least {
		return fmt.Errorf("%s has too few", path)
	}
	required, _ := s["required"].([]any)
	for _, key := range required {
		if _, ok := m[key.(string)]; !ok {
			return fmt.Errorf("%s has no %s", path, key)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	for key, value := range m {
		sub, ok := properties[key]
		for p, schema := range patterns {
			if !ok && regexp.MustCompile(p).MatchString(key) {
				sub, ok = schema, true
			}
		}
		if !ok {
			sub = s["additionalProperties"]
		}
		if err := v.valid(sub, value, path+"."+key); err != nil {
			return err
		}
	}
	return nil
}
