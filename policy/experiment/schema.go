package experiment

import _ "embed"

// The schema is generated from the language's tables by TestSchema.
//
//go:embed experiment.schema.json
var schema string

// Schema returns the JSON Schema (draft 2020-12) of experiment files, for editors. The parser knows more: the sum of the weights, what
// excludes what, names that come twice, experiments on the same traffic.
func Schema() []byte { return []byte(schema) }
