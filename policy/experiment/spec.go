package experiment

import (
	"time"

	"halfopen/policy"
)

// Unit says what is assigned to an arm as a whole, so that it never meets two arms.
type Unit uint8

// Units.
const (
	UnitClient64 Unit = iota // the address that opened the connection; of IPv6 its /64 (a host's privacy addresses share it)
	UnitClient               // that address, IPv6 too
	UnitPair                 // client and server address
	UnitFlow                 // each connection by itself: arms then meet in one client
	numUnits
)

var unitWords = [numUnits]string{"client-64", "client", "pair", "flow"}

// String returns the word in configurations, logs and reports.
func (u Unit) String() string { return unitWords[u] }

// Spec is one experiment as it was configured.
type Spec struct {
	Name string
	Unit Unit
	// Salt goes into the assignment's hash; the name where nothing is said. Gateways with the same salt assign alike.
	Salt string
	// Share is how many of 10,000 units take part. Flows of the others belong to no arm and are decided by the gateway's policy.
	Share int
	Match policy.Match // which connections take part; empty is all

	Start, End time.Time // zero: from the gateway's start on; for good
	// WarmUp is how long after Start connections are decided by their arms and left out of the analysis: what began before still
	// has its effects. With Switchback it is that long after each block's beginning.
	WarmUp     time.Duration
	Switchback *Switchback // nil: units are assigned for good
	Arms       []Arm       // at least two; the first is the control
	Guardrails []Guardrail
}

// Arm is one side of an experiment.
type Arm struct {
	Name   string
	Weight int    // of 10,000
	Policy string // preset or file as written; "gateway" is the policy that the gateway enforces
	AA     bool   // the control's policy again: what differs from control here is noise
	// Preset and Rev are those of the policy as it was loaded (see [policy.Policy.Preset] and Rev); "" before that.
	Preset, Rev string
}

// GatewayPolicy is the word for the policy that the gateway enforces, in an arm's place for a policy.
const GatewayPolicy = "gateway"

// Switchback makes the whole gateway alternate between arms by time, for effects that cross connections.
type Switchback struct {
	Block time.Duration // length of a block
	Seed  uint64
}

// Guardrail is a limit on harm that is tested while the experiment runs.
type Guardrail struct {
	Metric Metric
	// Max is the limit: by how much the arm may be worse than the control, in the metric's unit (a share is 0 to 1, so two points
	// are 0.02), or with Absolute the most that the arm's own figure may be.
	Max      float64
	Absolute bool
	// Alpha is the chance that the limit ever stops an arm that keeps it, over all arms and the experiment's whole life. 0 means an
	// equal part of [GuardrailAlpha], which all limits that say nothing share.
	Alpha float64
}
