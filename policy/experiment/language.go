package experiment

import (
	"regexp"
	"time"
)

// valueKind is what the value of a key looks like.
type valueKind uint8

const (
	kindName     valueKind = iota // a word in kebab case
	kindSalt                      // a text
	kindUnit                      // one of the units
	kindPercent                   // 0.01 to 100, with or without a percent sign
	kindMatch                     // as in policies
	kindTime                      // RFC 3339
	kindDuration                  // as in policies
	kindSeed                      // a whole number
	kindPolicy                    // "gateway", a preset or a file
	kindYes                       // true or false
	kindMetric                    // one of the metrics that can be judged while an experiment runs
	kindAmount                    // an amount of a metric
	kindAlpha                     // a chance
	kindSection                   // a mapping with keys of its own
	kindList                      // a list of such mappings
)

// key is one key of the language. The tables below are the language: the parser knows no other keys, and the JSON Schema and the
// manual are held to them.
type key struct {
	name    string
	kind    valueKind
	dflt    string // what holds without the key
	meaning string
	section []key // with kindSection and kindList
}

// Bounds of an experiment's values.
const (
	MaxArms    = 100              // of all experiments of a file together
	MinBlock   = 10 * time.Second // of a switchback: connections must be able to begin and to end in a block
	maxName    = 64               // characters
	maxSalt    = 64               // bytes, so that the hash needs no more than the stack
	maxAlpha   = 0.5
	perHundred = 10_000 // hundredths of a percent: the unit of weights and shares
)

// nameShape is the shape of names of experiments and arms.
const nameShape = `^[a-z0-9]+(-[a-z0-9]+)*$`

var namePattern = regexp.MustCompile(nameShape)

// experimentKeys returns the keys of an experiment.
func experimentKeys() []key {
	return []key{
		{name: "name", kind: kindName, meaning: "the experiment's name in logs and reports; required"},
		{name: "unit", kind: kindUnit, dflt: "client-64", meaning: "what is assigned to an arm as a whole"},
		{name: "salt", kind: kindSalt, dflt: "the name", meaning: "goes into the hash that assigns: gateways with the same salt assign alike, experiments with different salts independently"},
		{name: "share", kind: kindPercent, dflt: "100%", meaning: "how many of the units take part; the connections of the others belong to no arm"},
		{name: "match", kind: kindMatch, section: matchKeys(), meaning: "which connections take part, as in policies; without it all"},
		{name: "start", kind: kindTime, dflt: "the gateway's start", meaning: "connections that begin earlier belong to no arm"},
		{name: "end", kind: kindTime, dflt: "never", meaning: "connections that begin at this time or later belong to no arm"},
		{name: "warm_up", kind: kindDuration, dflt: "0s", meaning: "for how long after the start, and with switchback after the beginning of each block, connections are decided by their arms and left out of the analysis"},
		{name: "switchback", kind: kindSection, section: switchbackKeys(), meaning: "the whole gateway alternates between the arms by time, instead of units between arms"},
		{name: "arms", kind: kindList, section: armKeys(), meaning: "the sides of the experiment, the control first; at least two"},
		{name: "guardrails", kind: kindList, section: guardrailKeys(), meaning: "limits on harm that are tested while the experiment runs"},
	}
}

func matchKeys() []key {
	return []key{{name: "src"}, {name: "dst"}, {name: "src_port"}, {name: "dst_port"}}
}

func switchbackKeys() []key {
	return []key{
		{name: "block", kind: kindDuration, meaning: "length of a block of time; at least 10s; required"},
		{name: "seed", kind: kindSeed, dflt: "0", meaning: "of the order of the arms"},
	}
}

func armKeys() []key {
	return []key{
		{name: "name", kind: kindName, meaning: "the arm's name in records and reports, once in the whole file; neither gateway nor none; required"},
		{name: "weight", kind: kindPercent, dflt: "the same for each arm, with switchback; else required", meaning: "the arm's part of the units that take part; the weights' sum is 100"},
		{name: "policy", kind: kindPolicy, meaning: "what decides the arm's connections: gateway (the policy that the gateway enforces), a preset's name, or a file (with a slash or ending in .yaml or .yml) relative to this one; required, but not with aa"},
		{name: "aa", kind: kindYes, dflt: "false", meaning: "the control's policy again: what differs between this arm and the control is noise"},
	}
}

func guardrailKeys() []key {
	return []key{
		{name: "metric", kind: kindMetric, meaning: "what is watched; required"},
		{name: "max_increase", kind: kindAmount, meaning: "by how much the arm may be worse than the control: of a share 2% is two points, of seconds 500ms; this or max is required"},
		{name: "max", kind: kindAmount, meaning: "the most that the arm's own figure may be"},
		{name: "alpha", kind: kindAlpha, dflt: "a part of 0.01", meaning: "the chance, over the experiment's whole life, that this limit stops any arm although it is kept; limits without it have 0.01 together"},
	}
}

// names returns the names of keys.
func names(keys []key) []string {
	out := make([]string, len(keys))
	for i := range keys {
		out[i] = keys[i].name
	}
	return out
}
