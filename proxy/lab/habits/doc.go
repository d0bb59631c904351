// Package habits plans an experiment of the lab: what hundreds of clients do and when, drawn from a seed, and therefore what each of
// two policies does to them. It is pure: a plan is a function of the question, the seed and the size, so the true effect is known
// before a packet is sent.
package habits
