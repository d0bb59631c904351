// Package policy decides what to do with a segment, and why.
//
// A policy file (a [Spec], plain data) is compiled to a [Policy], which is immutable. An [Engine] owns a connection table
// and the policy in force; [Engine.Step] takes a segment through look up, classify, decide and commit, and returns what
// must happen as a value. The live queue, replay, scenario tests and explain all call that one function.
//
// The package is pure: no clock, no socket, no goroutine, no lock, no files.
package policy
