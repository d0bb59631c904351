// Package experiment compares policies on live traffic: which arm a connection belongs to ([Spec], [Set.Assign]), how each connection
// went for its users ([Outcome]), limits on harm while it runs, and what may be concluded ([Report]). The statistics themselves are in
// package stats. It is pure: no clock, no file, no socket; time and seeds come in as values.
package experiment
