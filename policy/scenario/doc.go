// Package scenario is the language of behaviour scripts: segments between two named ends in virtual time, and after =>
// what a policy is expected to decide. A file of it is documentation, test and example at once; docs/scenarios.md
// describes it.
//
// Like the rest of policy the package is pure. [Parse] reads a file and reports every problem at once, [Script.Format]
// prints the canonical layout, [Script.Run] plays the script over a policy.Engine.
package scenario
