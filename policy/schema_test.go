package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"

	generator "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"

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
func buildSchema() *generator.Schema {
	s := objectOf(fileKeys())
	s.Version = generator.Version
	s.ID = "https://halfopen.invalid/policy.schema.json"
	s.Title = "halfopen policy"
	s.Description = "what the gateway does about each finding, how long it remembers connections and how it judges their numbers"
	packet := make([]any, len(packetKeywords))
	for i, w := range packetKeywords {
		packet[i] = w
	}
	action := objectOf(actionKeys())
	action.Description = "what to do about a finding, in five independent parts"
	findings := &generator.Schema{Type: "object", Properties: generator.NewProperties(), AdditionalProperties: generator.FalseSchema,
		PatternProperties: map[string]*generator.Schema{`^[a-z-]+\*$`: {Ref: "#/$defs/action"}}}
	rates := &generator.Schema{Type: "object", Properties: generator.NewProperties(), AdditionalProperties: generator.FalseSchema,
		PatternProperties: map[string]*generator.Schema{`^[a-z-]+\*$`: {Ref: "#/$defs/rate"}}}
	name := func(word, meaning string) {
		findings.Properties.Set(word, &generator.Schema{Description: meaning, Ref: "#/$defs/action"})
		rates.Properties.Set(word, &generator.Schema{Description: meaning, Ref: "#/$defs/rate"})
	}
	for f := range conntrack.NumFindings {
		name(f.String(), f.Info().Meaning)
	}
	for _, g := range groups() {
		name(g.word, g.meaning)
	}
	zero := json.Number("0")
	s.Definitions = generator.Definitions{
		"action":   {OneOf: []*generator.Schema{{Enum: packet}, action}},
		"duration": {Type: "string", Pattern: durationPattern, Description: "numbers with the units d, h, m, s and ms, as 30s, 2h4m or 5d"},
		"findings": findings,
		"rate":     {OneOf: []*generator.Schema{{Type: "integer", Minimum: zero, Maximum: json.Number("1000000")}, {Const: "unlimited"}}},
		"rates":    rates,
		"choice":   {Type: "string", Pattern: optionPattern},
		"scalar":   {OneOf: []*generator.Schema{{Ref: "#/$defs/choice"}, {Type: "number"}, {Type: "boolean"}}},
		"option":   requiring(objectOf(optionKeys())),
		"piece":    objectOf(pieceKeys()),
		"prefix":   {Type: "string", Pattern: prefixPattern},
		"port":     {OneOf: []*generator.Schema{{Type: "integer", Minimum: zero, Maximum: json.Number("65535")}, {Type: "string", Pattern: portPattern}}},
	}
	return s
}

// requiring asks for all properties of an object.
func requiring(s *generator.Schema) *generator.Schema {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		s.Required = append(s.Required, p.Key)
	}
	return s
}

func objectOf(keys []key) *generator.Schema {
	s := &generator.Schema{Type: "object", Properties: generator.NewProperties(), AdditionalProperties: generator.FalseSchema}
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

func valueOf(k key) *generator.Schema {
	words := make([]any, len(k.words))
	for i, w := range k.words {
		words[i] = w
	}
	ref := func(name string) *generator.Schema { return &generator.Schema{Ref: "#/$defs/" + name} }
	listOf := func(name string) *generator.Schema {
		one := uint64(1)
		return &generator.Schema{OneOf: []*generator.Schema{ref(name), {Type: "array", Items: ref(name), MinItems: &one}}}
	}
	switch k.kind {
	case kindDuration:
		return ref("duration")
	case kindCount:
		return &generator.Schema{Type: "integer", Minimum: json.Number(fmt.Sprint(k.lo)), Maximum: json.Number(fmt.Sprint(k.hi))}
	case kindWord:
		if k.name == "window" { // YAML reads its 0 as a number
			words = append(words, 0)
		}
		return &generator.Schema{Enum: words}
	case kindTimer:
		return &generator.Schema{OneOf: []*generator.Schema{{Enum: words}, ref("duration")}}
	case kindPrefixes:
		return listOf("prefix")
	case kindPorts:
		return listOf("port")
	case kindRate:
		return ref("rate")
	case kindRates:
		return &generator.Schema{OneOf: []*generator.Schema{ref("rate"), ref("rates")}}
	case kindWords:
		one := uint64(1)
		return &generator.Schema{OneOf: []*generator.Schema{{Enum: words}, {Type: "array", Items: &generator.Schema{Enum: words}, MinItems: &one}}}
	case kindElse:
		return &generator.Schema{OneOf: []*generator.Schema{{Enum: []any{"forward", "drop"}}, objectOf(k.section)}}
	case kindSection:
		return objectOf(k.section)
	case kindFindings:
		return ref("findings")
	case kindOptions:
		return namesOf(&generator.Schema{OneOf: []*generator.Schema{ref("scalar"), ref("option")}})
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
		return &generator.Schema{Type: "array", Items: rule}
	}
	return &generator.Schema{Type: "string"}
}

// namesOf is a mapping whose keys look like an option's name.
func namesOf(value *generator.Schema) *generator.Schema {
	return &generator.Schema{Type: "object", AdditionalProperties: generator.FalseSchema,
		PatternProperties: map[string]*generator.Schema{optionPattern: value}}
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
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, data []byte, good bool) {
		src := newSource(name, data)
		tree, problems := parseTree(src, data)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		err := compiled.Validate(jsonOf(tree))
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
