package experiment

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	generator "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"halfopen/policy"
)

var update = flag.Bool("update", false, "rewrite generated files")

const (
	manual          = "../../docs/experiments.md"
	percentPattern  = `^[0-9]{1,3}(\.[0-9]{1,2})?%?$`
	amountPattern   = `^[0-9]+(\.[0-9]+)?(%|(d|h|m|s|ms)([0-9]+(\.[0-9]+)?(h|m|s|ms))*)?$`
	durationPattern = `^([0-9]+(\.[0-9]+)?(d|h|m|s|ms))+$`
	timePattern     = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`
)

// buildSchema makes the JSON Schema from the language's tables. Addresses and ports are defined as the policies' schema has them.
func buildSchema(t *testing.T) []byte {
	t.Helper()
	var policies generator.Schema
	if err := json.Unmarshal(policy.Schema(), &policies); err != nil {
		t.Fatal(err)
	}
	experiment := objectOf(experimentKeys())
	experiment.Required = []string{"name", "arms"}
	ref := &generator.Schema{Ref: "#/$defs/experiment"}
	one := uint64(1)
	root := &generator.Schema{Version: generator.Version, ID: "https://halfopen.invalid/experiment.schema.json", Title: "halfopen experiments",
		Description: "which connections are decided by which of several policies, to compare them", Type: "object", AdditionalProperties: generator.FalseSchema,
		Required: []string{"experiment"}, Properties: generator.NewProperties(), Definitions: generator.Definitions{
			"experiment": experiment, "prefix": policies.Definitions["prefix"], "port": policies.Definitions["port"]}}
	root.Properties.Set("experiment", &generator.Schema{Description: "an experiment, or a list of them: no two on the same traffic at the same time",
		OneOf: []*generator.Schema{ref, {Type: "array", Items: ref, MinItems: &one}}})
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

func objectOf(keys []key) *generator.Schema {
	s := &generator.Schema{Type: "object", Properties: generator.NewProperties(), AdditionalProperties: generator.FalseSchema}
	for _, k := range keys {
		v := valueOf(k)
		v.Description = k.meaning
		if k.dflt != "" {
			v.Description += "; default: " + k.dflt
		}
		if strings.HasSuffix(k.meaning, "; required") {
			s.Required = append(s.Required, k.name)
		}
		s.Properties.Set(k.name, v)
	}
	return s
}

func valueOf(k key) *generator.Schema {
	words := func(list []string) *generator.Schema {
		s := &generator.Schema{}
		for _, w := range list {
			s.Enum = append(s.Enum, w)
		}
		return s
	}
	number := func(lo, hi string) *generator.Schema {
		return &generator.Schema{Type: "number", Minimum: json.Number(lo), Maximum: json.Number(hi)}
	}
	text := func(pattern string) *generator.Schema { return &generator.Schema{Type: "string", Pattern: pattern} }
	switch k.kind {
	case kindName:
		return text(nameShape)
	case kindUnit:
		return words(unitWords[:])
	case kindPercent:
		return &generator.Schema{OneOf: []*generator.Schema{number("0.01", "100"), text(percentPattern)}}
	case kindMatch:
		return matchSchema()
	case kindTime:
		return text(timePattern)
	case kindDuration:
		return text(durationPattern)
	case kindSeed:
		return &generator.Schema{Type: "integer", Minimum: json.Number("0"), Maximum: json.Number("9007199254740991")}
	case kindYes:
		return &generator.Schema{Type: "boolean"}
	case kindMetric:
		return words(liveMetrics())
	case kindAmount:
		return &generator.Schema{OneOf: []*generator.Schema{number("0", "1000000000"), text(amountPattern)}}
	case kindAlpha:
		return &generator.Schema{Type: "number", ExclusiveMinimum: json.Number("0"), Maximum: json.Number("0.5")}
	case kindSection:
		return objectOf(k.section)
	case kindList:
		s := &generator.Schema{Type: "array", Items: objectOf(k.section)}
		if k.name == "arms" {
			two := uint64(2)
			s.MinItems = &two
		}
		return s
	}
	return &generator.Schema{Type: "string"}
}

func matchSchema() *generator.Schema {
	s := &generator.Schema{Type: "object", Properties: generator.NewProperties(), AdditionalProperties: generator.FalseSchema}
	one := uint64(1)
	for _, k := range matchKeys() {
		def := "#/$defs/prefix"
		if strings.HasSuffix(k.name, "_port") {
			def = "#/$defs/port"
		}
		s.Properties.Set(k.name, &generator.Schema{OneOf: []*generator.Schema{{Ref: def}, {Type: "array", Items: &generator.Schema{Ref: def}, MinItems: &one}}})
	}
	return s
}

// TestSchema: the committed and embedded schema is what the language's tables make.
func TestSchema(t *testing.T) {
	want := buildSchema(t)
	const file = "experiment.schema.json"
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Schema(), want) {
		t.Errorf("%s is not what the code makes; run go test ./policy/experiment -update and read the change", file)
	}
}

// TestSchemaAgrees: what the schema says of a file, the parser says too, for what a schema can say.
func TestSchemaAgrees(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("experiment.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("experiment.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string, want bool) {
		t.Helper()
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(instance); (err == nil) != want {
			t.Errorf("the schema says %v of\n%s", err, text)
		}
		if set, problems := Parse("x.yaml", []byte(text)); (set != nil) != want {
			t.Errorf("the parser says %v of\n%s", problems, text)
		}
	}
	for _, lines := range []string{"unit: flow", "salt: x", "share: 0.01", "share: 99.99%", "match: {}", "match: {src: 10.0.0.1, dst_port: [1, 2-3]}", "warm_up: 1h30m",
		"switchback: {block: 10m, seed: 0}\n  start: 2026-12-01T08:00:00Z", "end: 2026-12-01T08:00:00.25+01:00", "guardrails: []",
		"guardrails: [{metric: reset, max: 2, alpha: 0.5}]", "guardrails: [{metric: stall, max_increase: 1m30s}]", "guardrails: [{metric: connect-failure, max_increase: 0}]"} {
		check(exp(lines), true)
	}
	check(good, true)
	check(pair("match: {dst_port: 1}", "match: {dst_port: 2}"), true)
	for _, lines := range []string{"unit: host", "share: 0", "share: 101", "share: 1.234%", "match: {direction: reply}", "match: {dst_port: x}", "warm_up: 30", "start: 2026-12-01",
		"switchback: 10m", "switchback: {seed: 1}", "colour: red", "guardrails: [{max: 1}]", "guardrails: [{metric: gave-up, max: 1}]", "guardrails: [{metric: reset, max: 1, alpha: 0}]",
		"guardrails: [{metric: reset, max: -1}]"} {
		check(exp(lines), false)
	}
	for _, text := range []string{"{}", "experiment: []", "experiment: {name: x}", withArms("{name: a, weight: 100, policy: gateway}"), "experiment: {name: X Y, arms: []}",
		withArms("{name: a, weight: 50, policy: gateway}, {name: b, weight: 50, aa: 1}"), "experiments: 1"} {
		check(text, false)
	}
}

func keyTable(keys []key) string {
	var b strings.Builder
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, k := range keys {
		dflt := k.dflt
		if dflt == "" {
			dflt = "-"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, k.valueText(), dflt, k.meaning)
	}
	return b.String()
}

func (k *key) valueText() string {
	words := func(list []string) string { return "`" + strings.Join(list, "`, `") + "`" }
	switch k.kind {
	case kindName:
		return "a word of small letters, digits and hyphens"
	case kindSalt:
		return "text, at most 64 bytes"
	case kindUnit:
		return words(unitWords[:])
	case kindPercent:
		return "percent, 0.01 to 100"
	case kindMatch, kindSection:
		return "keys, below"
	case kindTime:
		return "a time with its zone, as in RFC 3339"
	case kindDuration:
		return "a duration"
	case kindSeed:
		return "a whole number"
	case kindYes:
		return "`true`, `false`"
	case kindMetric:
		return words(liveMetrics())
	case kindAmount:
		return "percent or a number; of seconds a duration"
	case kindAlpha:
		return "a number up to 0.5"
	case kindList:
		return "a list, below"
	}
	return "text"
}

// TestManualTables: the manual's tables are those of the language.
func TestManualTables(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{"keys:experiment": keyTable(experimentKeys()), "keys:arm": keyTable(armKeys()), "keys:switchback": keyTable(switchbackKeys()),
		"keys:guardrail": keyTable(guardrailKeys())}
	seen := 0
	got := regexp.MustCompile(`(?s)<!-- (keys:[a-z]+) -->\n(.*?)<!-- /keys -->`).ReplaceAllFunc(data, func(m []byte) []byte {
		name, _, _ := strings.Cut(strings.TrimPrefix(string(m), "<!-- "), " ")
		if tables[name] == "" {
			t.Errorf("no table %q", name)
		}
		seen++
		return fmt.Appendf(nil, "<!-- %s -->\n%s<!-- /keys -->", name, tables[name])
	})
	if seen != len(tables) {
		t.Errorf("the manual has %d tables of %d", seen, len(tables))
	}
	if *update {
		if err := os.WriteFile(manual, got, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(got, data) {
		t.Error("the manual's tables are out of date: run go test ./policy/experiment -update")
	}
}

// TestManualExamples: the experiments that the manual shows are good, and what it says of places is so.
func TestManualExamples(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(data, -1)
	if len(examples) < 2 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, m := range examples {
		if set, problems := ParseConfig("example.yaml", m[1]); set == nil {
			t.Errorf("%v\n%s", problems, m[1])
		}
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| `([^`]+)` \\| `([^`]+)` \\| `([0-9a-f]+)` \\| ([0-9]+) \\| ([0-9]+) \\|$").FindAllSubmatch(data, -1)
	if len(rows) < 4 {
		t.Fatalf("%d places", len(rows))
	}
	for _, row := range rows {
		u, ok := ParseUnit(string(row[1]))
		from, to, _ := strings.Cut(string(row[2]), " > ")
		tu := tuple(from, to)
		k := u.Key(&tu)
		s := &Spec{Unit: u, Salt: "idle-5m"}
		arm, share := s.Place(&tu)
		if got := fmt.Sprintf("%v %s %x %d %d", ok, s.UnitOf(&tu), k.Bytes(), arm, share); got != fmt.Sprintf("true %s %s %s %s", row[3], row[4], row[5], row[6]) {
			t.Errorf("%s: %s", row[0], got)
		}
	}
}
