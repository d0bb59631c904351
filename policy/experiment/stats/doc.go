// Package stats is the statistics of policy experiments: fixed-sample comparisons of two arms (shares, times, ratios by unit), what may
// be looked at while an experiment runs (sequences, an always-valid sample-ratio alarm), switchbacks by block, and plans.
//
// It is pure and deterministic: no clock, no global random source. Whatever resamples takes a seed, and the same input with the same
// seed gives the same answer on every machine. Differences are always treatment minus control: arguments that end in 1 are the
// treatment's, in 0 the control's.
//
// What cannot be computed from the data at hand (an empty arm, a single unit, no variation) is an [ErrNotEnough] or another error that
// says what is missing, never a number that pretends. No function returns NaN without an error beside it.
package stats
