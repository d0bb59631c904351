// Package disagree reports how shadow policies stand to the policy in force, from a decision log or from the records of a replay: which
// findings met which, and on which connections each shadow first would have done something else.
package disagree
