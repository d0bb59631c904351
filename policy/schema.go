package policy

import _ "embed"

// The schema is generated from the language's tables by TestSchema.
//
//go:embed policy.schema.json
var schema string

// Schema returns the JSON Schema (draft 2020-12) of policy files, for editors. The parser knows more: contradictions,
// the bounds of durations and the ambiguity of overlapping findings are not in it.
func Schema() []byte { return []byte(schema) }
